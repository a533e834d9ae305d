import gymnasium as gym
import numpy as np
import pytest
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO

from agents.learned import load_ranking_network
from agents.models.queue_network import QueueEncoder, RequestScorer, remainder
from agents.models.sb3 import MaskedQueuePolicy, QueuePolicy
from agents.policy import PolicyError
from edgellm_env.node.features import PER_CAPACITY, REQUEST_FEATURES, UPLINK_SHARE
from edgellm_env.wrappers.sb3 import SB3VecEnv

CAPACITY = 64  # of `light`


def slots(environment_id: str = "EdgeLLM/Rank-v0", size: int = 4) -> dict[str, torch.Tensor]:
    envs = gym.make_vec(environment_id, num_envs=size, scenario="light")
    observation, _ = envs.reset(seed=list(range(size)))
    action = envs.action_space.sample() * 0 + (CAPACITY if environment_id == "EdgeLLM/Select-v0" else 0)
    for _ in range(6):
        observation, *_ = envs.step(action)
    return {name: torch.as_tensor(array) for name, array in observation.items()}


def shuffled(observation: dict[str, torch.Tensor], order: torch.Tensor) -> dict[str, torch.Tensor]:
    per_request = ("requests", "valid", "batch")
    return {name: array[:, order] if name in per_request else array for name, array in observation.items()}


def test_scores_follow_their_requests() -> None:
    torch.manual_seed(0)
    # Double precision: sums differ by rounding alone, which can't be told from a dependence on places otherwise.
    network, observation = RequestScorer(16).double(), slots()
    observation = {name: array.double() for name, array in observation.items()}
    order = torch.randperm(CAPACITY)
    with torch.no_grad():
        scores = network(observation)
        np.testing.assert_allclose(network(shuffled(observation, order)), scores[:, order], atol=1e-12)


def test_a_longer_queue_with_the_same_requests_gives_the_same_scores() -> None:
    torch.manual_seed(1)
    network, observation = RequestScorer(16), slots()
    wider = {
        "requests": torch.cat([observation["requests"], torch.zeros(4, 32, len(REQUEST_FEATURES))], dim=1),
        "valid": torch.cat([observation["valid"], torch.zeros(4, 32, dtype=torch.int8)], dim=1),
        "node": observation["node"].clone(),
    }
    wider["node"][:, PER_CAPACITY] *= CAPACITY / (CAPACITY + 32)
    with torch.no_grad():
        np.testing.assert_allclose(network(wider)[:, :CAPACITY], network(observation), atol=1e-5)


def under_way(picks: int) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    """Observations of ``balanced`` after some legal picks, and which picks are legal then."""
    envs = gym.make_vec("EdgeLLM/Select-v0", num_envs=4, scenario="balanced").unwrapped
    observation, _ = envs.reset(seed=list(range(4)))
    for _ in range(8):
        observation, *_ = envs.step(np.full(4, observation["valid"].shape[1]))
    for _ in range(picks):
        legal = envs.action_masks()[:, :-1]
        observation, *_ = envs.step(np.where(legal, observation["requests"][..., UPLINK_SHARE], np.inf).argmin(axis=1))
    return {name: torch.as_tensor(array) for name, array in observation.items()}, envs.action_masks()


@pytest.mark.parametrize("picks", [0, 1, 3])
def test_what_a_batch_leaves_is_what_the_environment_says(picks: int) -> None:
    observation, legal = under_way(picks)
    assert observation["batch"].sum() == 4 * picks
    rest = remainder(observation)
    np.testing.assert_array_equal(rest.fits, legal[:, :-1])
    np.testing.assert_allclose(rest.left_share, 1.0 - observation["used"], atol=1e-5)
    assert (rest.shares[rest.fits] <= 1.0).all()


