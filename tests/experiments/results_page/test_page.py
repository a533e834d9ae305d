import dataclasses
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from agents.files import OutputError
from experiments.__main__ import main, parse
from experiments.commands.documentation import README, RESULTS_PAGE
from experiments.grid.study_store import STORE, Curve, write_document, write_stored
from experiments.pages.headlines import headlines, with_headlines
from experiments.pages.results_content import results_page
from experiments.pages.scores import Results, compared_scores, find, gain, read_stored, trained_scores
from tests.experiments.study.stored import comparison, rows, run

ROOT = Path(__file__).parents[3]


def made_up() -> Results:
    """Two scenarios; three seeds of `cem-linear`, one of `bc`, an ablation, one agent elsewhere."""
    light = comparison(
        "light",
        dftsp=[10.0, 10.0],
        lookahead=[10.5, 10.3],
        sjf=[9.0, 9.4],
        es__value__at__light=[10.8, 11.0],
    )
    balanced = comparison(
        "balanced",
        dftsp=[10.0, 10.0],
        sjf=[8.0, 9.0],
        least__footprint=[9.0, 9.5],
        es__value__at__light=[9.9, 9.9],
    )
    faster = comparison("light", "light-12rps", dftsp=[12.0, 12.0], es__value__at__light=[12.6, 12.6])
    runs = [run("cem-linear", "light", seed, [10.0 + seed, 10.2 + seed]) for seed in range(3)]
    runs += [run("bc", "light", 0, [9.6, 9.8]), run("cem-linear", "light", 0, [9.5, 9.5], ablation="no-slack")]
    compared = {one.case: one for one in (light, balanced, faster)}
    return Results(compared, runs, [], None)


def cells_of(page: str, beginning: str) -> list[str]:
    """Return the cells of the first table row with this beginning."""
    line = next(line for line in page.splitlines() if line.startswith(beginning))
    return [cell.strip() for cell in line.strip("|").split("|")]


def section(page: str, title: str) -> str:
    return page.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_seeds_are_averaged_with_their_interval() -> None:
    score = next(one for one in trained_scores(made_up().runs) if one.seeds == (0, 1, 2))
    # Seeds' means are 10.1, 11.1 and 12.1. All three draws of a resample are the lowest in 1 of 27 (3.7 %): the
    # interval is their range.
    assert score.throughput_rps.mean == pytest.approx(11.1)
    assert (score.throughput_rps.low, score.throughput_rps.high) == pytest.approx((10.1, 12.1))
    assert score.difference_rps.mean == pytest.approx(1.1)
    assert (score.difference_percent.low, score.difference_percent.high) == pytest.approx((1.0, 21.0))
    np.testing.assert_allclose(score.by_episode, [11.0, 11.2])


def test_one_seed_is_marked() -> None:
    page = section(results_page(made_up(), "results"), "Training seeds")
    one, three = cells_of(page, "| `bc`"), cells_of(page, "| `cem-linear`")
    assert one[2:4] == ["0", "9.70"]
    assert one[4].endswith("(one seed)")
    assert three[2:6] == ["0, 1, 2", "10.10, 11.10, 12.10", "+1.10 [+0.10, +2.10]", "+11.0 [+1.0, +21.0]"]
    assert three[6] == "61, at most 62"
    assert "Of 3 seeds a percentile bootstrap is their range" in page


def test_a_scenario_lists_everybody_with_the_best_learned_in_bold() -> None:
    page = section(results_page(made_up(), "results"), "Every policy in every scenario")
    light = page.partition("### `light`")[2].partition("###")[0]
    names = [line.split("|")[1].strip() for line in light.splitlines() if line.startswith("| ")]
    assert names == [
        "policy", "---", "**`cem-linear`**", "`es-value:light`", "`lookahead`", "`dftsp`", "`bc`", "`sjf`"
    ]  # fmt: skip
    shipped = cells_of(light, "| `es-value:light`")
    assert shipped[1] == "10.90 [10.80, 11.00]"
    assert shipped[2] == "+0.90 [+0.80, +1.00]"
    assert shipped[3] == "+9.0 [+8.0, +10.0]"
    assert shipped[4] == "0.82 [0.80, 0.83]"
    assert shipped[6:] == ["one", "70"]
    assert cells_of(light, "| `sjf`")[3].startswith("\N{MINUS SIGN}8.0 [")
    assert cells_of(light, "| `dftsp`")[2:4] == ["", ""]
    assert "clairvoyant" not in light
    assert "Not measured: `memory`" in page


