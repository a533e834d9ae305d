"""Policies of a user's own, good and bad, as command lines name them: importable by worker processes."""

import os
import signal
from pathlib import Path

import numpy as np

from edgellm_env.node.features import COMPUTE
from edgellm_env.slot.packing import pack_in_order


class Shortest:
    name = "shortest"
    modes = ("deterministic",)

    def begin_episode(self, scenario, rng) -> None: ...

    def select(self, view):
        return pack_in_order(view.problem, np.argsort(view.problem.compute_s, kind="stable"))


class Counting(Shortest):
    """Carries something from episode to episode, which it must not."""

    name = "counting"

    def __init__(self) -> None:
        self.begun = 0

    def begin_episode(self, scenario, rng) -> None:
        self.begun += 1

    def select(self, view):
        return super().select(view) & (np.arange(view.problem.size) < self.begun)


class Everything(Shortest):
    name = "everything"

    def select(self, view):
        return np.ones(view.problem.size, dtype=np.bool_)


class Raising(Shortest):
    name = "raising"

    def select(self, view):
        if view.slot == 3:
            raise KeyError("queue")
        return super().select(view)


class Leaving(Shortest):
    name = "leaving"

    def select(self, view):
        raise SystemExit(0)


class Misshapen(Shortest):
    name = "misshapen"

    def select(self, view):
        return np.ones(view.problem.size + 1, dtype=np.bool_)


class NotANumber(Shortest):
    name = "not-a-number"

    def select(self, view):
        return np.full(view.problem.size, np.nan)


class Meddling(Shortest):
    """Writes into all that it is given."""

    name = "meddling"

    def select(self, view):
        batch = super().select(view)
        for array in (*vars(view.problem).values(), *view.observation.values(), view.prompt_tokens, view.waited_s):
            if isinstance(array, np.ndarray) and array.flags.writeable:
                array[...] = 0
        return batch


class Killed(Shortest):
    """Its process is killed, once, in the middle of an episode."""

    name = "shortest"

    def select(self, view):
        marker = Path(os.environ["EDGELLM_TEST_MARKER"])
        if view.slot == 5 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().select(view)


def shortest(observation, info):
    return -observation["requests"][:, COMPUTE].clip(max=1.0)


def first_legal(observation, info):
    return int(np.argmax(info["action_mask"]))


def nan_scores(observation, info):
    return np.full(observation["valid"].shape, np.nan)


class Drawing:
    """A callable object that is random."""

    modes = ("stochastic",)

    def begin_episode(self, scenario, rng) -> None:
        self.rng = rng

    def __call__(self, observation, info):
        return self.rng.uniform(-1, 1, size=observation["valid"].shape)
