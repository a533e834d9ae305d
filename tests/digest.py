"""Says in one line whether any number has moved: what environments give, what comparisons store, what agents decide.

``python -m tests.digest`` plays all of it and compares the hashes with ``tests/digest.json``; ``--write`` stores them
anew. A change that is meant to move no number leaves every hash as it is; one that moves some says so in
``docs/decisions.md``. Only public interfaces are used (environment ids, ``experiments compare`` and ``collect``), so
that the same script runs on any commit. Hashes are of bits: another processor may round exponentials differently, so
compare on the machine that wrote them (``--file`` names another place for them).
"""

import argparse
import hashlib
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from edgellm_env import ENVIRONMENT_IDS, scenario_names
from tests.conftest import SAMPLE_TRACE, arguments_for

STORED = Path(__file__).parent / "digest.json"
IDS = ("EdgeLLM/Batch-v0", "EdgeLLM/Select-v0", "EdgeLLM/Rank-v0", "EdgeLLM/Joint-v0")
SCENARIOS = (
    "azure-conv", "balanced", "bursty", "light", "memory", "paper", "patient", "quantized", "spillover", "tiny",
)  # fmt: skip
SINGLE_STEPS, VECTOR_STEPS = 60, 40
UNTIMED = ("decision_mean_s", "decision_p99_s")  # wall-clock times
POLICIES = (
    "dftsp", "exact", "dftsp-urgent", "lookahead", "static-batching", "no-batching", "fcfs", "edf", "sjf",
    "least-footprint", "random",
)  # fmt: skip
SHIPPED = {
    "light": ("cem-linear", "es-value", "ppo-rank", "ppo-select", "ppo-value"),
    "balanced": ("cem-linear", "dagger", "es-value", "ppo-rank", "ppo-value"),
    "memory": ("cem-linear", "es-value", "ppo-value"),
    "patient": ("cem-linear", "es-value", "ppo-value"),
    "paper": ("es-value",),
}


class Digest:
    """SHA-256 of whatever is fed: names, types, shapes and bits."""

    def __init__(self) -> None:
        self._state = hashlib.sha256()

    def feed(self, value: Any) -> None:
        """Add ``value``: numbers, arrays, and mappings and sequences of them."""
        if isinstance(value, dict):
            for key in sorted(value):
                self._state.update(f"{{{key}".encode())
                self.feed(value[key])
        elif isinstance(value, list | tuple):
            self._state.update(f"[{len(value)}".encode())
            for one in value:
                self.feed(one)
        elif isinstance(value, np.ndarray) and value.dtype == object:
            self.feed(list(value))
        elif isinstance(value, np.ndarray | np.generic):
            array = np.ascontiguousarray(value)
            self._state.update(f"{array.dtype.str}{array.shape}".encode())
            self._state.update(array.tobytes())
        else:
            assert not (isinstance(value, float) and math.isnan(value)), "a number is NaN"
            self._state.update(repr(value).encode())

    def text(self) -> str:
        """Return the digest so far."""
        return self._state.hexdigest()[:16]


def random_action(space: gym.Space[Any], masks: Any, rng: np.random.Generator) -> Any:
    """Return an action: few marks, so that batches are often feasible; legal picks where there are masks."""
    if isinstance(space, gym.spaces.MultiBinary):
        return (rng.random(space.shape) < 0.15).astype(np.int8)
    if isinstance(space, gym.spaces.MultiDiscrete):
        bits = (rng.random(space.shape) < 0.15).astype(np.int64)
        bits[0] = rng.integers(space.nvec[0]) if rng.random() < 0.3 else 0
        return bits
    if isinstance(space, gym.spaces.Discrete):
        if rng.random() < 0.05:
            return int(rng.integers(space.n))
        return int(rng.choice(np.flatnonzero(masks)))
    return (2.0 * rng.random(space.shape) - 1.0).astype(np.float32)


def play_single(environment_id: str, scenario: str) -> str:
    """Return the digest of everything that a single environment gives over some steps."""
    environment = gym.make(environment_id, **arguments_for(scenario))
    digest, rng = Digest(), np.random.default_rng(1)
    digest.feed(environment.reset(seed=7))
    _, info = environment.reset(seed=8)
    for _ in range(SINGLE_STEPS):
        step = environment.step(random_action(environment.action_space, info.get("action_mask"), rng))
        digest.feed(step)
        info = step[-1]
        if step[3]:  # a step after an episode's end is an error
            break
    environment.close()
    return digest.text()


