"""An environment, alone and as a row of a vector, beside a plain simulator: every step of all three is compared.

``python -m tests.twins --slots 100000`` plays random episodes of every id on scenarios of both kinds, drawn at random
within what their settings allow, and prints what was compared. Copies, pickles and saved states take the environments'
places on the way. Exit status 1, and the scenario's number, if anything differs.
"""

import argparse
import copy
import pickle
import sys
import time

import gymnasium as gym
import numpy as np

from edgellm_env import ENVIRONMENT_IDS, load_scenario
from tests.contract.test_random_scenarios import random_scenario
from tests.dynamics.continuous import SlowEngine, continuous_scenario
from tests.dynamics.reference import SlowNode
from tests.reliability import add_option, record

COUNTERS = ("arrived", "served", "expired", "rejected", "blocked")
ROW, ROWS = 1, 3  # the place of the single environment's twin, among others that play on their own


def random_continuous_scenario(rng, tame):
    """A continuous node, its queue and its load, far from the shipped ones in many numbers at once; less so if tame."""
    slot_s, capacity = 10 ** rng.uniform(-1.5, 0.5), int(rng.integers(1, 24))
    base = {"kind": "uniform", "low": slot_s * 10 ** rng.uniform(-1, 0), "high": slot_s * 10 ** rng.uniform(tame, 2)}
    per_token = {"kind": "constant", "value": slot_s / 10}
    growing = {"kind": "per-output-token", "base": base, "seconds_per_token": per_token}
    return continuous_scenario(
        costs__step_s=slot_s * 10 ** rng.uniform(-3, -1 if tame else 1),
        costs__sequence_s=float(rng.choice([0.0, 1e-5, 1e-3])),
        costs__context_token_s=float(rng.choice([0.0, 1e-7, 1e-5])),
        costs__prefill_token_s=float(rng.choice([0.0, 4e-5, 4e-5 if tame else 2e-3])),
        costs__prefill_token_squared_s=float(rng.choice([0.0, 1e-8, 1e-8 if tame else 1e-6])),
        costs__kv_tokens=int(rng.integers(1000 if tame else 2, 8000)),
        serving__max_running=int(rng.integers(1, 20)),
        timing__slot_s=slot_s,
        timing__uplink_s=slot_s * 10 ** rng.uniform(-2, -0.4),
        timing__downlink_s=slot_s * 10 ** rng.uniform(-2, -0.4),
        timing__episode_slots=int(rng.integers(1, 16)),
        queue__capacity=capacity,
        queue__carry_over=bool(rng.integers(2)),
        queue__infeasible=str(rng.choice(["trim", "reject"])),
        radio__uplink_bandwidth_hz=10 ** rng.uniform(8 if tame else 5, 9),
        availability__uplink__low=rng.uniform(0.2, 1.0),
        availability__downlink__low=rng.uniform(0.2, 1.0),
        schemes__0__quality=rng.uniform(0.5, 1.0),
        workload__arrival_rate_rps=capacity * rng.uniform(0.1, 0.8) / slot_s,
        workload__latency_requirement_s=base if rng.integers(2) else growing,
        workload__output_tokens={"kind": "uniform-integer", "low": 1, "high": int(rng.integers(1, 80))},
        workload__prompt_tokens={"kind": "uniform-integer", "low": 1, "high": int(rng.integers(1, 500))},
    )


def tame_scenario(rng):
    """A shipped slot-batch node with other rules, background load and spilling."""
    base = load_scenario(rng.choice(["balanced", "light", "memory", "paper", "patient", "quantized", "spillover"]))
    return base.with_values(
        {
            "queue.carry_over": bool(rng.integers(2)),
            "queue.infeasible": str(rng.choice(["trim", "reject"])),
            "timing.spill_s": float(rng.choice([0.0, 0.2, 0.5, 1.3])),
            "availability.compute.low": rng.uniform(0.3, 1.0),
            "availability.uplink.low": rng.uniform(0.3, 1.0),
        }
    )