def test_the_clairvoyant_share_where_bounds_are_stored() -> None:
    import dataclasses

    results = made_up()
    light = dataclasses.replace(results.comparisons["light"], bounds_rps={0: 12.5, 1: 12.5})
    (share,) = {one.share_of(light.bounds_rps).mean for one in compared_scores(light) if one.policy == "dftsp"}
    assert share == pytest.approx(0.8)
    page = results_page(dataclasses.replace(results, comparisons={"light": light}), "results")
    assert "of the clairvoyant bound" in page
    assert cells_of(page.partition("### `light`")[2], "| `dftsp`")[5] == "0.800 [0.800, 0.800]"


def test_the_page_begins_with_the_best_agents() -> None:
    first = " ".join(results_page(made_up(), "results").partition("## What failed")[0].split())
    assert "`cem-linear` in `light` +11.0 % [+1.0, +21.0]" in first
    assert "`es-value:light` in `balanced` \N{MINUS SIGN}1.0 % [" in first
    gain = "`cem-linear` above `lookahead` in `light` +6.7 % [+4.8, +8.7]"
    assert f"not trained, rules with tuned numbers among them: {gain}" in first
    assert "at most 70 s" in first
    alone = results_page(Results({"light": comparison("light", dftsp=[10.0, 10.0])}, [], [], None), "results")
    assert "best learned agent, less" not in alone


def test_what_failed_is_said() -> None:
    results = made_up()
    collapsed = run("ppo-batch", "light", 0, [5.0, 5.5], curve=Curve((1, 2), (1.0, 2.0), (9.0, 5.0), 10.0))
    page = results_page(Results(results.comparisons, [*results.runs, collapsed], [], None), "results")
    failed = section(page, "What failed")
    assert "Learned agents below `dftsp` in `light`: `bc` \N{MINUS SIGN}3.0 %" in failed
    assert "`ppo-batch` \N{MINUS SIGN}47.5 %" in failed
    assert "ppo-batch in `light`, seed 0: ended 40.0 % of DFTSP below the best of its validations" in failed
    assert "Learned agents not ahead of `lookahead` in `light`, requests/s: `bc`" in failed


def test_ablations_transfer_and_curves() -> None:
    page = results_page(made_up(), "results")
    ablated = cells_of(section(page, "Ablations"), "| `cem-linear` no-slack")
    assert ablated[3:] == ["\N{MINUS SIGN}5.0 [\N{MINUS SIGN}5.0, \N{MINUS SIGN}5.0] (one seed)", "+11.0 [+1.0, +21.0]"]
    assert "Not measured: `no-context`" in section(page, "Ablations")
    assert "`no-masking`" in section(page, "Ablations")
    moved = cells_of(section(page, "Transfer"), "| `es-value:light`")
    assert moved[:3] == ["`es-value:light`", "`balanced`", "9.90 [9.90, 9.90]"]
    assert moved[3:] == [
        "+1.40 [+0.90, +1.90]",
        "+0.65 [+0.40, +0.90]",
        "\N{MINUS SIGN}0.10 [\N{MINUS SIGN}0.10, \N{MINUS SIGN}0.10]",
    ]
    assert cells_of(section(page, "Transfer"), "| `light` at 12/s")[2] == "+5.0 [+5.0, +5.0]"
    assert cells_of(section(page, "Learning curves"), "| `bc`")[3:8] == [
        "\N{MINUS SIGN}5.0",
        "+10.0",
        "+9.0",
        "30",
        "60",
    ]


def test_seeds_tested_on_different_requests_are_refused() -> None:
    one, other = (
        run("bc", "light", 0, [1.0, 2.0]),
        run("bc", "light", 1, [1.0, 2.0], rows=rows("bc", [1.0, 2.0], "other")),
    )
    with pytest.raises(ValueError, match="bc in light: training seeds were tested on different requests"):
        trained_scores([one, other])
    assert find(compared_scores(made_up().comparisons["light"]), "unknown") is None


def test_policies_are_compared_on_the_episodes_that_both_played() -> None:
    more = comparison("light", dftsp=[10.0, 10.0, 20.0], sjf=[8.0, 9.0, 20.0])
    (learned,), sjf = trained_scores([run("bc", "light", 0, [9.0, 10.0])]), find(compared_scores(more), "sjf")
    assert sjf is not None
    assert gain(learned, sjf).mean == pytest.approx(100.0 * 1.0 / 8.5)


