"""How training is judged: validation next to DFTSP, in TensorBoard, and a callback that keeps the best model."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from agents.learning.runs import checkpoint_path
from agents.learning.settings import OnProgress, Progress
from agents.rollout import Tally
from edgellm_env.env.engine import UTILISATIONS
from edgellm_env.wrappers.sb3 import SB3VecEnv


@dataclass(frozen=True)
class Judgement:
    """How a model under training is judged.

    Args:
        play: plays the validation episodes, the same each time.
        keep: saves the model as it is now, as the best so far.
        expert: what DFTSP makes of the same episodes.
        best_rps: mean throughput of what is kept already; None if nothing is.
    """

    play: Callable[[], Tally]
    keep: Callable[[], None]
    expert: Tally
    best_rps: float | None = None


def record_validation(log: Logger, played: Tally, expert: Tally) -> float:
    """Write down how validation went, next to DFTSP in the same episodes; return the mean throughput.

    Throughput, served ratio and mean use of each constraint, of the agent and (``expert_...``) of DFTSP; and the gain
    in percent of DFTSP's throughput.
    """
    for who, one in (("", played), ("expert_", expert)):
        log.record(f"validation/{who}throughput_rps", float(one.throughput_rps.mean()))
        log.record(f"validation/{who}served_ratio", one.served_ratio)
        for name, mean in zip(UTILISATIONS, one.utilisation.mean(axis=0), strict=True):
            log.record(f"validation/{who}{name}", float(mean))
    mean_rps, expert_rps = float(played.throughput_rps.mean()), float(expert.throughput_rps.mean())
    log.record("validation/gain_percent", 100.0 * (mean_rps / max(1e-9, expert_rps) - 1.0))
    return mean_rps


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
        self._steps, self._infeasible = 0, 0
        self._began_s, self._began_steps = 0.0, 0

    def _on_training_start(self) -> None:
        self._began_s, self._began_steps = time.monotonic(), self.num_timesteps

    def _on_step(self) -> bool:
        self._ended += [info for info in self.locals["infos"] if "episode" in info]
        assert isinstance(self.training_env, SB3VecEnv)
        infeasible = self.training_env.infos["infeasible"]
        self._steps += infeasible.size
        self._infeasible += int(infeasible.sum())
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
        self.logger.record("rollout/infeasible_ratio", self._infeasible / max(1, self._steps))
        self._ended, self._steps, self._infeasible = [], 0, 0
        seconds = max(1e-9, time.monotonic() - self._began_s)
        self.logger.record("time/slots_per_second", (self.num_timesteps - self._began_steps) / seconds)
        self.logger.dump(self.num_timesteps)
        self._on_progress(Progress(self.num_timesteps, self._best_rps))

    def _on_training_end(self) -> None:
        self._validate()

    def _validate(self) -> None:
        mean = record_validation(self.logger, self._judgement.play(), self._judgement.expert)
        self.logger.dump(self.num_timesteps)
        if self._best_rps is None or mean > self._best_rps:
            self._best_rps = mean
            self._judgement.keep()
