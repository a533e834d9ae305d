import json
import shlex
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from edgellm_env import load_scenario
from edgellm_env.slot.problem import Problems
from edgellm_env.solvers import solve_brute_force, solve_dftsp, solve_exact, solve_exact_batch
from experiments.__main__ import main
from experiments.benchmarks.complexity import BRUTE_FORCE, RULES, NodeCount, count_nodes, headline
from experiments.benchmarks.met_slots import meet_slots, settled_slots
from experiments.benchmarks.solvers import BATCH, CP_SAT, EXACT, HIGHS, require_agreement, spread
from experiments.benchmarks.solvers import DFTSP as SOLVE_DFTSP
from experiments.results.statistics import REFERENCE


def run(line: str) -> int:
    return main(shlex.split(line))


def test_solvers_in_one_table_and_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "solvers.json"
    assert run(f"benchmark solvers --requests 4 9 --slots-per-size 4 --reference-slots 2 --out {out}") == 0
    text = capsys.readouterr().out
    assert "balanced: solvers on the same slots" in text
    assert "All counts agree" in text
    assert "…" not in text
    document = json.loads(out.read_text())
    assert {"processor", "cores", "system", "load_average"} == set(document["metadata"]["machine"])
    assert {"python", "numba", "highspy", "ortools"} <= set(document["metadata"]["versions"])
    assert [block["requests"] for block in document["slots"]] == [4, 9]
    rows = document["rows"]
    solvers = (EXACT, BATCH, SOLVE_DFTSP, HIGHS, CP_SAT)
    assert [(row["requests"], row["solver"]) for row in rows] == [(n, name) for n in (4, 9) for name in solvers]
    for row in rows:
        assert row["slots"] == (2 if row["solver"] in {HIGHS, CP_SAT} else 4)
        assert row["proven_share"] == 1.0
        assert row["median_s"] > 0.0
        assert row["stopped"] == []
        assert set(row["faster_than"]) == {HIGHS, CP_SAT} - {row["solver"]}
        if row["solver"] == BATCH:
            assert row["p95_s"] is None
        else:
            assert row["median_s"] <= row["p95_s"] <= row["p99_s"]
            assert (row["mean_nodes"] is None) == (row["solver"] in {HIGHS, CP_SAT})
    by_name = {row["solver"]: row for row in rows[5:]}
    assert by_name[HIGHS]["faster_than"][CP_SAT] == pytest.approx(1 / by_name[CP_SAT]["faster_than"][HIGHS])


def test_brute_force_against_dftsp_by_rate_and_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "nodes.json"
    assert run(f"benchmark complexity --rates 5 20 --slots 40 --out {out}") == 0
    text = capsys.readouterr().out
    assert "the whole tree" in text
    assert "…" not in text
    document = json.loads(out.read_text())
    assert document["headline"] == [
        {"arrival_rate_rps": rate, "at_least_45_percent_fewer": True} for rate in (5.0, 20.0)
    ]
    rows = {(row["arrival_rate_rps"], row["search"]): row for row in document["rows"]}
    assert len(rows) == len(document["rows"]) == 2 * (2 + 2 * len(RULES))
    for rate in (5.0, 20.0):
        brute, dftsp = rows[rate, BRUTE_FORCE], rows[rate, REFERENCE]
        assert brute["finished"] == brute["slots"] == 40
        assert brute["saved_share"] == pytest.approx(1.0 - dftsp["nodes"] / brute["nodes"])
        assert brute["saved_share"] >= 0.45
        for rule in RULES:
            assert dftsp["nodes"] <= rows[rate, f"without {rule}"]["nodes"]
            assert rows[rate, f"only {rule}"]["nodes"] <= brute["nodes"]


