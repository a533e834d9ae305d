"""Wrong inputs of every kind, drawn from a seed: scenarios, traces, actions, folders of agents and datasets, words.

Each is a :class:`Case`: what it is of, and a function that gives it to the project. Most are wrong; of some that are
drawn at random the project may take one, which has to go as well then.
"""

import copy
import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import yaml

from agents.registry import SHIPPED_FOLDER
from edgellm_env import ENVIRONMENT_IDS, load_scenario
from edgellm_env.scenario import SCENARIO_FOLDER
from experiments.__main__ import main
from tests.conftest import SAMPLE_TRACE

LONG = "x" * 5_000
VALUES: tuple[Any, ...] = (
    None, True, "", "0.5", "nan", LONG, "a\nb", "\x00", "[red]", [], {}, [1], {"a": 1}, [[[[]]]], [None], {None: None},
    0, -1, 1.5, 0.1 + 0.2, -0.0, 5e-324, 1e-30, 1e30, 1e300, -1e300, float("nan"), float("inf"), float("-inf"),
    10**9, 10**18, 10**59, -(10**30), 2**63, b"x", (1, 2), {1, 2}, object(), np.float64("nan"), np.zeros(3), 1j,
    {"kind": "uniform"}, {"kind": "zipf", "low": 1}, {"kind": "uniform", "low": 2.0, "high": 1.0},
    {"kind": "constant", "value": 1e308}, {"kind": "uniform-integer", "low": 0, "high": 10**30},
    {"kind": "choice", "values": []}, {"kind": "log-uniform", "low": 0.0, "high": 1.0},
)  # fmt: skip
ODD_TEXT = (
    b"", b"\xff\xfe", b"\x00" * 50, b"a: b: c", b"- 1\n- 2", b"just words", b"{", b"[" * 5_000, b"%YAML 9.9\n---\n",
    b"!!python/object/apply:os.system ['touch hacked']", b"a: !!binary x", b"a: !!set {b}", b"a: !own {}",
    b"? [1]\n: 2",
    b"a: &x [*x]", b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", b"a: 1\na: 2", b"<<: {a: 1}", b"a: 2001-01-01",
    b"a: 1\n---\na: 2", b"{a: 1, {b: 2}: 3}", b"\t- tab", b"name: |\n  text\n bad", b"a: 'unclosed",
    "ä: ö\u2028".encode(),
    b"a: " + b"9" * 5_000, b"\xef\xbb\xbfname: bom", b"null", b"~", b"1e999", b"{}" * 1000, b"a: @x", b"a: `x`",
)  # fmt: skip

PATHS = (
    "model", "schemes", "schemes.0", "node", "timing", "queue", "queue.infeasible", "queue.carry_over", "availability",
    "workload", "workload.arrivals", "workload.requests", "workload.trace", "workload.trace.path", "workload.bursts",
    "workload.trace.window", "workload.latency_requirement_s", "workload.prompt_tokens", "workload.prompt_padding",
    "costs", "costs.kind", "provenance", "provenance.default", "radio.fading", "name", "nowhere", "a.b", "", ".", LONG,
)  # fmt: skip
WORDS = (
    "nan", "inf", "-1", "0", "1e99", "9" * 30, "9" * 5_000, LONG, "x", "''", "\x00", "a=b", "a,b", "--", "-h2", "é",
    "/dev/null", "/dev/zero", "/proc/x", ".", "..", "~", "1.5", "True", "None", "os:getcwd", "a:b:c", "x=y=z", "@",
    "{}", "-", "[1,", "file:///x", "$HOME", "*", "a b", "\u202e", "\ud800", "dftsp@sometimes", "ppo=.", "ppo=/dev/zero",
)  # fmt: skip
LINES = {
    "compare --out out --scenario tiny --policies fcfs --episodes 1": (
        "scenario policies episodes seed trace slots record workers clairvoyant-s out set"
    ),
    "sweep --out out --scenario tiny --policies fcfs --episodes 1 --workers 1 --set queue.capacity=4": (
        "set scenario policies episodes slots trace workers"
    ),
    "train --scenario tiny --out out --steps 1": "scenario agent seed config slots dataset set",
    "collect --scenario tiny --episodes 1 --out out --workers 1": (
        "scenario env policy episodes seed id epsilon parts slots out tier"
    ),
    "census --scenario tiny --slots 1 --out census.json": "scenario slots seed trace out",
    "verify x-v0 --out .": "episodes out trace",
    "trace-info none.csv": "format time-scale start-s end-s",
    "reproduce --figures none --out out": "figures seed workers out",
    "study compare --scenario tiny --policies fcfs --episodes 1 --store store": (
        "scenario policies rates episodes trace store"
    ),
    "tune lookahead --scenario tiny --generations 0 --out settings.yaml": "scenario seed out",
    "benchmark decisions --scenario nowhere": "scenario",
}


