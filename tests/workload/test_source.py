import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgellm_env.scenario import Scenario, load_scenario
from edgellm_env.workload.files import read_trace_file
from edgellm_env.workload.recorded import RecordedRequests, TraceFileError
from edgellm_env.workload.source import TraceSource
from edgellm_env.workload.trace import REQUEST_FIELDS

SAMPLE = Path(__file__).parents[1] / "data/azure_sample.csv"


def replayed(**values: object) -> Scenario:
    changes: dict[str, object] = {"workload.trace.path": str(SAMPLE)}
    changes |= {path.replace("__", "."): value for path, value in values.items()}
    return load_scenario("azure-conv").with_values(changes)


@pytest.mark.parametrize("seed", [-1, 2**64, 2**70])
def test_seeds_outside_64_bits(seed: int) -> None:
    with pytest.raises(ValueError, match=rf"seed: {seed}; expected a whole number from 0 to 2\*\*64 - 1"):
        TraceSource(load_scenario("balanced")).draw([seed])


def test_fractional_seeds() -> None:
    with pytest.raises(TypeError):
        TraceSource(load_scenario("balanced")).draw([1.5])  # type: ignore[list-item]


def test_the_ends_of_the_seed_range_differ() -> None:
    batch = TraceSource(load_scenario("balanced")).draw([0, 2**64 - 1, 2**63])
    assert len({batch.trace(row).checksum() for row in range(3)}) == 3


@pytest.mark.parametrize("name", ["balanced", "bursty", "azure-conv"])
def test_an_episode_is_the_same_alone_and_in_a_batch_and_again(name: str) -> None:
    scenario = replayed() if name == "azure-conv" else load_scenario(name)
    seeds = [5, 17, 5]
    batch = TraceSource(scenario).draw(seeds)
    for row, seed in enumerate(seeds):
        alone = TraceSource(scenario).draw([seed]).trace(0)
        assert batch.trace(row).checksum() == alone.checksum()
    assert batch.trace(0).checksum() != batch.trace(1).checksum()


def test_another_process_draws_the_same() -> None:
    code = (
        "from edgellm_env.scenario import load_scenario; from edgellm_env.workload.source import TraceSource;"
        "print(TraceSource(load_scenario('bursty')).draw([11]).trace(0).checksum())"
    )
    here = TraceSource(load_scenario("bursty")).draw([11]).trace(0).checksum()
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert here == there


# --- Explicit requests ---------------------------------------------------------------------------------------------


def explicit() -> Scenario:
    tree = load_scenario("balanced").model_dump()
    limits = {name: tree["workload"][name] for name in ("prompt_limit_tokens", "output_limit_tokens")}
    late = {"arrival_s": 1.25, "prompt_tokens": 10, "output_tokens": 20, "latency_requirement_s": 2.0}
    early = late | {"arrival_s": 0.25, "prompt_tokens": 11, "accuracy_requirement": 0.5, "attachment_bits": 1e6}
    tree["workload"] = {"arrivals": "explicit", "requests": [late, early], **limits}
    return load_scenario(tree)


def test_explicit_requests_come_as_written_in_order_of_arrival() -> None:
    trace = TraceSource(explicit()).draw([0]).trace(0)
    assert trace.arrival_s.tolist() == [0.25, 1.25]
    assert trace.prompt_tokens.tolist() == [11, 10]
    assert trace.output_tokens.tolist() == [20, 20]
    assert trace.latency_requirement_s.tolist() == [2.0, 2.0]
    assert trace.accuracy_requirement.tolist() == [0.5, 0.0]
    assert trace.attachment_bits.tolist() == [1e6, 0.0]
    assert trace.slots == 200


@pytest.mark.parametrize("drawn", [load_scenario("balanced"), explicit(), replayed()], ids=lambda drawn: drawn.name)
def test_what_is_behind_the_last_request_never_arrives(drawn: Scenario) -> None:
    batch = TraceSource(drawn).draw(list(range(5)))
    behind = np.arange(batch.arrival_s.shape[1]) >= batch.count[:, None]
    assert behind.any() == (np.unique(batch.count).size > 1)
    for name in REQUEST_FIELDS:
        column = getattr(batch, name)
        assert column.dtype == (np.int64 if name.endswith("_tokens") else np.float64)
        assert (column[behind] == (np.inf if name == "arrival_s" else 1)).all()


