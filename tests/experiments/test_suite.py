"""The suite: its page, its cases, and that no score turns around."""

from dataclasses import replace
from itertools import pairwise
from operator import itemgetter
from pathlib import Path

import numpy as np
import pytest

from edgellm_env import load_scenario
from experiments.grid.binding import read_censuses
from experiments.grid.study_comparing import shipped_scenario
from experiments.grid.suite import HELD_OUT, TRACES, suite_case, suite_cases
from experiments.pages.scores import Results, find, read_stored, top_of
from experiments.pages.suite_content import IN, PAPER, admission_of, suite_page
from experiments.results.statistics import REFERENCE, paired_difference
from tests.experiments.study.stored import comparison

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def stored() -> Results:
    return read_stored(DOCS / "results" / "data")


def test_the_page_is_what_the_command_writes(stored: Results) -> None:
    page = suite_page(stored, read_censuses(DOCS / "census.json"))
    assert (DOCS / "suite.md").read_text() == page, "run: make pages"


def test_scores_never_turn_around(stored: Results) -> None:
    """In every stored comparison the order by gap closed is the order by throughput, or there is no score at all."""
    scored = 0
    for case, compared in stored.compared.items():
        scores = stored.in_scenario(case) if case in stored.scenarios else compared
        reference = find(scores, REFERENCE)
        assert reference is not None
        _, top_rps = top_of(stored.comparisons[case], scores)
        gaps = [score.gap_closed(top_rps) for score in scores]
        places, top = reference.among(top_rps)
        assert len(places) == len(reference.by_episode)
        if paired_difference(top, reference.by_episode).sign <= 0:
            assert not any(gaps), case
            continue
        rates_rps = [float(one.by_episode.mean()) for one in scores]
        for (less_rps, less), (more_rps, more) in pairwise(
            sorted(zip(rates_rps, gaps, strict=True), key=itemgetter(0))
        ):
            assert less is not None
            assert more is not None
            assert more.mean > less.mean or more_rps - less_rps < 1e-9, case
        own = reference.gap_closed(top_rps)
        assert own is not None
        assert own.mean == 0.0
        scored += len(gaps)
    assert scored > 100


@pytest.mark.parametrize("name", [name for cases in suite_cases().values() for name in cases])
def test_a_case_differs_from_its_scenario_in_what_it_says(name: str) -> None:
    case = suite_case(name)
    assert case is not None
    scenario, own = shipped_scenario(name), load_scenario(case.scenario)
    assert scenario.name == own.name  # rules find their numbers by it
    assert scenario.checksum != own.checksum
    changed = dict(scenario.numbers().items() ^ own.numbers().items())
    assert changed
    assert all(path.startswith(tuple(case.set)) for path in changed)


def test_parts_of_a_recording_share_no_time() -> None:
    early, late = (case.load().workload.trace for case in suite_cases()[TRACES].values())
    assert early is not None
    assert late is not None
    assert early.path == late.path
    assert early.windows_end_s is not None
    assert early.windows_end_s <= late.windows_start_s


def test_who_is_in(stored: Results) -> None:
    censuses = read_censuses(DOCS / "census.json")
    paper = admission_of(stored, censuses["paper"], "paper")
    assert paper is not None
    assert paper.verdict == PAPER
    azure = admission_of(stored, censuses["azure-conv"], "azure-conv")
    assert azure is not None
    assert azure.verdict not in (IN, PAPER)
    assert azure.missed[0] == "a choice in 35% of the slots"
    assert admission_of(stored, None, "chat") is None
    held_out = {case.scenario for case in suite_cases()[HELD_OUT].values()}
    for name in held_out:
        one = admission_of(stored, censuses[name], name)
        assert one is not None
        assert one.choice >= 0.5


def test_room_by_hand() -> None:
    """The bound decides where no policy is above the best tuned rule; a bound of some episodes counts there alone."""
    census = read_censuses(DOCS / "census.json")["light"]
    made = comparison("light", dftsp=[10.0, 10.0], random=[8.0, 8.0], lookahead=[10.4, 10.4])
    results = Results({"light": made}, [], [], None)
    one = admission_of(results, census, "light")
    assert one is not None
    assert one.missed == ("no room above the best tuned rule",)
    assert one.room.lowest_to_reference.mean == pytest.approx(30.0)
    bounded = replace(made, bounds_rps={1: 10.816}, hindsight_rps={1: 10.504})
    one = admission_of(Results({"light": bounded}, [], [], None), census, "light")
    assert one is not None
    assert (one.verdict, one.missed) == (IN, ())
    assert one.room.best_to_bound is not None
    assert one.room.best_to_bound.mean == pytest.approx(4.0)
    assert one.room.rule_to_hindsight is not None
    assert one.room.rule_to_hindsight.mean == pytest.approx(1.0)
    (score,) = [one for one in results.compared["light"] if one.policy == "random"]
    _, top_rps = top_of(bounded, results.compared["light"])
    gap = score.gap_closed(top_rps)
    assert gap is not None
    assert np.isclose(gap.mean, -5.0)
