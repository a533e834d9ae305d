"""Who acts while a dataset is recorded: any policy, a mixture of several, or DFTSP that deviates now and then."""

from typing import Final, NamedTuple

import numpy as np

from agents.heuristics import RandomOrder
from agents.optimal import dftsp_answers
from agents.policy import STOCHASTIC, CallablePolicy, Decision, Generators, Policy
from agents.registry import build_policies
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario
from experiments.datasets.storage import DatasetError

MIXED: Final = "mixed"
NOISY: Final = "noisy-expert"

_NOISE_STREAM: Final = 0x6E6F6973  # keeps "whether to deviate" apart from "how": another epsilon deviates the same way


class NoisyExpert(Policy):
    """DFTSP, but in each slot with probability ``epsilon`` a batch packed in random order."""

    name = NOISY
    modes = STOCHASTIC

    def __init__(self, epsilon: float) -> None:
        self.name = f"{NOISY}({epsilon:g})"
        self._epsilon = epsilon
        self._random = RandomOrder()
        self._noise: dict[int, np.random.Generator] = {}

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return DFTSP's batches, or random ones where the dice say so."""
        for row in np.flatnonzero(slots.slot == 0):
            seed = int(slots.info["episode_seed"][row])
            self._noise[int(slots.episode[row])] = np.random.default_rng([seed, _NOISE_STREAM])
        deviates = np.array([self._noise[int(episode)].random() < self._epsilon for episode in slots.episode])
        # Drawn in every slot, so that later batches do not depend on whether this one deviates.
        packed = np.asarray(self._random.decide(slots, rngs).batch)
        return Decision(np.where(deviates[:, None], packed, dftsp_answers(slots).selection))


class Behaviour(NamedTuple):
    """A policy with the name that its episodes are recorded under."""

    name: str
    policy: Policy


class Actors(NamedTuple):
    """Who acts, as command lines name it.

    Args:
        policy: ``mixed``, ``noisy-expert``, or any policy's name.
        parts: who plays in turn if ``policy`` is ``mixed``.
        epsilon: how often ``noisy-expert`` deviates.
    """

    policy: str
    parts: tuple[str, ...]
    epsilon: float

    @property
    def names(self) -> tuple[str, ...]:
        """The policies that play, in turn."""
        return self.parts if self.policy == MIXED else (self.policy,)

    def build(self, scenario: Scenario) -> list[Behaviour]:
        """Return who plays: number i modulo their count plays episode i, all of it.

        Raises:
            PolicyError: no such policy, or it does not fit the scenario.
            DatasetError: it acts in an environment of its own.
        """
        behaviours = []
        for name in self.names:
            policy = NoisyExpert(self.epsilon) if name == NOISY else build_policies([name], scenario)[0]
            if isinstance(policy, CallablePolicy):
                raise DatasetError(f"policy: {name!r} returns actions of {policy.environment_id}; expected batches")
            # The folder of a trained model is each user's own: it stays out of the dataset.
            behaviours.append(Behaviour(policy.name if name == NOISY else name.partition("=")[0], policy))
        return behaviours
