"""Numbers that others' results depend on: a hash of an episode's first slots for every id on every shipped scenario.

``python -m tests.golden.numbers`` says which hashes of ``numbers.json`` have moved. ``--write`` stores new pairs of id
and scenario. A pair that is there already moves only with ``--because "TEXT"``, a text that docs/decisions.md holds and
that says what moved and why; else the environment that has changed gets a new ``-vN``. Floats count to five decimals,
so that another processor's last bits make no difference; ``python -m tests.digest`` compares every bit.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np

from edgellm_env import ENVIRONMENT_IDS, scenario_names
from tests.conftest import CONTINUOUS, arguments_for
from tests.digest import random_action

STORED, DECISIONS = Path(__file__).parent / "numbers.json", Path(__file__).parents[2] / "docs/decisions.md"
STEPS = 30


def pairs():
    """Every id with every scenario that it plays."""
    both = [(one, scenario) for one in ENVIRONMENT_IDS for scenario in scenario_names()]
    return [(one, scenario) for one, scenario in both if not ("Joint" in one and scenario in CONTINUOUS)]


def numbers_of(environment_id, scenario):
    """Return the hash of what the first steps after ``reset(seed=7)`` give."""
    env, state, rng = (
        gym.make(environment_id, **arguments_for(scenario)).unwrapped,
        hashlib.sha256(),
        np.random.default_rng(1),
    )

    def feed(value):
        if isinstance(value, dict):
            for name in sorted(value):
                state.update(name.encode())
                feed(value[name])
            return
        array = np.asarray(value)
        whole = np.rint(array.astype(np.float64) * 1e5) if array.dtype.kind == "f" else array
        state.update(f"{array.shape}".encode() + np.ascontiguousarray(whole).astype(np.int64).tobytes())

    observation, info = env.reset(seed=7)
    for part in (observation, info):
        feed(part)
    for _ in range(STEPS):
        *step, over, info = env.step(random_action(env.action_space, info.get("action_mask"), rng))
        for part in (*step, over, info):
            feed(part)
        if over:
            break
    return state.hexdigest()[:16]


def moved(found, stored):
    """Names of pairs whose hashes are not those that are stored, and of pairs that there are no more."""
    return [name for name, value in stored.items() if found.get(name) != value]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden.numbers", description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="store the hashes")
    parser.add_argument("--because", help="a text of docs/decisions.md that says what moved and why")
    arguments = parser.parse_args()
    document = json.loads(STORED.read_text()) if STORED.exists() else {"numbers": {}, "moved": {}}
    found = {f"{one} {scenario}": numbers_of(one, scenario) for one, scenario in pairs()}
    names, reason = moved(found, document["numbers"]), arguments.because
    print(f"{len(found)} pairs; moved: {', '.join(names) or 'none'}")
    if not arguments.write:
        return int(bool(names))
    if names and not (reason and reason in DECISIONS.read_text(encoding="utf-8")):
        print('expected a new -vN, or --because "TEXT" with a text of docs/decisions.md that says what moved and why')
        return 1
    document["moved"] |= dict.fromkeys(names, reason)
    document["numbers"] = found
    STORED.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
