"""PPO for continuous nodes: an admission network learns which request to admit next, or to end the slot's batch.

The file is read from top to bottom: settings and updates, networks, rollouts, advantages. A *choice* is one decision of
the loop in :mod:`agents.models.admission_network`: one of the requests that still fit, or the end of the batch, drawn
from a softmax of the scores, that of the end being 0. A request counts 1 when it is admitted, since admission is a
promise. A slot's end costs what DFTSP serves in a slot, so that returns are about 0 whatever the scenario.
"""

import time
from pathlib import Path
from typing import Annotated, Final, Self

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator
from stable_baselines3.common.logger import configure
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from agents.learned import AdmissionPolicy
from agents.learning.admission_rollouts import Played, Player
from agents.learning.judging import Validation
from agents.learning.replicas import Networks
from agents.learning.runs import TENSORBOARD, Learner, Progress, Run, falling, known
from agents.learning.variations import training_scenarios
from agents.models.admission_actor import Actor, ChoiceActor, Choices, Critic
from agents.models.admission_inputs import ALL_INPUTS
from agents.models.admission_network import SHIFTED
from agents.models.queue_network import one_torch_thread
from agents.models.storage import WEIGHTS
from agents.policy import PolicyError
from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.scenario import Scenario

_REWARD: Final = 0.1  # what DFTSP serves in a slot, as a reward: returns over some 50 slots are then about 1


