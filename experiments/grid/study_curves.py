"""Learning curves, read from the TensorBoard files that every learner writes."""

from pathlib import Path
from typing import Final

from agents.files import OutputError
from agents.learning.runs import TENSORBOARD
from experiments.grid.study_store import Curve

THROUGHPUT: Final = "validation/throughput_rps"
EXPERT: Final = "validation/expert_throughput_rps"


def read_curve(run: Path, began_s: float) -> Curve:
    """Return the validation curve of a training run.

    Args:
        run: the run's folder.
        began_s: when its training began, in seconds since the epoch.

    Raises:
        OutputError: the run wrote no validations.
    """
    from tensorboard.backend.event_processing.event_accumulator import (  # noqa: PLC0415 - takes seconds to import
        EventAccumulator,
    )

    events = EventAccumulator(str(run / TENSORBOARD), size_guidance={"scalars": 0})
    events.Reload()
    if not {THROUGHPUT, EXPERT} <= set(events.Tags()["scalars"]):
        raise OutputError(f"{run / TENSORBOARD}: no {THROUGHPUT}; expected the curves of a training run")
    points = events.Scalars(THROUGHPUT)
    return Curve(
        steps=tuple(point.step for point in points),
        seconds=tuple(round(point.wall_time - began_s, 1) for point in points),
        throughput_rps=tuple(round(point.value, 5) for point in points),
        expert_rps=round(events.Scalars(EXPERT)[-1].value, 5),
    )
