"""Whatever a scenario allows, observations keep to their space: every id, on scenarios drawn at random."""

import gymnasium as gym
import numpy as np

from edgellm_env import load_scenario
from edgellm_env.node.features import BACKLOG

SCENARIOS = 30


def random_scenario(rng):
    """A scenario far from the shipped ones in many numbers at once, often of several schemes."""
    base = load_scenario(rng.choice(["balanced", "bursty", "quantized", "spillover"]))

    def around(path, decades, whole=False):
        value = base.numbers()[path] * 10 ** rng.uniform(-decades, decades)
        return max(1, round(value)) if whole else value

    schemes = [
        {
            "name": f"scheme {index}",
            "weight_bits": rng.uniform(1.0, 16.0),
            "kv_bits": 16 * 10 ** rng.uniform(-2, 1),
            "compute_factor": 10 ** rng.uniform(-2, 1),
            "quality": rng.uniform(0.05, 1.0),
        }
        for index in range(rng.integers(1, 5))
    ]
    slot_s = around("timing.slot_s", 1)
    return base.with_values(
        {
            "schemes": schemes,
            "timing.slot_s": slot_s,
            "timing.uplink_s": slot_s * rng.uniform(0.01, 1.0),
            "timing.downlink_s": slot_s * rng.uniform(0.01, 1.0),
            "timing.spill_s": rng.choice([0.0, slot_s * 10 ** rng.uniform(-2, 1)]),
            "timing.episode_slots": int(rng.integers(1, 40)),
            "queue.capacity": int(rng.integers(1, 80)),
            "queue.carry_over": bool(rng.integers(2)),
            "queue.infeasible": str(rng.choice(["trim", "reject"])),
            "node.device_flops": around("node.device_flops", 2),
            "node.device_memory_bytes": around("node.device_memory_bytes", 0.2),
            "node.load_bandwidth_bytes_per_s": 10 ** rng.uniform(8, 13),
            "radio.uplink_bandwidth_hz": around("radio.uplink_bandwidth_hz", 2),
            "radio.downlink_bandwidth_hz": around("radio.downlink_bandwidth_hz", 2),
            "radio.path_loss_slope_db": around("radio.path_loss_slope_db", 0.1),
            "workload.arrival_rate_rps": around("workload.arrival_rate_rps", 1.5) / slot_s,
            "workload.latency_requirement_s": {
                "kind": "log-uniform",
                "low": slot_s * 10 ** rng.uniform(-2, 0),
                "high": slot_s * 10 ** rng.uniform(0.4, 3),
            },
            "availability": {
                resource: {"low": 10 ** rng.uniform(-3, -1), "high": rng.uniform(0.1, 1.0)}
                for resource in ("compute", "uplink", "downlink")
            },
        }
    )


def play_to_the_end(env, rng, seed, switching):
    """An episode of random actions, that change the scheme that often: observations outside the space, longest backlog
    and how many are served."""
    env.action_space.seed(seed)
    (observation, info), truncated, outside, longest = env.reset(seed=seed), False, [], 0.0
    while not truncated:
        action = env.action_space.sample()
        if isinstance(env.action_space, gym.spaces.MultiDiscrete):  # the next scheme in turn, and some of the queue
            schemes = env.action_space.nvec[0]
            loaded = int(np.argmax(observation["node"][-schemes:])) if schemes > 1 else 0
            action[0] = (loaded + (rng.random() < switching)) % schemes
            action[1:] &= rng.random(action.size - 1) < 0.3
        elif isinstance(env.action_space, gym.spaces.Discrete):  # mostly legal, or a slot would take N + 1 picks
            action = int(rng.choice(np.flatnonzero(env.unwrapped.action_masks())))
        observation, _, _, truncated, info = env.step(action)
        longest = max(longest, float(observation["node"][BACKLOG]))
        if not env.observation_space.contains(observation):
            outside += [
                (name, np.argwhere((observation[name] < space.low) | ~(observation[name] <= space.high)).tolist())
                for name, space in env.observation_space.items()
            ]
    return outside, longest, info["served"]


def test_observations_of_every_id_keep_to_their_space(environment_id):
    served = 0
    for number in range(SCENARIOS):
        rng = np.random.default_rng(number)
        env = gym.make(environment_id, scenario=random_scenario(rng))
        outside, _, some = play_to_the_end(env, rng, number, switching=rng.choice([0.0, 0.1, 1.0]))
        assert (number, outside) == (number, [])
        served += some > 0
    assert served > SCENARIOS / 3


def test_a_scheme_switched_in_every_slot_piles_up_a_backlog_that_the_space_covers():
    schemes = [scheme.model_dump() for scheme in load_scenario("quantized").schemes[:2]]
    env = gym.make("EdgeLLM/Joint-v0", scenario="balanced", overrides={"schemes": schemes, "timing.episode_slots": 40})
    outside, longest, _ = play_to_the_end(env, np.random.default_rng(0), 0, switching=1.0)
    assert outside == []
    assert 100.0 < longest < env.observation_space["node"].high[BACKLOG] < 2.0 * longest
