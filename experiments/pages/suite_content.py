"""The suite's page: which scenarios are in, by numbers, and how much of the gap each policy closes in each tier."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgellm_env.scenario import load_scenario
from experiments.grid.binding import Census
from experiments.grid.suite import HELD_OUT, TRACES, TRAINING, SuiteCase, suite_cases
from experiments.pages.headroom import Headroom, headroom_of
from experiments.pages.rendering import number, render
from experiments.pages.scores import SCENARIO_ORDER, Results, Score, find, top_of
from experiments.results.statistics import REFERENCE, Estimate

LEAST_CHOICE: Final = 0.5
"""Share of slots in which not all waiting requests fit together that a scenario needs to be in."""

LEAST_REFERENCE: Final = 10.0
"""Percent by which the best policy that was not trained must be above random order."""

LEAST_ROOM: Final = 3.0
"""Percent by which the best known, hindsight included, must be above the best tuned rule, or the bound above it."""

IN, SOLVED, PAPER = "in", "solved", "paper"


@dataclass(frozen=True)
class Admission:
    """A scenario's admission test."""

    room: Headroom
    census: Census
    verdict: str  # IN, SOLVED or PAPER
    missed: tuple[str, ...]  # what it fails, in words

    @property
    def choice(self) -> float:
        """Share of slots in which not all waiting requests fit together."""
        return self.census.left_behind / self.census.slots


@dataclass(frozen=True)
class Column:
    """A case's column in a tier's table."""

    case: str
    what: str  # its scenario and what differs
    reference: Score  # DFTSP
    top: str  # where the gap ends, in words
    top_rps: float  # its mean over the episodes that it is known in


@dataclass(frozen=True)
class Tier:
    """A tier's table: the part of the gap from DFTSP that each policy closes."""

    name: str
    columns: Sequence[Column]
    rows: Sequence[tuple[str, Sequence[Estimate | None]]]  # by policy, the best first; None where there is none
    missing: Sequence[str]  # cases of which nothing is stored


def admission_of(results: Results, census: Census | None, scenario: str) -> Admission | None:
    """Return a scenario's admission test; None where what it needs is not stored."""
    room = headroom_of(results, scenario)
    if room is None or census is None:
        return None
    choice, reference = census.left_behind / census.slots, room.lowest_to_reference.mean
    gains = [one.mean for one in (room.rule_to_best, room.rule_to_hindsight) if one is not None]
    bound = None if room.best_to_bound is None else room.best_to_bound.mean
    has_room = max(gains, default=0.0) >= LEAST_ROOM or (bound is not None and bound >= LEAST_ROOM)
    missed = [
        words
        for words, fails in (
            (f"a choice in {choice:.0%} of the slots", choice < LEAST_CHOICE),
            (f"the best reference {number(reference, '+.1f')} % from random order", reference < LEAST_REFERENCE),
            ("no room above the best tuned rule", not has_room),
        )
        if fails
    ]
    independent = not load_scenario(scenario).queue.carry_over
    return Admission(room, census, PAPER if independent else SOLVED if missed else IN, tuple(missed))


def suite_page(results: Results, censuses: Mapping[str, Census]) -> str:
    """Return the page's Markdown."""
    found = [admission_of(results, censuses.get(name), name) for name in SCENARIO_ORDER]
    tested = [one for one in found if one is not None]
    inside = [one.room.scenario for one in tested if one.verdict == IN]
    own = {name: SuiteCase(name, {}) for name in inside}
    tiers = [_tier(results, TRAINING, own)]
    tiers += [_tier(results, name, suite_cases()[name]) for name in (HELD_OUT, TRACES)]
    return render(
        "suite.md.j2",
        reference=REFERENCE,
        thresholds=(LEAST_CHOICE, LEAST_REFERENCE, LEAST_ROOM),
        tested=tested,
        inside=inside,
        others=[one for one in tested if one.verdict != IN],
        tiers=tiers,
        cases=suite_cases(),
    )


def _tier(results: Results, name: str, cases: Mapping[str, SuiteCase]) -> Tier:
    columns, gaps = [], dict[str, dict[str, Estimate | None]]()
    for case, about in cases.items():
        # Learners over their seeds are stored by scenario.
        scores = results.in_scenario(case) if case == about.scenario else results.compared.get(case, [])
        reference = find(scores, REFERENCE)
        if reference is None:
            continue
        top, top_rps = top_of(results.comparisons.get(case), scores)
        changes = ", ".join(f"`{path}`" for path in about.set)
        what = f"`{about.scenario}`" + (f" with other {changes}" if changes else "")
        columns.append(Column(case, what, reference, top, float(np.mean(list(top_rps.values())))))
        for score in scores:
            if not score.is_reference:
                gaps.setdefault(score.label, {})[case] = score.gap_closed(top_rps)
    rows = [(label, [own.get(column.case) for column in columns]) for label, own in gaps.items()]
    rows.sort(key=lambda row: -float(np.mean([one.mean for one in row[1] if one is not None] or [-np.inf])))
    return Tier(name, columns, rows, [case for case in cases if case not in {one.case for one in columns}])
