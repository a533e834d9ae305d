from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest

from agents.models.actor import SUMMARY_SIZE, Actor, slot_summary
from agents.models.packing import squashed
from agents.models.scorer import (
    FEATURES,
    LINEAR,
    REQUEST_FEATURES,
    Scorers,
    count_waiting,
    parameter_count,
    parameter_mask,
    write_features,
)
from edgellm_env.arrays import FloatArray
from edgellm_env.env.observation import Observation
from edgellm_env.node import features as columns


def slot_features(observation: Observation) -> FloatArray:
    """Return (E, N, F) features of every environment's requests; 0 at empty places."""
    requests = observation["requests"]
    features = np.zeros((*requests.shape[:2], len(FEATURES)))
    for row, valid in enumerate(observation["valid"]):
        write_features(requests[row], count_waiting(valid), observation["node"][row], features[row])
    return features


def queue(size: int = 9, capacity: int = 12, seed: int = 0) -> dict[str, np.ndarray]:
    """A queue of multiples of 1/64: sums of few such numbers are exact in any order."""
    rng = np.random.default_rng(seed)
    requests = np.zeros((1, capacity, len(columns.REQUEST_FEATURES)), dtype=np.float32)
    requests[0, :size] = rng.integers(1, 64, (size, len(columns.REQUEST_FEATURES))) / 64
    requests[0, :size, 4] *= 8
    requests[0, :size, 9] = rng.integers(0, 2, size)
    valid = np.zeros((1, capacity), dtype=np.int8)
    valid[0, :size] = 1
    return {"requests": requests, "valid": valid, "node": np.ones((1, 9), dtype=np.float32)}


def shuffled(observation: dict[str, np.ndarray], order: np.ndarray) -> dict[str, np.ndarray]:
    requests = observation["requests"].copy()
    requests[0, : order.size] = requests[0, order]
    return observation | {"requests": requests}


def test_features_by_hand() -> None:
    observation = queue(2)
    observation["node"][0, [columns.COMPUTE_LIMIT, columns.MEMORY]] = 0.5, 0.25
    places = [columns.COMPUTE, columns.KV, columns.UPLINK_SHARE, columns.DOWNLINK_SHARE, columns.SLACK]
    for place, (values, last) in enumerate([((0.1, 0.05, 0.3, 0.0, 0.25), 1), ((0.2, 0.1, 0.1, 0.9, 3.0), 0)]):
        observation["requests"][0, place, places] = values
        observation["requests"][0, place, columns.LAST_CHANCE] = last
    found = [dict(zip(FEATURES, row, strict=True)) for row in slot_features(observation)[0, :2]]
    expected = {
        "compute": (0.2, 0.4),
        "memory": (0.2, 0.4),
        "uplink": (0.3, 0.1),
        "footprint": (0.3, 0.9),
        "footprint_root": (0.3**0.5, 0.9**0.5),
        "slack": (0.25 / 8, 3 / 8),
        "urgency": (0.8, 0.25),
        "last_chance": (1, 0),
        "last_chance_footprint": (0.3, 0),
        "last_chance_compute": (0.2, 0),
        "last_chance_uplink": (0.3, 0),
        "compute_under_load": (0.2 * np.log(1.6), 0.4 * np.log(1.6)),
        "memory_under_load": (0.2 * np.log(1.6), 0.4 * np.log(1.6)),
        "uplink_under_load": (0.3 * np.log(1.4), 0.1 * np.log(1.4)),
        "squeeze": (0.5, 0),
        "late_chance": (1, 0),
        "compute_load": (np.log(1.6),) * 2,
        "memory_load": (np.log(1.6),) * 2,
        "uplink_load": (np.log(1.4),) * 2,
        "last_chance_compute_load": (np.log(1.2),) * 2,
        "last_chance_memory_load": (np.log(1.2),) * 2,
        "last_chance_uplink_load": (np.log(1.3),) * 2,
    }
    assert list(expected) == list(FEATURES)
    for name, values in expected.items():
        assert [row[name] for row in found] == pytest.approx(values, rel=1e-6), name


def test_an_empty_queue() -> None:
    observation = queue(0)
    assert not slot_features(observation).any()
    assert not Scorers.from_parameters(np.ones((1, parameter_count(3))), 3).score(observation).any()
    assert np.isfinite(slot_summary(observation)).all()


