"""PPO for continuous nodes: an admission network learns which request to admit next, or to end the slot's batch.

The file is read from top to bottom: settings and updates, networks, rollouts, advantages. A *choice* is one decision of
the loop in :mod:`agents.models.admission_network`: one of the requests that still fit, or the end of the batch, drawn
from a softmax of the scores, that of the end being 0. A request counts 1 when it is admitted, since admission is a
promise. A slot's end costs what DFTSP serves in a slot, so that returns are about 0 whatever the scenario.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from stable_baselines3.common.logger import configure
from torch import Tensor, nn

from agents.learned import AdmissionPolicy
from agents.learning.judging import Validation
from agents.learning.runs import TENSORBOARD, Learner, Progress, Run
from agents.models.admission_inputs import INPUTS, NODE, About, RecentArrivals
from agents.models.admission_network import AdmissionNetwork, Record, Weights
from agents.models.queue_network import one_torch_thread
from agents.models.storage import WEIGHTS
from agents.policy import BATCH, PolicyError
from agents.rollout import make_engine
from agents.seeds import episode_seeds
from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario

_MOST_ROWS: Final = 512  # recorded of a slot; a queue of 64 with 8 admissions
_MOST_CHOICES: Final = 64
_REWARD: Final = 0.1  # what DFTSP serves in a slot, as a reward: returns over some 50 slots are then about 1
_FALL: Final = 0.1  # what is left of the learning rate in the end


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
    validation_episodes: Annotated[int, Field(ge=2)]
    validate_every: Annotated[int, Field(ge=1)]

    def default_steps(self, scenario: Scenario) -> int:
        """Return how many environment steps it trains for unless told."""
        return self.steps

    @one_torch_thread()
    def train(self, run: Run) -> Path:
        """Train, and save the network that did best on validation episodes; see :meth:`Learner.train`.

        Raises:
            PolicyError: asked to resume; the runs are short.
        """
        if run.resume:
            raise PolicyError("resume: ppo-admit takes minutes and keeps no checkpoints; expected a new run")
        torch.manual_seed(run.seed)
        rng = np.random.default_rng([run.seed, 2**32])
        actor, critic = Actor(self.hidden_units), Critic(self.critic_units)
        parameters = [*actor.parameters(), *critic.parameters()]
        optimiser = torch.optim.Adam(parameters, lr=self.learning_rate)
        validation = Validation(run.scenario, run.seed, self.validation_episodes)
        log = configure(str(run.folder / TENSORBOARD), ["tensorboard"])
        player = _Player(run.scenario, run.seed, self, rng)
        per_rollout, best_rps = self.environments * self.rollout_slots, -np.inf
        rollouts = -(-run.steps // per_rollout)
        for index in range(rollouts):
            began_s = time.monotonic()
            played = player.play(actor.network(), self.rollout_slots)
            optimiser.param_groups[0]["lr"] = self.learning_rate * (1.0 - (1.0 - _FALL) * index / rollouts)
            explained, entropy = self._update(actor, critic, optimiser, played, validation.par_per_slot, rng)
            log.record("train/explained_variance", explained)
            log.record("train/entropy", entropy)
            log.record("time/slots_per_second", per_rollout / (time.monotonic() - began_s))
            if (index + 1) % self.validate_every == 0 or index + 1 == rollouts:
                mean_rps = validation.judge(AdmissionPolicy(actor.network()), log)
                if mean_rps > best_rps:
                    best_rps = mean_rps
                    actor.network().save(run.folder / WEIGHTS)
                run.on_progress(Progress((index + 1) * per_rollout, best_rps))
            log.dump((index + 1) * per_rollout)
        log.close()
        return run.folder / WEIGHTS

    def _update(
        self,
        actor: "Actor",
        critic: "Critic",
        optimiser: torch.optim.Optimizer,
        played: "Played",
        par: float,
        rng: np.random.Generator,
    ) -> tuple[float, float]:
        """Take the gradient steps of a rollout; return what the critic explained, and the choices' mean entropy."""
        counted = played.counted
        with torch.no_grad():
            values = torch.cat([critic(part) for part in played.parts(64, played.size)]).double().numpy()
            before = torch.cat([actor(part)[0] for part in played.parts(64, counted)])
        advantages = np.zeros(counted)
        ends = played.taken < 0
        rewards = _REWARD * np.where(ends, -1.0, 1.0 / par)
        _estimate(played.first, played.ended, values, rewards, ends, self.discount, self.gae_lambda, advantages)
        returns = advantages + values[:counted]
        explained = 1.0 - advantages.var() / max(1e-12, returns.var())
        scaled = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        advantage, target = torch.from_numpy(scaled).float(), torch.from_numpy(returns).float()
        total, parts = 0.0, 0
        for _ in range(self.epochs):
            for part in played.parts(self.minibatches, counted, rng):
                chosen, entropy = actor(part)
                ratio = (chosen - before[part.where]).exp()
                own = advantage[part.where]
                clipped = ratio.clamp(1.0 - self.clip_range, 1.0 + self.clip_range)
                policy_loss = -torch.minimum(ratio * own, clipped * own).mean()
                value_loss = (critic(part) - target[part.where]).square().mean()
                loss = policy_loss + value_loss - self.entropy_coefficient * entropy.mean()
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(optimiser.param_groups[0]["params"], self.largest_gradient)
                optimiser.step()
                total, parts = total + float(entropy.detach().mean()), parts + 1
        return float(explained), total / parts


