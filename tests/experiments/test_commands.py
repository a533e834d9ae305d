import csv
import json
import re
import shlex
from pathlib import Path

import pytest

from edgellm_env.scenario import load_scenario
from experiments.__main__ import COMMANDS, main
from experiments.grid.evaluation import EpisodeResult
from experiments.results.records import read_results
from tests.conftest import SAMPLE_TRACE

SMALL_CONFIG = {
    "environments": 2, "rollout_slots": 16, "batch_size": 16, "epochs": 1, "learning_rate": 0.001, "discount": 0.5,
    "gae_lambda": 0.8, "hidden_sizes": [8], "entropy_coefficient": 0.0, "checkpoint_every": 1,
    "validation_episodes": 2, "validate_every": 1,
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(SMALL_CONFIG))
    return path


def run(line: str) -> int:
    return main(shlex.split(line))


def test_train_resume_and_compare_end_to_end(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained, out = tmp_path / "run", tmp_path / "out"
    train = f"train --scenario light --agent ppo --slots 8 --seed 0 --out {trained} --config {config}"
    assert run(f"{train} --steps 64") == 0
    assert run(f"{train} --steps 96 --resume") == 0
    about = json.loads((trained / "run.json").read_text())
    assert (about["scenario"], about["seed"], about["steps"]) == ("light", 0, 96)
    assert len(about["resumed"]) == 1
    assert (trained / "scenario.yaml").is_file()

    assert (
        run(f"compare --scenario light --policies dftsp random ppo={trained} --episodes 3 --slots 10 --out {out}") == 0
    )
    text = capsys.readouterr().out
    assert "difference to dftsp" in text
    assert str(out / "throughput.png") in text
    about, rows, _ = read_results(out / "results.json")
    assert about["scenario"] == "light"
    assert about["settings"]["timing"]["episode_slots"] == 10
    assert {"python", "numpy", "gymnasium"} <= set(about["versions"])
    assert [(row.policy, row.episode) for row in rows] == [
        (name, episode) for name in ("dftsp", "random", f"ppo={trained}") for episode in range(3)
    ]
    assert len({row.trace_checksum for row in rows}) == 3
    assert all(row.is_conserved() for row in rows)
    with (out / "summary.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["policy"] for line in lines] == ["dftsp", "random", f"ppo={trained}"]
    assert lines[0]["difference_rps_mean"] == ""
    assert float(lines[1]["throughput_rps_mean"]) > 0
    assert (out / "throughput.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_gives_the_same_rows(tmp_path: Path) -> None:
    def rows(name: str, seed: int) -> list[tuple[object, ...]]:
        out = tmp_path / name
        assert run(f"compare --policies random edf --episodes 2 --slots 10 --seed {seed} --out {out}") == 0
        return [(row.policy, row.seed, row.trace_checksum, row.served) for row in read_results(out / "results.json")[1]]

    assert rows("a", 1) == rows("b", 1)
    assert {row[2] for row in rows("a", 1)}.isdisjoint({row[2] for row in rows("c", 2)})


def test_compare_on_a_trace_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = f"compare --scenario azure-conv --trace {SAMPLE_TRACE} --policies dftsp --episodes 2 --slots 10 --out {out}"
    assert run(line) == 0
    about, rows, _ = read_results(out / "results.json")
    assert about["settings"]["workload"]["trace"]["path"] == str(SAMPLE_TRACE)
    assert all(isinstance(row, EpisodeResult) and row.covered_s == 5.0 for row in rows)
    assert rows[0].source_start_s != rows[1].source_start_s


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("compare --scenario no-such --out {out}", "'no-such' is neither a file nor a shipped scenario"),
        ("compare --policies dftps --out {out}", "policy 'dftps': no such policy; the nearest are dftsp"),
        ("compare --policies ppo={tmp}/none --out {out}", "no trained weights"),
        ("compare --scenario azure-conv --out {out}", "--trace PATH"),
        ("compare --scenario azure-conv --trace {tmp}/none.csv --out {out}", "none.csv: can't be read"),
        ("compare --trace {tmp}/none.csv --out {out}", "replays no file"),
        ("compare --episodes 0 --out {out}", "episodes: 0; expected"),
        ("compare --episodes 2 --record 3 --out {out}", "record: 3; expected 0 to 2, the number of episodes"),
        ("compare --seed -1 --out {out}", "seed: -1; expected"),
        ("compare --slots 0 --out {out}", "timing.episode_slots: 0"),
        ("compare --out {tmp}/file", "can't be used as a folder"),
        ("compare --workers 0 --out {out}", "workers: 0; expected at least 1"),
        ("sweep --set workload.arrival_rate_rps=1 --workers 0 --out {out}", "workers: 0; expected at least 1"),
        ("collect --workers 0 --out {out}", "workers: 0; expected at least 1"),
        ("reproduce --workers 0 --out {out}", "workers: 0; expected at least 1"),
        ("benchmark collect --workers 0", "workers: 0; expected at least 1"),
        ("compare --out ''", "out: ''; expected a value that is not empty"),
        ("sweep --set workload.arrival_rate_rps=1 --out=", "out: ''; expected a value that is not empty"),
        ("collect --out ' '", "out: ' '; expected a value that is not empty"),
        ("benchmark env --out ''", "out: ''; expected"),
        ("train --out {out} --policies dftsp ''", "dftsp: ''; expected"),
        ("compare --policies sys:exit --out {out}", "TypeError: <built-in function exit>; expected a class with a"),
        ("compare --policies os:getcwd@EdgeLLM/Bach-v0 --out {out}", "no environment 'EdgeLLM/Bach-v0'"),
        ("compare --policies tests.experiments.own_policies:Unmade --out {out}", "can't be made: SystemExit: 0"),
        ("train --steps 64 --config {tmp}/twice.yaml --out {out}", "'epochs' is given twice"),
        ("train --steps 64 --config {tmp}/octal.yaml --out {out}", "epochs: '010'; Input should be a valid integer"),
        ("train --steps 64 --config {tmp}/sixty.yaml --out {out}", "epochs: '1:30'; Input should be a valid integer"),
        ("compare --policies dftsp@stochastic --out {out}", "has no stochastic mode; those that it states: determin"),
        ("compare --policies math:floor@EdgeLLM/Rank-v9 --out {out}", "no environment 'EdgeLLM/Rank-v9'; expected one"),
        ("compare --policies math:pi@EdgeLLM/Rank-v0 --out {out}", "math:pi can't be called"),
        ("compare --clairvoyant-s 0 --out {out}", "clairvoyant-s: 0.0; expected"),
        ("compare --clairvoyant-s 1 --scenario spillover --out {out}", "clairvoyant-s: "),
        ("train --steps 64 --scenario no-such --out {out}", "'no-such' is neither"),
        ("train --steps 0 --out {out}", "steps: 0; expected"),
        ("train --steps 64 --config {tmp}/none.yaml --out {out}", "can't be read"),
        ("train --steps 64 --resume --out {out}", "no training run to --resume"),
        ("train --steps 64 --out {tmp}/begun", "holds a training run; expected another folder, or --resume"),
        ("census --scenario azure-conv --out {tmp}/c.json", "expected --trace FILE"),
        ("census --slots 0 --out {tmp}/c.json", "slots: 0"),
        ("census --out {tmp}/none/c.json", "expected a file in a folder that exists"),
        ("scenario-pages --census {tmp}/none.json --out {tmp}/p.md", "does not exist"),
    ],
)
def test_errors_come_before_anything_runs(
    line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def played(*_: object, **__: object) -> None:
        raise AssertionError("something ran")

    monkeypatch.setattr("experiments.commands.compare.play_plans", played)
    monkeypatch.setattr("experiments.commands.documentation.take_census", played)
    monkeypatch.setattr("agents.learning.ppo.PlainPpo.train", played)
    (tmp_path / "file").write_text("")
    lines = [f"{name}: {value}" for name, value in SMALL_CONFIG.items() if name != "epochs"]
    for name, epochs in {"twice": "1\nepochs: 2", "octal": "010", "sixty": "1:30"}.items():
        (tmp_path / f"{name}.yaml").write_text("\n".join([*lines, f"epochs: {epochs}"]))
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.json").write_text("{}")
    assert run(line.format(tmp=tmp_path, out=tmp_path / "out")) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert len(captured.err) <= 308
    assert not (tmp_path / "out" / "results.json").exists()


@pytest.mark.parametrize("name", ["[red]x", "[/b]", ":fire:", "$x_{", "[link=x]b"])
def test_names_stand_in_tables_and_plots_as_they_are(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.experiments.own_policies.Shortest.name", name)
    out = tmp_path / name.replace("/", "")
    scenario = tmp_path / "named.yaml"
    named = load_scenario("tiny").with_values({"timing.episode_slots": 5}).model_copy(update={"name": name})
    scenario.write_text(named.to_yaml())
    policies = "tests.experiments.own_policies:Shortest"
    line = ["compare", "--scenario", str(scenario), "--policies", policies, "--episodes", "2", "--out", str(out)]
    assert main(line) == 0
    printed = capsys.readouterr().out
    assert f"{name}: 2 episodes" in printed
    assert printed.count(f"\n {name}  ") == 3
    assert str(out) in printed.replace("\n", "")


def test_a_resumed_run_must_be_the_same(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    line = f"train --scenario tiny --slots 8 --config {config} --out {folder}"
    assert run(f"{line} --steps 32") == 0
    for change, message in (
        ("--seed 1 --slots 8", "seed: 1"),
        ("--slots 9", "scenario_checksum"),
    ):
        resumed = f"train --scenario tiny --config {config} --out {folder} --steps 64 --resume {change}"
        assert run(resumed) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("compare --out {tmp} --epsiodes 3", "Unrecognized options: --epsiodes"),
        ("compare --out {tmp} --episodes two", "--episodes: invalid literal for int() with base 10: 'two'"),
        ("compare", "Missing from python -m experiments compare: --out PATH"),
        ("collect --env Bach", "invalid choice 'Bach' for argument '--env'"),
        ("study train", "Missing from python -m experiments study train: --agent"),
        ("compaer --out {tmp}", "command: 'compaer'; expected one of compare, "),
        ("", "command: ''; expected one of "),
        ("study", "command: 'study'; expected one of study train, study compare, study perturb, study bounds, "),
        ("benchmark solver", "command: 'benchmark solver'; expected one of benchmark env, benchmark solvers, "),
    ],
)
def test_words_that_are_no_command_line_are_refused_in_a_line_that_says_where_help_is(
    line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line.format(tmp=tmp_path)) == 2
    error = capsys.readouterr().err
    assert message.format() in error
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    assert re.search(r"; see: python -m experiments( [a-z]+)* --help$", error)


def test_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("compare --help")
    assert ended.value.code == 0
    assert "--episodes INT" in capsys.readouterr().out


def test_help_is_a_table_of_contents(capsys: pytest.CaptureFixture[str]) -> None:
    for words, shown in (("--help", list(COMMANDS)), ("study -h", [one for one in COMMANDS if "study " in one])):
        with pytest.raises(SystemExit) as ended:
            run(words)
        assert ended.value.code == 0
        lines = capsys.readouterr().out.splitlines()
        entries = [re.split(r" {2,}", line.strip(), maxsplit=1) for line in lines if line.startswith("  ")]
        assert [name for name, _ in entries] == shown
        assert all(len(text) > 10 for _, text in entries)


def test_any_command_prints_what_it_found_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"compare --json --scenario light --policies sjf --episodes 2 --slots 5 --out {tmp_path}") == 0
    stored = json.loads((tmp_path / "results.json").read_text())["episodes"]
    assert [stored[0].items() <= row.items() for row in json.loads(capsys.readouterr().out)] == [True, False]