@pytest.mark.parametrize("hidden_units", [0, 5])
def test_scores_follow_their_requests_exactly(hidden_units: int) -> None:
    rng = np.random.default_rng(3)
    scorers = Scorers.from_parameters(rng.standard_normal((1, parameter_count(hidden_units))), hidden_units)
    for seed in range(20):
        observation, order = queue(seed=seed), rng.permutation(9)
        scores = scorers.score(observation)[0]
        np.testing.assert_array_equal(scorers.score(shuffled(observation, order))[0, :9], scores[order])


def test_a_network_scores_alike_whatever_the_order_and_the_capacity() -> None:
    rng = np.random.default_rng(4)
    sizes = [SUMMARY_SIZE, 8, len(REQUEST_FEATURES)]
    actor = Actor(
        tuple(
            (rng.standard_normal((after, before)).astype(np.float32), rng.standard_normal(after).astype(np.float32))
            for before, after in pairwise(sizes)
        ),
        "greedy",
    )
    for seed in range(20):
        observation, order = queue(seed=seed), rng.permutation(9)
        scores = actor.score(observation)[0]
        np.testing.assert_array_equal(actor.score(shuffled(observation, order))[0, :9], scores[order])
        wider = queue(capacity=24, seed=seed)
        wider["requests"][0, :9] = observation["requests"][0, :9]
        wider["node"][0, columns.ARRIVALS] = 0.5  # the same arrivals, of twice as many places
        np.testing.assert_array_equal(actor.score(wider)[0, :9], scores[:9])


def test_every_row_is_scored_by_its_own_candidate() -> None:
    envs = gym.make_vec("EdgeLLM/Rank-v0", num_envs=6, scenario="light")
    observation, _ = envs.reset(seed=[5] * 6)
    for _ in range(4):
        observation, *_ = envs.step(np.zeros((6, 64), dtype=np.float32))
    parameters = np.random.default_rng(0).standard_normal((3, parameter_count(4)))
    together = Scorers.from_parameters(parameters, 4).score(observation, np.array([0, 1, 2, 2, 1, 0]))
    for row, candidate in enumerate([0, 1, 2, 2, 1, 0]):
        alone = Scorers.from_parameters(parameters[candidate : candidate + 1], 4).score(observation)
        np.testing.assert_array_equal(together[row], alone[row])


def test_squashing_keeps_the_order() -> None:
    scores = np.array([[3e8, 3e8 - 1e3, -7.0, 0.0], [0.5, -0.5, 0.25, 0.0]])
    small = squashed(scores)
    assert small.dtype == np.float32
    assert np.abs(small).max() <= 1.0
    np.testing.assert_array_equal(np.argsort(-small, axis=1, kind="stable"), np.argsort(-scores, axis=1, kind="stable"))
    np.testing.assert_array_equal(small[1], scores[1])


def test_wrong_weights() -> None:
    with pytest.raises(ValueError, match=r"linear: .*finite"):
        Scorers.from_parameters(np.full((1, parameter_count(0)), np.nan), 0)
    with pytest.raises(ValueError, match="output"):
        Scorers.from_parameters(np.zeros((1, parameter_count(2) + 1)), 2)


def test_dropped_features_count_for_nothing_and_others_as_before() -> None:
    rng = np.random.default_rng(5)
    for hidden_units in (0, 4):
        parameters = rng.standard_normal((1, parameter_count(hidden_units)))
        whole = Scorers.from_parameters(parameters, hidden_units)
        masked = Scorers.from_parameters(
            parameters * parameter_mask(("slack", "compute_load"), hidden_units), hidden_units
        )
        by_hand = Scorers.from_parameters(parameters.copy(), hidden_units)
        by_hand.linear[:, FEATURES.index("slack")] = 0.0
        for name in ("slack", "compute_load"):
            by_hand.hidden[:, :, FEATURES.index(name)] = 0.0
        for name in ("linear", "hidden", "output"):
            np.testing.assert_array_equal(getattr(masked, name), getattr(by_hand, name))
        assert not np.array_equal(masked.linear, whole.linear)
        assert parameter_mask((), hidden_units).all()
    assert parameter_mask((), 0).size == LINEAR
