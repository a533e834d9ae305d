"""Measures how much happens in a second, of many things in turn, on a machine that may be busy."""

import resource
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import gymnasium as gym
import numpy as np

AnyEnv: TypeAlias = gym.Env[Any, Any] | gym.vector.VectorEnv[Any, Any, Any]
Answer = TypeVar("Answer")

STEPS: Final = 200
"""Steps that a subject that steps environments plays at a time."""

_DRAWN: Final = 16


@dataclass(frozen=True)
class Named:
    """What is measured."""

    group: str  # block of the table it belongs to
    name: str
    mode: str  # how it is driven, for example "single" or "vector"
    environments: int  # how many are stepped together


@dataclass(frozen=True)
class Subject(Named):
    """Something whose throughput is measured."""

    play: Callable[[], Mapping[str, int]]  # some work, always the same kind; returns how much of each unit it was


@dataclass(frozen=True)
class Throughput(Named):
    """A subject's throughput in one unit."""

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
    rates: list[dict[str, list[tuple[float, float]]]] = [defaultdict(list) for _ in subjects]
    for _ in range(repeats):
        for subject, own in zip(subjects, rates, strict=True):
            on_progress(subject)
            played = timed(partial(_play_for, subject, seconds))
            for unit, number in played.answer.items():
                own[unit].append((number / played.elapsed_s, number / max(1e-9, played.cpu_s)))
    return [_row(one, unit, pairs) for one, own in zip(subjects, rates, strict=True) for unit, pairs in own.items()]


def _play_for(subject: Subject, seconds: float) -> Counter[str]:
    totals, until_s = Counter(subject.play()), time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        totals.update(subject.play())
    return totals


def _row(one: Subject, unit: str, rates: Sequence[tuple[float, float]]) -> Throughput:
    per_s, per_cpu_s = zip(*rates, strict=True)
    median_per_s, median_per_cpu_s = statistics.median(per_s), statistics.median(per_cpu_s)
    extremes = min(per_s), max(per_s)
    return Throughput(
        one.group, one.name, one.mode, one.environments, unit, median_per_s, *extremes, median_per_cpu_s, len(rates)
    )


class Stepper:
    """Steps an environment, or many together, again and again; the only loop over ``env.step`` that is measured.

    Episodes that end begin anew within the time measured; vector environments see to it themselves.

    Args:
        env: single or vector environment.
        act: returns the next action, given the last info.
        unit: what a step of one environment counts as.
        seeds: of the episodes; after them the environment draws its own.
    """

    def __init__(
        self, env: AnyEnv, act: Callable[[Mapping[str, Any]], Any], unit: str, seeds: Iterable[int] = (0,)
    ) -> None:
        self.env, self._act, self._unit, self._seeds = env, act, unit, iter(seeds)
        self._info: Mapping[str, Any] = {}
        self._over = True

    def step_for(self, steps: int = STEPS) -> dict[str, int]:
        """Take ``steps`` steps; return how many of the unit they were."""
        env, act, info, over = self.env, self._act, self._info, self._over
        size = env.num_envs if isinstance(env, gym.vector.VectorEnv) else 0
        for _ in range(steps):
            if over:
                _, info = env.reset(seed=next(self._seeds, None))
            _, _, terminated, truncated, info = env.step(act(info))
            over = not size and bool(terminated or truncated)
        self._info, self._over = info, over
        return {self._unit: steps * max(1, size)}


class SelectStepper(Stepper):
    """Steps ``EdgeLLM/Select-v0``, which has no actions that are legal beforehand, by the first one of the mask."""

    def __init__(self, env: AnyEnv) -> None:
        super().__init__(env, self._first_legal, "micro-steps")
        self._slots = 0

    def step_for(self, steps: int = STEPS) -> dict[str, int]:
        """As :meth:`Stepper.step_for`; the slots that ended are counted too."""
        self._slots = 0
        picks = super().step_for(steps)
        return {"slots": self._slots, **picks}

    def _first_legal(self, info: Mapping[str, Any]) -> Any:
        mask = info["action_mask"]
        action = mask.argmax(axis=-1)
        self._slots += int(np.count_nonzero(action == mask.shape[-1] - 1))
        return action


def stepper(env: AnyEnv, unit: str) -> Stepper:
    """Return a stepper of ``env`` whose actions are drawn beforehand."""
    env.action_space.seed(0)
    actions = cycle([env.action_space.sample() for _ in range(_DRAWN)])
    return Stepper(env, lambda info: next(actions), unit)
