"""The same seed gives the same episode, bit for bit: on any threads and processes, restored, with other Pythons.

``python -m tests.same [PYTHON ...]`` plays episodes of every id on both kinds of node, alone and 130 side by side, in
this process, in processes with one thread and with several, from a saved state every few steps in an environment that
is new each time, and with the other interpreters given (they need the package's dependencies and pytest). Exit status 1
if a digest differs.
"""

import argparse
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np

from edgellm_env import ENVIRONMENT_IDS
from tests.digest import Digest, random_action
from tests.reliability import add_option, record

ROOT = Path(__file__).parents[1]
SCENARIOS, SIZES, STEPS = ("spillover", "chat"), (None, 130), 24


def play(environment_id, scenario, size, restored=False):
    """Return the digest of an episode's first steps; of several environments, side by side."""

    def made():
        if size is None:
            return gym.make(environment_id, scenario=scenario).unwrapped
        return gym.make_vec(environment_id, num_envs=size, scenario=scenario).unwrapped

    env, digest, rng = made(), Digest(), np.random.default_rng(3)
    _, info = env.reset(seed=11)
    for step in range(STEPS):
        if restored and step % 5 == 4:
            state, env = env.get_state(), made()
            env.set_state(state)
        if size is None:
            action = random_action(env.action_space, info.get("action_mask"), rng)
        else:
            masks = info.get("action_mask", [None] * size)
            action = np.array([random_action(env.single_action_space, mask, rng) for mask in masks])
        *result, info = env.step(action)
        digest.feed([result, info])
    return digest.text()


def digests(restored=False):
    """Return the digests of every id, by name."""
    found = {}
    for environment_id in ENVIRONMENT_IDS:
        for scenario in ("quantized", "memory") if "Joint" in environment_id else SCENARIOS:
            for size in SIZES:
                found[f"{environment_id} {scenario} {size or 'alone'}"] = play(environment_id, scenario, size, restored)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.same", description=__doc__.splitlines()[0])
    parser.add_argument("pythons", nargs="*", help="other interpreters")
    parser.add_argument("--print", action="store_true", help="print the digests as JSON, and nothing else")
    add_option(parser)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.print:
        print(json.dumps([sys.version.split()[0], digests()]))
        return 0
    ours, ways, differ = digests(), [f"Python {sys.version.split()[0]}"], []
    others = {"from saved states, every fifth step": digests(restored=True)}
    runs = [(sys.executable, "1"), (sys.executable, "4"), *((python, "") for python in arguments.pythons)]
    for python, threads in runs:
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({"NUMBA_NUM_THREADS": threads} if threads else {})
        words = [python, "-m", "tests.same", "--print"]
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{python}: {done.stderr[-500:]}")
        version, found = json.loads(done.stdout.splitlines()[-1])
        others[f"a process with {threads} thread(s)" if threads else f"Python {version}"] = found
    for way, found in others.items():
        wrong = [name for name in ours if found[name] != ours[name]]
        print(f"{way}: {len(ours) - len(wrong)} of {len(ours)} the same{': not ' if wrong else ''}{', '.join(wrong)}")
        ways.append(way)
        differ += wrong
    if arguments.record:
        record("same", {"episodes": len(ours), "ways": ways, "differ": len(differ)}, words=[])
    return int(bool(differ))


if __name__ == "__main__":
    sys.exit(main())
