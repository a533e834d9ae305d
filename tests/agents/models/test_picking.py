"""Batches picked on beams: as the environment's masks allow, and exact where the beams hold every batch there is."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents.learned import PickingPolicy
from agents.models.picking import next_picks, picked_batches
from agents.models.queue_network import RequestScorer
from agents.policy import BATCH
from agents.rollout import make_engine
from edgellm_env import load_scenario
from edgellm_env.env.observation import Observation
from edgellm_env.env.slots import Slots
from edgellm_env.env.vector import EdgeLLMVectorEnv
from edgellm_env.solvers import solve_exact

SIZE = 12


def met(environment_id: str = "EdgeLLM/Batch-v0", slots: int = 6) -> tuple[EdgeLLMVectorEnv, Observation]:
    """Environments of ``balanced`` after some slots in which no request was served, at different times."""
    envs = gym.make_vec(environment_id, num_envs=SIZE, scenario="balanced").unwrapped
    assert isinstance(envs, EdgeLLMVectorEnv)
    observation, _ = envs.reset(seed=list(range(SIZE)))
    nothing = envs.action_space.sample() * 0
    for _ in range(slots):
        observation, *_ = envs.step(nothing + (nothing.ndim == 1) * observation["valid"].shape[1])
    return envs, observation


def network_of(beams: int, seed: int = 0, commits: bool = False) -> RequestScorer:
    torch.manual_seed(seed)
    return RequestScorer(8, commits, beams)


@pytest.mark.parametrize("commits", [False, True])
def test_one_beam_picks_what_the_environment_would_be_told_to_pick(commits: bool) -> None:
    envs, observation = met()
    selecting, seen = met("EdgeLLM/Select-v0")
    network = network_of(1, commits=commits)
    if network.commit is not None:  # so that about half of the batches are closed before the first pick
        torch.nn.init.zeros_(network.commit.weight)
        scores = np.where(observation["valid"], network.score(observation)[:, :-1], -np.inf)
        torch.nn.init.constant_(network.commit.bias, float(np.median(scores.max(axis=1))))
    batches = picked_batches(network, Slots(envs.engine))
    expected, open_ = np.zeros_like(batches), np.ones(SIZE, dtype=np.bool_)
    for _ in range(60):
        picks = next_picks(network, seen, selecting.action_masks())
        open_ &= picks < batches.shape[1]
        expected[open_, picks[open_]] = True
        seen, *_ = selecting.step(picks)
    assert not open_.any()
    np.testing.assert_array_equal(batches, expected)
    assert batches.any(axis=1).sum() == (SIZE // 2 if commits else SIZE)


def test_wide_enough_beams_find_the_largest_batch() -> None:
    envs, _ = met(slots=1)
    slots = Slots(envs.engine)
    small = np.flatnonzero(slots.waiting <= 12)
    assert len(small) > 3
    for row in small:
        (batch,) = picked_batches(network_of(4_000), slots.rows(np.array([row])))
        problem = slots.problem(row)
        assert problem.is_feasible(batch[: problem.size])
        assert batch.sum() == solve_exact(problem).count


@pytest.mark.parametrize("beams", [2, 8])
def test_batches_on_beams_break_no_limit_and_leave_no_request_that_fits(beams: int) -> None:
    envs, _ = met()
    slots = Slots(envs.engine)
    batches = picked_batches(network_of(beams), slots)
    for row in range(SIZE):
        problem = slots.problem(row)
        batch = batches[row, : problem.size]
        assert not batches[row, problem.size :].any()
        assert problem.is_feasible(batch)
        for place in np.flatnonzero(~batch):
            assert not problem.is_feasible(batch | (np.arange(problem.size) == place))


def test_an_empty_queue_gives_an_empty_batch() -> None:
    scenario = load_scenario("balanced").with_values({"workload.arrival_rate_rps": 0.001})
    engine = make_engine(scenario, BATCH, 1)
    engine.begin(np.arange(1), [0])
    decision = PickingPolicy(network_of(4)).decide(Slots(engine), [np.random.default_rng(0)])
    assert decision.batch is not None
    assert not decision.batch.any()


def test_beams_are_stored_and_checked(tmp_path) -> None:
    network_of(5).save(tmp_path / "model.safetensors")
    assert RequestScorer.load(tmp_path / "model.safetensors").beams == 5
    with pytest.raises(ValueError, match="beams: 0; expected 1 to 10000"):
        network_of(0)
    with pytest.raises(ValueError, match="beams: 2; expected 1"):
        network_of(2, commits=True)
