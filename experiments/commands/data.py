"""``trace-info``: what a trace file looks like; ``verify``: whether a dataset is what it says."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from edgellm_env.scenario.demand import OverLimitRule, TimeUnit, TraceColumns, TraceFormat, ZeroTokensRule
from edgellm_env.workload.files import read_trace_file
from edgellm_env.workload.recorded import RecordedRequests, TraceStatistics, trace_statistics
from experiments.datasets.combined import open_dataset
from experiments.datasets.hdf5 import DatasetError
from experiments.datasets.plan import is_dataset_id
from experiments.datasets.storage import datasets_root
from experiments.datasets.verification import Verified
from experiments.extras import require
from experiments.progress import progress_bar

_NO_LIMIT = 2**31 - 1  # the reader takes no longer request


@dataclass(frozen=True)
class TraceInfo:
    """Describe a trace file: requests, rate, burstiness, lengths. docs/traces.md says which layouts are known."""

    file: Annotated[Path, tyro.conf.Positional]  # The trace file.
    format: TraceFormat = "auto"  # Layout of the file; auto tells by its columns.
    columns: tuple[str, str, str] | None = None
    """Names of the columns of arrival, prompt tokens and output tokens, for a file of no known layout."""
    time_unit: TimeUnit | None = None  # Unit of the times, in place of the layout's own.
    zero_tokens: ZeroTokensRule = "auto"
    """Rows without prompt or output tokens: error, drop (they are counted), or auto: drop where a layout logs failed
    requests so (BurstGPT)."""
    time_scale: float = 1.0  # Arrival times are multiplied by it: 0.5 is twice the recorded rate.
    prompt_limit_tokens: int | None = None  # Most prompt tokens that the service takes.
    output_limit_tokens: int | None = None  # Most output tokens that the service writes.
    over_limit: OverLimitRule = "error"
    """Longer requests: error, cap (shortened) or reject (left out); both are counted."""
    start_s: float = 0.0  # Begin of a window, in scaled seconds since the file's first row.
    end_s: float | None = None  # End of the window, exclusive; the file's end unless given.
    json: bool = False  # Print JSON in place of the table.

    def run(self, console: Console) -> TraceStatistics:
        """Read the file, describe it, print."""
        self._check()
        recorded = self._read().scaled(self.time_scale)
        limits = self.prompt_limit_tokens, self.output_limit_tokens
        if limits != (None, None):
            recorded = recorded.limited(limits[0] or _NO_LIMIT, limits[1] or _NO_LIMIT, self.over_limit)
        # Whole file: its last request is inside whatever the rounding of its time.
        end_s = math.inf if self.end_s is None else self.end_s
        recorded = recorded.window(self.start_s, end_s)
        if not recorded.size:
            raise ValueError(f"{self.file}: no requests left in the window from {self.start_s:g} to {end_s:g} s")
        statistics = trace_statistics(recorded)
        if self.json:
            print(json.dumps(self._document(recorded, statistics), indent=1, allow_nan=False))
        else:
            console.print(info_table(recorded, statistics))
        return statistics

    def _read(self) -> RecordedRequests:
        named = None
        if self.columns is not None:
            arrival, prompt_tokens, output_tokens = self.columns
            named = TraceColumns(arrival=arrival, prompt_tokens=prompt_tokens, output_tokens=output_tokens)
        return read_trace_file(self.file, self.format, self.zero_tokens, named, self.time_unit)

    def _check(self) -> None:
        if self.columns is not None and self.format != "auto":
            raise ValueError(f"format: {self.format}; expected auto, as --columns names the columns")
        if not 0.0 < self.time_scale < math.inf:
            raise ValueError(f"time-scale: {self.time_scale}; expected a finite number above 0")
        for name in ("prompt_limit_tokens", "output_limit_tokens"):
            limit = getattr(self, name)
            if limit is not None and limit < 1:
                raise ValueError(f"{name.replace('_', '-')}: {limit}; expected at least 1")
        if self.over_limit != "error" and self.prompt_limit_tokens is None and self.output_limit_tokens is None:
            raise ValueError(
                f"over-limit: {self.over_limit}; expected --prompt-limit-tokens or --output-limit-tokens beside it"
            )
        if not 0.0 <= self.start_s < math.inf:
            raise ValueError(f"start-s: {self.start_s}; expected a finite number from 0")
        if self.end_s is not None and not self.end_s > self.start_s:
            raise ValueError(f"end-s: {self.end_s}; expected more than start-s = {self.start_s}")

    def _document(self, recorded: RecordedRequests, statistics: TraceStatistics) -> dict[str, Any]:
        values = {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(statistics).items()
            if name != "duration_s"
        }
        return {
            "file": str(self.file),
            "format": recorded.format,
            "settings": {name: one for name, one in asdict(self).items() if name not in ("file", "format", "json")},
            "first_arrival_s": float(recorded.arrival_s[0]),
            "last_arrival_s": float(recorded.arrival_s[-1]),
            **{name: getattr(recorded, name) for name in ("zero_token_rows", "capped_rows", "rejected_rows")},
            **values,
        }


def info_table(recorded: RecordedRequests, statistics: TraceStatistics) -> Table:
    """Return a trace's statistics as a table of two columns."""
    title = f"{recorded.path} ({recorded.format})"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, show_header=False)
    table.caption_justify = "left"
    table.caption = "Burstiness: standard deviation over mean of the times between arrivals; 1 for a Poisson process."
    table.add_column("statistic", no_wrap=True)
    table.add_column("value", justify="right")
    table.add_row("requests", f"{statistics.rows:,}")
    table.add_row("first arrival", f"{recorded.arrival_s[0]:,.3f} s")
    table.add_row("last arrival", f"{recorded.arrival_s[-1]:,.3f} s")
    table.add_row("rate", _number(statistics.rate_rps, " requests/s"))
    table.add_row("burstiness", _number(statistics.burstiness), end_section=True)
    for name in ("prompt_tokens", "output_tokens"):
        lengths = asdict(getattr(statistics, name))
        for part, value in lengths.items():
            text = f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
            table.add_row(f"{name.replace('_', ' ')}, {part}", text, end_section=part == list(lengths)[-1])
    table.add_row("left out for zero tokens (whole file)", f"{recorded.zero_token_rows:,}")
    table.add_row("capped at a limit (whole file)", f"{recorded.capped_rows:,}")
    table.add_row("rejected by a limit (whole file)", f"{recorded.rejected_rows:,}")
    return table


