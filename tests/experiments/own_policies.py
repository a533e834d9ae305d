"""Policies of a user's own, good and bad, as command lines name them: importable by worker processes."""

import os
import signal
from pathlib import Path

import numpy as np

from agents.policy import DETERMINISTIC, Decision, Policy
from edgellm_env.node.features import COMPUTE


class Shortest(Policy):
    name = "shortest"
    modes = DETERMINISTIC

    def decide(self, slots, rngs):
        return Decision(slots.pack(slots.problems.compute_s))


class Unmade(Shortest):
    """Ends the process, quietly, when it is made."""

    def __init__(self) -> None:
        raise SystemExit(0)


class Counting(Shortest):
    """Carries something from episode to episode, which it must not."""

    name = "counting"

    def __init__(self) -> None:
        self.begun = 0

    def begin(self, scenario, episodes) -> None:
        self.begun += 1

    def decide(self, slots, rngs):
        batch = super().decide(slots, rngs).batch
        return Decision(batch & (np.arange(batch.shape[1]) < self.begun))


class Everything(Shortest):
    name = "everything"

    def decide(self, slots, rngs):
        return Decision(slots.waits)


class Raising(Shortest):
    name = "raising"

    def decide(self, slots, rngs):
        if slots.slot[0] == 3:
            raise KeyError("queue")
        return super().decide(slots, rngs)


class Leaving(Shortest):
    name = "leaving"

    def decide(self, slots, rngs):
        raise SystemExit(0)


class Misshapen(Shortest):
    name = "misshapen"

    def decide(self, slots, rngs):
        return Decision(np.ones((slots.size, slots.waits.shape[1] + 1), dtype=np.bool_))


class NotANumber(Shortest):
    name = "not-a-number"

    def decide(self, slots, rngs):
        return Decision(np.full(slots.waits.shape, np.nan))


class Meddling(Shortest):
    """Writes into all that it is given."""

    name = "meddling"

    def decide(self, slots, rngs):
        decision = super().decide(slots, rngs)
        given = [*slots.problems, *slots.observation.values(), *slots.info.values(), slots.prompt_tokens]
        for array in (*given, slots.output_tokens, slots.waited_s, slots.request, slots.waiting, slots.scheme):
            if isinstance(array, np.ndarray) and array.flags.writeable:
                array[...] = 0
        return decision


class Killed(Shortest):
    """Its process is killed, once, in the middle of an episode."""

    name = "shortest"

    def decide(self, slots, rngs):
        marker = Path(os.environ["EDGELLM_TEST_MARKER"])
        if slots.slot[0] == 5 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().decide(slots, rngs)


class Stopping(Counting):
    """What Python raises at Ctrl-C, once, in the middle of an episode."""

    def decide(self, slots, rngs):
        marker = Path(os.environ["EDGELLM_TEST_MARKER"])
        if slots.slot[0] == 5 and not marker.exists():
            marker.touch()
            raise KeyboardInterrupt
        return super().decide(slots, rngs)


class RaisingWhenBusy(Shortest):
    """Fails where many requests wait."""

    name = "raising-when-busy"

    def decide(self, slots, rngs):
        if slots.waiting.max() > 8:
            raise KeyError("queue")
        return super().decide(slots, rngs)


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
