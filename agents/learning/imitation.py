"""Trains a network over the queue to mark what DFTSP picks."""

import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from stable_baselines3.common.logger import configure

from agents.learned import PickingPolicy
from agents.learning.cloning import completion_loss
from agents.learning.judging import record_validation
from agents.learning.runs import TENSORBOARD, WEIGHTS
from agents.learning.settings import OnProgress, Progress, Settings, one_torch_thread
from agents.models.deciding import next_picks
from agents.models.network_storage import save_scorer
from agents.models.queue_network import RequestScorer, shortened
from agents.optimal import Dftsp, complete_batches, dftsp_answers
from agents.policy import DETERMINISTIC, Decision, Generators, Policy, PolicyError
from agents.rollout import Observer, Step, rollout
from agents.seeds import episode_seeds
from edgellm_env.arrays import BoolArray
from edgellm_env.env.observation import Observation
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario

_NOTED = 0.2


class ImitationSettings(Settings):
    """Hyper-parameters of imitation."""

    rounds: Annotated[int, Field(ge=1)]
    expert_rounds: Annotated[int, Field(ge=1)]
    environments: Annotated[int, Field(ge=1)]
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    final_learning_rate: Annotated[float, Field(gt=0)]
    width: Annotated[int, Field(ge=1)]
    beams: Annotated[int, Field(ge=1)]
    validation_episodes: Annotated[int, Field(ge=2)]

    @property
    def fall(self) -> float:
        """What the learning rate falls to over a run, as a factor."""
        return self.final_learning_rate / self.learning_rate

    def slots_per_round(self, scenario: Scenario) -> int:
        """Return how many labelled slots a round adds."""
        return self.environments * scenario.timing.episode_slots


@dataclass(frozen=True, eq=False)
class LabelledSlots:
    """Slots with the expert's batch; queues are cut to the longest among them.

    Args:
        requests: (B, n, 10) float32.
        valid: (B, n) int8.
        node: (B, G) float32.
        begun: (B, n) int8, what was in the batch already.
        chosen: (B, n) int8, what DFTSP adds to it.
    """

    requests: NDArray[np.float32]
    valid: NDArray[np.int8]
    node: NDArray[np.float32]
    begun: NDArray[np.int8]
    chosen: NDArray[np.int8]

    @property
    def size(self) -> int:
        """How many slots."""
        return int(self.requests.shape[0])