class PpoAdmission(Learner):
    """Trains an :class:`agents.models.admission_network.AdmissionNetwork` from scratch."""

    kinds = ("continuous",)

    steps: Annotated[int, Field(ge=1)]
    hidden_units: Annotated[int, Field(ge=1)]
    critic_units: Annotated[int, Field(ge=1)]
    environments: Annotated[int, Field(ge=2)]
    rollout_slots: Annotated[int, Field(ge=2)]
    minibatches: Annotated[int, Field(ge=1)]
    epochs: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    discount: Annotated[float, Field(ge=0, lt=1)]
    gae_lambda: Annotated[float, Field(ge=0, le=1)]
    clip_range: Annotated[float, Field(gt=0)]
    entropy_coefficient: Annotated[float, Field(ge=0)]
    largest_gradient: Annotated[float, Field(gt=0)]
    averaging: Annotated[float, Field(ge=0, lt=1)]
    threads: Annotated[int, Field(ge=1)] = 1
    """That play, a scenario each, and share each gradient, a part of the choices each: a sum rounded otherwise."""
    variations: Annotated[int, Field(ge=0)]
    """Random variations of the scenario that it trains on, and as a generalist is judged on; 0: the scenario itself."""
    offsets: Annotated[tuple[float, ...], Field(strict=False)] = ()
    """Numbers added in the end to the weight of the input :data:`SHIFTED`, of which the best is kept: the likeliest
    choices admit more than drawn ones, the more so the more there is to choose from."""
    validation_episodes: Annotated[int, Field(ge=2)]
    validate_every: Annotated[int, Field(ge=1)]
    dropped_inputs: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Inputs that the network must do without, by name."""

    @field_validator("dropped_inputs")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return known("input", names, ALL_INPUTS)

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if self.offsets and SHIFTED in self.dropped_inputs:
            raise ValueError(f"dropped_inputs: {SHIFTED!r}; expected it to be kept, offsets change its weight")
        return self

    def default_steps(self, scenario: Scenario) -> int:
        """Return how many environment steps it trains for unless told."""
        return self.steps

    def networks(self, inputs: tuple[str, ...]) -> tuple[ChoiceActor, Critic]:
        """Return what it trains, untrained, which sees ``inputs``."""
        return Actor(self.hidden_units, inputs), Critic(self.critic_units, inputs)

    @one_torch_thread()
    def train(self, run: Run) -> Path:
        """Train, and save the network that did best on validation episodes; see :meth:`Learner.train`.

        Raises:
            PolicyError: asked to resume; the runs are short.
        """
        if run.resume:
            raise PolicyError("resume: it takes minutes and keeps no checkpoints; expected a new run")
        torch.manual_seed(run.seed)
        rng = np.random.default_rng([run.seed, 2**32])
        inputs = tuple(name for name in ALL_INPUTS if name not in self.dropped_inputs)
        actor, critic = self.networks(inputs)
        networks = Networks(nn.ModuleList([actor, critic]), self.threads)
        mean = get_ema_multi_avg_fn(self.averaging)  # type: ignore[no-untyped-call] # of the library
        average = AveragedModel(actor, multi_avg_fn=mean)
        optimiser = torch.optim.Adam(networks.first.parameters(), lr=self.learning_rate)
        scenarios, judged = training_scenarios(run.scenario, self.variations, run.seed)
        validation = Validation(judged, run.seed, self.validation_episodes)
        log = configure(str(run.folder / TENSORBOARD), ["tensorboard"])
        player = Player(scenarios, run.seed, self.environments, rng, self.threads)
        per_rollout = player.environments * self.rollout_slots
        rollouts = -(-run.steps // per_rollout)
        for index in range(rollouts):
            began_s = time.monotonic()
            played = player.play(actor.network(), self.rollout_slots)
            optimiser.param_groups[0]["lr"] = falling(self.learning_rate, index, rollouts)
            explained, entropy = self._update(networks, optimiser, played, rng)
            average.update_parameters(actor)
            log.record("train/explained_variance", explained)
            log.record("train/entropy", entropy)
            log.record("time/slots_per_second", per_rollout / (time.monotonic() - began_s))
            if (index + 1) % self.validate_every == 0 or index + 1 == rollouts:
                averaged = average.module
                assert isinstance(averaged, ChoiceActor)
                network = averaged.network()
                best_rps = validation.keep(AdmissionPolicy(network), network.save, run.folder / WEIGHTS, log)
                run.on_progress(Progress((index + 1) * per_rollout, best_rps))
            log.dump((index + 1) * per_rollout)
        path = run.folder / WEIGHTS
        if self.offsets:
            # On what it was trained on: there are more of these, and none of them chose the network.
            validation = Validation(scenarios, run.seed, self.validation_episodes)
            best = type(actor.network()).load(path)
            for shifted in map(best.shifted, (0.0, *self.offsets)):
                validation.keep(AdmissionPolicy(shifted), shifted.save, path, log)
        log.close()
        return path

    def _update(
        self,
        networks: Networks,
        optimiser: torch.optim.Optimizer,
        played: Played,
        rng: np.random.Generator,
    ) -> tuple[float, float]:
        """Take the gradient steps of a rollout; return what the critic explained, and the choices' mean entropy."""
        counted = played.counted
        with torch.no_grad():
            actor, critic = networks.first
            values = torch.cat(networks.each(critic, played.parts(64, played.size))).double().numpy()
            before = torch.cat([chosen for chosen, _ in networks.each(actor, played.parts(64, counted))])
        advantages = np.zeros(counted)
        rewards = _REWARD / played.par[:counted] * (played.taken[:counted] >= 0)
        rewards[played.last[:-1]] -= _REWARD
        _estimate(played.first, played.last, played.ended, values, rewards, self.discount, self.gae_lambda, advantages)
        returns = advantages + values[:counted]
        explained = 1.0 - advantages.var() / max(1e-12, returns.var())
        scaled = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        advantage, target = torch.from_numpy(scaled).float(), torch.from_numpy(returns).float()

        def loss_of(own: nn.ModuleList, part: Choices) -> tuple[Tensor, Tensor]:
            actor, critic = own
            chosen, entropy = actor(part)
            ratio, gain = (chosen - before[part.where]).exp(), advantage[part.where]
            clipped = ratio.clamp(1.0 - self.clip_range, 1.0 + self.clip_range)
            policy_loss = -torch.minimum(ratio * gain, clipped * gain).mean()
            value_loss = (critic(part) - target[part.where]).square().mean()
            return policy_loss + value_loss - self.entropy_coefficient * entropy.mean(), entropy.mean()

        entropies = []
        for _ in range(self.epochs):
            for low, high in played.bounds(self.minibatches, counted, rng):
                entropies.append(networks.write_gradients(loss_of, played, low, high))
                nn.utils.clip_grad_norm_(networks.first.parameters(), self.largest_gradient)
                optimiser.step()
        return float(explained), sum(entropies) / len(entropies)


@compiled
def _estimate(
    first: IntArray,
    last: IntArray,
    ended: BoolArray,
    values: FloatArray,
    rewards: FloatArray,
    discount: float,
    gae_lambda: float,
    advantages: FloatArray,
) -> None:
    """Fill ``advantages`` (C,): discount and trace decay once a slot, at its end, and not between its choices.

    An episode is cut at its last slot, not over: what follows it counts as what preceded it.
    """
    slots, environments = ended.shape
    for environment in range(environments):
        after, advantage = values[first[slots, environment]], 0.0
        for slot in range(slots - 1, -1, -1):
            begin, end = first[slot, environment], last[slot, environment]
            if ended[slot, environment]:
                after, advantage = values[end], 0.0
            for choice in range(end, begin - 1, -1):
                factor = discount if choice == end else 1.0
                decay = discount * gae_lambda if choice == end else 1.0
                error = rewards[choice] + factor * after - values[choice]
                advantage = error + decay * advantage
                advantages[choice], after = advantage, values[choice]