def test_pointers_follow_their_requests_with_a_batch_under_way_and_twins_in_the_queue() -> None:
    torch.manual_seed(4)
    observation, _ = under_way(2)
    observation = {name: array.double() for name, array in observation.items()}
    # Two requests alike in all: neither may count as the smaller.
    observation["requests"][:, 5] = observation["requests"][:, 4]
    network, order = RequestScorer(16, commits=True).double(), torch.randperm(observation["valid"].shape[1])
    with torch.no_grad():
        scores, again = network(observation), network(shuffled(observation, order))
    np.testing.assert_allclose(again[:, :-1], scores[:, :-1][:, order], atol=1e-12)
    np.testing.assert_allclose(again[:, -1], scores[:, -1], atol=1e-12)
    alike = observation["batch"][:, 4] == observation["batch"][:, 5]
    assert alike.any()
    np.testing.assert_array_equal(scores[alike, 4], scores[alike, 5])


def test_empty_places_and_empty_queues() -> None:
    torch.manual_seed(2)
    encoder, observation = QueueEncoder(8), slots()
    noise = {**observation, "requests": observation["requests"] + 5 * (1 - observation["valid"].unsqueeze(-1))}
    with torch.no_grad():
        for one, other in zip(encoder(observation), encoder(noise), strict=True):
            np.testing.assert_array_equal(one, other)
        empty = encoder({**observation, "valid": torch.zeros_like(observation["valid"])})
    assert not any(part.any() for part in empty)


@pytest.mark.parametrize("environment_id", ["EdgeLLM/Batch-v0", "EdgeLLM/Rank-v0"])
def test_as_a_policy_of_the_library(environment_id: str) -> None:
    envs = SB3VecEnv(gym.make_vec(environment_id, num_envs=4, scenario="light"))
    model = PPO(
        QueuePolicy, envs, n_steps=8, batch_size=16, n_epochs=1, seed=0, device="cpu", policy_kwargs={"width": 8}
    )
    before = [parameter.clone() for parameter in model.policy.parameters()]
    model.learn(32)
    changed = [not torch.equal(a, b) for a, b in zip(before, model.policy.parameters(), strict=True)]
    assert all(changed)
    action, _ = model.predict({name: array.numpy() for name, array in slots().items()}, deterministic=True)
    assert action.shape == (4, CAPACITY)
    if environment_id == "EdgeLLM/Batch-v0":
        assert not action[slots()["valid"].numpy() == 0].any()


def test_pointers_under_masks() -> None:
    envs = SB3VecEnv(gym.make_vec("EdgeLLM/Select-v0", num_envs=4, scenario="light"))
    policy = {"width": 8}
    model = MaskablePPO(
        MaskedQueuePolicy, envs, n_steps=8, batch_size=16, n_epochs=1, device="cpu", policy_kwargs=policy
    )
    model.learn(32)
    observation = slots("EdgeLLM/Select-v0")
    order = torch.randperm(CAPACITY)
    with torch.no_grad():
        logits = model.policy.get_distribution(observation).distribution.logits
        again = model.policy.get_distribution(shuffled(observation, order)).distribution.logits
    np.testing.assert_allclose(again[:, :-1], logits[:, :-1][:, order], atol=1e-4)
    np.testing.assert_allclose(again[:, -1], logits[:, -1], atol=1e-4)
    masks = np.stack(envs.env_method("action_masks"))
    actions, _ = model.predict({k: v.numpy() for k, v in observation.items()}, action_masks=masks)
    assert masks[np.arange(4), actions].all()


def test_stored_and_loaded(tmp_path) -> None:
    torch.manual_seed(3)
    network = RequestScorer(8, commits=True)
    network.save(tmp_path / "model.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    with torch.no_grad():
        np.testing.assert_array_equal(RequestScorer.load(tmp_path / "model.safetensors")(slots()), network(slots()))
    (tmp_path / "other.safetensors").write_bytes(b"no numbers")
    with pytest.raises(PolicyError, match="no network over the queue"):
        load_ranking_network(tmp_path / "other.safetensors", "x")
    with pytest.raises(PolicyError, match="no trained weights"):
        load_ranking_network(tmp_path / "nowhere", "x")
