"""A policy that kills its process when it is told to, as the kernel does when memory runs out."""

import os
import signal
from dataclasses import dataclass

import numpy as np

from agents.policy import Decision, Policy


class Dying(Policy):
    name = "dying"

    def begin(self, scenario, episodes) -> None:
        if os.environ.get("EDGELLM_TEST_KILL"):
            os.kill(os.getpid(), signal.SIGKILL)

    def decide(self, slots, rngs) -> Decision:
        return Decision(np.zeros(slots.waits.shape, dtype=np.bool_))


class Failing(Policy):
    name = "failing"

    def decide(self, slots, rngs) -> Decision:
        raise KeyError("queue")


@dataclass(frozen=True)
class HalfWritten:
    """A task whose worker ends in the middle of its file, without a word, as an interrupted worker does."""

    index: int

    def file_name(self) -> str:
        return f"half_{self.index}"

    def make(self, plan, path) -> None:
        path.write_bytes(b"half")
        os._exit(130)
