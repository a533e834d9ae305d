"""Tokens, times and fairness of an episode are those of its requests, and results keep them apart from their rows."""

import json
from pathlib import Path

import numpy as np
import pytest

from agents.registry import build_policies
from agents.rollout import make_engine
from edgellm_env import load_scenario
from edgellm_env.node.records import SERVED
from experiments.__main__ import main
from experiments.grid.evaluation import evaluate, play_episode
from experiments.grid.service import Service, jain_index, shares_by
from experiments.results.records import read_results
from experiments.results.summary import summarise

SLOTS = 40


@pytest.mark.parametrize("name", ["chat", "light"])
def test_measures_are_those_of_the_requests(name: str) -> None:
    scenario = load_scenario(name).with_slots(SLOTS)
    (policy,) = build_policies(["sjf"], scenario)
    engine = make_engine(scenario, policy.environment_id, 1)
    row = play_episode(engine, policy, 0, 7).result
    log, service = engine.request_log(0), row.service
    requests = engine.dynamics.requests[0, : log.size]
    served = log["outcome"] == SERVED
    assert row.served == served.sum() == sum(service.served_by_fifth) > 10
    assert row.arrived == sum(service.arrived_by_fifth)
    assert max(service.arrived_by_fifth) - min(service.arrived_by_fifth) <= 1
    assert service.goodput_tokens_per_s == requests["output_tokens"][served].sum() / scenario.timing.episode_s
    sizes = requests["prompt_tokens"] + requests["output_tokens"]
    small = sizes < np.quantile(sizes, 0.2) - 1
    assert service.served_by_fifth[0] >= (served & small).sum() > 0
    allowed_s = (requests["deadline_s"] - requests["arrival_s"]) / requests["output_tokens"]
    tight = allowed_s < np.quantile(allowed_s, 0.2) - 1e-9
    assert sum(service.served_by_deadline) == row.served
    assert 0 <= service.served_by_deadline[0] - (served & tight).sum() <= 1
    if name == "light":
        assert (service.mean_ttft_s, service.mean_tpot_s, service.decoded) == (None, None, None)
        return
    own, tokens = log[served], requests["output_tokens"][served]
    arrival_s, several = requests["arrival_s"][served], tokens > 1
    assert service.mean_ttft_s == pytest.approx((own["first_token_s"] - arrival_s).mean())
    decoding_s = (own["delivered_s"] - own["first_token_s"])[several] / (tokens[several] - 1)
    assert (service.mean_tpot_s, service.decoded) == (pytest.approx(decoding_s.mean()), several.sum())
    assert row.mean_latency_s == pytest.approx((own["delivered_s"] - arrival_s).mean())


def test_fifths_and_jain_by_hand() -> None:
    services = [Service(1.0, (2, 2, 2, 2, 0), (2, 1, 1, 0, 0)), Service(1.0, (2, 0, 0, 0, 0), (0, 0, 0, 0, 0))]
    assert shares_by("fifth", services) == (0.5, 0.5, 0.5, 0.0, None)
    assert shares_by("deadline", services) is None  # of earlier versions
    assert jain_index((0.5, 0.5, 0.5, 0.0, None)) == pytest.approx(0.75)
    assert jain_index((0.3,) * 5) == pytest.approx(1.0)
    assert jain_index((1.0, 0.0, 0.0, 0.0, 0.0)) == pytest.approx(0.2)
    assert jain_index((0.0, None)) is jain_index(()) is None


def test_summaries_weigh_requests() -> None:
    rows = evaluate(load_scenario("chat").with_slots(20), build_policies(["fcfs"], load_scenario("chat")), [3, 4])
    (summary,) = summarise(rows)
    total = sum(row.served * row.service.mean_ttft_s for row in rows)
    assert summary.mean_ttft_s == pytest.approx(total / sum(row.served for row in rows))
    decoded = [row.service.decoded for row in rows]
    assert summary.mean_tpot_s == pytest.approx(np.average([row.service.mean_tpot_s for row in rows], weights=decoded))


@pytest.mark.parametrize("name", ["chat", "light"])
def test_results_keep_them_and_the_table_shows_them(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["compare", "--scenario", name, "--slots", "20", "--episodes", "2", "--out", str(tmp_path), "--record", "0"]
    assert main([*words, "--policies", "sjf", "fcfs"]) == 0
    printed = capsys.readouterr().out
    assert "output tokens/s" in printed
    assert ("TTFT s" in printed) == ("TPOT ms" in printed) == (name == "chat")
    document = json.loads((tmp_path / "results.json").read_text())
    assert not {"service", "mean_ttft_s", "goodput_tokens_per_s"} & set(document["episodes"][0])
    assert [(one["policy"], one["episode"]) for one in document["service"]] == [
        ("sjf", 0), ("sjf", 1), ("fcfs", 0), ("fcfs", 1)
    ]  # fmt: skip
    _, rows, _ = read_results(tmp_path / "results.json")
    again = [json.loads(json.dumps(vars(one) | {"throughput_rps": None}, default=vars)) for one in summarise(rows)]
    assert again == [one | {"throughput_rps": None} for one in document["summary"]]
    assert (tmp_path / "summary.csv").read_text().count("served_by_fifth") == 1
