import csv
import dataclasses
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from agents.registry import build_policies
from edgellm_env.costs.quantization import model_quality
from edgellm_env.scenario import load_scenario
from experiments.__main__ import main
from experiments.commands import reproduce
from experiments.grid.evaluation import evaluate
from experiments.grid.ledger import Ledger
from experiments.grid.points import make_points, parse_axis
from experiments.grid.reproduce_plan import (
    BASELINES,
    FULL,
    MODELS,
    PERPLEXITY,
    QUICK,
    SCHEMES,
    record_latencies,
    scheme_setting,
    throughput_figures,
    varied_numbers,
)

TINY = dataclasses.replace(
    QUICK, episodes=2, rates_rps=(2, 20), latencies_s=(1, 2), accuracies=(0, 0.9), accuracy_schemes=("GPTQ-W4",),
    node_slots=10, node_rates_rps=(2, 10), schemes=("W8A16", "GPTQ-W3"), slots=10,
)  # fmt: skip


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def shrink(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reproduce, "QUICK", TINY)
    # A sweep's own plot has a test of its own.
    patch.setattr("experiments.results.records.plot_panels", lambda *_: None)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "out"
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        assert main(["reproduce", "--quick", "--workers", "1", "--out", str(out)]) == 0
    return out


def test_each_figure_has_a_picture_a_table_and_its_commands(study: Path) -> None:
    figures = json.loads((study / "summary.json").read_text())["figures"]
    assert [one["name"] for one in figures] == list(reproduce.FIGURES)
    for one in figures:
        assert (study / one["png"]).read_bytes().startswith(b"\x89PNG")
        assert rows_of(study / one["csv"])
        assert one["command"].startswith(f"python -m experiments reproduce --figures {one['name']} --quick")
    by_rate = figures[0]
    (command,) = by_rate["measured_by"]
    assert command.startswith("python -m experiments sweep --scenario paper --set")
    about = json.loads((study / "sweeps" / "arrival-rate" / "sweep.json").read_text())["metadata"]
    assert about["command"] == command


def test_the_tables_agree_with_the_sweeps(study: Path) -> None:
    points = json.loads((study / "sweeps" / "arrival-rate" / "sweep.json").read_text())["points"]
    found = rows_of(study / "figures" / "throughput-by-arrival-rate.csv")
    assert len(found) == len(points) * 3 == 12
    expected = [summary for point in points for summary in point["summary"]]
    for row, summary in zip(found, expected, strict=True):
        assert row["policy"] == summary["policy"]
        assert float(row["mean"]) == summary["throughput_rps"]["mean"]
        if summary["difference_rps"] is not None:  # the summary's is the policy's less DFTSP's
            assert float(row["dftsp_less_policy_mean"]) == -summary["difference_rps"]["mean"]
            assert row["dftsp_at_or_above"] == str(float(row["dftsp_less_policy_mean"]) >= 0)


def test_every_point_is_in_the_summary(study: Path) -> None:
    document = json.loads((study / "summary.json").read_text())
    figures = throughput_figures(TINY)
    points = 0
    for figure in figures:
        for spec in figure.sweeps:
            points += len(list(make_points(load_scenario("paper"), spec.axes)))
    assert len(document["throughput"]) == 2 * points
    # Independent slots: DFTSP's batch is a largest one, and the baselines' are feasible in the same slot.
    inside = {figure.name for figure in figures if figure.in_study}
    assert all(one["difference"]["mean"] >= 0 for one in document["throughput"] if one["figure"] in inside)
    assert document["claims"][0]["holds"] is True
    text = (study / "summary.md").read_text()
    assert len(re.findall(r"^\| throughput-", text, re.MULTILINE)) == 2 * points


def test_every_assumed_number_is_listed(study: Path) -> None:
    numbers = {one["setting"]: one for one in json.loads((study / "summary.json").read_text())["numbers"]}
    paper = load_scenario("paper")
    for path, value in paper.numbers().items():
        assert numbers[path] == {"setting": path, "value": value, "provenance": paper.provenance_of(path)}
    assert numbers["scheme GPTQ-W4: compute_factor"]["provenance"] == "assumed"
    assert numbers["scheme W8A16 of BLOOM-7.1B: quality"]["provenance"] == "assumed"
    assert "13.48 / 14.2" in numbers["scheme GPTQ-W4 of BLOOM-3B: quality"]["provenance"]
    text = (study / "summary.md").read_text()
    assumed = text[text.index("## Assumed numbers") : text.index("## Numbers with a source")]
    for path, one in numbers.items():
        assert (f"`{path}`" in assumed) == (one["provenance"] == "assumed")


