"""Trains a network over the queue to mark what DFTSP picks."""

import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from stable_baselines3.common.logger import configure

from agents.learning.cloning import completion_loss
from agents.learning.judging import record_validation
from agents.learning.runs import TENSORBOARD, WEIGHTS
from agents.learning.settings import OnProgress, Progress, Settings, one_torch_thread
from agents.models.deciding import next_picks
from agents.models.network_storage import save_scorer
from agents.models.queue_network import RequestScorer, shortened
from agents.network_policies import play_picking
from agents.optimal import complete_batches, dftsp_batches
from agents.policy import PolicyError
from agents.rollout import EXPERT_ENVIRONMENT_ID, Arena, play_expert
from agents.seeds import episode_seeds
from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.env.observation import Observation
from edgellm_env.env.vector import EdgeLLMVectorEnv, SelectVectorEnv
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
    expert = play_expert(scenario, validation)
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
            mean = record_validation(log, play_picking(scenario, validation, network), expert)
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
    states: list[Observation] = []

    def note(observation: Observation, rows: IntArray, begun: NDArray[np.int8], chosen: BoolArray) -> None:
        parts = {name: observation[name][rows] for name in ("requests", "valid", "node")}
        states.append(parts | {"begun": begun, "chosen": chosen.astype(np.int8)})

    def as_expert(observation: Observation, envs: EdgeLLMVectorEnv) -> NDArray[np.int8]:
        chosen = dftsp_batches(envs.dynamics)
        note(observation, np.arange(envs.num_envs), np.zeros_like(chosen), chosen.astype(np.bool_))
        return chosen

    def as_learner(observation: Observation, envs: EdgeLLMVectorEnv) -> NDArray[Any]:
        assert network is not None
        assert isinstance(envs, SelectVectorEnv)
        legal = envs.action_masks()
        # Where nobody fits there is nothing to learn.
        rows = np.flatnonzero(legal[:, :-1].any(axis=1) & (rng.random(envs.num_envs) < _NOTED))
        if rows.size:
            begun = observation["batch"][rows]
            note(observation, rows, begun, complete_batches(envs.dynamics, rows, begun.astype(np.bool_)).selection)
        return next_picks(network, observation, legal)

    if network is None:
        Arena(scenario, EXPERT_ENVIRONMENT_ID, len(seeds)).play(seeds, as_expert)
    else:
        Arena(scenario, "EdgeLLM/Select-v0", len(seeds)).play(seeds, as_learner)
    length = max(1, *(int(one["valid"].sum(axis=1).max()) for one in states))
    cut = [shortened(one, length) | {name: one[name][:, :length] for name in ("begun", "chosen")} for one in states]
    return LabelledSlots(**{name: np.concatenate([one[name] for one in cut]) for name in cut[0]})


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
