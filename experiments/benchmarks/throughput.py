"""Measures how much happens in a second, of many things in turn, on a machine that may be busy."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """Something whose throughput is measured.

    Args:
        group: block of the table it belongs to.
        name: what it is.
        mode: how it is driven, for example ``single`` or ``vector``.
        environments: how many are stepped together.
        play: does some work, always the same kind, and returns how much of each unit it was.
    """

    group: str
    name: str
    mode: str
    environments: int
    play: Callable[[], dict[str, int]]


@dataclass(frozen=True)
class Throughput:
    """A subject's throughput in one unit.

    Args:
        group: as the subject's.
        name: as the subject's.
        mode: as the subject's.
        environments: as the subject's.
        unit: what is counted, for example ``slots``.
        median_per_s: of the repeats, per second elapsed.
        low_per_s: the slowest repeat.
        high_per_s: the fastest repeat.
        per_cpu_s: median per second of processor time, all threads together; other processes hardly change it.
        repeats: how many.
    """

    group: str
    name: str
    mode: str
    environments: int
    unit: str
    median_per_s: float
    low_per_s: float
    high_per_s: float
    per_cpu_s: float
    repeats: int


def measure(
    subjects: Sequence[Subject],
    repeats: int,
    seconds: float,
    on_progress: Callable[[Subject], None] = lambda subject: None,
) -> list[Throughput]:
    """Measure every subject ``repeats`` times, in rounds, so that a busy spell of the machine hits all of them alike.

    Each is played once beforehand, which compiles what there is to compile.

    Args:
        subjects: what to measure.
        repeats: rounds, at least 1.
        seconds: that each repeat lasts at least; it ends with the play under way.
        on_progress: called before each repeat.

    Returns:
        A row per subject and unit.
    """
    for subject in subjects:
        on_progress(subject)
        subject.play()
    rates: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for _ in range(repeats):
        for index, subject in enumerate(subjects):
            on_progress(subject)
            for unit, rate in _rates(subject, seconds).items():
                rates.setdefault((index, unit), []).append(rate)
    return [_summary(subjects[index], unit, seen) for (index, unit), seen in sorted(rates.items(), key=_place)]


def _place(item: tuple[tuple[int, str], object]) -> int:
    return item[0][0]


def _rates(subject: Subject, seconds: float) -> dict[str, tuple[float, float]]:
    """Return, per unit, how much was done in a second elapsed and in a second of processor time."""
    totals: dict[str, int] = {}
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    while True:
        for unit, number in subject.play().items():
            totals[unit] = totals.get(unit, 0) + number
        elapsed_s = time.perf_counter() - began_s
        if elapsed_s >= seconds:
            break
    cpu_s = max(1e-9, time.process_time() - began_cpu_s)
    return {unit: (number / elapsed_s, number / cpu_s) for unit, number in totals.items()}


def _summary(subject: Subject, unit: str, rates: Sequence[tuple[float, float]]) -> Throughput:
    per_s, per_cpu_s = zip(*rates, strict=True)
    return Throughput(
        group=subject.group,
        name=subject.name,
        mode=subject.mode,
        environments=subject.environments,
        unit=unit,
        median_per_s=statistics.median(per_s),
        low_per_s=min(per_s),
        high_per_s=max(per_s),
        per_cpu_s=statistics.median(per_cpu_s),
        repeats=len(rates),
    )