def test_the_command_writes_page_and_plots(tmp_path: Path, capsys) -> None:
    store, out = tmp_path / "store", tmp_path / "page.md"
    results = made_up()
    for compared in results.comparisons.values():
        write_stored(compared, store)
    for trained in results.runs:
        write_stored(trained, store)
    classes = {"requests": [[4, 0], [5, 6]], "score": [[0.5, None], [-0.5, 0.1]]}
    parts = {"served": [[1.0, None], [0.2, 0.4]], "served_by_dftsp": [[0.5, None], [0.9, 0.4]]}
    bounds = {"chance_bounds": [0.0, 1.0], "footprint_bounds": [0.0, 0.5]}
    about = {"policy": "es-value:light", "scenario": "light", "seed": 0, "episodes": 2, "versions": {}}
    write_document(store / "behaviour" / "x.json", about | bounds | classes | parts)
    decision = {
        "scenario": "light", "policy": "cem-linear:light", "environments": 1024, "mean_waiting": 5.0,
        "microseconds": 2.0, "low_microseconds": 1.5, "high_microseconds": 2.5, "cpu_microseconds": 3.0,
        "times_as_fast": 4.5,
    }  # fmt: skip
    machine = {"processor": "a processor", "cores": 2, "load_average": 0.25}
    write_document(store / "decisions.json", {"metadata": {"machine": machine}, "rows": [decision]})
    assert main(["results-page", "--store", str(store), "--out", str(out)]) == 0
    page = out.read_text()
    for link in ("curves.png", "rates-light.png", "behaviour-es-value-light-in-light.png"):
        assert f"(page/{link})" in page
        assert (tmp_path / "page" / link).read_bytes().startswith(b"\x89PNG")
    assert page == results_page(read_stored(store), "page")
    prose = " ".join(page.split())
    assert "defers most those with 1 or more slots left and a footprint of 0 to 0.5 (\N{MINUS SIGN}70 points)" in prose
    assert cells_of(page, "| `cem-linear:light` | `light`")[2:] == ["5.0", "2.0", "1.5 to 2.5", "3.0", "4.50"]
    assert "a processor, 2 cores, load 0.2" in prose
    assert main(["results-page", "--store", str(tmp_path / "none"), "--out", str(out)]) == 2
    assert "holds no results" in capsys.readouterr().err


def test_the_readmes_table_is_what_the_stored_results_give() -> None:
    readme, results = (ROOT / README).read_text(encoding="utf-8"), read_stored(ROOT / STORE)
    assert readme == with_headlines(readme, results), "run: python -m experiments results-page"
    table = headlines(made_up())
    assert (
        "| `light` | 10.00 | `lookahead` 10.40 | `cem-linear` 11.10 | +11.0 [+10.0, +12.0] | +6.7 [+4.8, +8.7] | 3 |  |"
        in table
    )
    with pytest.raises(OutputError, match="no place for headlines"):
        with_headlines("", results)


def test_the_page_is_what_the_stored_results_give() -> None:
    page = (ROOT / RESULTS_PAGE).read_text(encoding="utf-8")
    assert page == results_page(read_stored(ROOT / STORE), RESULTS_PAGE.stem), "run: python -m experiments results-page"
    folder = (ROOT / RESULTS_PAGE).with_suffix("")
    pages = page + (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    links = [line.partition("](")[2].rstrip(")") for line in pages.splitlines() if line.startswith("![")]
    assert links
    assert {Path(link).name for link in links} == {path.name for path in folder.glob("*.png")}


def test_the_commands_on_the_page_exist() -> None:
    page = (ROOT / RESULTS_PAGE).read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"^python -m experiments (.+)$", page, re.MULTILINE)
    assert len(commands) >= 8
    for command in commands:
        parse(shlex.split(command))


def test_room_above_dftsp_names_the_other_optimum_and_the_bound() -> None:
    light = comparison("light", dftsp=[10.0, 10.0], exact=[9.5, 9.5], es__value__at__light=[10.8, 11.0])
    light = dataclasses.replace(light, bounds_rps={0: 11.0, 1: 11.2})
    page = section(results_page(Results({"light": light}, [], [], None), "results"), "How much room there is")
    cells = cells_of(page, "| `light`")
    assert cells[1].startswith("\N{MINUS SIGN}5.0 [")
    assert cells[3] == "+9.0 [+8.0, +10.0]"
    assert cells[4] == "+14.7 [+13.7, +15.8]"
    assert cells[5] == "at most +11.0"
    without = results_page(made_up(), "results")
    assert "How much room there is" not in without
