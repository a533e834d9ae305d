"""A policy that kills its process when it is told to, as the kernel does when memory runs out."""

import os
import signal

import numpy as np


class Dying:
    name = "dying"

    def begin_episode(self, scenario, rng) -> None:
        if os.environ.get("EDGELLM_TEST_KILL"):
            os.kill(os.getpid(), signal.SIGKILL)

    def select(self, view):
        return np.zeros(view.problem.size, dtype=np.bool_)