def train(
    scenario: Scenario,
    settings: ImitationSettings,
    steps: int,
    seed: int,
    run: Path,
    resume: bool = False,
    on_progress: OnProgress = lambda progress: None,
) -> Path:
    """Train, and save the network that did best on validation episodes in the folder ``run``.

    Each round plays an episode in every environment, adds DFTSP's answer in each of its slots to the data, and goes
    through all data again. In the first rounds DFTSP plays, afterwards the learner.

    Args:
        scenario: what to learn.
        settings: hyper-parameters.
        steps: labelled slots, rounded up to whole rounds.
        seed: 0 to 2**30 - 1; the same arguments give the same network on the same machine.
        run: the run's folder; it exists.
        resume: not possible; the runs are short.
        on_progress: called after every round.

    Returns:
        Path of the saved network.

    Raises:
        PolicyError: asked to resume.
    """
    if resume:
        raise PolicyError("resume: imitation takes minutes and keeps no checkpoints; expected a new run")
    torch.manual_seed(seed)
    network = RequestScorer(settings.width, beams=settings.beams)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    validation = episode_seeds("validation", seed, settings.validation_episodes)
    expert = rollout(Dftsp(), scenario, validation)
    log = configure(str(run / TENSORBOARD), ["tensorboard"])
    data: list[LabelledSlots] = []
    best_rps = -np.inf
    per_round = settings.slots_per_round(scenario)
    rounds = -(-steps // per_round)
    with one_torch_thread():
        for index in range(rounds):
            began_s = time.monotonic()
            seeds = episode_seeds("train", seed, (index + 1) * settings.environments)[-settings.environments :]
            player = None if index < settings.expert_rounds else network
            data.append(collect(scenario, seeds, player, np.random.default_rng([seed, index])))
            for epoch in range(settings.epochs):
                rng = np.random.default_rng([seed, index, epoch])
                done = (index + epoch / settings.epochs) / rounds
                optimiser.param_groups[0]["lr"] = settings.learning_rate * settings.fall**done
                loss = _one_epoch(network, optimiser, data, settings.batch_size, rng)
            mean = record_validation(log, rollout(PickingPolicy(network), scenario, validation), expert)
            if mean > best_rps:
                best_rps = mean
                save_scorer(network, run / WEIGHTS)
            log.record("imitation/loss", loss)
            log.record("time/slots_per_second", per_round / (time.monotonic() - began_s))
            log.dump((index + 1) * per_round)
            on_progress(Progress((index + 1) * per_round, best_rps))
    log.close()
    return run / WEIGHTS


def collect(
    scenario: Scenario, seeds: list[int], network: RequestScorer | None, rng: np.random.Generator
) -> LabelledSlots:
    """Play an episode per seed and return its slots with DFTSP's batches; DFTSP plays unless a network is given.

    A network's slots are taken at random moments, with its batches under way: about one a slot.
    """
    labels = _Labels(None if network is None else rng)
    rollout(Dftsp() if network is None else _PickByPick(network), scenario, seeds, [labels])
    length = max(1, *(int(one["valid"].sum(axis=1).max()) for one in labels.states))
    cut = [
        shortened(one, length) | {name: _padded(one[name], length) for name in ("begun", "chosen")}
        for one in labels.states
    ]
    return LabelledSlots(**{name: np.concatenate([one[name] for one in cut]) for name in cut[0]})


class _PickByPick(Policy):
    """Picks the network's most probable request, one a step."""

    name, modes, environment_id = "learner", DETERMINISTIC, "EdgeLLM/Select-v0"

    def __init__(self, network: RequestScorer) -> None:
        self._network = network

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        return Decision(actions=next_picks(self._network, slots.observation, slots.info["action_mask"].astype(bool)))


class _Labels(Observer):
    """Keeps slots with what DFTSP would add to their batches; with a generator, at random moments of it."""

    def __init__(self, rng: np.random.Generator | None) -> None:
        self.states: list[Observation] = []
        self._rng = rng

    def decided(self, step: Step) -> None:
        slots = step.slots
        assert slots is not None
        if self._rng is None:
            chosen = dftsp_answers(slots).selection
            self._note(slots, np.zeros_like(chosen), chosen)
            return
        # Where no request fits there is nothing to learn.
        open_slots = slots.info["action_mask"][:, :-1].any(axis=1)
        rows = np.flatnonzero(open_slots & (self._rng.random(slots.size) < _NOTED))
        if rows.size:
            noted = slots.rows(rows)
            assert noted.begun is not None
            self._note(noted, noted.begun, complete_batches(noted).selection)

    def _note(self, slots: Slots, begun: BoolArray, chosen: BoolArray) -> None:
        seen = {name: slots.observation[name] for name in ("requests", "valid", "node")}
        self.states.append(seen | {"begun": begun.astype(np.int8), "chosen": chosen.astype(np.int8)})


def _padded(marks: NDArray[np.int8], length: int) -> NDArray[np.int8]:
    """Return marks (R, n) cut or filled up with 0 to (R, length)."""
    answer = np.zeros((marks.shape[0], length), dtype=np.int8)
    width = min(length, marks.shape[1])
    answer[:, :width] = marks[:, :width]
    return answer


def _one_epoch(
    network: RequestScorer,
    optimiser: torch.optim.Optimizer,
    data: list[LabelledSlots],
    batch_size: int,
    rng: np.random.Generator,
) -> float:
    """Go through all data once; return the mean loss per request."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    parts = [(index, rows) for index, part in enumerate(data) for rows in _shuffled(part.size, batch_size, rng)]
    total = 0.0
    for place in rng.permutation(len(parts)):
        index, rows = parts[place]
        arrays = {field.name: getattr(data[index], field.name)[rows] for field in fields(LabelledSlots)}
        loss = completion_loss(network, {name: torch.as_tensor(array) for name, array in arrays.items()}, generator)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        total += float(loss.detach())
    return total / max(1, len(parts))


def _shuffled(size: int, batch_size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    order = rng.permutation(size)
    return [order[first : first + batch_size] for first in range(0, size, batch_size)]