def play_vector(environment_id: str, scenario: str, size: int) -> str:
    """Return the digest of everything that a vector environment gives, over ends of episodes too."""
    environments = gym.make_vec(
        environment_id, num_envs=size, **arguments_for(scenario, timing__episode_slots=VECTOR_STEPS // 2)
    )
    digest, rng = Digest(), np.random.default_rng(2)
    observations, infos = environments.reset(seed=5)
    digest.feed((observations, infos))
    for _ in range(VECTOR_STEPS):
        masks = infos.get("action_mask", [None] * size)
        actions = [random_action(environments.single_action_space, mask, rng) for mask in masks]
        step = environments.step(np.array(actions))
        digest.feed(step)
        infos = step[-1]
    environments.close()
    return digest.text()


def run_command(*words: str) -> None:
    """Run a command of the project, which must end well."""
    done = subprocess.run([sys.executable, "-m", "experiments", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: status {done.returncode}\n{done.stdout}\n{done.stderr}")


def compare_rows(scenario: str, policies: tuple[str, ...], slots: int, episodes: int) -> Iterator[tuple[str, str]]:
    """Yield each policy with the digest of its stored rows, as ``compare`` writes them."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["compare", "--scenario", scenario, "--slots", str(slots), "--episodes", str(episodes), "--record", "0"]
        if scenario == "azure-conv":
            words += ["--trace", str(SAMPLE_TRACE)]
        run_command(*words, "--policies", *policies, "--out", folder)
        document = json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))
    for policy in policies:
        digest = Digest()
        for row in document["episodes"]:
            if row["policy"] == policy:
                digest.feed({name: value for name, value in row.items() if name not in UNTIMED})
        yield policy, digest.text()


def collected(environment: str, policy: str) -> str:
    """Return the digest of every array of a small dataset."""
    import h5py

    with tempfile.TemporaryDirectory() as folder:
        run_command(
            "collect", "--scenario", "light", "--env", environment, "--policy", policy, "--episodes", "4",
            "--slots", "25", "--workers", "1", "--out", folder + "/data",
        )  # fmt: skip
        digest = Digest()
        files = sorted(Path(folder).rglob("main_data.hdf5"))
        assert len(files) == 1
        with h5py.File(files[0], "r") as file:
            arrays: dict[str, Any] = {}
            file.visititems(lambda name, item: arrays.update({name: item[()]}) if hasattr(item, "dtype") else None)
        digest.feed(arrays)
    return digest.text()


def all_digests() -> Iterator[tuple[str, str]]:
    """Yield every name with its digest."""
    for environment_id in IDS:
        name = environment_id.removeprefix("EdgeLLM/").removesuffix("-v0")
        for scenario in SCENARIOS:
            yield f"{name} {scenario} single", play_single(environment_id, scenario)
            yield f"{name} {scenario} 1", play_vector(environment_id, scenario, 1)
            yield f"{name} {scenario} 64", play_vector(environment_id, scenario, 64)
    for scenario in SCENARIOS:
        policies = (*POLICIES, "dftsp-joint") if scenario == "quantized" else POLICIES
        for policy, digest in compare_rows(scenario, policies, slots=60, episodes=2):
            yield f"compare {scenario} {policy}", digest
    for scenario, agents in SHIPPED.items():
        for policy, digest in compare_rows(scenario, tuple(f"{agent}:{scenario}" for agent in agents), 100, 2):
            yield f"compare {scenario} {policy}", digest
    for environment in ("Batch", "Select", "Rank"):
        for policy in ("dftsp", "random"):
            yield f"collect {environment} {policy}", collected(environment, policy)


def main() -> int:
    """Compare, or store anew; the exit status is 1 if a number moved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="store the digests")
    parser.add_argument("--file", type=Path, default=STORED, help="where they are stored")
    arguments = parser.parse_args()
    assert set(IDS) <= set(ENVIRONMENT_IDS)
    assert set(SCENARIOS) <= set(scenario_names())
    found = dict(all_digests())
    if arguments.write:
        arguments.file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"{len(found)} digests written to {arguments.file}")
        return 0
    expected = json.loads(arguments.file.read_text(encoding="utf-8"))
    moved = [name for name in sorted(expected.keys() | found.keys()) if expected.get(name) != found.get(name)]
    print(f"moved: {len(moved)} of {len(expected)}: {', '.join(moved)}" if moved else f"unmoved: {len(found)} digests")
    return 1 if moved else 0


if __name__ == "__main__":
    sys.exit(main())
