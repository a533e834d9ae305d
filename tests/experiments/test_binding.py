from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from agents.seeds import episode_seeds
from edgellm_env import load_scenario, scenario_names
from edgellm_env.costs.iterations import ITERATION
from edgellm_env.slot.problem import Problems, SlotProblem
from edgellm_env.slot.timeline import MEMBER, Running
from edgellm_env.solvers import solve_exact_batch
from experiments.commands.documentation import scenarios_page
from experiments.grid.binding import binding_constraints, census_checksum, read_censuses, take_census
from experiments.pages.scores import Results, read_stored
from tests.agents.slots_by_hand import problem_of

DOCS = Path(__file__).parents[2] / "docs"


@cache
def stored() -> Results:
    return read_stored(DOCS / "results" / "data")


def binding(problem: SlotProblem) -> set[str]:
    problems = Problems.of([problem])
    binds = binding_constraints(problems, solve_exact_batch(problems).count)
    return {name for name, where in binds.items() if where[0]}


def test_each_constraint_by_hand() -> None:
    assert binding(problem_of([0.4, 0.4])) == set()
    assert binding(problem_of([0.6, 0.6])) == {"compute_limit", "compute_limit_and_deadline"}
    assert binding(problem_of([0.4, 0.4], [0.5, 0.5])) == {"deadline", "compute_limit_and_deadline"}
    assert binding(problem_of([0.6, 0.6], [1.0, 1.0])) == {"compute_limit_and_deadline"}
    assert binding(problem_of([0.1, 0.1], kv_bytes=[60.0, 60.0])) == {"memory"}
    assert binding(problem_of([0.1, 0.1], uplink_share=[0.6, 0.6])) == {"uplink"}
    assert binding(problem_of([0.1, 0.1], downlink_share=[0.6, 0.6])) == {"downlink"}
    assert binding(problem_of([0.1, 0.1], uplink_share=[0.6, 0.6], downlink_share=[0.6, 0.6])) == set()


def continuous(slack_s: float, running_slack_s: float | None = None, most: int = 2, **changes: list[float]) -> set[str]:
    """What binds where one request of a prompt token and 3 answer tokens waits beside one that has 3 tokens to go.

    An iteration takes 0.1 s and 0.1 s for each sequence: 0.6 s either of them alone, 0.9 s both together.
    """
    costs = np.array([(0.1, 0.1, 0.0, 0.1, 0.0)], dtype=ITERATION)
    members = np.zeros(0 if running_slack_s is None else 1, dtype=MEMBER)
    members["to_go"], members["finish_s"], members["slack_s"] = 3, 0.6, running_slack_s or 0.0
    lengths = np.array([1]), np.array([3])
    problem = problem_of([0.6], [slack_s], **changes)
    running = Running(costs, members, most, *lengths)
    return binding(replace(problem, compute_limit_s=np.inf, running=running))


def test_each_constraint_of_a_continuous_node_by_hand() -> None:
    time = "compute_limit_and_deadline"
    assert continuous(0.95, 0.95) == set()
    assert continuous(0.65, 0.95) == {"deadline", time}
    assert continuous(0.95, 0.65) == {"running_deadline", time}
    assert continuous(0.65, 0.65) == {time}
    assert continuous(0.95, 0.95, most=1) == {"max_running"}
    assert continuous(0.95, 0.95, kv_bytes=[101.0]) == {"memory"}
    assert continuous(0.95, 0.95, uplink_share=[1.1]) == {"uplink"}
    assert continuous(0.95, 0.95, downlink_share=[1.1]) == {"downlink"}
    assert continuous(0.65, 0.95, most=1) == set()


def test_census_of_tiny_by_hand() -> None:
    # Slots 1 to 4 of the golden episode, twice; a request that fits no slot at all is among those left behind.
    census = take_census(load_scenario("tiny"), 8, episode_seeds("validation", 0, 2))
    assert census.slots == 8
    assert census.left_behind == census.choice == 8
    assert census.mean_batch == pytest.approx(11 / 4)
    with pytest.raises(ValueError, match="seeds: 1; expected 2"):
        take_census(load_scenario("tiny"), 8, [0])


def test_census_counts_the_slots_asked_for() -> None:
    seen: list[int] = []
    scenario = load_scenario("balanced").with_values({"timing.episode_slots": 8})
    census = take_census(scenario, 10, episode_seeds("validation", 0, 10), seen.append)
    assert sum(seen) == 10
    assert min(seen) > 0
    assert census.slots == 10
    assert census.uplink <= census.left_behind <= 10


def test_checksum_leaves_out_where_the_trace_file_is() -> None:
    scenario = load_scenario("azure-conv")
    moved = scenario.with_values({"workload.trace.path": "/elsewhere.csv"})
    assert moved.checksum != scenario.checksum
    assert census_checksum(moved) == census_checksum(scenario)


def test_the_page_is_what_the_command_writes() -> None:
    censuses = read_censuses(DOCS / "census.json")
    page = scenarios_page([load_scenario(name) for name in scenario_names()], censuses, stored())
    assert (DOCS / "scenarios.md").read_text() == page, "run: make pages"
    assert set(censuses) == set(scenario_names())
    assert all(census.slots >= 1000 for census in censuses.values())


def test_the_page_refuses_a_census_of_other_settings() -> None:
    censuses = read_censuses(DOCS / "census.json")
    changed = load_scenario("light").with_values({"workload.arrival_rate_rps": 9.0})
    with pytest.raises(ValueError, match="light: taken of other settings"):
        scenarios_page([changed], censuses, stored())


def test_every_assumed_number_says_so() -> None:
    page = (DOCS / "scenarios.md").read_text()
    for name in scenario_names():
        scenario = load_scenario(name)
        section = page.split(f"## `{name}`")[1].split("\n## ")[0]
        for path in scenario.numbers():
            (row,) = [line for line in section.splitlines() if line.startswith(f"| `{path}` |")]
            assert row.endswith(f"| {scenario.provenance_of(path)} |")


def test_a_damaged_census_is_refused(tmp_path: Path) -> None:
    (tmp_path / "census.json").write_text('{"light": {"slots": 3}}')
    with pytest.raises(ValueError, match="can't be read"):
        read_censuses(tmp_path / "census.json")
    assert read_censuses(tmp_path / "none.json") == {}
