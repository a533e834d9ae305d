"""The protocol: who plays where changes nothing, a bad policy is named and the others go on."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.rollout import Step
from agents.seeds import episode_seeds
from edgellm_env import load_scenario
from experiments.__main__ import main
from experiments.grid import runner
from experiments.grid.evaluation import Collector, EpisodeResult
from experiments.grid.ledger import Ledger
from experiments.grid.parallel import ParallelError
from experiments.grid.points import Point
from experiments.grid.runner import Contest, Plan, play_plans
from experiments.results.records import read_results
from experiments.results.summary import summarise
from tests.experiments import own_policies

OWN = own_policies.__name__
SCENARIO = load_scenario("light").with_values({"timing.episode_slots": 12})
SEEDS = episode_seeds("test", 0, 7)


def play_contest(specs: Sequence[str], seeds: Sequence[int] = SEEDS, **how: Any) -> Contest:
    plan = Plan((Point(0, (), SCENARIO),), tuple(specs), tuple(seeds), collect=how.pop("collect", None))
    ((contest,),) = play_plans([(plan, how.pop("ledger", Ledger()))], **how)
    return contest


def untimed(rows: list[EpisodeResult]) -> list[EpisodeResult]:
    return [dataclasses.replace(row, decision_mean_s=0.0, decision_p99_s=0.0) for row in rows]


def compare(out: Path, *policies: str, status: int = 0, more: tuple[str, ...] = ()) -> dict[str, Any]:
    """Run a small comparison; return results.json."""
    words = ["compare", "--scenario", "light", "--slots", "12", "--episodes", "2", "--out", str(out), *more]
    assert main([*words, "--policies", *policies]) == status
    document: dict[str, Any] = json.loads((out / "results.json").read_text())
    return document


def test_all_policies_that_can_play_a_continuous_node_are_compared(tmp_path: Path) -> None:
    assert main(["compare", "--scenario", "chat", "--slots", "12", "--episodes", "1", "--out", str(tmp_path)]) == 0
    rows = read_results(tmp_path / "results.json")[1]
    policies = {row.policy for row in rows}
    assert {"dftsp", "exact", "fcfs", "random"} <= policies
    assert not {"static-batching", "lookahead", "dftsp-joint"} & policies
    assert all(row.is_conserved() and row.served > 0 for row in rows)
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "report.html")]) == 0


def test_processes_play_the_same_rows_and_a_killed_one_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = ["dftsp", "random", f"{OWN}:Killed", f"{OWN}:Counting", f"{OWN}:Drawing@EdgeLLM/Rank-v0"]
    marker = tmp_path / "killed"
    monkeypatch.setenv("EDGELLM_TEST_MARKER", str(marker))
    together = play_contest(specs, workers=2)
    assert marker.exists()
    alone = play_contest(specs)
    assert untimed(together.rows) == untimed(alone.rows)
    assert not together.failures
    assert [(row.policy, row.episode) for row in alone.rows][5:9] == [
        ("dftsp", 5), ("dftsp", 6), ("random", 0), ("random", 1)
    ]  # fmt: skip


def test_two_ray_nodes_play_the_same_rows_and_a_killed_worker_changes_nothing(
    two_nodes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    marker = tmp_path / "killed"
    monkeypatch.setenv("EDGELLM_TEST_MARKER", str(marker))
    specs = ["dftsp", "random", f"{OWN}:Killed"]
    ray.init(
        address=two_nodes,
        log_to_driver=False,
        runtime_env={"env_vars": {"EDGELLM_TEST_MARKER": str(marker)}},
    )
    try:
        together = play_contest(specs, ray=two_nodes)
    finally:
        ray.shutdown()
    assert marker.exists()
    assert untimed(together.rows) == untimed(play_contest(specs).rows)


def test_a_policy_that_kills_every_worker_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.grid.parallel.ATTEMPTS", 1)
    monkeypatch.setenv("EDGELLM_TEST_MARKER", str(tmp_path / "killed"))
    with pytest.raises(ParallelError, match=r"policy '.*:Killed', episodes 0 to 1: a worker process died"):
        play_contest(["fcfs", f"{OWN}:Killed"], SEEDS[:2], workers=2)


def test_bad_policies_are_named_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = ["Raising", "Leaving", "Misshapen", "NotANumber", "nan_scores@EdgeLLM/Rank-v0", "nan_scores@EdgeLLM/Batch-v0"]
    document = compare(tmp_path, "dftsp", *(f"{OWN}:{name}" for name in bad), "random", status=1)
    error = capsys.readouterr().err
    assert "error: 6 of 8 policies failed and are in no table" in error
    for text in (
        "policy 'raising', episode 0, slot 3: decide raised KeyError: 'queue' (failed in 2 episodes)",
        "policy 'leaving', episode 0, slot 0: decide raised SystemExit: 0",
        "policy 'misshapen', episode 0, slot 0: decide returned a batch of shape (1, 2), dtype bool; expected (1, 1), ",
        "policy 'not-a-number', episode 0, slot 0: decide returned a batch of shape (1, 1), dtype float64; expected ",
        f"policy '{OWN}:nan_scores@EdgeLLM/Rank-v0', episode 0, slot 0: decide returned what can't be executed: "
        "ValueError: action: scores from nan to nan; expected numbers within [-1, 1]",
        "action: bits from nan to nan; expected 0 and 1",
    ):
        assert text in error
    assert [row["policy"] for row in document["episodes"]] == ["dftsp", "dftsp", "random", "random"]
    assert [one["policy"] for one in document["summary"]] == ["dftsp", "random"]
    assert {(one["policy"], one["episode"]) for one in document["failures"]} >= {("raising", 0), ("raising", 1)}
    first = document["failures"][0]
    assert (first["slot"], first["reason"]) == (3, "decide raised KeyError: 'queue'")
    assert (tmp_path / "throughput.png").exists()


class Counter(Collector):
    """Counts the slots of an episode."""

    def __init__(self, episode: int) -> None:
        self.episode, self.slots = episode, 0

    def played(self, step: Step) -> None:
        self.slots += int(step.closed.sum())

    def collected(self) -> Any:
        return [self.episode, self.slots]


def first_three(episode: int) -> Counter | None:
    return Counter(episode) if episode < 3 else None


@pytest.mark.parametrize("workers", [1, 2])
def test_an_episodes_notes_come_back_with_its_row(workers: int, tmp_path: Path) -> None:
    contest = play_contest(["fcfs", f"{OWN}:Raising"], workers=workers, collect=first_three, ledger=Ledger(tmp_path))
    notes = {("fcfs", episode): [episode, 12] for episode in range(3)}
    assert contest.notes == notes
    # What is done is not played again; what failed is.
    again = play_contest(["fcfs", f"{OWN}:Raising"], collect=no_longer, ledger=Ledger(tmp_path))
    assert again == contest


def no_longer(episode: int) -> Counter | None:
    return None


def test_a_comparison_that_was_stopped_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = compare(tmp_path / "whole", "dftsp", f"{OWN}:Counting")
    marker = tmp_path / "stopped"
    monkeypatch.setenv("EDGELLM_TEST_MARKER", str(marker))
    words = ["compare", "--scenario", "light", "--slots", "12", "--episodes", "2", "--out", str(tmp_path / "out")]
    assert main([*words, "--policies", "dftsp", f"{OWN}:Stopping"]) == 130
    assert "interrupted; what is finished is kept, and the same command continues: " in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.json").exists()
    assert main([*words, "--policies", "dftsp", "random"]) == 2
    assert "holds a comparison with other settings (policies)" in capsys.readouterr().err
    played: list[Any] = []
    play = runner.play_episodes
    monkeypatch.setattr(runner, "play_episodes", lambda *words: (played.append(words[1].name), play(*words))[1])
    document = compare(tmp_path / "out", "dftsp", f"{OWN}:Stopping")
    assert played == ["counting"]
    for ours, theirs in zip(document["episodes"], expected["episodes"], strict=True):
        assert untimed([EpisodeResult(**ours)]) == untimed([EpisodeResult(**theirs)])
    # Finished, it is played anew: what a policy does may have changed.
    compare(tmp_path / "out", "dftsp", f"{OWN}:Stopping")
    assert played == ["counting", "dftsp", "counting"]


def test_if_every_policy_fails_that_is_all_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = compare(tmp_path, f"{OWN}:Raising", status=1)
    assert (document["episodes"], document["summary"], len(document["failures"])) == ([], [], 2)
    assert "1 of 1 policies failed" in capsys.readouterr().err


def test_infeasible_batches_are_reported_and_do_not_pay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = compare(tmp_path, f"{OWN}:Everything", "fcfs")
    everything, fcfs = document["summary"]
    assert everything["infeasible_slots"] > 0
    first = (everything["first_infeasible_episode"], everything["first_infeasible_slot"])
    text = " ".join(capsys.readouterr().out.split())
    assert (
        f"policy 'everything' asked for an infeasible batch in {everything['infeasible_slots']} slots, first in "
        f"episode {first[0]}, slot {first[1]}; treated by the scenario's rule (trim)"
    ) in text
    # Trimming serves the feasible part in queue order: what a policy that asks for that part outright is credited with.
    assert everything["throughput_rps"] == fcfs["throughput_rps"]
    assert (fcfs["infeasible_slots"], fcfs["first_infeasible_slot"]) == (0, None)


def test_writing_into_a_view_changes_nothing(tmp_path: Path) -> None:
    honest, meddling = play_contest([f"{OWN}:Shortest", f"{OWN}:Meddling"], SEEDS[:1]).rows
    assert untimed([dataclasses.replace(meddling, policy="shortest")]) == untimed([honest])


def test_functions_of_observations_act_in_their_environment() -> None:
    contest = play_contest(["sjf", "fcfs", f"{OWN}:shortest@EdgeLLM/Rank-v0", f"{OWN}:first_legal@EdgeLLM/Select-v0"])
    served = {
        name: [row.served for row in contest.rows if row.policy == name] for name in {r.policy for r in contest.rows}
    }
    assert served[f"{OWN}:shortest@EdgeLLM/Rank-v0"] == served["sjf"]
    assert served[f"{OWN}:first_legal@EdgeLLM/Select-v0"] == served["fcfs"]
    assert all(row.is_conserved() and not row.infeasible_slots for row in contest.rows)
    assert len({row.trace_checksum for row in contest.rows}) == len(SEEDS)


def test_results_say_what_they_were_made_with(tmp_path: Path) -> None:
    document = compare(tmp_path, "dftsp", "random", f"{OWN}:Drawing@EdgeLLM/Rank-v0", more=("--clairvoyant-s", "2"))
    about = document["metadata"]
    assert about["scenario_checksum"] == load_scenario("light").with_values({"timing.episode_slots": 12}).checksum
    assert {"processor", "cores", "system"} <= set(about["machine"])
    assert (about["format"], about["workers"], about["seed"], about["first_episode_seed"]) == (2, 1, 0, SEEDS[0])
    assert [(one["mode"], one["environment"]) for one in about["policies"]] == [
        ("deterministic", "EdgeLLM/Batch-v0"),
        ("stochastic", "EdgeLLM/Batch-v0"),
        ("stochastic", "EdgeLLM/Rank-v0"),
    ]
    for bound, row in zip(document["bounds"], document["episodes"][:2], strict=True):
        assert row["served"] <= bound["upper"]
        assert bound["lower"] <= bound["upper"]
    dftsp = document["summary"][0]
    served = sum(row["served"] for row in document["episodes"][:2])
    assert dftsp["bound_share"]["mean"] == pytest.approx(served / sum(bound["upper"] for bound in document["bounds"]))
    gaps = [one["gap_closed"] for one in document["summary"]]
    upper = np.array([bound["upper"] for bound in document["bounds"]])
    above = upper - [row["served"] for row in document["episodes"][:2]]
    assert gaps[0] is None or (above.sum() > 0 and gaps[0]["mean"] == 0.0)


def test_a_higher_mean_closes_more_of_the_gap_whichever_is_best() -> None:
    rows = {"dftsp": [10, 12, 11], "random": [12, 13, 13], "fcfs": [4, 5, 6], "best": [13, 15, 14]}
    (row,) = play_contest(["fcfs"], SEEDS[:1]).rows
    results = [
        dataclasses.replace(row, policy=name, episode=episode, throughput_rps=float(rps))
        for name, own in rows.items()
        for episode, rps in enumerate(own)
    ]
    gaps = {one.policy: one.gap_closed.mean for one in summarise(results)}
    assert (gaps["dftsp"], gaps["best"]) == (0.0, 1.0)
    assert gaps["fcfs"] < gaps["dftsp"] < gaps["random"] < gaps["best"]
    assert summarise([row for row in results if row.policy in ("dftsp", "fcfs")])[1].gap_closed is None


def test_results_of_the_first_format_are_still_read(tmp_path: Path) -> None:
    document = compare(tmp_path, "fcfs")
    assert "bounds" not in document
    for row in document["episodes"]:
        del row["first_infeasible_slot"]
    old = {name: document[name] for name in ("metadata", "summary", "episodes")}
    (tmp_path / "results.json").write_text(json.dumps(old))
    assert [row.policy for row in read_results(tmp_path / "results.json")[1]] == ["fcfs", "fcfs"]
