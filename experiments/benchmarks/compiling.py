"""``benchmark compile``: what each compiled function costs to compile, for a first reset and step without any cache.

Each environment is made in a process of its own, whose folder of machine code is empty.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import gymnasium as gym
from numba.core import event
from rich.console import Console
from rich.table import Table

from agents.files import require_place
from edgellm_env import ENVIRONMENT_IDS
from edgellm_env._compile_plain import compile_at_once
from edgellm_env.scenario import Scenario, load_scenario
from experiments.benchmarks.throughput import report
from experiments.changes import Changes
from experiments.progress import progress_bar
from experiments.results.provenance import measured_with
from experiments.results.summary import plain_table

OTHER: Final = "all else"
"""A call's time that is no function's: numba's preparations, machine code that is stored, the work itself."""
TOTAL: Final = "the whole call"


@dataclass(frozen=True)
class Compiled:
    """What a function costs to compile, without the functions that it calls."""

    subject: str  # the environment's id and its scenario
    when: str  # the call that needs it first: reset or step
    function: str
    own_s: float  # processor time


@dataclass(frozen=True, kw_only=True)
class BenchmarkCompile(Changes):
    """Measure what functions cost to compile for the first reset and step of an environment."""

    ids: tuple[str, ...] = ("EdgeLLM/Batch-v0", "EdgeLLM/Rank-v1")  # Environment ids.
    scenario: tuple[str, ...] = ("balanced", "chat")  # Shipped scenarios.
    least: float = 0.1  # Functions that take fewer seconds in every environment share a row.
    out: Path | None = None  # JSON file for everything.

    def run(self, console: Console) -> list[Compiled]:
        """Check everything, then measure and print.

        Raises:
            ValueError: an argument that can't be used; nothing has been measured then.
        """
        require_place(self.out)
        unknown = sorted(set(self.ids) - set(ENVIRONMENT_IDS))
        if unknown:
            raise ValueError(f"ids: {unknown[0]}; expected some of {', '.join(ENVIRONMENT_IDS)}")
        subjects = [(one, scenario) for scenario in map(self.changed, self.scenario) for one in self.ids]
        about, rows = measured_with("numba", "llvmlite"), list[Compiled]()
        with progress_bar(console, len(subjects)) as bar:
            for environment_id, scenario in subjects:
                bar(0, f"{environment_id} on {scenario.name}")
                rows += measured_alone(environment_id, scenario)
                bar(1, "")
        document = {"metadata": about, "rows": [asdict(row) for row in rows]}
        report(console, self.out, document, compile_table(rows, self.least))
        return rows


def measured_alone(environment_id: str, scenario: Scenario) -> list[Compiled]:
    """Return what :func:`measured` does in a new process whose folder of machine code is empty."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scenario.yaml"
        path.write_text(scenario.to_yaml(), encoding="utf-8")
        words = [sys.executable, "-m", __spec__.name, environment_id, str(path)]
        done = subprocess.run(  # noqa: S603 - this module
            words, env=os.environ | {"NUMBA_CACHE_DIR": folder}, stdout=subprocess.PIPE, text=True, check=True
        )
    return [Compiled(**row) for row in json.loads(done.stdout)]


class _Listener(event.Listener):
    """Times compilations, which are nested: a function's parts are compiled when it is found to call them."""

    def __init__(self, subject: str, when: str) -> None:
        self.subject, self.when = subject, when
        self.rows: list[Compiled] = []
        self._open: list[tuple[float, float]] = []  # when each began, and what its parts took

    def on_start(self, event: Any) -> None:
        """Begin a function."""
        self._open.append((time.process_time(), 0.0))

    def on_end(self, event: Any) -> None:
        """Add the function's row."""
        began, parts_s = self._open.pop()
        taken_s, function = time.process_time() - began, event.data["dispatcher"].py_func
        if self._open:
            self._open[-1] = (self._open[-1][0], self._open[-1][1] + taken_s)
        name = f"{function.__module__}.{function.__qualname__}".removeprefix("edgellm_env.")
        self.rows.append(Compiled(self.subject, self.when, name, taken_s - parts_s))


def measured(environment_id: str, scenario: Scenario) -> list[Compiled]:
    """Reset an environment and step it, compiled at once; return the functions, those of each call by falling own time.

    A call's last row has the rest of its time.
    """
    compile_at_once()
    env = gym.make(environment_id, scenario=scenario)
    idle = env.action_space.sample() * 0
    calls: dict[str, Callable[[], object]] = {"reset": lambda: env.reset(seed=0), "step": lambda: env.step(idle)}
    rows: list[Compiled] = []
    for when, call in calls.items():
        listener, start_s = _Listener(f"{environment_id} on {scenario.name}", when), time.process_time()
        with event.install_listener("numba:compile", listener):
            call()
        taken_s = time.process_time() - start_s
        rest_s = taken_s - sum(row.own_s for row in listener.rows)
        rows += sorted(listener.rows, key=lambda row: -row.own_s)
        rows.append(Compiled(listener.subject, when, OTHER, rest_s))
    return rows


def compile_table(rows: Sequence[Compiled], least_s: float) -> Table:
    """Return the measurement as a table, a column for each environment, with a row for what takes less everywhere."""
    subjects = list(dict.fromkeys(row.subject for row in rows))
    blocks: list[list[list[object]]] = []
    for when in dict.fromkeys(row.when for row in rows):
        seconds: dict[str, dict[str, float]] = defaultdict(dict)
        for row in rows:
            if row.when == when:
                own = seconds[row.function]
                own[row.subject] = own.get(row.subject, 0.0) + row.own_s
        other, most = seconds.pop(OTHER), {name: max(own.values()) for name, own in seconds.items()}
        named = sorted((name for name in seconds if most[name] >= least_s), key=lambda name: -most[name])
        small = [own for name, own in seconds.items() if most[name] < least_s]
        listed = {name: seconds[name] for name in named}
        listed[f"{len(small)} smaller functions"] = {one: sum(own.get(one, 0.0) for own in small) for one in subjects}
        listed[OTHER] = other
        listed[TOTAL] = {one: sum(own.get(one, 0.0) for own in listed.values()) for one in subjects}
        blocks.append([[when, name, *map(own.get, subjects)] for name, own in listed.items()])
    caption = "Seconds of processor time in processes without machine code on disk; a function without what it calls."
    columns = {"first in": "", "function": ""} | {one.replace("EdgeLLM/", ""): ".2f" for one in subjects}
    return plain_table("Compiling", caption, columns, blocks)


if __name__ == "__main__":
    print(json.dumps([asdict(row) for row in measured(sys.argv[1], load_scenario(sys.argv[2]))]))