def test_a_failing_claim_is_said_to_fail(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The same results, with DFTSP's rows and static batching's the other way round.
    import shutil

    copy = study.parent / "swapped"
    shutil.copytree(study, copy)
    swap = {"dftsp": "static-batching", "static-batching": "dftsp"}
    path = copy / "sweeps" / "arrival-rate" / "done.jsonl"
    lines = []
    for key, rows in map(json.loads, path.read_text().splitlines()):
        swapped = [[row | {"policy": swap.get(row["policy"], row["policy"])}, note] for row, note in rows]
        lines.append(json.dumps([key, swapped]) + "\n")
    path.write_text("".join(lines))
    shrink(monkeypatch)
    for name in ("plot_throughput_figure", "plot_utilisation", "plot_latencies", "plot_nodes"):
        monkeypatch.setattr(reproduce, name, lambda *_: None)
    assert main(["reproduce", "--quick", "--workers", "1", "--out", str(copy)]) == 0
    claims = json.loads((copy / "summary.json").read_text())["claims"]
    assert claims[0]["holds"] is False
    assert "throughput-by-arrival-rate" in claims[0]["exceptions"][0]
    text = (copy / "summary.md").read_text()
    assert re.search(r"outperforms the batching.*\*\*fails\*\*", text)
    assert "does not hold" in text


def test_one_figure_alone_and_the_same_again(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce, "QUICK", TINY)
    command = shlex.join(["reproduce", "--quick", "--figures", "complexity", "--out", str(tmp_path / "one")])
    assert main(shlex.split(command)) == 0
    assert (tmp_path / "one" / "figures" / "complexity.csv").is_file()
    assert not (tmp_path / "one" / "summary.md").exists()
    ours, theirs = (rows_of(folder / "figures" / "complexity.csv") for folder in (tmp_path / "one", study))
    assert ours == theirs


def test_another_study_in_the_same_folder_is_refused(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "--quick", "--seed", "1", "--out", str(study)]) == 2
    assert "holds a study with" in capsys.readouterr().err
    assert main(["reproduce", "--out", str(study)]) == 2
    assert "holds a study with" in capsys.readouterr().err
    assert main(["reproduce", "--figures", "nonsense", "--out", str(study)]) == 2
    assert "figures: nonsense; expected some of throughput-by-arrival-rate" in capsys.readouterr().err


@pytest.mark.parametrize("size", [FULL, QUICK], ids=lambda size: size.name)
def test_every_point_of_the_study_is_a_workable_scenario(size: Any) -> None:
    for figure in throughput_figures(size):
        for spec in figure.sweeps:
            points = list(make_points(load_scenario("paper"), spec.axes))
            # The command that the summary names plays the same.
            assert tuple(parse_axis(axis.as_text()) for axis in spec.axes) == spec.axes
            assert len({point.scenario.checksum for point in points}) == len(points)


def test_the_catalogue_is_the_scenarios_own() -> None:
    paper, quantized = load_scenario("paper"), load_scenario("quantized")
    assert paper.with_values({"model": MODELS["BLOOM-3B"]}).checksum == paper.checksum
    for scheme in quantized.schemes:
        assert scheme_setting("BLOOM-3B", scheme.name) == scheme.model_dump()
    for model in MODELS:
        for name in SCHEMES:
            known = PERPLEXITY[model].get(name)
            quality = 1.0 if known is None else model_quality(PERPLEXITY[model]["FP16"], known)
            assert scheme_setting(model, name)["quality"] == pytest.approx(quality, abs=5e-4)
    assert all(source for _, _, source in varied_numbers())


def test_latencies_add_up_and_none_is_above_its_requirement() -> None:
    paper = load_scenario("paper").with_values({"timing.episode_slots": 20})
    recorded = record_latencies(paper, ["dftsp", *BASELINES], [1, 2], Ledger())
    rows = evaluate(paper, build_policies(["dftsp", *BASELINES], paper), [1, 2])
    assert [one.policy for one in recorded] == ["dftsp", *BASELINES]
    for one in recorded:
        assert (one.latency_s >= paper.timing.radio_s).all()
        assert (one.latency_s <= paper.workload.longest_latency_requirement_s).all()
        own = [row for row in rows if row.policy == one.policy]
        assert (one.latency_s.size, one.arrived) == (sum(row.served for row in own), sum(row.arrived for row in own))
        assert one.latency_s.sum() == pytest.approx(sum(row.served * (row.mean_latency_s or 0.0) for row in own))
