"""Settings that nothing was trained or tuned on: what is drawn, how it is played, and what the page says of it."""

import shlex
from pathlib import Path

import pytest

from edgellm_env import load_scenario
from edgellm_env.scenario import Scenario
from experiments.__main__ import main
from experiments.grid.drawn import drawn, drawn_name
from experiments.grid.study_comparing import shipped_scenario
from experiments.grid.study_store import STORE, Comparison, comparison_path, read_comparisons, read_stored
from experiments.pages.results_content import results_page
from experiments.pages.scores import Results
from tests.experiments.study.stored import comparison

ROOT = Path(__file__).parents[3]


def test_what_is_drawn_is_what_differs() -> None:
    met = set()
    for name in ("light", "memory", "bursty"):
        own = load_scenario(name)
        for index in range(12):
            about, changed = drawn(drawn_name(name, 3, index)), shipped_scenario(drawn_name(name, 3, index))
            assert about is not None
            assert changed.name == name  # rules find their numbers by it
            met |= set(about.factors)
            assert all(factor == 0.0 or 0.5 <= factor <= 2.0 for factor in about.factors.values())
            for what, ratio in ratios(changed, own).items():
                assert ratio == pytest.approx(about.factors.get(what, 1.0), rel=0.02)
            assert (changed.radio.fading == "none") == ("fading" in about.factors)
            assert (changed.workload.attachment_bits.maximum == 0.0) == ("attachments" in about.factors)
    assert met == {"arrivals", "bandwidth", "deadlines", "lengths", "attachments", "fading"}


def ratios(changed: Scenario, own: Scenario) -> dict[str, float]:
    def parts(one: Scenario) -> dict[str, float]:
        demand = one.workload
        arrivals = [demand.arrival_rate_rps, demand.bursts.rate_rps if demand.bursts else 0.0]
        lengths = [demand.prompt_tokens.maximum, demand.output_tokens.minimum, demand.output_limit_tokens]
        return {
            "arrivals": sum(arrivals),
            "bandwidth": one.radio.uplink_bandwidth_hz + one.radio.downlink_bandwidth_hz,
            "deadlines": demand.latency_requirement_s.minimum + demand.latency_requirement_s.maximum,
            "lengths": sum(lengths),
        }

    theirs = parts(own)
    return {what: value / theirs[what] for what, value in parts(changed).items()}


def test_names_of_nothing_that_is_drawn() -> None:
    assert [drawn(name) for name in ("light", "light-drawn-7", "nowhere-drawn-7-0", "azure-conv-drawn-7-0")] == 4 * [
        None
    ]
    first, again, other = (drawn(name) for name in ("light-drawn-7-0", "light-drawn-7-0", "light-drawn-8-0"))
    assert first == again != other


def test_settings_are_shared_out_among_the_scenarios(tmp_path: Path, capsys) -> None:
    line = f"study perturb --scenario light balanced --count 3 --policies dftsp --episodes 1 --store {tmp_path}"
    line += " --set timing.episode_slots=4"
    assert main(shlex.split(line)) == 0
    stored = read_comparisons(tmp_path)
    assert set(stored) == {"light-drawn-7-0", "light-drawn-7-1", "balanced-drawn-7-0"}
    assert {one.scenario for one in stored.values()} == {"light", "balanced"}
    assert all(row.service is None for one in stored.values() for row in one.rows)
    command = stored["light-drawn-7-1"].policies["dftsp"].command
    assert "study compare --scenario light-drawn-7-1 --policies dftsp" in command
    for wrong, message in (
        ("--count 0", "count: 0"),
        ("--seed -1", "seed: -1"),
        ("--scenario azure-conv", "scenario: 'azure-conv' has no workload.arrival_rate_rps; expected"),
        ("--scenario nowhere", "scenario: 'nowhere'; expected a shipped one"),
    ):
        assert main([*shlex.split(line), *wrong.split()]) == 2
        assert message in capsys.readouterr().err


def test_loads_are_multiples_of_the_own_rate(tmp_path: Path, capsys) -> None:
    line = f"study compare --policies sjf --episodes 1 --store {tmp_path} --set timing.episode_slots=4 --loads 0.5"
    assert main(shlex.split(f"{line} --scenario light")) == 0
    assert read_stored(Comparison, comparison_path(tmp_path, "light-4rps")).arrival_rate_rps == 4.0
    assert main(shlex.split(f"{line} --scenario azure-live")) == 2
    assert "loads: [0.5]; expected none" in capsys.readouterr().err


def test_the_page_counts_wins_and_losses() -> None:
    cases = [
        comparison("light", dftsp=[10.0, 10.0], lookahead=[10.5, 10.3], generalist=[10.6, 10.5]),
        comparison("light", dftsp=[10.0, 10.0], lookahead=[10.5, 10.3], generalist=[9.9, 9.8]),
    ]
    for case, rates in (("chat-3.5rps", (3.0, 2.9, 2.97)), ("chat", (4.0, 4.1, 3.9))):
        rule, other, ours = ([rate, rate] for rate in rates)
        own_case = None if case == "chat" else case
        cases.append(
            comparison("chat", own_case, dftsp=[2.0, 2.0], slo__threshold=rule, bid__price=other, generalist=ours)
        )
    names = ["light-drawn-7-0", "light-drawn-7-1", "chat-3.5rps", "chat"]
    results = Results(dict(zip(names, cases, strict=True)), [], [], None)
    page = " ".join(results_page(results, "results").split())
    assert "mean is below `dftsp`'s in 1 of 2 settings, by the interval in 1; above it in 1" in page
    assert "It is above `lookahead` in 1 of 2, by the interval in 1, and below by the interval in 1." in page
    assert (
        "At the loads that the rules were tuned for the generalist is at most 2 % below the better rule in 0 of 1"
        in page
    )
    assert "At the others the generalist is at most 2 % below the better rule in 1 of 1" in page
    assert "| `chat` | 3.5/s | 2.00 | 3.00 | 2.90 | 2.97 | \N{MINUS SIGN}1.0 [" in page


def test_stored_settings_are_those_that_are_drawn_now() -> None:
    stored = [one for one in read_comparisons(ROOT / STORE).values() if drawn(one.case) is not None]
    assert len(stored) >= 40
    assert all(shipped_scenario(one.case).checksum == one.scenario_checksum for one in stored)
