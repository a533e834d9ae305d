"""Millions of slots and decisions on every shipped scenario: are promises kept, do memory and pace stay flat?

``python -m tests.endurance --slots 1000000 --decisions 100000`` plays whole episodes through ``gym.make_vec``: random
admissions in every way to act, shared out evenly, and the batches of DFTSP and the exact solver. It prints a line for
each scenario and player: that no admitted request is late (``latest`` is the delivery after the deadline, negative if
before), that requests are conserved and each admitted one finishes, that masks (in one of five steps, of one
environment) and experts' batches (one of each 64) are what the feasibility check says, that memory stays as it was
after the first tenth, and that the last third of the slots takes no more processor time than the first. Exit status 1
if anything is broken.
"""

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import gymnasium as gym
import numpy as np

from edgellm_env import ENVIRONMENT_IDS, scenario_names
from edgellm_env.node.records import OUTCOMES, SERVED
from edgellm_env.solvers import solve_dftsp_batch, solve_exact_batch
from tests.conftest import CONTINUOUS, arguments_for
from tests.reliability import add_option, record

WAYS = tuple(one.removeprefix("EdgeLLM/") for one in ENVIRONMENT_IDS)
EXPERTS = {"dftsp": solve_dftsp_batch, "exact": solve_exact_batch}
NUM_ENVS = 64
LATE_S = 1e-6
GROWTH, SLOWDOWN = 1.1, 1.3


@dataclass
class Findings:
    """What was seen, and what of it is wrong."""

    slots: int = 0
    admitted: int = 0
    latest_s: float = -np.inf
    lost: int = 0  # episodes whose counters, log and rewards do not tell the same
    checks: int = 0  # of masks and batches
    wrong: int = 0
    unproven: int = 0  # experts' batches that their node limit kept from being proven largest
    paces_s: list[float] = field(default_factory=list)  # processor time of each slot, by episode ends

    @property
    def slowdown(self) -> float:
        """Processor time of a slot in the last third, against the first; 1 if there are too few to say."""
        third = len(self.paces_s) // 3
        return 1.0 if third < 3 else float(np.median(self.paces_s[-third:]) / np.median(self.paces_s[:third]))

    @property
    def sound(self) -> bool:
        return self.latest_s <= LATE_S and not self.lost and not self.wrong and self.slowdown < SLOWDOWN


