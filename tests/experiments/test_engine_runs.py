"""Runs of engines are read as they are, and played anew in another clock they are the same run."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgellm_env.costs.profiles import Profile
from experiments.calibration.engine_runs import EngineRun, compare, measures, read_run
from experiments.calibration.replay import fit_overhead, replay

PROFILE = Profile(
    name="own", step_s=0.01, sequence_s=1e-4, context_token_s=1e-6, prefill_token_s=1e-4, prefill_token_squared_s=1e-8,
    max_running=2,
)  # fmt: skip
ROWS = [  # in no order of arrival
    {"queued_ts": 102.0, "first_token_ts": 103.0, "last_token_ts": 103.0, "input_toks": 20, "output_toks": 1},
    {"queued_ts": 100.0, "first_token_ts": 100.5, "last_token_ts": 102.5, "input_toks": 10, "output_toks": 5},
    {"queued_ts": 101.0, "first_token_ts": 103.0, "last_token_ts": 104.0, "input_toks": 30, "output_toks": 3},
]


def stored(folder: Path, rows: list[object] = ROWS, **meta: object) -> Path:
    (folder / "requests.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "meta.json").write_text(json.dumps({"max_num_seqs": 4, "num_kv_tokens": None, **meta}))
    return folder


def played(arrival_s, prompt_tokens, output_tokens, costs, kv_tokens, max_running):
    """Play iteration by iteration, as the formula says."""
    first, finished = np.full(arrival_s.size, np.nan), np.full(arrival_s.size, np.nan)
    running: dict[int, int] = {}
    clock, waiting = 0.0, 0
    tokens = prompt_tokens + output_tokens
    while np.isnan(finished).any():
        if not running and arrival_s[waiting] > clock:
            clock = arrival_s[waiting]
        while (
            waiting < arrival_s.size
            and arrival_s[waiting] <= clock
            and len(running) < max_running
            and sum(tokens[one] for one in running) + tokens[waiting] <= kv_tokens
        ):
            running[waiting] = 0
            waiting += 1
        clock += costs.step_s
        for one, made in running.items():
            if made:
                clock += costs.sequence_s + costs.context_token_s * (prompt_tokens[one] + made)
            else:
                clock += costs.prefill_token_s * prompt_tokens[one]
                clock += costs.prefill_token_squared_s * prompt_tokens[one] ** 2
        for one in list(running):
            running[one] += 1
            if running[one] == 1:
                first[one] = clock
            if running[one] == output_tokens[one]:
                finished[one] = clock
                del running[one]
    return first, finished


def random_run(requests: int = 40) -> EngineRun:
    rng = np.random.default_rng(3)
    nothing = np.zeros(requests)
    lengths = rng.integers(10, 200, requests), rng.integers(1, 60, requests)
    return EngineRun(np.sort(rng.uniform(0.0, 8.0, requests)), *lengths, nothing, nothing, kv_tokens=900, max_running=6)


def test_a_run_by_hand(tmp_path: Path) -> None:
    run = read_run(stored(tmp_path, num_kv_tokens=500))
    assert run.arrival_s.tolist() == [0.0, 1.0, 2.0]
    assert run.prompt_tokens.tolist() == [10, 30, 20]
    assert run.output_tokens.tolist() == [5, 3, 1]
    assert (run.kv_tokens, run.max_running) == (500, 4)
    found = measures(run)
    assert found["ttft"].tolist() == [0.5, 2.0, 1.0]
    assert found["tpot"] == pytest.approx([0.5, 0.5, np.nan], nan_ok=True)
    assert found["latency"].tolist() == [2.5, 3.0, 1.0]


def test_statistics_and_errors(tmp_path: Path) -> None:
    run = read_run(stored(tmp_path))
    slower = run._replace(first_token_s=run.arrival_s + 2.0 * (run.first_token_s - run.arrival_s))
    rows = {(one.measure, one.statistic): one for one in compare(run, slower)}
    assert len(rows) == 12
    assert rows["ttft", "mean"].engine_s == pytest.approx(3.5 / 3.0)
    assert rows["ttft", "P50"].engine_s == 1.0
    assert rows["ttft", "P90"].engine_s == pytest.approx(1.8)
    assert rows["ttft", "P99"].error == pytest.approx(1.0)
    assert rows["latency", "mean"].error == 0.0
    # of the two with a second token: 2 s / 4 and 1 s / 2, against 1.5 s / 4 and -1 s / 2
    assert rows["tpot", "mean"].engine_s == 0.5
    assert rows["tpot", "mean"].played_s == pytest.approx((1.5 / 4 - 1.0 / 2) / 2)


def test_single_tokens_have_no_time_per_token(tmp_path: Path) -> None:
    run = read_run(stored(tmp_path, ROWS[:1]))
    assert {one.measure for one in compare(run, run)} == {"ttft", "latency"}


def test_the_overhead_of_a_run_is_found() -> None:
    engine = replay(random_run(), PROFILE, played, overhead_s=0.004)
    assert fit_overhead(engine, PROFILE, played) == pytest.approx(0.004, abs=2e-5)
    assert fit_overhead(replay(random_run(), PROFILE, played), PROFILE, played) == 0.0
    again = replay(engine, PROFILE, played, overhead_s=0.004)
    assert all(one.error == 0.0 for one in compare(engine, again))
    without = {(one.measure, one.statistic): one.error for one in compare(engine, replay(engine, PROFILE, played))}
    assert without["tpot", "mean"] < -0.1


def test_an_engine_that_no_overhead_explains() -> None:
    engine = replay(random_run(), PROFILE, played, overhead_s=0.2)
    with pytest.raises(ValueError, match=r"slower even with 0\.05 s"):
        fit_overhead(engine, PROFILE, played)


def test_limits_are_the_runs_else_the_profiles() -> None:
    run = random_run()
    assert replay(run, PROFILE, played).max_running == 6
    assert replay(run._replace(max_running=None), PROFILE, played).max_running == 2
    with pytest.raises(ValueError, match="kv_tokens: neither the run nor profile 'own' says it"):
        replay(run._replace(kv_tokens=None), PROFILE, played)
    with pytest.raises(ValueError, match="kv_tokens: 100; expected room for the run's largest request"):
        replay(run._replace(kv_tokens=100), PROFILE, played)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"input_toks": 0}, "input_toks: 0; expected a whole number from 1"),
        ({"output_toks": 1.5}, "output_toks: 1.5; expected a whole number from 1"),
        ({"queued_ts": None}, "queued_ts: None; expected seconds"),
        ({"queued_ts": float("nan")}, "queued_ts: nan; expected seconds"),
        ({"last_token_ts": True}, "last_token_ts: True; expected seconds"),
        ({"last_token_ts": 102.9}, "queued 102.0, first token 103.0, last 102.9; expected them one after the other"),
        ({"output_toks": 2}, "first token 103.0, last 103.0; expected them one after the other"),
    ],
)
def test_wrong_requests_get_one_line(change: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"requests\.jsonl, line 2: ") as caught:
        read_run(stored(tmp_path, [ROWS[1], ROWS[0] | change]))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("requests.jsonl", None, "requests.jsonl: can't be read: No such file or directory"),
        ("requests.jsonl", "\n\n", "requests.jsonl: no requests; expected one a line"),
        ("requests.jsonl", "{", "requests.jsonl, line 1: not valid JSON"),
        ("requests.jsonl", "[1]", "requests.jsonl, line 1: list; expected an object"),
        ("meta.json", None, "meta.json: can't be read"),
        ("meta.json", "{", "meta.json: not valid JSON"),
        ("meta.json", '{"max_num_seqs": 0}', "meta.json: max_num_seqs: 0; expected a number from 1, or null"),
    ],
)
def test_wrong_files_get_one_line(name: str, text: str | None, said: str, tmp_path: Path) -> None:
    stored(tmp_path)
    if text is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - checked below
        read_run(tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
