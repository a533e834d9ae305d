"""A stable-baselines3 callback that validates, keeps the best, saves checkpoints and reports progress."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from agents.runs import checkpoint_path
from agents.training import OnProgress, Progress


@dataclass(frozen=True)
class Judgement:
    """How a model under training is judged.

    Args:
        throughput_rps: plays the validation episodes, the same each time; returns the mean.
        keep: saves the model as it is now, as the best so far.
        expert_rps: DFTSP's mean in the same episodes.
        best_rps: of what is kept already; None if nothing is.
    """

    throughput_rps: Callable[[], float]
    keep: Callable[[], None]
    expert_rps: float
    best_rps: float | None = None


class Judge(BaseCallback):
    """Validates and saves before a rollout, when the last update is complete.

    Args:
        judgement: how.
        validate_every: rollouts between validations.
        checkpoint_every: rollouts between checkpoints.
        run: the run's folder.
        on_progress: called after every rollout.
    """

    def __init__(
        self, judgement: Judgement, validate_every: int, checkpoint_every: int, run: Path, on_progress: OnProgress
    ) -> None:
        super().__init__()
        self._judgement = judgement
        self._validate_every, self._checkpoint_every = validate_every, checkpoint_every
        self._run, self._on_progress = run, on_progress
        self._best_rps = judgement.best_rps
        self._rollouts = 0
        self._ended: list[dict[str, Any]] = []
        self._began_s, self._began_steps = 0.0, 0

    def _on_training_start(self) -> None:
        self._began_s, self._began_steps = time.monotonic(), self.num_timesteps

    def _on_step(self) -> bool:
        self._ended += [info for info in self.locals["infos"] if "episode" in info]
        return True

    def _on_rollout_start(self) -> None:
        if self._rollouts % self._validate_every == 0:
            self._validate()
        if self._rollouts and self._rollouts % self._checkpoint_every == 0:
            self.model.save(checkpoint_path(self._run, self.num_timesteps))
        self._rollouts += 1

    def _on_rollout_end(self) -> None:
        if self._ended:
            served = sum(info["served"] for info in self._ended)
            arrived = max(1, sum(info["arrived"] for info in self._ended))
            self.logger.record("rollout/served_ratio", served / arrived)
            self._ended = []
        seconds = max(1e-9, time.monotonic() - self._began_s)
        self.logger.record("time/slots_per_second", (self.num_timesteps - self._began_steps) / seconds)
        self.logger.dump(self.num_timesteps)
        self._on_progress(Progress(self.num_timesteps, self._best_rps))

    def _on_training_end(self) -> None:
        self._validate()
        self.logger.dump(self.num_timesteps)

    def _validate(self) -> None:
        mean, expert = self._judgement.throughput_rps(), self._judgement.expert_rps
        self.logger.record("validation/throughput_rps", mean)
        self.logger.record("validation/expert_throughput_rps", expert)
        self.logger.record("validation/gain_percent", 100.0 * (mean / max(1e-9, expert) - 1.0))
        if self._best_rps is None or mean > self._best_rps:
            self._best_rps = mean
            self._judgement.keep()