def test_nodes_are_those_that_the_solvers_count() -> None:
    problems = settled_slots(load_scenario("paper").with_arrival_rate(12.0), 10, seed=3)
    rows = {row.search: row for row in count_nodes(problems, 12.0, node_limit=10**6)}
    assert rows[REFERENCE].nodes == sum(solve_dftsp(problem).nodes for problem in problems)
    assert rows[BRUTE_FORCE].nodes == sum(solve_brute_force(problem).nodes for problem in problems)
    # Ten nodes a slot are too few for brute force: what is left is a lower bound.
    stopped = {row.search: row for row in count_nodes(problems, 12.0, node_limit=10)}[BRUTE_FORCE]
    assert stopped.finished < stopped.slots
    assert stopped.nodes < rows[BRUTE_FORCE].nodes


def test_headline_by_hand() -> None:
    finished = NodeCount(BRUTE_FORCE, 1.0, slots=4, finished=4, nodes=100, saved_share=0.45)
    assert headline(finished) is True
    assert headline(replace(finished, saved_share=0.44)) is False
    assert headline(replace(finished, saved_share=0.44, finished=3)) is None
    assert headline(replace(finished, saved_share=0.5, finished=3)) is True
    assert headline(replace(finished, saved_share=None)) is None


def test_slots_of_one_size_as_met_by_the_policy() -> None:
    met = meet_slots(load_scenario("light"), requests=6, slots=5, seeds=count(100))
    assert [problem.size for problem in met.problems] == [6] * 5
    assert met.played >= 5
    again = meet_slots(load_scenario("light"), requests=6, slots=5, seeds=count(100))
    assert again.arrival_rate_rps == met.arrival_rate_rps
    assert all(
        np.array_equal(one.slack_s, other.slack_s) for one, other in zip(met.problems, again.problems, strict=True)
    )


def test_disagreement_is_an_error() -> None:
    (problem,) = meet_slots(load_scenario("balanced"), requests=8, slots=1, seeds=count(7)).problems
    good = solve_exact(problem)
    batch = solve_exact_batch(Problems.of([problem]))
    require_agreement([{EXACT: good, HIGHS: replace(good, count=good.count - 1, optimal=False)}], batch)
    with pytest.raises(RuntimeError, match=r"slot 0: the solvers disagree on the count: solve_exact \d, HiGHS \d,"):
        require_agreement([{EXACT: good, HIGHS: replace(good, count=good.count - 1)}], batch)
    with pytest.raises(RuntimeError, match=r"HiGHS \d \(not proven\)"):
        require_agreement([{EXACT: good, HIGHS: replace(good, count=good.count + 1, optimal=False)}], batch)


def test_spread_over_the_slots() -> None:
    assert spread(100, 5) == [0, 25, 50, 74, 99]
    assert spread(3, 5) == [0, 1, 2]
    assert spread(10, 1) == [0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("solvers --requests 0", "requests: 0; expected numbers from 1 to 1024"),
        ("solvers --requests 2000", "requests: 2000; expected"),
        ("solvers --slots-per-size 0", "slots-per-size: 0; expected at least 1"),
        ("solvers --reference-slots 0", "reference-slots: 0; expected at least 1"),
        ("solvers --time-limit-s 0", "time-limit-s: 0.0; expected"),
        ("solvers --node-limit 0", "node-limit: 0; expected"),
        ("solvers --seed -1", "seed: -1; expected"),
        ("solvers --scenario tiny", "'tiny' has workload.arrivals = 'explicit'; expected"),
        ("solvers --out {tmp}/none/x.json", "expected a file in a folder that exists"),
        ("complexity --rates 0", "workload.arrival_rate_rps: 0.0; expected"),
        ("complexity --rates 2 2", "expected at least one, each once"),
        ("complexity --slots 0", "slots: 0; expected at least 1"),
        ("complexity --node-limit 0", "node-limit: 0; expected at least 1"),
        ("complexity --scenario no-such", "neither a file nor a shipped scenario"),
        ("complexity --out {tmp}", "expected a file in a folder that exists"),
    ],
)
def test_errors_come_before_anything_runs(
    line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def played(*_: object, **__: object) -> None:
        raise AssertionError("something ran")

    monkeypatch.setattr("experiments.benchmarks.met_slots.rollout", played)
    assert run(f"benchmark {line.format(tmp=tmp_path)}") == 2
    assert message in capsys.readouterr().err
