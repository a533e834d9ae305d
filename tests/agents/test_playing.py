import numpy as np
import pytest

from agents.optimal import Dftsp
from agents.rollout import Arena, play_expert
from agents.seeds import episode_seeds
from edgellm_env import load_scenario
from edgellm_env.env.engine import UTILISATIONS
from experiments.grid.evaluation import evaluate

SEEDS = episode_seeds("train", 2, 4)


@pytest.mark.parametrize("name", ["balanced", "spillover", "bursty"])
def test_what_came_of_episodes_is_what_the_evaluator_says(name: str) -> None:
    scenario = load_scenario(name).with_values({"timing.episode_slots": 30})
    played, rows = play_expert(scenario, SEEDS), evaluate(scenario, [Dftsp()], SEEDS)
    assert played.throughput_rps.tolist() == pytest.approx([row.throughput_rps for row in rows])
    assert played.arrived.tolist() == [row.arrived for row in rows]
    assert played.served_ratio == pytest.approx(sum(row.served for row in rows) / sum(row.arrived for row in rows))
    used = [[getattr(row, name) for name in UTILISATIONS] for row in rows]
    np.testing.assert_allclose(played.utilisation, used)


def test_slots_of_several_actions_are_played_to_the_end_of_the_last_episode() -> None:
    scenario = load_scenario("light").with_values({"timing.episode_slots": 12})

    def batch(observation, envs):
        dynamics = envs.dynamics
        return (np.arange(dynamics.capacity) < dynamics.node["waiting"][:, None]).astype(np.int8)

    def oldest_legal(observation, envs):
        dynamics = envs.dynamics
        # What fits beside the batch so far, in queue order; then the commit, the last action, is all that is legal.
        places = np.full(dynamics.num_envs, dynamics.capacity)
        for row in range(dynamics.num_envs):
            problem, chosen = dynamics.slot_problem(row), observation["batch"][row].astype(bool)
            for place in np.flatnonzero(~chosen[: problem.size]):
                trial = chosen[: problem.size].copy()
                trial[place] = True
                if problem.is_feasible(trial):
                    places[row] = place
                    break
        return places

    at_once = Arena(scenario, "EdgeLLM/Batch-v0", 4).play(SEEDS, batch)
    one_by_one = Arena(scenario, "EdgeLLM/Select-v0", 4).play(SEEDS, oldest_legal)
    for name in ("served", "arrived", "utilisation"):
        np.testing.assert_array_equal(getattr(at_once, name), getattr(one_by_one, name))


def test_an_arena_plays_again_as_if_for_the_first_time() -> None:
    scenario = load_scenario("light").with_values({"timing.episode_slots": 10})
    arena = Arena(scenario, "EdgeLLM/Rank-v0", 4)
    first, _, again = (
        arena.play(seeds, lambda observation, envs: np.zeros((4, envs.dynamics.capacity), dtype=np.float32)).served
        for seeds in (SEEDS, SEEDS[::-1], SEEDS)
    )
    np.testing.assert_array_equal(first, again)