def _number(value: float, unit: str = "") -> str:
    return "not known (one arrival time)" if math.isnan(value) else f"{value:.3f}{unit}"


@dataclass(frozen=True)
class Verify:
    """Check a dataset: every episode's digest and shape, and some episodes played anew from their seeds.

    The dataset is read as data; nothing that it names is imported or run.
    """

    dataset_id: Annotated[str, tyro.conf.Positional]  # The dataset's id.
    episodes: int = 50  # How many episodes to play anew, spread over the dataset; 0 for digests alone.
    out: Path | None = None  # Root of datasets, as for collect.
    trace: Path | None = None  # Trace file, for scenarios that replay one.

    def run(self, console: Console) -> Verified:
        """Check everything and say what was checked."""
        require("h5py", "datasets")
        require("minari", "datasets")
        if self.episodes < 0:
            raise DatasetError(f"episodes: {self.episodes}; expected at least 0")
        if not is_dataset_id(self.dataset_id):
            raise DatasetError(f"dataset-id: {self.dataset_id!r}; expected NAMESPACE/NAME-vN")
        dataset = open_dataset(datasets_root(self.out), self.dataset_id, self.trace)
        with progress_bar(console, dataset.work + min(self.episodes, dataset.episodes)) as bar:
            verified = dataset.verify(self.episodes, lambda doing: bar(1, doing))
        console.print(
            f"{self.dataset_id}: {verified.episodes:,} episodes ({verified.steps:,} steps) are what their digests "
            f"say; {verified.replayed:,} of them ({verified.replayed_steps:,} steps) played anew are equal in every "
            "array, feasible, and optimal where they claim to be. Not checked: "
            f"{', '.join(verified.unchecked)}."
        )
        return verified