@dataclass(frozen=True)
class Case:
    """A wrong input."""

    name: str  # says what it is
    give: Callable[[Path], object]  # gives it to the project; the argument is a folder of its own, the working folder


def cases(seed: int, count: int) -> Iterator[Case]:
    """Draw so many cases, of each kind in turn."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        yield kind(rng)


def command(*words: str) -> int:
    """Run a command line in this process; return its status."""
    try:
        return main([str(word) for word in words])
    except SystemExit as ended:  # asked for help
        return int(ended.code or 0)


def shown(value: object) -> str:
    """A value as a name shows it."""
    return repr(value)[:60]


def play(env: Any) -> None:
    """Begin an episode, and take a few steps of it."""
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(3):
        env.step(env.action_space.sample())


def scenario_values(rng: random.Random) -> Case:
    """A scenario with one to three settings set to something odd."""
    name = rng.choice(["tiny", "balanced", "bursty", "quantized", "spillover", "azure-conv"])
    paths = [*sorted(load_scenario(name).numbers()), *PATHS]
    changes = {rng.choice(paths): rng.choice(VALUES) for _ in range(rng.choice([1, 1, 2, 3]))}
    environment = rng.choice(ENVIRONMENT_IDS)

    def give(folder: Path) -> None:
        play(gym.make(environment, scenario=name, overrides=changes, trace=_trace(name)).unwrapped)

    return Case(f"{environment} {name} {shown(changes)}", give)


def scenario_trees(rng: random.Random) -> Case:
    """A scenario, given as a mapping, of which something is missing, is more than it should be or is another thing."""
    name = rng.choice(["tiny", "bursty", "quantized"])
    tree: Any = yaml.safe_load((SCENARIO_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    part, what, value = tree, rng.choice(["remove", "add", "set", "text"]), rng.choice(VALUES)
    while isinstance(part, dict | list) and part and (part is tree or rng.random() < 0.5):
        holder, key = part, rng.choice(list(part) if isinstance(part, dict) else range(len(part)))
        part = holder[key]
    if what == "remove":
        del holder[key]
    elif what == "add" and isinstance(holder, dict):
        holder[rng.choice(["surprise", 1, None, LONG, "name "])] = value
    else:
        holder[key] = copy.copy(value) if what == "set" else str(part)

    def give(folder: Path) -> None:
        play(gym.make("EdgeLLM/Batch-v0", scenario=tree).unwrapped)

    return Case(f"{name} {what} {key} {shown(value)}", give)


def scenario_files(rng: random.Random) -> Case:
    """A scenario file that is damaged, or holds something else."""
    content = rng.choice(ODD_TEXT)
    if rng.random() < 0.5:
        lines = (SCENARIO_FOLDER / "tiny.yaml").read_bytes().split(b"\n")
        place = rng.randrange(len(lines))
        lines[place : place + rng.choice([0, 1, 5])] = [rng.choice([content[:500], lines[place] * 2, b"  x: 1"])]
        content = b"\n".join(lines)
    line = rng.choice(["compare --out out --episodes 1 --policies fcfs --scenario", "census --slots 5 --scenario"])

    def give(folder: Path) -> int:
        Path("odd.yaml").write_bytes(content)
        return command(*line.split(), "odd.yaml", *(["--out", "census.json"] if "census" in line else []))

    return Case(f"{line} {shown(content)}", give)


def traces(rng: random.Random) -> Case:
    """A trace file that is damaged, of another layout, or no text."""
    lines = SAMPLE_TRACE.read_bytes().split(b"\n")[:40]
    for _ in range(rng.choice([1, 2, 5])):
        cells = lines[rng.randrange(len(lines) - 1)].split(b",")
        cells[rng.randrange(len(cells))] = rng.choice(
            [
                b"",
                b"-1",
                b"0",
                b"nan",
                b"inf",
                b"1e400",
                b"9" * 400,
                b"x",
                b'"',
                b"\xff",
                b"2023-13-45 00:00:00",
                b"1;2",
            ]
        )
        lines[rng.randrange(len(lines) - 1)] = b",".join(cells)
    contents = [
        b"\n".join(lines),
        b"\n".join(lines),
        b"\n".join(lines[1:]),
        *ODD_TEXT,
        b"TIMESTAMP\n1\n",
        b"{}\n[]\n3\n",
    ]
    content, name = rng.choice(contents), rng.choice(["odd.csv", "odd.jsonl", "odd.csv.gz", "odd"])
    options = rng.choice(
        ["", "--time-scale 1e300", "--end-s 1e-9", "--start-s 1e9", "--zero-tokens drop --over-limit cap",
         "--prompt-limit-tokens 10", "--time-scale nan", "--format mooncake", "--format burstgpt"]
    )  # fmt: skip

    def give(folder: Path) -> object:
        Path(name).write_bytes(content)
        if rng.random() < 0.5:
            return command("trace-info", name, *options.split())
        return play(gym.make("EdgeLLM/Batch-v0", scenario="azure-conv", trace=name).unwrapped)

    return Case(f"{name} {options} {shown(content)}", give)


def actions(rng: random.Random) -> Case:
    """An action that is none, of a single or a vector environment, after which a good one has to go."""
    environment, single = rng.choice(ENVIRONMENT_IDS), rng.random() < 0.5
    size = (8,) if single else (2, 8)
    odd: list[Any] = [
        *VALUES, np.full(size, np.nan), np.full(size, 2), np.zeros((3, 3)), np.zeros(0), np.array("x"), np.array(None),
        np.full(size, -1), np.full(size, 1e300), np.full(size, 2**63, dtype=np.uint64), np.zeros(size, dtype=complex),
        np.zeros(size, dtype="U1"), np.full(size, object()), [[0] * 8, [0] * 7], {"action": 0}, np.zeros(size, "M8[s]"),
        np.full((2,), 10**6), np.full((2,), 0.5), [0.5], "0" * 8, np.full((*size[:-1], 9), 7), np.zeros((*size, 1)),
    ]  # fmt: skip
    action, scenario = rng.choice(odd), rng.choice(["tiny", "quantized"])

    def give(folder: Path) -> None:
        overrides = {"queue.capacity": 8}
        if single:
            env: Any = gym.make(environment, scenario=scenario, overrides=overrides).unwrapped
        else:
            env = gym.make_vec(environment, num_envs=2, scenario=scenario, overrides=overrides).unwrapped
        env.reset(seed=0)
        try:
            env.step(action)
        finally:
            env.step(env.action_space.sample())

    return Case(f"{environment} {'single' if single else 'vector'} {shown(action)}", give)


def arguments(rng: random.Random) -> Case:
    """Something odd as an argument of the Python interface."""
    value = rng.choice(VALUES)
    calls: dict[str, Callable[[], object]] = {
        "scenario": lambda: gym.make("EdgeLLM/Batch-v0", scenario=value),
        "overrides": lambda: gym.make("EdgeLLM/Batch-v0", overrides=value),
        "trace": lambda: gym.make("EdgeLLM/Batch-v0", scenario="azure-conv", trace=value),
        "seed": lambda: gym.make("EdgeLLM/Batch-v0", scenario="tiny").unwrapped.reset(seed=value),
        "options": lambda: gym.make("EdgeLLM/Batch-v0", scenario="tiny").unwrapped.reset(seed=0, options=value),
        "num_envs": lambda: gym.make_vec("EdgeLLM/Batch-v0", num_envs=value, scenario="tiny"),
        "selection": lambda: _begun("EdgeLLM/Batch-v0").to_action(value),
        "scheme": lambda: _begun("EdgeLLM/Joint-v0").slot_problem(value),
        "vector seed": lambda: gym.make_vec("EdgeLLM/Rank-v0", num_envs=2, scenario="tiny").reset(seed=value),
        "feasible": lambda: _begun("EdgeLLM/Batch-v0").slot_problem().is_feasible(value),
    }
    name = rng.choice(sorted(calls))
    return Case(f"{name}: {shown(value)}", lambda folder: calls[name]())


def agents(rng: random.Random) -> Case:
    """A folder of a trained agent in which a file is damaged, missing or another thing."""
    agent, scenario = rng.choice(["cem-linear", "es-value", "ppo-value", "ppo-rank"]), "light"
    file = rng.choice(["model.safetensors", "card.json", "run.json", "scenario.yaml", "model.zip"])
    content = rng.choice(
        [b"", b"{}", b"[]", b"\x00" * 64, b"\xff" * 64, b"PK\x03\x04" + b"x" * 50, b'{"a": NaN}', None]
    )
    cut = rng.random()

    def give(folder: Path) -> int:
        shutil.copytree(SHIPPED_FOLDER / agent / scenario, "agent")
        path = Path("agent") / file
        if content is None and path.exists():
            path.write_bytes(path.read_bytes()[: int(cut * path.stat().st_size)])
        else:
            path.write_bytes(content or b"x")
        words = f"compare --scenario light --slots 5 --episodes 1 --out out --policies {agent}=agent"
        return command(*words.split())

    return Case(f"{agent} {file} {shown(content)}", give)


def folders(rng: random.Random) -> Case:
    """A folder of results, of a dataset or of a run with something else in it than should be."""
    value: Any = rng.choice(
        [[], {}, None, 3, "x", {"metadata": 1}, {"episodes": [{}]}, [[1]], {"metadata": {}, "episodes": 0}]
    )
    text = rng.choice([json.dumps(value).encode(), *ODD_TEXT])
    file, line = rng.choice(
        [
            ("in/results.json", "report in --out page.html"),
            ("in/recordings.json.gz", "report in --out page.html"),
            ("in/x-v0/data/metadata.json", "verify in/x-v0 --out ."),
            ("in/x-v0/data/main_data.hdf5", "verify in/x-v0 --out ."),
            ("in/plan.json", "compare --scenario tiny --policies fcfs --episodes 1 --out in"),
            ("in/done.jsonl", "compare --scenario tiny --policies fcfs --episodes 1 --out in"),
            ("in/run.json", "train --scenario tiny --steps 64 --resume --out in"),
            ("in/run.json", "ship in --to to"),
            ("in/results.json", "study bounds --results in/results.json --store store"),
            ("in/census.json", "scenario-pages --census in/census.json --out page.md"),
            ("in/config.yaml", "train --scenario tiny --steps 64 --config in/config.yaml --out out"),
            ("in/data.json", "results-page --store in --out page.md"),
        ]
    )

    def give(folder: Path) -> int:
        Path(file).parent.mkdir(parents=True)
        Path(file).write_bytes(text)
        return command(*line.split())

    return Case(f"{line} {file} {shown(text)}", give)


def words(rng: random.Random) -> Case:
    """A command line with an odd word."""
    line = rng.choice(sorted(LINES))
    option, word = rng.choice(LINES[line].split()), rng.choice(WORDS)
    return Case(f"{line} --{option} {shown(word)}", lambda folder: command(*line.split(), f"--{option}", word))


def _begun(environment: str) -> Any:
    env: Any = gym.make(environment, scenario="tiny").unwrapped
    env.reset(seed=0)
    env.step(env.to_action([]))
    return env


def _trace(scenario: str) -> str | None:
    return str(SAMPLE_TRACE) if scenario == "azure-conv" else None


KINDS: tuple[Callable[[random.Random], Case], ...] = (
    scenario_values, scenario_trees, scenario_files, traces, actions, arguments, agents, folders, words,
    scenario_values, actions, words,
)  # fmt: skip
