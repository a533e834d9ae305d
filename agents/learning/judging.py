"""How training is judged: the same validation episodes each time, next to DFTSP in them, written to TensorBoard."""

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
        scenario: what is played.
        seed: the run's.
        episodes: how many.
    """

    def __init__(self, scenario: Scenario, seed: int, episodes: int) -> None:
        self._seeds = episode_seeds("validation", seed, episodes)
        self._engine = make_engine(scenario, BATCH, episodes)
        self.expert = self.play(Dftsp())

    @property
    def par_rps(self) -> float:
        """Requests that DFTSP serves in a second, more than 0."""
        return max(1e-9, float(self.expert.throughput_rps.mean()))

    @property
    def par_per_slot(self) -> float:
        """Requests that DFTSP serves in a slot, more than 0: what learners scale rewards by."""
        return self.par_rps * self._engine.scenario.timing.slot_s

    def play(self, policy: Policy) -> Tally:
        """Return what the policy makes of the episodes."""
        return rollout(policy, self._engine.scenario, self._seeds, engine=self._engine)

    def mean_rps(self, policy: Policy) -> float:
        """Return the policy's mean throughput."""
        return float(self.play(policy).throughput_rps.mean())

    def judge(self, policy: Policy, log: Logger) -> float:
        """Play, and write down how it went; return the mean throughput."""
        return record_validation(log, self.play(policy), self.expert)


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
