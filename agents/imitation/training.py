"""Trains a network over the queue to mark what DFTSP picks."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from stable_baselines3.common.logger import configure
from torch.nn.functional import binary_cross_entropy_with_logits

from agents.expert import dftsp_batches
from agents.judging import record_validation
from agents.networks.queue import RequestScorer
from agents.networks.storage import save_scorer
from agents.playing import EXPERT_ENVIRONMENT_ID, Arena, Played, play_expert
from agents.policy import PolicyError
from agents.ranking.packing import squashed
from agents.runs import TENSORBOARD, WEIGHTS
from agents.seeds import episode_seeds
from agents.training import OnProgress, Progress, Settings, one_torch_thread
from edgellm_env.arrays import FloatArray
from edgellm_env.dynamics import Dynamics
from edgellm_env.observation import Observation
from edgellm_env.scenario import Scenario


class ImitationSettings(Settings):
    """Hyper-parameters of imitation."""

    rounds: Annotated[int, Field(ge=1)]
    expert_rounds: Annotated[int, Field(ge=1)]
    environments: Annotated[int, Field(ge=1)]
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    width: Annotated[int, Field(ge=1)]
    validation_episodes: Annotated[int, Field(ge=2)]

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
        chosen: (B, n) int8.
    """

    requests: NDArray[np.float32]
    valid: NDArray[np.int8]
    node: NDArray[np.float32]
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
    network = RequestScorer(settings.width)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    validation = episode_seeds("validation", seed, settings.validation_episodes)
    expert = play_expert(scenario, validation)
    log = configure(str(run / TENSORBOARD), ["tensorboard"])
    data: list[LabelledSlots] = []
    best_rps = -np.inf
    per_round = settings.slots_per_round(scenario)
    with one_torch_thread():
        for index in range(-(-steps // per_round)):
            began_s = time.monotonic()
            seeds = episode_seeds("train", seed, (index + 1) * settings.environments)[-settings.environments :]
            data.append(collect(scenario, seeds, None if index < settings.expert_rounds else network))
            for epoch in range(settings.epochs):
                rng = np.random.default_rng([seed, index, epoch])
                loss = _one_epoch(network, optimiser, data, settings.batch_size, rng)
            mean = record_validation(log, play(scenario, validation, network), expert)
            if mean > best_rps:
                best_rps = mean
                save_scorer(network, run / WEIGHTS)
            log.record("imitation/loss", loss)
            log.record("time/slots_per_second", per_round / (time.monotonic() - began_s))
            log.dump((index + 1) * per_round)
            on_progress(Progress((index + 1) * per_round, best_rps))
    log.close()
    return run / WEIGHTS


def collect(scenario: Scenario, seeds: list[int], network: RequestScorer | None) -> LabelledSlots:
    """Play an episode per seed and return its slots with DFTSP's batches; DFTSP plays unless a network is given."""
    observations: list[Observation] = []
    labels: list[NDArray[np.int8]] = []

    def act(observation: Observation, dynamics: Dynamics) -> NDArray[Any]:
        observations.append(observation)
        labels.append(dftsp_batches(dynamics))
        return labels[-1] if network is None else squashed(_scores(network, observation))

    Arena(scenario, EXPERT_ENVIRONMENT_ID if network is None else "EdgeLLM/Rank-v0", len(seeds)).play(seeds, act)
    width = max(1, *(int(one["valid"].sum(axis=1).max()) for one in observations))
    return LabelledSlots(
        requests=np.concatenate([one["requests"][:, :width] for one in observations]),
        valid=np.concatenate([one["valid"][:, :width] for one in observations]),
        node=np.concatenate([_rescaled(one, width) for one in observations]),
        chosen=np.concatenate([one[:, :width] for one in labels]),
    )


def play(scenario: Scenario, seeds: list[int], network: RequestScorer) -> Played:
    """Return what the network makes of the episodes of these seeds."""
    arena = Arena(scenario, "EdgeLLM/Rank-v0", len(seeds))
    return arena.play(seeds, lambda observation, dynamics: squashed(_scores(network, observation)))


def _rescaled(observation: Observation, width: int) -> NDArray[np.float32]:
    """Return the node's columns with shares of the queue's capacity as shares of ``width`` places."""
    node: NDArray[np.float32] = observation["node"].copy()
    node[:, 1:3] *= observation["valid"].shape[1] / width
    return node


def _scores(network: RequestScorer, observation: Observation) -> FloatArray:
    """Return (E, N) scores; only as many places are computed as the longest queue takes."""
    scores = np.zeros(observation["valid"].shape)
    width = max(1, int(observation["valid"].sum(axis=1).max()))
    cut = {
        "requests": torch.as_tensor(observation["requests"][:, :width]),
        "valid": torch.as_tensor(observation["valid"][:, :width]),
        "node": torch.as_tensor(_rescaled(observation, width)),
    }
    with torch.no_grad():
        scores[:, :width] = network(cut).double().numpy()
    return scores


def _one_epoch(
    network: RequestScorer,
    optimiser: torch.optim.Optimizer,
    data: list[LabelledSlots],
    batch_size: int,
    rng: np.random.Generator,
) -> float:
    """Go through all data once; return the mean loss per request.

    The loss asks of each request whether the expert picked it. No order is asked for: the expert's batch has none.
    """
    parts = [(index, rows) for index, part in enumerate(data) for rows in _shuffled(part.size, batch_size, rng)]
    total = 0.0
    for place in rng.permutation(len(parts)):
        index, rows = parts[place]
        slots = data[index]
        arrays: dict[str, Any] = {name: getattr(slots, name)[rows] for name in ("requests", "valid", "node")}
        valid = torch.as_tensor(arrays["valid"]).bool()
        if not valid.any():
            continue
        logits = network({name: torch.as_tensor(array) for name, array in arrays.items()})
        target = torch.as_tensor(slots.chosen[rows]).float()
        loss = binary_cross_entropy_with_logits(logits[valid], target[valid])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        total += float(loss.detach())
    return total / max(1, len(parts))


def _shuffled(size: int, batch_size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    order = rng.permutation(size)
    return [order[first : first + batch_size] for first in range(0, size, batch_size)]
