"""Trace files in every layout that people have, found by content, and files whose columns the scenario names."""

import gzip
import json
from pathlib import Path

import pytest

from edgellm_env.scenario import ScenarioError, load_scenario
from edgellm_env.scenario.demand import TimeUnit, TraceColumns
from edgellm_env.workload.files import read_trace_file
from edgellm_env.workload.layouts import LAYOUTS, UNITS_PER_S, Layout
from edgellm_env.workload.recorded import TraceFileError
from edgellm_env.workload.source import TraceSource

# Three requests, at 0, 0.25 and 2 s.
TIMES_S, PROMPTS, OUTPUTS = (0.0, 0.25, 2.0), (10, 20, 30), (3, 2, 1)
FILES = {
    "azure": (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.250000+00:00,10,3\n"
        "2024-05-10 00:00:00.500000+00:00,20,2\n2024-05-10 00:00:02.250000+00:00,30,1\n"
    ),
    "burstgpt": (
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,1,0.4,GPT-4,10,3,13,API log\n5.25,1,0.4,GPT-4,20,2,22,API log\n7,1,0.4,GPT-4,30,1,31,API log\n"
    ),
    "mooncake": (
        '{"timestamp": 100, "input_length": 10, "output_length": 3, "hash_ids": [1]}\n'
        '{"timestamp": 350, "input_length": 20, "output_length": 2, "hash_ids": [1, 2]}\n'
        '{"timestamp": 2100, "input_length": 30, "output_length": 1, "hash_ids": []}\n'
    ),
    "splitwise": "arrived_at,num_prefill_tokens,num_decode_tokens\n0,10,3\n0.25,20,2\n2.0,30,1\n",
    "splitwise-sim": (
        "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n"
        "0,2,0,0.0135,1,10,3\n1,2,0,0.2635,1,20,2\n2,2,0,2.0135,1,30,1\n"
    ),
    "servegen": "request_id,timestamp,input_tokens,output_tokens\n0,0.5,10,3\n1,0.75,20,2\n2,2.5,30,1\n",
    "llmservingsim": (
        '{"input_toks": 10, "output_toks": 3, "arrival_time_ns": 46926808, "input_tok_ids": [83810, 14592]}\n'
        '{"input_toks": 20, "output_toks": 2, "arrival_time_ns": 296926808, "input_tok_ids": []}\n'
        '{"input_toks": 30, "output_toks": 1, "arrival_time_ns": 2046926808, "input_tok_ids": []}\n'
    ),
    "llmservingsim-bench": (  # arrivals on one clock, what the engine noted on another
        '{"input_toks": 10, "output_toks": 3, "arrival_time": 1787267980.5, "queued_ts": 7.1}\n'
        '{"input_toks": 20, "output_toks": 2, "arrival_time": 1787267980.75, "queued_ts": 8}\n'
        '{"input_toks": 30, "output_toks": 1, "arrival_time": 1787267982.5, "queued_ts": 9}\n'
    ),
}


def test_every_layout_is_tried() -> None:
    assert [layout.name for layout in LAYOUTS] == list(FILES)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", FILES)
