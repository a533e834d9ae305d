"""``replay-engine``: a run of a real engine played by the project's node, and how far the two are apart."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from agents.files import alone_in, prepare_folder, write_csv, write_json
from edgellm_env.costs.profiles import load_profile
from experiments.calibration.engine_runs import MEASURES, Compared, compare, measures, read_run
from experiments.calibration.replay import MOST_OVERHEAD_S, fit_overhead, play, replay
from experiments.results.provenance import measured_with
from experiments.results.summary import plain_table


@dataclass(frozen=True)
class ReplayEngine:
    """Serve the requests of a real engine's run first come, first served, and compare when their tokens come."""

    run_folder: Annotated[Path, tyro.conf.Positional]  # Folder with requests.jsonl and meta.json (docs/profiles.md).
    profile: str  # Shipped profile's name, or the path of one.
    out: Path  # Folder for replay.json (errors) and requests.csv.
    overhead_s: float = 0.0  # Added to every iteration: the engine's time between kernels.
    fit_overhead: bool = False  # Find the overhead at which the mean latency is the engine's.

    def run(self, console: Console) -> list[Compared]:
        """Read, play, compare, print, write."""
        if not 0.0 <= self.overhead_s <= MOST_OVERHEAD_S:
            raise ValueError(f"overhead-s: {self.overhead_s}; expected from 0 to {MOST_OVERHEAD_S}")
        if self.fit_overhead and self.overhead_s:
            raise ValueError(f"overhead-s: {self.overhead_s} beside --fit-overhead; expected one of them")
        profile, engine = load_profile(self.profile), read_run(self.run_folder)
        with alone_in(prepare_folder(self.out), "replaying a run here"):
            overhead_s = fit_overhead(engine, profile, play) if self.fit_overhead else self.overhead_s
            played = replay(engine, profile, play, overhead_s)
            compared = compare(engine, played)
            lines = zip(
                engine.arrival_s, engine.prompt_tokens, engine.output_tokens,
                *measures(engine).values(), *measures(played).values(), strict=True,
            )  # fmt: skip
            of = [f"{who}_{name}_s" for who in ("engine", "played") for name in MEASURES]
            write_csv(
                self.out / "requests.csv",
                ("arrival_s", "prompt_tokens", "output_tokens", *of),
                ([f"{value:.6g}" for value in line] for line in lines),
            )
            write_json(
                self.out / "replay.json",
                measured_with()
                | {"run": str(self.run_folder), "profile": profile.name, "overhead_s": overhead_s}
                | {"requests": len(engine.arrival_s), "kv_tokens": played.kv_tokens, "max_running": played.max_running}
                | {"errors": [asdict(one) | {"error": one.error} for one in compared]},
            )
        title = f"{profile.name} + {1e3 * overhead_s:g} ms an iteration against {self.run_folder.resolve().name}"
        console.print(_table(title, compared))
        console.print(f"Errors: {self.out / 'replay.json'}   Requests: {self.out / 'requests.csv'}", markup=False)
        return compared


def _table(title: str, compared: list[Compared]) -> Table:
    columns = {"measure": "", "statistic": "", "engine, s": ".4g", "played, s": ".4g", "error, %": "+.1f"}
    blocks = [
        [(words, one.statistic, one.engine_s, one.played_s, 100 * one.error) for one in compared if one.measure == name]
        for name, words in ((name, f"{name}: {words}") for name, words in MEASURES.items())
    ]
    return plain_table(title, "", columns, blocks)
