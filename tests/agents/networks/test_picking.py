"""Batches picked on beams: as the environment's masks allow, and exact where the beams hold every batch there is."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents.models.deciding import next_picks, scores_of
from agents.models.network_storage import load_scorer, save_scorer
from agents.models.picking import picked_batch, picked_batches
from agents.models.queue_network import RequestScorer
from agents.network_policies import PickingPolicy
from edgellm_env import load_scenario
from edgellm_env.env.environments import BatchEnv
from edgellm_env.env.observation import Observation
from edgellm_env.env.vector import EdgeLLMVectorEnv
from edgellm_env.solvers import solve_exact

SIZE = 12


def met(environment_id: str = "EdgeLLM/Batch-v0", slots: int = 6) -> tuple[EdgeLLMVectorEnv, Observation]:
    """Environments of ``balanced`` after some slots in which nobody was served, at different times."""
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
        scores = np.where(observation["valid"], scores_of(network, observation)[:, :-1], -np.inf)
        torch.nn.init.constant_(network.commit.bias, float(np.median(scores.max(axis=1))))
    batches = picked_batches(network, observation, envs.dynamics.node, envs.dynamics.waiting)
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
    envs, observation = met(slots=1)
    network = network_of(4_000)
    problems = [envs.dynamics.slot_problem(row) for row in range(SIZE)]
    small = [row for row, problem in enumerate(problems) if problem.size <= 12]
    assert len(small) > 3
    for row in small:
        seen = {name: array[row][None] for name, array in observation.items()}
        batch = picked_batch(network, seen, problems[row])
        assert problems[row].is_feasible(batch)
        assert batch.sum() == solve_exact(problems[row]).count


@pytest.mark.parametrize("beams", [2, 8])
def test_batches_on_beams_break_no_limit_and_leave_nobody_who_fits(beams: int) -> None:
    envs, observation = met()
    batches = picked_batches(network_of(beams), observation, envs.dynamics.node, envs.dynamics.waiting)
    for row in range(SIZE):
        problem = envs.dynamics.slot_problem(row)
        batch = batches[row, : problem.size]
        assert not batches[row, problem.size :].any()
        assert problem.is_feasible(batch)
        for place in np.flatnonzero(~batch):
            assert not problem.is_feasible(batch | (np.arange(problem.size) == place))


def test_an_empty_queue_gives_an_empty_batch() -> None:
    scenario = load_scenario("balanced").with_values({"workload.arrival_rate_rps": 0.001})
    environment = gym.make("EdgeLLM/Batch-v0", scenario=scenario).unwrapped
    assert isinstance(environment, BatchEnv)
    environment.reset(seed=0)
    batch = PickingPolicy(network_of(4), "any").select(environment.slot_view())
    assert batch.shape == (0,)


def test_beams_are_stored_and_checked(tmp_path) -> None:
    save_scorer(network_of(5), tmp_path / "model.safetensors")
    assert load_scorer(tmp_path / "model.safetensors").beams == 5
    with pytest.raises(ValueError, match="beams: 0; expected at least 1"):
        network_of(0)
    with pytest.raises(ValueError, match="beams: 2; expected 1"):
        network_of(2, commits=True)
