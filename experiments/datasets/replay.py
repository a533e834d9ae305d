"""Plays a recorded episode again, from its seed and its actions alone, and looks at what its labels claim.

The single environment and the single-slot solvers do this, not the batched ones that recorded it.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from edgellm_env.env.environments import BatchEnv, RankEnv, SelectEnv
from edgellm_env.env.single import EdgeLLMEnv
from edgellm_env.scenario import Scenario
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.solvers import solve_dftsp, solve_exact
from experiments.datasets.episode import LABELS, MASK, NODE_INFOS, Episode
from experiments.datasets.errors import VerificationError

ENVIRONMENTS: dict[str, type[EdgeLLMEnv]] = {"Batch": BatchEnv, "Select": SelectEnv, "Rank": RankEnv}

MASK_EVERY = 10
"""One step in so many has its action mask checked by trying every request."""

ALWAYS_FEASIBLE = ("dftsp", "noisy-expert", "random")
"""Behaviours that never ask for anything infeasible."""


class Replayer:
    """Replays episodes of one environment and scenario.

    Args:
        environment: a key of :data:`ENVIRONMENTS`.
        scenario: with its trace file.
    """

    def __init__(self, environment: str, scenario: Scenario) -> None:
        self._environment = environment
        self._env = ENVIRONMENTS[environment](scenario=scenario)

    def spaces(self) -> dict[str, gym.Space[Any]]:
        """Return the spaces by their names in a dataset's metadata."""
        return {"observation_space": self._env.observation_space, "action_space": self._env.action_space}

    def check(self, recorded: Episode) -> None:
        """Play the episode anew with the recorded seed and actions, and compare every array.

        Raises:
            VerificationError: the first step at which an array differs, the environment refuses an action, a batch or
                mask is not feasible, or the expert was not optimal.
        """
        played = _Played(recorded)
        try:
            self._play(recorded, played)
        except VerificationError:
            # What differs before that is where it began.
            _refuse(recorded.difference(played.episode(), begun=True))
            raise
        _refuse(recorded.difference(played.episode()))

    def _play(self, recorded: Episode, played: "_Played") -> None:
        env = self._env
        observation, info = env.reset(seed=recorded.seed)
        played.see(observation, info)
        slot, label = -1, (0, 0)
        truncated = False
        for step, action in enumerate(recorded.actions):
            if truncated:
                raise VerificationError(f"step {step}: the episode was over; {recorded.steps} steps are recorded")
            problem = env.slot_problem()
            if info["slot"] != slot:
                slot, label = info["slot"], _solve(problem, step)
            played.labels.append(label)
            if MASK in info and step % MASK_EVERY == 0:
                _check_mask(problem, observation["batch"], info[MASK], step)
            self._check_action(recorded, problem, action, step, info.get(MASK))
            try:
                observation, reward, _, truncated, info = env.step(action)
            except ValueError as error:
                raise VerificationError(f"step {step}: actions: {error}") from error
            if recorded.behaviour == "dftsp" and info["slot"] != slot and reward != label[0]:
                raise VerificationError(f"step {step}: DFTSP served {reward:g}; the optimum of the slot is {label[0]}")
            if reward > label[0]:
                raise VerificationError(f"step {step}: {reward:g} served; the optimum of the slot is {label[0]}")
            played.see(observation, info)
            played.rewards.append(reward)
            played.truncations.append(truncated)
        played.labels.append((0, 0))

    def _check_action(
        self, recorded: Episode, problem: SlotProblem, action: Any, step: int, mask: NDArray[np.int8] | None
    ) -> None:
        feasible = recorded.behaviour.partition("(")[0] in ALWAYS_FEASIBLE
        if self._environment == "Batch" and feasible:
            batch = np.asarray(action).astype(np.bool_)
            if batch[problem.size :].any():
                raise VerificationError(f"step {step}: actions: marks places where nobody waits")
            if not problem.is_feasible(batch[: problem.size]):
                broken = problem.violations(batch[: problem.size])
                raise VerificationError(f"step {step}: actions: infeasible batch, {broken}")
        if mask is not None and not (0 <= action < mask.size and mask[action]):
            raise VerificationError(f"step {step}: actions: {action} is masked")


def _solve(problem: SlotProblem, step: int) -> tuple[int, int]:
    """Return the optimum, by the exact solver, and the nodes that DFTSP visits."""
    published, optimum = solve_dftsp(problem), solve_exact(problem)
    if published.optimal and optimum.optimal and published.count != optimum.count:
        raise VerificationError(f"step {step}: DFTSP finds {published.count} and the exact solver {optimum.count}")
    return optimum.count, published.nodes


def _check_mask(problem: SlotProblem, batch: NDArray[np.int8], mask: NDArray[np.int8], step: int) -> None:
    """Try every request: legal if and only if it is not in the batch yet and the batch stays feasible with it."""
    chosen = batch[: problem.size].astype(np.bool_)
    for place in range(problem.size):
        tried = chosen.copy()
        tried[place] = True
        legal = not chosen[place] and problem.is_feasible(tried)
        if legal != bool(mask[place]):
            raise VerificationError(f"step {step}: infos/{MASK}[{place}]: {mask[place]}; expected {int(legal)}")


def _refuse(difference: str | None) -> None:
    if difference is not None:
        raise VerificationError(difference)


class _Played:
    """What an episode has been so far, as it is played anew."""

    def __init__(self, recorded: Episode) -> None:
        self._recorded = recorded
        self._observations: list[dict[str, Any]] = []
        self._infos: list[dict[str, Any]] = []
        self.labels: list[tuple[int, int]] = []
        self.rewards: list[float] = []
        self.truncations: list[bool] = []

    def see(self, observation: dict[str, Any], info: dict[str, Any]) -> None:
        """Add what reset or step returned."""
        self._observations.append(observation)
        self._infos.append({name: info[name] for name in (*NODE_INFOS, MASK) if name in info})

    def episode(self) -> Episode:
        """Return it with the recorded seed, behaviour and actions."""
        labels = np.array(self.labels, dtype=np.int64).reshape(-1, len(LABELS))
        return Episode(
            seed=self._recorded.seed,
            behaviour=self._recorded.behaviour,
            observations=_stacked(self._observations),
            actions=self._recorded.actions,
            rewards=np.array(self.rewards, dtype=np.float64),
            terminations=np.zeros(len(self.rewards), dtype=np.bool_),
            truncations=np.array(self.truncations, dtype=np.bool_),
            infos=_stacked(self._infos) | dict(zip(LABELS, labels.T, strict=True)),
        )


def _stacked(entries: list[dict[str, Any]]) -> dict[str, NDArray[Any]]:
    return {name: np.stack([entry[name] for entry in entries]) for name in entries[0]}
