"""The node replays an engine's run as an independent simulation of its iterations does."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from agents.files import alone_in
from edgellm_env.costs.profiles import load_profile
from experiments.__main__ import main
from experiments.calibration.engine_runs import EngineRun, compare
from experiments.calibration.replay import SLOT_S, play, replay
from tests.costs.coefficients import coefficients
from tests.experiments.test_engine_runs import played, random_run

NAME = "rtx4090-llama-3.1-8b-bf16"


def stored(run: EngineRun, folder: Path) -> Path:
    names = {"queued_ts": "arrival_s", "first_token_ts": "first_token_s", "last_token_ts": "finished_s"}
    columns = {key: getattr(run, name).tolist() for key, name in names.items()}
    columns |= {"input_toks": run.prompt_tokens.tolist(), "output_toks": run.output_tokens.tolist()}
    folder.mkdir()
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (folder / "requests.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "meta.json").write_text(json.dumps({"num_kv_tokens": run.kv_tokens, "max_num_seqs": run.max_running}))
    return folder


def test_the_node_plays_as_the_iterations_go() -> None:
    profile = load_profile(NAME)
    run = random_run()  # 900 KV tokens and 6 at most: requests wait for both
    node, reference = replay(run, profile, play), replay(run, profile, played)
    errors = {(one.measure, one.statistic): one.error for one in compare(reference, node)}
    assert abs(errors["latency", "mean"]) < 0.02
    assert abs(errors["tpot", "mean"]) < 0.02
    # A request waits for a slot to begin, an engine's for its iteration alone; later ones may then go with others.
    assert 0.0 < np.mean(node.first_token_s - reference.first_token_s) < 2.0 * SLOT_S


def test_a_request_alone_takes_what_the_formula_says() -> None:
    profile = load_profile(NAME)
    one, zero = np.array([0.0]), np.array([0])
    first_s, finished_s = play(one, zero + 100, zero + 3, profile, 1000, 4)
    step_s, sequence_s, context_s, token_s, squared_s = coefficients(profile)
    first = step_s + 100 * token_s + 100**2 * squared_s
    rest = 2 * (step_s + sequence_s) + (101 + 102) * context_s
    assert finished_s[0] - first_s[0] == pytest.approx(rest, rel=1e-6)
    assert first <= first_s[0] + 1e-9 <= first + SLOT_S + 1e-4  # it waits for a slot to begin


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = random_run(12)
    engine = replay(
        run._replace(arrival_s=run.arrival_s - run.arrival_s[0]), load_profile(NAME), play, overhead_s=0.004
    )
    folder = stored(engine, tmp_path / "run")
    words = ["replay-engine", str(folder), "--profile", NAME, "--out", str(tmp_path / "out")]
    assert main([*words, "--overhead-s", "0.004"]) == 0
    assert "latency: time to the last token" in capsys.readouterr().out
    document = json.loads((tmp_path / "out" / "replay.json").read_text())
    assert (document["kv_tokens"], document["max_running"], document["requests"]) == (900, 6, 12)
    assert max(abs(one["error"]) for one in document["errors"]) < 1e-9
    with (tmp_path / "out" / "requests.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["engine_ttft_s"] for row in rows] == [row["played_ttft_s"] for row in rows]
    assert main([*words, "--fit-overhead"]) == 0
    found = json.loads((tmp_path / "out" / "replay.json").read_text())
    assert found["overhead_s"] == pytest.approx(0.004, abs=3e-4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--overhead-s -1", "overhead-s: -1.0; expected from 0 to 0.05"),
        ("--overhead-s 0.001 --fit-overhead", "overhead-s: 0.001 beside --fit-overhead"),
        ("--profile rtx1", "profile: 'rtx1' is neither a file nor a shipped profile"),
    ],
)
def test_wrong_words_get_one_line(words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = [] if "--profile" in words else ["--profile", NAME]
    assert main(["replay-engine", str(tmp_path), *profile, "--out", str(tmp_path / "out"), *words.split()]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_two_at_once_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = stored(replay(random_run(), load_profile(NAME), played), tmp_path / "run"), tmp_path / "out"
    with alone_in(out, "testing"):
        assert main(["replay-engine", str(run), "--profile", NAME, "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {out}: another process is replaying a run here; wait for it")
    assert not (out / "replay.json").exists()
