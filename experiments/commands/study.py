"""``study``: the group of commands that measure learned agents and store what the results page is written from."""

from dataclasses import dataclass
from typing import Annotated, TypeAlias

import tyro
from rich.console import Console

from experiments.grid.study_behaviour import StudyBehaviour
from experiments.grid.study_bounds import StudyBounds
from experiments.grid.study_comparing import StudyCompare
from experiments.grid.study_training import StudyTrain

Part: TypeAlias = (
    Annotated[StudyTrain, tyro.conf.subcommand("train")]
    | Annotated[StudyCompare, tyro.conf.subcommand("compare")]
    | Annotated[StudyBounds, tyro.conf.subcommand("bounds")]
    | Annotated[StudyBehaviour, tyro.conf.subcommand("behaviour")]
)


@dataclass(frozen=True)
class Study:
    """Train agents with several seeds, compare policies, see what an agent learned: results that stay stored."""

    part: Annotated[Part, tyro.conf.arg(name="")]
    """Which part of the study."""

    def run(self, console: Console) -> object:
        """Run the part; return its results.

        Raises:
            ValueError: an argument that can't be used, or stored results that do not fit.
            RuntimeError: the measurement failed.
        """
        return self.part.run(console)
