"""Every command on a scenario takes ``--set`` and ``--trace``, so that any trace can be used by all of them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from agents.optimal import LookaheadSettings
from edgellm_env.scenario import Scenario, ScenarioError, load_scenario
from experiments.__main__ import COMMANDS, _load, main, parse
from experiments.changes import Changes
from tests.workload.test_layouts import FILES

ON_SCENARIOS = [name for name in COMMANDS if "scenario" in {field.name for field in dataclasses.fields(_load(name))}]


def test_the_commands_on_scenarios() -> None:
    assert {"compare", "sweep", "train", "collect", "census", "tune", "study compare", "study train"} < {*ON_SCENARIOS}
    assert sum(name.startswith("benchmark ") for name in ON_SCENARIOS) == 6


@pytest.mark.parametrize("name", ON_SCENARIOS)
def test_each_of_them_has_the_shared_options(name: str) -> None:
    needed = {"tune": "lookahead", "study train": "--agent bc", "study behaviour": "--policy es-value:light"}.get(
        name, ""
    )
    needed += " --out x" if name in ("compare", "film", "sweep", "train") else ""
    words = f"{name} {needed} --scenario light --trace t.csv --set queue.capacity=9 --set timing.slot_s=0.5"
    command = parse(words.split())
    assert isinstance(command, Changes)
    assert command.words == ["--set", "queue.capacity=9", "--set", "timing.slot_s=0.5", "--trace", "t.csv"]
    # None has a copy of its own.
    assert {"settings", "trace"}.isdisjoint(vars(type(command)).get("__annotations__", {}))


def test_settings_are_written_as_in_a_scenario_file() -> None:
    texts = ("workload.latency_requirement_s={kind: constant, value: 1e1}", " queue.capacity = 8 ")
    changed = Changes(settings=texts).changed("light", slots=7)
    wanted = {"workload.latency_requirement_s": {"kind": "constant", "value": 10.0}, "queue.capacity": 8}
    assert changed.checksum == load_scenario("light").with_values(wanted).with_slots(7).checksum
    assert Changes().changed("light") == load_scenario("light")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("queue.capacity", "set: 'queue.capacity'; expected PATH=VALUE"),
        ("=8", "set: '=8'; expected PATH=VALUE"),
        ("queue.capacity=[", r"set queue\.capacity: '\['"),
        ("queue.size=8", r"queue\.size: no such setting"),
        ("queue.capacity=0", r"queue\.capacity: 0; "),
        ("queue.capacity=8,16", r"queue\.capacity: '8,16'; "),
    ],
)
def test_settings_that_can_not_be_used(text: str, message: str) -> None:
    with pytest.raises((ValueError, ScenarioError), match=message):
        Changes(settings=(text,)).changed("light")


def test_a_setting_that_is_given_twice() -> None:
    with pytest.raises(ValueError, match=r"set: queue\.capacity is given twice"):
        Changes(settings=("queue.capacity=8", "queue.capacity=9")).changed("light")


@pytest.fixture(params=["burstgpt", "mooncake", "splitwise", "llmservingsim-bench"])
def trace(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "trace"
    path.write_text(FILES[request.param])
    return path


def compared(out: Path, trace: Path, *words: str) -> dict[str, Any]:
    line = ["compare", "--scenario", "azure-conv", "--trace", str(trace), "--policies", "fcfs", "--episodes", "2"]
    assert main([*line, "--slots", "6", "--set", "workload.trace.window=first", "--out", str(out), *words]) == 0
    document: dict[str, Any] = json.loads((out / "results.json").read_text())
    return document


def test_compare_takes_a_trace_of_any_layout(trace: Path, tmp_path: Path) -> None:
    document = compared(tmp_path / "out", trace, "--set", "queue.capacity=16")
    assert [row["arrived"] for row in document["episodes"]] == [3, 3]
    settings = document["metadata"]["settings"]
    assert (settings["queue"]["capacity"], settings["workload"]["trace"]["window"]) == (16, "first")


def test_failed_requests_of_burstgpt_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "burst.csv"
    path.write_text(FILES["burstgpt"] + "8,1,0.4,GPT-4,20,0,20,API log\n")
    document = compared(tmp_path / "out", path)
    assert [row["arrived"] for row in document["episodes"]] == [3, 3]
    assert "1 rows have no prompt or no output tokens and are left out" in capsys.readouterr().out


def test_other_commands_on_the_same_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = tmp_path / "own.csv"
    trace.write_text("when,in,out\n" + "".join(f"{250 * row},{100 + row},{20 + row % 9}\n" for row in range(60)))
    named = "workload.trace.columns={arrival: when, prompt_tokens: in, output_tokens: out}"
    own = ["--scenario", "azure-conv", "--trace", str(trace), "--set", named, "--set", "workload.trace.time_unit=ms"]
    small = ["--slots", "8", "--set", "queue.capacity=8"]
    census, store = tmp_path / "census.json", tmp_path / "store"
    assert main(["census", *own, "--slots", "5", "--out", str(census)]) == 0
    assert json.loads(census.read_text())["azure-conv"]["slots"] == 5
    study = ["study", "compare", *own, "--policies", "fcfs", "--episodes", "2", "--set", "timing.episode_slots=8"]
    assert main([*study, "--store", str(store)]) == 0
    stored = json.loads((store / "comparisons" / "azure-conv.json").read_text())
    command = stored["policies"]["fcfs"]["command"]
    assert f"--set '{named}'" in command
    assert "--trace own.csv" in command
    assert str(tmp_path) not in json.dumps(stored)
    # Other settings are other results.
    assert main([*study, "--set", "queue.capacity=9", "--store", str(store)]) == 2
    met: list[Scenario] = []
    monkeypatch.setattr("experiments.commands.train.train_run", lambda agent, learner, run: met.append(run.scenario))
    monkeypatch.setattr(
        "experiments.commands.tune.tune",
        lambda _, scenario, *__: met.append(scenario) or LookaheadSettings(0.1, 1.0, 0.0),
    )
    assert main(["train", *own, *small, "--out", str(tmp_path / "run")]) == 0
    assert main(["tune", "lookahead", *own, "--set", "queue.capacity=8", "--out", str(tmp_path / "tuned.yaml")]) == 0
    assert [one.queue.capacity for one in met] == [8, 8]
    assert all(one.workload.trace is not None and one.workload.trace.path == str(trace) for one in met)


def test_collected_datasets_hold_the_settings(tmp_path: Path) -> None:
    pytest.importorskip("minari", reason="needs the extra 'datasets'")
    trace = tmp_path / "trace"
    trace.write_text(FILES["mooncake"])
    words = f"collect --scenario azure-conv --trace {trace} --episodes 2 --slots 6 --workers 1 --id edgellm/own-v0"
    settings = ["--set", "workload.trace.window=first", "--set", "queue.capacity=8"]
    assert main([*words.split(), *settings, "--out", str(tmp_path / "data")]) == 0
    assert main(["verify", "edgellm/own-v0", "--out", str(tmp_path / "data"), "--trace", str(trace)]) == 0
    card = (tmp_path / "data/edgellm/own-v0/data/metadata.json").read_text()
    assert "capacity: 8" in card


def test_a_pipe_is_refused_before_it_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        f"compare --scenario azure-conv --trace /dev/zero --out {tmp_path}/x",
        f"study compare --scenario azure-conv --trace /dev/zero --store {tmp_path}/x",
        "census --scenario azure-conv --trace /dev/zero",
        f"collect --scenario azure-conv --trace /dev/zero --out {tmp_path}/x",
        f"train --scenario azure-conv --trace /dev/zero --out {tmp_path}/x",
        f"sweep --scenario azure-conv --trace /dev/zero --set queue.capacity=8 --out {tmp_path}/x",
    ):
        assert main(words.split()) == 2
        error = capsys.readouterr().err
        assert error == "error: /dev/zero: can't be read: a device; expected a regular file\n"
