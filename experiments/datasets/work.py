"""The units of work that a dataset consists of. Each makes one file, the same whichever process makes it."""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from agents.files import PARTIAL, read_document, written_whole
from agents.rollout import make_engine, rollout
from experiments.datasets import references
from experiments.datasets.plan import Plan
from experiments.datasets.recorder import CENSUS_EVERY, Recorder, UnitTotals
from experiments.datasets.storage import CollectionError, Episode, is_intact, write_shard
from experiments.grid.binding import SlotCensus, constraints_of
from experiments.grid.parallel import ParallelError, stream_units
from experiments.grid.service import service_of

_AGAIN: Final = "what is complete is kept: run the same command again to continue"


@dataclass(frozen=True)
class Unit:
    """A range of the dataset's episodes."""

    index: int

    def file_name(self) -> str:
        """Name of the shard."""
        return f"unit_{self.index:06d}.hdf5"

    def make(self, plan: Plan, path: Path) -> None:
        """Play the episodes and write them to ``path``."""
        totals, scenario = UnitTotals(), plan.playable_scenario()
        first, seeds, behaviours = plan.numbers(self.index)[0], plan.seeds(self.index), plan.behaviours(scenario)
        looked_at = min(CENSUS_EVERY, scenario.timing.episode_slots) // 2
        episodes: dict[int, Episode] = {}
        for turn, (name, policy) in enumerate(behaviours):
            own = range((turn - first) % len(behaviours), len(seeds), len(behaviours))
            if own:
                recorder = Recorder(totals)
                census = SlotCensus(lambda slots: slots.slot % CENSUS_EVERY == looked_at)
                observers = [recorder, census]
                engine = make_engine(scenario, plan.environment_id, len(own))
                rollout(policy, scenario, [seeds[place] for place in own], observers, engine=engine)
                if plan.environment != "Select":  # where episodes go on until the last one's end
                    totals.add(services=[asdict(service_of(engine, row)) for row in range(len(own))])
                counts = census.counts
                binding = {name: counts[name] for name in constraints_of(scenario.serving.kind == "continuous")}
                totals.add(census_slots=census.slots, left_behind=counts["left_behind"], binding=binding)
                episodes |= zip(own, recorder.episodes(name), strict=True)
        ordered = [episodes[place] for place in range(len(seeds))]
        totals.add(
            returns=[float(episode.arrays["rewards"].sum()) for episode in ordered],
            steps=[episode.steps for episode in ordered],
        )
        write_shard(path, ordered, self._about(plan), asdict(totals))

    def is_done(self, plan: Plan, folder: Path) -> bool:
        """Whether the shard is there, of this plan, and whole."""
        path = folder / self.file_name()
        return path.is_file() and is_intact(path, self._about(plan))

    def _about(self, plan: Plan) -> dict[str, str | int]:
        numbers = plan.numbers(self.index)
        return {"plan": plan.checksum, "unit": self.index, "first": numbers[0], "episodes": len(numbers)}


@dataclass(frozen=True)
class Reference:
    """What a policy serves in the episodes that reference scores are made from, where no comparison is stored."""

    policy: str

    def file_name(self) -> str:
        """Name of the file with the returns."""
        return f"reference_{self.policy}.json"

    def make(self, plan: Plan, path: Path) -> None:
        """Play the episodes and write their returns to ``path``."""
        returns = references.play(self.policy, plan.playable_scenario())
        path.write_text(json.dumps({"plan": plan.checksum, "returns": returns}), encoding="utf-8")

    def is_done(self, plan: Plan, folder: Path) -> bool:
        """Whether the returns are there, of this plan."""
        try:
            return bool(self._read(folder)["plan"] == plan.checksum and self.returns(folder))
        except (ValueError, KeyError):
            return False

    def returns(self, folder: Path) -> list[float]:
        """Read the returns."""
        returns: list[float] = self._read(folder)["returns"]
        return returns

    def _read(self, folder: Path) -> dict[str, Any]:
        return read_document(folder / self.file_name())


Task = Unit | Reference


def run_tasks(
    plan: Plan, tasks: Sequence[Task], folder: Path, workers: int, ray: str | None, on_done: Callable[[Task], None]
) -> None:
    """Make every task's file in ``folder``: each appears there whole or not at all.

    ``workers`` are processes (1 works in this one), ``ray`` is ``local``, or a Ray cluster's address, in place of them.
    ``on_done`` is called in this process after each task.

    Raises:
        CollectionError: a worker died again and again, the disk is full, or a task failed; files already made stay.
    """
    make: Callable[[Task], bytes | None] = partial(make_file, plan, folder) if ray is None else partial(_bytes, plan)
    try:
        with _no_partial_files(folder), closing(stream_units(make, tasks, workers, ray)) as made:
            for index, content in made:
                if content is not None:
                    with written_whole(folder / tasks[index].file_name()) as temporary:
                        temporary.write_bytes(content)
                on_done(tasks[index])
    except ParallelError as error:
        raise CollectionError(f"{error}; {_AGAIN}") from error
    except OSError as error:
        raise CollectionError(f"{folder}: {error.strerror or error}; {_AGAIN}") from error


@contextmanager
def _no_partial_files(folder: Path) -> Iterator[None]:
    """Remove what killed processes left before, and what workers leave that are killed or interrupted meanwhile."""

    def sweep() -> None:
        for unfinished in folder.glob(f"*{PARTIAL}"):
            unfinished.unlink(missing_ok=True)

    sweep()
    try:
        yield
    finally:
        sweep()


def make_file(plan: Plan, folder: Path, task: Task) -> None:
    """Do a task and put its file into ``folder``, whole."""
    with written_whole(folder / task.file_name()) as temporary:
        task.make(plan, temporary)


def _bytes(plan: Plan, task: Task) -> bytes:
    """Do a task and return its file's content, for workers that share no disk with the process that collects it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / task.file_name()
        task.make(plan, path)
        return path.read_bytes()
