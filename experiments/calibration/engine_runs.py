"""Runs of a real engine: what was asked, when tokens came, and how far another account of the same run is from it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from edgellm_env.arrays import BoolArray, FloatArray, IntArray

MEASURES: Final = {
    "ttft": "time to the first token", "tpot": "time per further token", "latency": "time to the last token",
}  # fmt: skip
STATISTICS: Final = ("mean", "P50", "P90", "P99")
_MOST = 1e12


class EngineRun(NamedTuple):
    """Requests in order of arrival, arrays (requests,); times since the first one was queued."""

    arrival_s: FloatArray
    prompt_tokens: IntArray
    output_tokens: IntArray
    first_token_s: FloatArray
    finished_s: FloatArray
    kv_tokens: int | None  # that the engine's KV cache held; None: it does not say, since it was not full
    max_running: int | None  # requests that the engine ran together, at most


@dataclass(frozen=True)
class Compared:
    """One statistic of one measure, in the engine and played."""

    measure: str  # of MEASURES
    statistic: str  # of STATISTICS
    engine_s: float
    played_s: float

    @property
    def error(self) -> float:
        """Played / engine - 1; above 0: what was played is slower."""
        return self.played_s / self.engine_s - 1.0


def read_run(folder: Path) -> EngineRun:
    """Read ``requests.jsonl``, one request a line, and ``meta.json`` of a run.

    Raises:
        ValueError: in one line: no such file, no JSON, a value that is missing or impossible.
    """
    meta_path, path = folder / "meta.json", folder / "requests.jsonl"
    meta = _parsed(_text(meta_path), str(meta_path))
    lines = ((f"{path}, line {number}", line) for number, line in enumerate(_text(path).splitlines(), start=1))
    rows = [_request(_parsed(line, where), where) for where, line in lines if line.strip()]
    if not rows:
        raise ValueError(f"{path}: no requests; expected one a line")
    queued_s, first_s, last_s, prompt, output = np.array(sorted(rows)).T
    return EngineRun(
        arrival_s=queued_s - queued_s[0],
        prompt_tokens=prompt.astype(np.int64),
        output_tokens=output.astype(np.int64),
        first_token_s=first_s - queued_s[0],
        finished_s=last_s - queued_s[0],
        kv_tokens=_limit(meta, "num_kv_tokens", meta_path),
        max_running=_limit(meta, "max_num_seqs", meta_path),
    )


def measures(run: EngineRun) -> dict[str, FloatArray]:
    """Return each of :data:`MEASURES` in seconds, (requests,); NaN for the time per token of a single token."""
    further = np.where(run.output_tokens > 1, run.output_tokens - 1.0, np.nan)
    return {
        "ttft": run.first_token_s - run.arrival_s,
        "tpot": (run.finished_s - run.first_token_s) / further,
        "latency": run.finished_s - run.arrival_s,
    }


def compare(engine: EngineRun, played: EngineRun) -> list[Compared]:
    """Return every statistic of every measure of the same requests in the engine and played.

    Measures that no request has (time per token, where all outputs are of one token) are left out.
    """
    own, other = measures(engine), measures(played)
    compared = []
    for name in MEASURES:
        known: BoolArray = ~np.isnan(own[name])
        if known.any():
            numbers = zip(STATISTICS, _statistics(own[name][known]), _statistics(other[name][known]), strict=True)
            compared += [Compared(name, *row) for row in numbers]
    return compared


def _statistics(values: FloatArray) -> list[float]:
    return [float(values.mean()), *(float(one) for one in np.quantile(values, (0.5, 0.9, 0.99)))]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from error


def _parsed(text: str, where: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{where}: {type(found).__name__}; expected an object")
    return found


def _request(row: Mapping[str, Any], where: str) -> tuple[float, ...]:
    """Return when a request was queued, had its first and its last token, and its prompt and output tokens."""
    numbers = []
    for name in ("queued_ts", "first_token_ts", "last_token_ts", "input_toks", "output_toks"):
        value, tokens = row.get(name), name.endswith("toks")
        kinds = int if tokens else int | float
        if not isinstance(value, kinds) or isinstance(value, bool) or not (1 if tokens else -_MOST) <= value <= _MOST:
            expected = "a whole number from 1" if tokens else "seconds"
            raise ValueError(f"{where}: {name}: {value!r}; expected {expected}")
        numbers.append(float(value))
    queued_s, first_s, last_s, _, output = numbers
    if not (queued_s < first_s <= last_s and (output == 1 or first_s < last_s)):
        raise ValueError(
            f"{where}: queued {queued_s}, first token {first_s}, last {last_s}; expected them one after the other"
        )
    return tuple(numbers)


def _limit(meta: Mapping[str, Any], name: str, path: Path) -> int | None:
    value = meta.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10**9):
        return value
    raise ValueError(f"{path}: {name}: {value!r}; expected a number from 1, or null")
