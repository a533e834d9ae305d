"""How training is judged: the same validation episodes each time, next to DFTSP in them, written to TensorBoard."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.logger import Logger

from agents.optimal import Dftsp
from agents.policy import BATCH, Policy
from agents.rollout import Tally, make_engine, rollout
from agents.seeds import episode_seeds
from edgellm_env.env.engine import UTILISATIONS
from edgellm_env.scenario import Scenario


class Validation:
    """Validation episodes of a training run, and what DFTSP makes of them.

    Args:
        scenarios: what is played, each in as many episodes.
        seed: the run's.
        episodes: how many of each.

    Attributes:
        best_rps: the best that :meth:`keep` has met; a resumed run sets it to what it has.
    """

    def __init__(self, scenarios: Sequence[Scenario], seed: int, episodes: int) -> None:
        self._seeds = episode_seeds("validation", seed, episodes)
        self._engines = [make_engine(scenario, BATCH, episodes) for scenario in scenarios]
        self._experts = self.play(Dftsp())
        self.best_rps = -np.inf

    @property
    def expert(self) -> Tally:
        """What DFTSP makes of the first scenario's episodes."""
        return self._experts[0]

    @property
    def par_per_slot(self) -> float:
        """Requests that DFTSP serves in a slot, more than 0: what learners scale rewards by."""
        return _mean_rps(self.expert) * self._engines[0].scenario.timing.slot_s

    def mean_rps(self, policy: Policy) -> float:
        """Return the policy's mean throughput; of several scenarios, see :meth:`judge`."""
        return self._mark(self.play(policy))

    def judge(self, policy: Policy, log: Logger) -> float:
        """Play, and write down how it went in the first scenario; return the mean throughput.

        Each of several scenarios counts alike: the mean share of DFTSP's throughput, times that in the first.
        """
        played = self.play(policy)
        record_validation(log, played[0], self.expert)
        return self._mark(played)

    def keep(self, policy: Policy, save: Callable[[Path], Any], path: Path, log: Logger) -> float:
        """Judge, and have ``save`` write to ``path`` what did best so far; return how that did."""
        mean_rps = self.judge(policy, log)
        if mean_rps > self.best_rps:
            self.best_rps = mean_rps
            save(path)
        return self.best_rps

    def play(self, policy: Policy) -> list[Tally]:
        """Return what the policy makes of each scenario's episodes."""
        return [rollout(policy, engine.scenario, self._seeds, engine=engine) for engine in self._engines]

    def _mark(self, played: Sequence[Tally]) -> float:
        if len(played) == 1:
            return float(played[0].throughput_rps.mean())
        shares = [_mean_rps(ours) / _mean_rps(dftsp) for ours, dftsp in zip(played, self._experts, strict=True)]
        return float(np.mean(shares)) * _mean_rps(self.expert)


def _mean_rps(tally: Tally) -> float:
    return max(1e-9, float(tally.throughput_rps.mean()))


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