def draw_scenario(number, continuous):
    """The scenario of this number: there are infinitely many of each kind, and each is the same everywhere."""
    rng, tame = np.random.default_rng([number, continuous]), bool(number % 2)
    if continuous:
        return random_continuous_scenario(rng, tame)
    values = {"timing.episode_slots": int(rng.integers(1, 16)), "queue.capacity": int(rng.integers(1, 24))}
    scenario = tame_scenario(rng) if tame else random_scenario(rng)
    rate_rps = values["queue.capacity"] * rng.uniform(0.1, 2.0) / scenario.timing.slot_s
    return scenario.with_values(values).with_arrival_rate(rate_rps)


class Twins:
    """One environment of ``environment_id`` three times over: alone, as a row of a vector, and simulated."""

    def __init__(self, environment_id, scenario, seed):
        self.way = environment_id.removeprefix("EdgeLLM/")
        self.single = gym.make(environment_id, scenario=scenario).unwrapped
        self.many = gym.make_vec(environment_id, num_envs=ROWS, scenario=scenario).unwrapped
        self.scenario, self.slots, self.steps, self.served = self.single.scenario, 0, 0, 0
        self.rng = np.random.default_rng(seed)
        seeds = [int(one) for one in self.rng.integers(2**64, size=ROWS, dtype=np.uint64)]
        self._begin(self.single.reset(seed=seeds[ROW]), self.many.reset(seed=seeds))

    def _begin(self, alone, beside):
        model = SlowEngine if self.scenario.serving.kind == "continuous" else SlowNode
        self.slow = model(self.scenario, self.single.trace())
        self.picked, self.picks, self.returns, self.over = [], 0, 0, False
        self.observation, self.info = alone
        assert self.info["served"] == self.info["slot"] == 0
        self._compare_with_row(*beside)
        self.check()

    def reset(self):
        """End the episode, wherever it is."""
        chosen = np.arange(ROWS) == ROW
        self._begin(self.single.reset(), self.many.reset(options={"reset_mask": chosen}))

    def step(self):
        """Play a random action; all three must make the same of it."""
        actions = np.array([self._random_action() for _ in range(ROWS)])
        if self.way == "Select-v0" and self.rng.random() < 0.95:
            masks = self.many.action_masks()
            actions = np.array([self.rng.choice(np.flatnonzero(mask)) for mask in masks])
        served, closed, infeasible = self._simulate(actions[ROW])
        self.observation, reward, terminated, self.over, self.info = self.single.step(actions[ROW])
        observations, rewards, _, truncated, infos = self.many.step(actions)
        assert (reward, terminated) == (served, False)
        assert rewards[ROW] == reward
        assert truncated[ROW] == self.over == (self.slow.slot == self.scenario.timing.episode_slots)
        assert self.info["infeasible"] == infeasible
        self.returns, self.served = self.returns + reward, self.served + served
        self.steps, self.slots = self.steps + 1, self.slots + closed
        self.check()
        if not self.over:
            self._compare_with_row(observations, infos)
            return
        final = {name: array[ROW] for name, array in infos["final_info"].items() if not name.startswith("_")}
        np.testing.assert_equal(infos["final_obs"][ROW], self.observation)
        np.testing.assert_equal(final, self.info)
        self._begin(self.single.reset(), (observations, infos))

    def take_places(self):
        """Let copies go on, made in one of the ways there are; what is left behind must not matter."""
        way = self.rng.integers(4)
        if way == 0:
            self.single, self.many = copy.deepcopy(self.single), copy.deepcopy(self.many)
        elif way == 1:
            self.single, self.many = pickle.loads(pickle.dumps((self.single, self.many)))  # noqa: S301 - just made
        else:
            states = self.single.get_state(), self.many.get_state()
            if way == 2:
                self.single = type(self.single)(scenario=self.scenario)
                self.many = type(self.many)(num_envs=ROWS, scenario=self.scenario)
            else:
                for env in (self.single, self.many):
                    env.reset()
                    env.step(env.action_space.sample())
            self.single.set_state(states[0])
            self.many.set_state(states[1])
        self._compare_with_row(self.many.engine.observe(), self.many._infos())

    def check(self):
        """What must hold now."""
        assert self.single.observation_space.contains(self.observation)
        assert all(np.isfinite(array).all() for array in self.observation.values())
        assert {name: self.info[name] for name in COUNTERS} == self.slow.counts
        assert self.info["waiting"] == len(self.slow.queue) == self.observation["valid"].sum()
        assert self.info["arrived"] == sum(self.info[name] for name in COUNTERS[1:]) + self.info["waiting"]
        assert self.info["served"] == self.returns
        used = [self.info[f"{name}_utilisation"] for name in ("compute", "memory", "uplink", "downlink")]
        assert min(used) >= 0.0
        assert max(used) <= 1.0
        assert self.single.slot_view().request.tolist() == self.slow.queue
        assert self.info["slot"] == self.slow.slot
        if self.way == "Select-v0":
            self._check_mask()
        if self.scenario.serving.kind == "continuous":
            assert self.info["running"] == len(self.slow.running)
            assert np.isclose(self.single.engine.dynamics.node["backlog_s"][0], self.slow.overrun_s, atol=1e-9)
        if self.over:
            self._check_log()

    def _check_mask(self):
        queue = self.slow.queue
        mask = [place not in self.picked and self._fits([*self.picked, place]) for place in range(len(queue))]
        mask += [False] * (self.scenario.queue.capacity - len(queue)) + [True]
        assert self.single.action_masks().tolist() == mask
        assert self.info["action_mask"].tolist() == mask
        assert np.flatnonzero(self.observation["batch"]).tolist() == sorted(self.picked)

    def _check_log(self):
        """No request is late or lost, and the simulator says the same of each."""
        log, trace = self.single.engine.request_log(0), self.single.trace()
        served = np.flatnonzero(log["outcome"] == 1)
        deadline_s = (trace.arrival_s + trace.latency_requirement_s)[served]
        delivered_s = log["delivered_s"][served]
        assert served.size == self.returns
        assert (delivered_s <= deadline_s + 1e-8 * (1.0 + deadline_s)).all()
        assert (delivered_s >= trace.arrival_s[served]).all()
        if isinstance(self.slow, SlowNode):
            simulated_s = {one: at_s for one, (fate, _, at_s) in self.slow.fates.items() if fate == "served"}
            assert simulated_s.keys() == set(served)
        else:  # those that still ran when the episode ended are not in it
            simulated_s = {one: at_s + self.scenario.timing.radio_s for one, at_s in self.slow.finished_s.items()}
        assert np.allclose(log["delivered_s"][list(simulated_s)], list(simulated_s.values()), rtol=1e-9)

    def _compare_with_row(self, observations, infos):
        for name, array in self.observation.items():
            assert np.array_equal(array, observations[name][ROW]), name
        for name, value in self.info.items():
            assert np.array_equal(value, infos[name][ROW]), name

    def _random_action(self):
        action = self.single.action_space.sample()
        if self.way.startswith("Rank"):
            return np.round(self.rng.uniform(-1.0, 1.0, action.shape), 1).astype(np.float32)  # with ties
        if self.way == "Select-v0":
            return self.rng.integers(self.scenario.queue.capacity + 1)
        bits = (self.rng.random(self.scenario.queue.capacity) < self.rng.random()).astype(action.dtype)
        if self.way == "Batch-v0":
            return bits
        return np.concatenate([[self.rng.integers(len(self.scenario.schemes))], bits])

    def _fits(self, places, scheme=None):
        return self.slow.feasible([self.slow.queue[place] for place in places], scheme)

    def _simulate(self, action):
        """How many the simulator serves, whether its slot has ended, and whether what was asked for was infeasible."""
        queue, rejects, scheme = self.slow.queue, self.scenario.queue.infeasible == "reject", None
        if self.way == "Select-v0":
            return self._simulate_pick(int(action), rejects)
        if self.way.startswith("Rank"):
            order = np.argsort(-action[: len(queue)], kind="stable")
            asked = [int(place) for place in order if self.way == "Rank-v0" or action[place] > 0.0]
        else:
            scheme = int(action[0]) if self.way == "Joint-v0" else None
            asked = np.flatnonzero(action[-self.scenario.queue.capacity :][: len(queue)]).tolist()
        chosen = []
        for place in asked:
            if self._fits([*chosen, place], scheme):
                chosen.append(place)
        infeasible = not self.way.startswith("Rank") and len(chosen) < len(asked)
        if infeasible and rejects:
            chosen = []
        return self.slow.serve([queue[place] for place in chosen], scheme), True, infeasible

    def _simulate_pick(self, place, rejects):
        queue, commit = self.slow.queue, self.scenario.queue.capacity
        self.infeasible = self.picks > 0 and self.infeasible
        self.picks += 1
        closes = place == commit or self.picks == commit + 1
        if place < commit:
            if place < len(queue) and place not in self.picked and self._fits([*self.picked, place]):
                self.picked.append(place)
            else:
                self.infeasible = True
                if rejects:
                    self.picked, closes = [], True
        if not closes:
            return 0, False, self.infeasible
        served = self.slow.serve([queue[one] for one in self.picked])
        self.picked, self.picks = [], 0
        return served, True, self.infeasible