def test_a_layout_is_found_by_content(name: str, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / ("trace.csv.gz" if packed else "trace")
    path.write_bytes(gzip.compress(FILES[name].encode()) if packed else FILES[name].encode())
    read = read_trace_file(path)
    assert read.format == name
    assert read.arrival_s.tolist() == list(TIMES_S)
    assert (read.prompt_tokens.tolist(), read.output_tokens.tolist()) == (list(PROMPTS), list(OUTPUTS))
    # And a scenario that replays files takes it as it is.
    scenario = load_scenario("azure-conv").with_trace(path).with_values({"workload.trace.window": "first"})
    assert TraceSource(scenario).draw([0]).trace(0).prompt_tokens.tolist() == list(PROMPTS)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_layout_is_the_same_as_csv_tabs_or_json_lines(layout: Layout, tmp_path: Path) -> None:
    calendar = layout.unit == "calendar"
    times = [
        f"2024-01-01 00:00:{time:010.7f}" if calendar else f"{time * UNITS_PER_S[layout.unit]:g}" for time in TIMES_S
    ]
    rows = list(zip(times, map(str, PROMPTS), map(str, OUTPUTS), strict=True))
    texts = ["\n".join(delimiter.join(cells) for cells in [layout.columns, *rows]) for delimiter in (",", "\t", ";")]
    values = [(time if calendar else float(time), int(prompt), int(output)) for time, prompt, output in rows]
    texts.append("\n".join(json.dumps(dict(zip(layout.columns, row, strict=True))) for row in values))
    path = tmp_path / "trace"
    for text in texts:
        path.write_text(text)
        read = read_trace_file(path)
        assert (read.format, read.arrival_s.tolist(), read.size) == (layout.name, list(TIMES_S), 3)


@pytest.mark.parametrize(("unit", "factor"), [(None, 1), ("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)])
def test_columns_and_unit_of_any_other_file(unit: TimeUnit | None, factor: float, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    rows = [f"x,{out},{time * factor:g},{into}" for time, into, out in zip(TIMES_S, PROMPTS, OUTPUTS, strict=True)]
    path.write_text("\n".join(["user,out,when,in", *rows]))
    columns = {"arrival": "when", "prompt_tokens": "in", "output_tokens": "out"}
    read = read_trace_file(path, columns=TraceColumns(**columns), time_unit=unit)
    assert (read.format, read.arrival_s.tolist(), read.output_tokens.tolist()) == ("columns", [*TIMES_S], [*OUTPUTS])
    settings = {"workload.trace.columns": columns, "workload.trace.time_unit": unit, "workload.trace.window": "first"}
    scenario = load_scenario("azure-conv").with_trace(path).with_values(settings)
    assert TraceSource(scenario).draw([0]).trace(0).arrival_s.tolist() == list(TIMES_S)


def test_calendar_times_in_columns_of_any_name_are_told_by_their_look(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("in,when,out\n10,2024-01-01 00:00:00,3\n20,2024-01-01T00:00:01.5Z,2\n")
    named = TraceColumns(arrival="when", prompt_tokens="in", output_tokens="out")
    assert read_trace_file(path, columns=named).arrival_s.tolist() == [0.0, 1.5]
    with pytest.raises(TraceFileError, match=r"own\.csv:2: time '2024.*'; expected a number .*in s .*time_unit"):
        read_trace_file(path, columns=named, time_unit="s")


def test_the_unit_of_a_known_layout_can_be_another(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,10,3\n250,20,2\n")
    assert read_trace_file(path, time_unit="ms").arrival_s.tolist() == [0.0, 0.25]


def test_errors_name_the_setting(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("when,in,out\n0,10,3\n")
    with pytest.raises(TraceFileError, match=r"own\.csv:1: columns \['when'.*azure, burstgpt.*trace\.columns"):
        read_trace_file(path)
    with pytest.raises(TraceFileError, match=r"own\.csv:1: columns .*; expected then exactly once"):
        read_trace_file(path, columns=TraceColumns(arrival="then", prompt_tokens="in", output_tokens="out"))
    columns = {"arrival": "when", "prompt_tokens": "in", "output_tokens": "out"}
    with pytest.raises(ScenarioError, match=r"workload\.trace\.format: 'azure'; expected auto"):
        load_scenario("azure-conv").with_values({"workload.trace": {"format": "azure", "columns": columns}})
    with pytest.raises(ScenarioError, match=r"workload\.trace\.time_unit: 'minutes'"):
        load_scenario("azure-conv").with_values({"workload.trace.time_unit": "minutes"})


def test_times_of_epochs_keep_their_digits(tmp_path: Path) -> None:
    path = tmp_path / "epoch.csv"
    path.write_text("arrival_time_ns,input_toks,output_toks\n1787267980000000001,1,1\n1787267980000000002,1,1\n")
    assert read_trace_file(path).arrival_s.tolist() == [0.0, 1e-9]