class Choices(NamedTuple):
    """Some choices and what could be chosen in them."""

    where: slice  # which of the rollout's choices
    inputs: Tensor  # (T, INPUTS) all rows of all of them: of each choice the end of the batch first, then the requests
    choice: Tensor  # (T,) which choice each row belongs to
    end: Tensor  # (C,) the row of each choice's end
    taken: Tensor  # (C,) the row of what was taken


class Actor(nn.Module):
    """An admission network whose weights are learned; scores begin at 0: every open request is as likely as the end."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.linear, self.hidden = nn.Linear(INPUTS, 1), nn.Linear(INPUTS, units)
        self.output = nn.Linear(units, 1, bias=False)
        for zero in (*self.linear.parameters(), *self.output.parameters()):
            nn.init.zeros_(zero)

    def forward(self, choices: Choices) -> tuple[Tensor, Tensor]:
        """Return (C,) the logarithm of the probability of what was taken, and the choice's entropy."""
        inputs = choices.inputs
        scores = (self.linear(inputs) + self.output(nn.functional.softsign(self.hidden(inputs)))).squeeze(-1)
        scores = scores.index_fill(0, choices.end, 0.0)
        count = choices.end.numel()
        highest = torch.full((count,), -torch.inf).scatter_reduce(0, choices.choice, scores.detach(), "amax")
        weights = (scores - highest[choices.choice]).exp()
        total = scores.new_zeros(count).index_add(0, choices.choice, weights)
        logarithm = highest + total.log()
        mean = scores.new_zeros(count).index_add(0, choices.choice, weights / total[choices.choice] * scores)
        return scores[choices.taken] - logarithm, logarithm - mean

    def network(self) -> AdmissionNetwork:
        """Return it as it is now, to play with."""

        def array(tensor: Tensor) -> FloatArray:
            return tensor.detach().double().numpy()[None]

        linear, hidden = self.linear, self.hidden
        return AdmissionNetwork(
            Weights(
                np.concatenate([array(linear.weight[0]), array(linear.bias)], axis=1),
                np.concatenate([array(hidden.weight), array(hidden.bias[:, None])], axis=2),
                array(self.output.weight[0]),
            )
        )