def resident_mb() -> float:
    """Memory of this process that is in use."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000.0


def random_actions(env, way, rng):
    """Feasible admissions: what is asked for beyond them is trimmed, ranked out or masked."""
    shape = env.action_space.shape
    if way in ("Batch-v0", "Joint-v0"):
        bits = (rng.random(shape) < rng.random((shape[0], 1)) ** 2).astype(np.int8)
        if way == "Joint-v0":  # the loaded scheme, mostly
            other = rng.integers(env.dynamics.schemes.size, size=shape[0])
            bits[:, 0] = np.where(rng.random(shape[0]) < 0.05, other, env.dynamics.node["scheme"])
        return bits
    if way.startswith("Rank"):
        return np.clip(rng.uniform(-1.0, 1.0, shape) + rng.uniform(-0.5, 0.5, (shape[0], 1)), -1.0, 1.0)
    return np.argmax(rng.random((shape[0], env.single_action_space.n)) * env.action_masks(), axis=1)


def expert_actions(env, name, rng, found):
    """The batches that a solver calls largest; one of them is checked."""
    answer, row = EXPERTS[name](env.dynamics.problem_arrays()), int(rng.integers(NUM_ENVS))
    batch = np.zeros((NUM_ENVS, env.dynamics.capacity), dtype=np.int8)
    batch[:, : answer.selection.shape[1]] = answer.selection
    problem = env.slot_problem(row)
    found.checks, found.unproven = found.checks + 1, found.unproven + int((~answer.optimal).sum())
    found.wrong += not problem.is_feasible(np.flatnonzero(batch[row]))
    return batch


def check_mask(env, row, found):
    problem, mask = env.slot_problem(row), env.action_masks()[row]
    picked = env.engine.interface.partial_batch()[row, : problem.size]
    for place in range(env.dynamics.capacity):
        legal = (
            place < problem.size
            and not picked[place]
            and problem.is_feasible(picked | (np.arange(problem.size) == place))
        )
        found.checks += 1
        found.wrong += bool(mask[place]) != legal


def check_episode(env, row, info, returns, found):
    log, records = env.engine.request_log(row), env.dynamics.requests[row]
    counts = dict(zip(OUTCOMES, np.bincount(log["outcome"], minlength=len(OUTCOMES)).tolist(), strict=True))
    told = {name: int(info[name][row]) for name in OUTCOMES}
    served = np.flatnonzero(log["outcome"] == SERVED)
    whole = sum(counts.values()) == info["arrived"][row] and served.size == returns
    if "finished" in info:
        whole &= bool(info["finished"][row] == info["first_tokens"][row] == served.size)
    found.lost += not (counts == told and whole)
    if served.size:
        late_s = log["delivered_s"][served] - records["deadline_s"][served]
        found.latest_s = max(found.latest_s, float(late_s.max()) if np.isfinite(late_s).all() else np.inf)
    found.admitted += served.size
    found.slots += int(info["slot"][row])


def play(scenario, player, slots, seed=0):
    """Play at least so many slots, in whole episodes."""
    way = "Batch-v0" if player in EXPERTS else player
    env = gym.make_vec(
        f"EdgeLLM/{way}", num_envs=NUM_ENVS, autoreset_mode="Disabled", **arguments_for(scenario)
    ).unwrapped
    rng, found, returns = np.random.default_rng(seed), Findings(), np.zeros(NUM_ENVS)
    env.reset(seed=seed)
    before_s, before_slots = time.process_time(), 0
    while found.slots < slots:
        if way == "Select-v0" and rng.random() < 0.2:
            check_mask(env, int(rng.integers(NUM_ENVS)), found)
        actions = expert_actions(env, player, rng, found) if player in EXPERTS else random_actions(env, way, rng)
        _, rewards, _, over, info = env.step(actions)
        returns += rewards
        if over.any():
            for row in np.flatnonzero(over):
                check_episode(env, row, info, returns[row], found)
            returns[over] = 0.0
            env.reset(options={"reset_mask": over})
            if found.slots - before_slots >= slots / 30:
                now_s = time.process_time()
                found.paces_s.append((now_s - before_s) / (found.slots - before_slots))
                before_s, before_slots = now_s, found.slots
    env.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.endurance", description=__doc__.splitlines()[0])
    parser.add_argument("--slots", type=int, default=1_000_000, help="slots to play in all (default: %(default)s)")
    parser.add_argument("--decisions", type=int, default=100_000, help="of experts, in all (default: %(default)s)")
    add_option(parser)
    arguments = parser.parse_args()
    pairs = [(one, way) for one in scenario_names() for way in WAYS if not ("Joint" in way and one in CONTINUOUS)]
    plays = [(*pair, arguments.slots / len(pairs)) for pair in pairs if arguments.slots]
    both = [(one, expert) for one in scenario_names() for expert in EXPERTS]
    plays += [(*pair, arguments.decisions / len(both)) for pair in both if arguments.decisions]
    print(f"{'scenario':<12} {'player':<10} {'slots':>8} {'per CPU s':>9} {'admitted':>9} {'latest s':>10} {'lost':>5} "
          f"{'checks':>8} {'wrong':>6} {'unproven':>8} {'slower':>6} {'MB':>7} {'then':>7}")  # fmt: skip
    broken, sums = 0, {"slots": 0, "decisions": 0, "admitted": 0, "checks": 0, "growth": 0.0, "slowdown": 0.0}
    for scenario, player, share in plays:
        play(scenario, player, share / 10, seed=1)
        before, begin_s = resident_mb(), time.process_time()
        found = play(scenario, player, share)
        if found.slowdown >= SLOWDOWN:  # other work on the machine does that too, but not twice
            begin_s, found = time.process_time(), play(scenario, player, share)
        rate, after = found.slots / (time.process_time() - begin_s), resident_mb()
        good = found.sound and found.admitted > 0 and after < GROWTH * before
        broken += not good
        sums["decisions" if player in EXPERTS else "slots"] += found.slots
        sums["admitted"], sums["checks"] = sums["admitted"] + found.admitted, sums["checks"] + found.checks
        sums["growth"], sums["slowdown"] = max(sums["growth"], after / before), max(sums["slowdown"], found.slowdown)
        print(f"{scenario:<12} {player:<10} {found.slots:>8} {rate:>9.0f} {found.admitted:>9} {found.latest_s:>10.2e} "
              f"{found.lost:>5} {found.checks:>8} {found.wrong:>6} {found.unproven:>8} {found.slowdown:>6.2f} "
              f"{before:>7.0f} {after:>7.0f}{'' if good else '  BROKEN'}", flush=True)  # fmt: skip
    if arguments.record:
        record("endurance", sums | {"broken": broken, "plays": len(plays)})
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