# --- Trace files ---------------------------------------------------------------------------------------------------


def test_a_window_is_a_cut_of_the_file() -> None:
    recorded = read_trace_file(SAMPLE)
    batch = TraceSource(replayed()).draw(list(range(20)))
    for row in range(20):
        trace, start_s = batch.trace(row), float(batch.source_start_s[row])
        assert 0.0 <= start_s <= recorded.duration_s - 100.0
        inside = (recorded.arrival_s >= start_s) & (recorded.arrival_s < start_s + 100.0)
        np.testing.assert_array_equal(trace.arrival_s, recorded.arrival_s[inside] - start_s)
        np.testing.assert_array_equal(trace.prompt_tokens, recorded.prompt_tokens[inside])
        np.testing.assert_array_equal(trace.output_tokens, recorded.output_tokens[inside])
        assert trace.latency_requirement_s.min() >= 2.0
        assert trace.latency_requirement_s.max() <= 10.0
        assert trace.source_start_s == start_s
    assert np.unique(batch.source_start_s).size == 20


def test_random_windows_spread_over_the_file() -> None:
    starts = TraceSource(replayed()).draw(list(range(300))).source_start_s
    latest = read_trace_file(SAMPLE).duration_s - 100.0
    # uniform over [0, latest]: the mean's standard error is latest * 0.2887 / sqrt(300) = latest / 60
    assert starts.mean() == pytest.approx(latest / 2, abs=5 * latest / 60)
    assert starts.min() < 0.05 * latest
    assert starts.max() > 0.95 * latest


def test_the_first_window_starts_with_the_file_whatever_the_seed() -> None:
    batch = TraceSource(replayed(workload__trace__window="first")).draw([0, 1])
    assert batch.source_start_s.tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(batch.trace(0).arrival_s, batch.trace(1).arrival_s)
    # what the file does not say is drawn
    assert not np.array_equal(batch.trace(0).channel_gain, batch.trace(1).channel_gain)
    assert not np.array_equal(batch.trace(0).latency_requirement_s, batch.trace(1).latency_requirement_s)


def test_the_scenario_chooses_where_windows_begin_and_end() -> None:
    recorded = read_trace_file(SAMPLE)
    between = {"workload__trace__windows_start_s": 20.0, "workload__trace__windows_end_s": 50.0}
    batch = TraceSource(replayed(**between, timing__episode_slots=20)).draw(list(range(300)))
    assert 20.0 <= batch.source_start_s.min() < 21.0
    assert 39.0 < batch.source_start_s.max() <= 40.0  # ten seconds before their end
    # An episode that is longer than they are begins with them, and meets nothing after their end.
    trace = TraceSource(replayed(**between)).draw([0]).trace(0)
    inside = (recorded.arrival_s >= 20.0) & (recorded.arrival_s < 50.0)
    np.testing.assert_array_equal(trace.arrival_s, recorded.arrival_s[inside] - 20.0)
    first = TraceSource(replayed(**between, workload__trace__window="first")).draw([0, 1])
    assert first.source_start_s.tolist() == [20.0, 20.0]
    # An end beyond the recording's is the recording's.
    late = TraceSource(replayed(workload__trace__windows_end_s=1e6)).draw(list(range(20)))
    np.testing.assert_array_equal(late.source_start_s, TraceSource(replayed()).draw(list(range(20))).source_start_s)


def test_windows_without_a_request_name_their_settings() -> None:
    with pytest.raises(TraceFileError, match=r"windows_start_s = 9999 .*the recording ends at 159\.\d+ s"):
        TraceSource(replayed(workload__trace__windows_start_s=9999.0))
    with pytest.raises(ValueError, match=r"windows_end_s: 5\.0; expected above windows_start_s = 5\.0"):
        replayed(workload__trace={"windows_start_s": 5.0, "windows_end_s": 5.0})