def every_kind():
    """Pairs of an id and whether the node is continuous."""
    return [(one, kind) for one in ENVIRONMENT_IDS for kind in (False, True) if not (kind and "Joint" in one)]


def play(environment_id, continuous, slots, first=0):
    """Compare so many slots at least, on a new scenario every three episodes; return the twins' sums."""
    number, totals = first, np.zeros(3, dtype=np.int64)
    while totals[0] < slots:
        try:
            twins = Twins(environment_id, draw_scenario(number, continuous), number)
            while twins.slots < 3 * twins.scenario.timing.episode_slots:
                twins.step()
                if twins.rng.random() < 0.1:
                    twins.take_places()
                if twins.rng.random() < 0.02:
                    twins.reset()
        except AssertionError as error:
            raise AssertionError(f"{environment_id}, continuous {continuous}, scenario {number}: {error}") from error
        totals += twins.slots, twins.steps, twins.served
        number += 1
    return number - first, *totals.tolist()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.twins", description=__doc__.splitlines()[0])
    parser.add_argument("--slots", type=int, default=100_000, help="slots to play in all (default: %(default)s)")
    add_option(parser)
    parser.add_argument("--first", type=int, default=0, help="number of the first scenario (default: %(default)s)")
    arguments, sums = parser.parse_args(), np.zeros(3, dtype=np.int64)
    for environment_id, continuous in every_kind():
        began = time.perf_counter()
        try:
            scenarios, slots, steps, served = play(
                environment_id, continuous, arguments.slots / len(every_kind()), arguments.first
            )
        except AssertionError as error:
            print(f"differs: {error}")
            return 1
        sums += scenarios, slots, served
        kind = "continuous" if continuous else "slot-batch"
        print(f"{environment_id:<18} {kind:<11} {scenarios:>6} scenarios {slots:>8} slots {steps:>8} steps "
              f"{served:>8} served {slots / (time.perf_counter() - began):>7.0f} slots/s", flush=True)  # fmt: skip
    if arguments.record:
        record("twins", dict(zip(("scenarios", "slots", "served"), sums.tolist(), strict=True)) | {"differ": 0})
    return 0


if __name__ == "__main__":
    sys.exit(main())