class Critic(nn.Module):
    """What a slot's state is worth in the middle of its batch: from the node's inputs, and the open requests pooled."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.each = nn.Sequential(nn.Linear(INPUTS, units), nn.ReLU())
        wide = 2 * units
        first, second = nn.Linear(NODE + 2 * units, wide), nn.Linear(wide, wide)
        self.all = nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Linear(wide, 1))

    def forward(self, choices: Choices) -> Tensor:
        """Return (C,) values."""
        request = torch.ones(choices.choice.numel()).index_fill(0, choices.end, 0.0)
        encoded = self.each(choices.inputs) * request[:, None]
        total = encoded.new_zeros(choices.end.numel(), encoded.shape[1]).index_add(0, choices.choice, encoded)
        count = request.new_zeros(choices.end.numel()).index_add(0, choices.choice, request).clamp(min=1.0)
        state = choices.inputs[choices.end, :NODE]
        values: Tensor = self.all(torch.cat([state, total / count[:, None], torch.log1p(total)], dim=1))
        return values.squeeze(-1)


@dataclass(frozen=True, eq=False)
class Played:
    """A rollout: T slots of E environments and the first choice of the slots after them, flat, slot by slot."""

    inputs: NDArray[np.float32]  # (rows, INPUTS)
    opened: IntArray  # (C,) requests that each choice was among
    taken: IntArray  # (C,) which of them was taken, -1 for the end
    first: IntArray  # (T + 1, E) the first choice of each slot; those of a slot follow each other
    ended: BoolArray  # (T, E) whether the slot was its episode's last

    @property
    def size(self) -> int:
        """How many choices there are."""
        return self.opened.size

    @property
    def counted(self) -> int:
        """How many of them belong to the T slots."""
        return int(self.first[-1, 0])

    def parts(self, count: int, end: int, rng: np.random.Generator | None = None) -> Iterator[Choices]:
        """Yield the choices up to ``end`` in ``count`` parts, in random order if a generator is given."""
        begins = np.concatenate([[0], np.cumsum(self.opened + 1)])
        bounds = np.linspace(0, end, count + 1).astype(np.int64)
        for part in range(count) if rng is None else rng.permutation(count):
            low, high = bounds[part], bounds[part + 1]
            own = torch.from_numpy(begins[low:high] - begins[low])
            yield Choices(
                where=slice(low, high),
                inputs=torch.from_numpy(self.inputs[begins[low] : begins[high]]),
                choice=torch.from_numpy(np.repeat(np.arange(high - low), self.opened[low:high] + 1)),
                end=own,
                taken=own + 1 + torch.from_numpy(self.taken[low:high]),
            )


class _Player:
    """Plays rollouts, episode after episode; the first ones are cut short so that episodes end at all times.

    Args:
        scenario: what is played.
        seed: of the episodes.
        settings: how many environments.
        rng: of choices.
    """

    def __init__(self, scenario: Scenario, seed: int, settings: PpoAdmission, rng: np.random.Generator) -> None:
        size = settings.environments
        self._engine, self._rng = make_engine(scenario, BATCH, size), rng
        self._about, self._arrivals = About.of(scenario), RecentArrivals(size)
        self._slots = scenario.timing.episode_slots
        self._last = np.arange(size) * self._slots // size + 1  # slots of the episode under way
        self._next = episode_seeds("train", seed, 1)[0]
        self._record = Record.blank(size, _MOST_ROWS, _MOST_CHOICES)
        self._begin(np.arange(size))
        self._seen = Slots(self._engine), self._arrivals.now(Slots(self._engine))

    def play(self, network: AdmissionNetwork, length: int) -> Played:
        """Return a rollout of ``length`` slots."""
        engine, record, size = self._engine, self._record, self._last.size
        inputs, opened, taken, first, ended = [], [], [], [], []
        total = 0
        for step in range(length + 1):
            slots, arrivals = self._seen
            noise = self._rng.gumbel(size=(size, _MOST_ROWS))
            batch = np.zeros((size, slots.capacity), dtype=np.bool_)
            batch[:, : slots.waits.shape[1]] = network.admit(slots, self._about, arrivals, noise=noise, record=record)
            made, rows = record.counts.T
            inputs.append(record.inputs[np.arange(_MOST_ROWS) < rows[:, None]])
            choices = record.choices[np.arange(_MOST_CHOICES) < made[:, None]]
            opened.append(choices[:, 0])
            taken.append(choices[:, 1])
            first.append(total + np.cumsum(made) - made)
            total += int(made.sum())
            if step == length:
                break
            engine.execute(engine.interface.toward(batch, slots.scheme.copy()))
            over = engine.dynamics.node["slot"] >= self._last
            ended.append(over)
            if over.any():
                self._begin(np.flatnonzero(over))
                self._last[over] = self._slots
            after = Slots(engine)
            self._seen = after, self._arrivals.now(after)
        flat = np.concatenate(inputs), np.concatenate(opened), np.concatenate(taken)
        return Played(*flat, np.stack(first), np.stack(ended))

    def _begin(self, rows: IntArray) -> None:
        self._engine.begin(rows, list(range(self._next, self._next + rows.size)))
        self._next += rows.size


@compiled
def _estimate(
    first: IntArray,
    ended: BoolArray,
    values: FloatArray,
    rewards: FloatArray,
    ends: BoolArray,
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
            begin = first[slot, environment]
            end = begin
            while not ends[end] and end + 1 < advantages.size:
                end += 1
            if ended[slot, environment]:
                after, advantage = values[end], 0.0
            for choice in range(end, begin - 1, -1):
                factor = discount if choice == end else 1.0
                decay = discount * gae_lambda if choice == end else 1.0
                error = rewards[choice] + factor * after - values[choice]
                advantage = error + decay * advantage
                advantages[choice], after = advantage, values[choice]
