"""What benchmarks share: checked arguments, work per second on a machine that may be busy, and a report."""

import math
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import gymnasium as gym
from rich.console import Console
from rich.table import Table

from agents.files import require_place, write_json

AnyEnv: TypeAlias = gym.Env[Any, Any] | gym.vector.VectorEnv[Any, Any, Any]
Act: TypeAlias = Callable[[Mapping[str, Any]], Any]
Answer = TypeVar("Answer")

STEPS: Final = 200
"""Steps that a subject that steps environments plays at a time."""

_DRAWN: Final = 16


class Subject(NamedTuple):
    """Something whose throughput is measured."""

    group: str  # block of the table it belongs to
    name: str
    mode: str  # how it is driven, for example "single" or "vector"
    environments: int  # how many are stepped together
    play: Callable[[], Mapping[str, int]]  # some work, always the same kind; returns how much of each unit it was


@dataclass(frozen=True)
class Throughput:
    """A subject's throughput in one unit."""

    group: str
    name: str
    mode: str
    environments: int
    unit: str  # what is counted, for example "slots"
    median_per_s: float  # of the repeats, per second elapsed
    low_per_s: float  # the slowest repeat
    high_per_s: float  # the fastest repeat
    per_cpu_s: float  # median per second of processor time, all threads together; other processes hardly change it
    repeats: int


class Timed(NamedTuple, Generic[Answer]):
    """What a call returned, and the seconds that it took."""

    answer: Answer
    elapsed_s: float
    cpu_s: float  # of all threads, and of the child processes that ended


def timed(call: Callable[[], Answer]) -> Timed[Answer]:
    """Call ``call`` and say how long it took."""
    children_s = _children_s()
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    answer = call()
    cpu_s, elapsed_s = time.process_time() - began_cpu_s, time.perf_counter() - began_s
    return Timed(answer, elapsed_s, cpu_s + _children_s() - children_s)


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(
    subjects: Sequence[Subject],
    repeats: int,
    seconds: float,
    on_progress: Callable[[Subject], None] = lambda subject: None,
) -> list[Throughput]:
    """Measure every subject ``repeats`` times, in rounds, so that a busy spell of the machine hits all of them alike.

    Each is played once beforehand, which compiles what there is to compile. A repeat lasts ``seconds`` at least, and
    ends with the play under way. Returns a row per subject and unit.
    """
    for subject in subjects:
        on_progress(subject)
        subject.play()
    rates = defaultdict[tuple[int, str], list[tuple[float, float]]](list)  # by subject and unit, one of each repeat
    for _ in range(repeats):
        for place, subject in enumerate(subjects):
            on_progress(subject)
            played = timed(partial(_play_for, subject, seconds))
            for unit, number in played.answer.items():
                rates[place, unit].append((number / played.elapsed_s, number / max(1e-9, played.cpu_s)))
    rows = []
    for (place, unit), pairs in rates.items():
        per_s, per_cpu_s = zip(*pairs, strict=True)
        spread = median(per_s), min(per_s), max(per_s)
        rows.append(Throughput(*subjects[place][:-1], unit, *spread, median(per_cpu_s), repeats))
    return rows


def _play_for(subject: Subject, seconds: float) -> Counter[str]:
    totals, until_s = Counter(subject.play()), time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        totals.update(subject.play())
    return totals


class Stepper:
    """Steps an environment, or many together, again and again; the only loop over ``env.step`` that is measured.

    Episodes that end begin anew within the time measured; vector environments see to it themselves.

    Args:
        env: single or vector environment.
        unit: what a step of one environment counts as.
        act: returns the next action, given the last info; actions are drawn beforehand unless given.
        seeds: of the episodes; after them the environment draws its own.
        slots: how many slots an action ends, where that is counted beside the steps.
    """

    def __init__(
        self,
        env: AnyEnv,
        unit: str,
        act: Act | None = None,
        seeds: Iterable[int] = (0,),
        slots: Callable[[Any], int] | None = None,
    ) -> None:
        env.action_space.seed(0)
        drawn = cycle([] if act else [env.action_space.sample() for _ in range(_DRAWN)])
        self.env, self._unit, self._seeds, self._slots = env, unit, iter(seeds), slots
        self._act = act or (lambda info: next(drawn))
        self._info: Mapping[str, Any] = {}
        self._over = True

    def step_for(self, steps: int = STEPS) -> dict[str, int]:
        """Take ``steps`` steps; return how many of the unit they were, and the slots if they are counted."""
        env, act, info, over, ended = self.env, self._act, self._info, self._over, 0
        size = env.num_envs if isinstance(env, gym.vector.VectorEnv) else 0
        for _ in range(steps):
            if over:
                _, info = env.reset(seed=next(self._seeds, None))
            action = act(info)
            ended += self._slots(action) if self._slots else 0
            _, _, terminated, truncated, info = env.step(action)
            over = not size and bool(terminated or truncated)
        self._info, self._over = info, over
        return ({"slots": ended} if self._slots else {}) | {self._unit: steps * max(1, size)}


def require_arguments(out: Path | None, seconds: float = 0.0, **counts: int) -> None:
    """Check that ``out`` can be written, ``seconds`` are finite and not negative, and ``counts`` are at least 1.

    Raises:
        ValueError: the first that is not, by the name of its option.
    """
    require_place(out)
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name.replace('_', '-')}: {count}; expected at least 1")
    if not 0.0 <= seconds < math.inf:
        raise ValueError(f"seconds: {seconds}; expected a finite number of 0 or more")


def report(console: Console, out: Path | None, document: dict[str, Any], *shown: Table | str) -> None:
    """Write ``document`` to ``out``, if given, and print what is ``shown``."""
    if out is not None:
        write_json(out, document)
    for one in shown:
        console.print(one)
    if out is not None:
        console.print(f"Rows: {out}")
