"""A million slots of random feasible admissions on every continuous scenario: are the contract's promises kept?

``python -m tests.endurance --slots 1000000`` plays whole episodes through ``gym.make_vec``, shared out evenly, and
prints a line for each scenario and way to act: that no admitted request is late (``latest`` is the last token's
delivery after the deadline, negative if before), that requests are conserved and each admitted one finishes, that masks
(in one of five steps, of one environment) are what the feasibility check says, and that memory stays as
it was after the first tenth. Exit status 1 if anything is broken.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import numpy as np

from edgellm_env.node.records import OUTCOMES, SERVED
from tests.conftest import CONTINUOUS

WAYS = ("Batch-v0", "Rank-v1", "Select-v0")
NUM_ENVS = 64
LATE_S = 1e-6
GROWTH = 1.1


@dataclass
class Findings:
    """What was seen, and what of it is wrong."""

    slots: int = 0
    admitted: int = 0
    latest_s: float = -np.inf
    lost: int = 0  # episodes whose counters, log and rewards do not tell the same
    masks: int = 0
    wrong_masks: int = 0

    @property
    def sound(self) -> bool:
        return self.latest_s <= LATE_S and not self.lost and not self.wrong_masks


def resident_mb() -> float:
    """Memory of this process that is in use."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000.0


def random_actions(env, way, rng):
    """Feasible admissions: what is asked for beyond them is trimmed, ranked out or masked."""
    shape = env.action_space.shape
    if way == "Batch-v0":
        return (rng.random(shape) < rng.random((shape[0], 1)) ** 2).astype(np.int8)
    if way == "Rank-v1":
        return np.clip(rng.uniform(-1.0, 1.0, shape) + rng.uniform(-0.5, 0.5, (shape[0], 1)), -1.0, 1.0)
    return np.argmax(rng.random((shape[0], env.single_action_space.n)) * env.action_masks(), axis=1)


def check_mask(env, row, found):
    problem, mask = env.slot_problem(row), env.action_masks()[row]
    picked = env.engine.interface.partial_batch()[row, : problem.size]
    for place in range(env.dynamics.capacity):
        legal = (
            place < problem.size
            and not picked[place]
            and problem.is_feasible(picked | (np.arange(problem.size) == place))
        )
        found.masks += 1
        found.wrong_masks += bool(mask[place]) != legal


def check_episode(env, row, info, returns, found):
    log, records = env.engine.request_log(row), env.dynamics.requests[row]
    counts = dict(zip(OUTCOMES, np.bincount(log["outcome"], minlength=len(OUTCOMES)).tolist(), strict=True))
    told = {name: int(info[name][row]) for name in OUTCOMES}
    served = np.flatnonzero(log["outcome"] == SERVED)
    whole = sum(counts.values()) == info["arrived"][row] and served.size == returns == info["finished"][row]
    found.lost += not (counts == told and whole and info["first_tokens"][row] == served.size)
    if served.size:
        late_s = log["delivered_s"][served] - records["deadline_s"][served]
        found.latest_s = max(found.latest_s, float(late_s.max()) if np.isfinite(late_s).all() else np.inf)
    found.admitted += served.size
    found.slots += int(info["slot"][row])


def play(scenario, way, slots, seed=0):
    """Play at least so many slots, in whole episodes."""
    env = gym.make_vec(f"EdgeLLM/{way}", num_envs=NUM_ENVS, scenario=scenario, autoreset_mode="Disabled").unwrapped
    rng, found, returns = np.random.default_rng(seed), Findings(), np.zeros(NUM_ENVS)
    env.reset(seed=seed)
    while found.slots < slots:
        if way == "Select-v0" and rng.random() < 0.2:
            check_mask(env, int(rng.integers(NUM_ENVS)), found)
        _, rewards, _, over, info = env.step(random_actions(env, way, rng))
        returns += rewards
        if over.any():
            for row in np.flatnonzero(over):
                check_episode(env, row, info, returns[row], found)
            returns[over] = 0.0
            env.reset(options={"reset_mask": over})
    env.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=__doc__.splitlines()[0])
    parser.add_argument("--slots", type=int, default=1_000_000, help="slots to play in all (default: %(default)s)")
    share = parser.parse_args().slots / (len(CONTINUOUS) * len(WAYS))
    print(f"{'scenario':<12} {'way':<10} {'slots':>8} {'per s':>8} {'admitted':>9} {'latest s':>10} {'lost':>5} "
          f"{'masks':>8} {'wrong':>6} {'MB':>7} {'then':>7}")  # fmt: skip
    sound = True
    for scenario in CONTINUOUS:
        for way in WAYS:
            play(scenario, way, share / 10, seed=1)
            before, begin = resident_mb(), time.perf_counter()
            found = play(scenario, way, share)
            rate, after = found.slots / (time.perf_counter() - begin), resident_mb()
            good = found.sound and found.admitted > 0 and after < GROWTH * before
            sound &= good
            print(f"{scenario:<12} {way:<10} {found.slots:>8} {rate:>8.0f} {found.admitted:>9} {found.latest_s:>10.2e} "
                  f"{found.lost:>5} {found.masks:>8} {found.wrong_masks:>6} {before:>7.0f} {after:>7.0f}"
                  f"{'' if good else '  BROKEN'}", flush=True)  # fmt: skip
    return int(not sound)


if __name__ == "__main__":
    sys.exit(main())