def test_a_process_reads_an_unchanged_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "own.csv", []
    path.write_text(SAMPLE.read_text())

    def noted(*arguments: Any) -> RecordedRequests:
        read.append(arguments)
        return read_trace_file(*arguments)

    monkeypatch.setattr("edgellm_env.workload.source.read_trace_file", noted)
    scenario = replayed(workload__trace__path=str(path))
    sizes = {int(TraceSource(scenario).draw([0]).count[0]) for _ in range(3)}
    assert (len(sizes), len(read)) == (1, 1)
    path.write_text("".join(SAMPLE.read_text().splitlines(keepends=True)[:400]))
    assert TraceSource(scenario).draw([0]).count[0] not in sizes
    assert len(read) == 2


def test_a_window_costs_the_same_however_long_the_recording_is() -> None:
    def read_only(size: int) -> RecordedRequests:
        times, ones = np.arange(float(size)), np.ones(size, dtype=np.int32)
        return RecordedRequests("made-up.csv", times, ones, ones, ones)

    window = read_only(1_000_000).window(500_000.0, 500_100.0)
    assert (window.size, window.arrival_s[0]) == (100, 500_000.0)
    # A view of the recording: no row outside is touched, and none is copied.
    assert window.arrival_s.base is not None
    assert window.prompt_tokens.base is not None


def test_time_scale_halves_the_times() -> None:
    plain = TraceSource(replayed(workload__trace__window="first")).draw([0]).trace(0)
    fast = TraceSource(replayed(workload__trace__window="first", workload__trace__time_scale=0.5)).draw([0]).trace(0)
    np.testing.assert_array_equal(fast.arrival_s[: plain.size], plain.arrival_s / 2)
    assert fast.size > 1.4 * plain.size


def test_an_episode_longer_than_the_file_plays_all_of_it() -> None:
    recorded = read_trace_file(SAMPLE)
    trace = TraceSource(replayed(timing__episode_slots=1000)).draw([3]).trace(0)
    np.testing.assert_array_equal(trace.arrival_s, recorded.arrival_s)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workload__trace__path": None}, r"workload\.trace\.path: missing; scenario 'azure-conv'"),
        ({"workload__trace__path": "nowhere.csv"}, r"nowhere\.csv: can't be read"),
        ({"workload__trace__format": "splitwise"}, r"azure_sample\.csv:1: columns"),
        ({"workload__prompt_limit_tokens": 50, "workload__trace__over_limit": "reject"}, "no requests left"),
    ],
)
def test_unusable_files(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TraceSource(replayed(**settings))


def test_limits_follow_the_scenarios_rule() -> None:
    limit = {"workload__prompt_limit_tokens": 1000, "workload__trace__window": "first"}
    with pytest.raises(TraceFileError, match=r"azure_sample\.csv:2: 2000 prompt tokens; .*prompt_limit_tokens = 1000"):
        TraceSource(replayed(**limit))
    everything = TraceSource(replayed(workload__trace__window="first")).draw([0]).trace(0)
    capped = TraceSource(replayed(**limit, workload__trace__over_limit="cap")).draw([0]).trace(0)
    np.testing.assert_array_equal(capped.prompt_tokens, np.minimum(everything.prompt_tokens, 1000))
    kept = TraceSource(replayed(**limit, workload__trace__over_limit="reject")).draw([0]).trace(0)
    np.testing.assert_array_equal(kept.arrival_s, everything.arrival_s[everything.prompt_tokens <= 1000])


def test_rows_without_tokens_follow_the_scenarios_rule() -> None:
    failed = {"workload__trace__path": str(SAMPLE.with_name("burstgpt_failed_sample.csv"))}
    failed |= {"workload__trace__format": "burstgpt", "workload__trace__window": "first"}
    with pytest.raises(TraceFileError, match="zero_tokens"):
        TraceSource(replayed(**failed, workload__trace__zero_tokens="error"))
    trace = TraceSource(replayed(**failed)).draw([0]).trace(0)
    assert trace.prompt_tokens.tolist() == [1087]


def test_a_file_of_one_moment_has_no_random_window(tmp_path: Path) -> None:
    path = tmp_path / "moment.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2000-01-01 00:00:00,5,6\n")
    with pytest.raises(ValueError, match=r"moment\.csv: spans 0\.0 s"):
        TraceSource(replayed(workload__trace__path=str(path)))
    assert TraceSource(replayed(workload__trace__path=str(path), workload__trace__window="first")).draw([0]).count == 1
