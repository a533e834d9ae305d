"""Everything stored, read once and scored: what the page's sections draw on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from agents.files import OutputError
from experiments.benchmarks.decisions import DecisionTime
from experiments.grid.study_behaviour import Behaviour
from experiments.grid.study_store import Comparison, TrainedRun, read_comparisons, read_document, read_runs, validated
from experiments.pages.scores import Score, compared_scores, trained_scores

DECISIONS: Final = "decisions.json"
COUPLED: Final = ("light", "balanced", "memory", "patient")
"""Scenarios in which learned agents are studied with several training seeds."""

SCENARIO_ORDER: Final = (*COUPLED, "paper", "spillover", "bursty", "quantized", "azure-conv")


@dataclass(frozen=True)
class Decisions:
    """The stored measurement of ``benchmark decisions``.

    Args:
        machine: what it was measured on, in words.
        rows: per scenario and policy.
    """

    machine: str
    rows: Sequence[DecisionTime]


@dataclass(frozen=True)
class Results:
    """What is stored.

    Args:
        comparisons: by case.
        runs: training runs.
        behaviours: of agents.
        decisions: None if not measured.
    """

    comparisons: Mapping[str, Comparison]
    runs: Sequence[TrainedRun]
    behaviours: Sequence[Behaviour]
    decisions: Decisions | None

    @cached_property
    def compared(self) -> dict[str, list[Score]]:
        """Scores of every comparison's policies, by case."""
        return {case: compared_scores(comparison) for case, comparison in self.comparisons.items()}

    @cached_property
    def trained(self) -> list[Score]:
        """Scores over training seeds, of learners as they are."""
        return trained_scores(run for run in self.runs if run.ablation is None)

    @cached_property
    def ablated(self) -> list[Score]:
        """Scores over training seeds, of learners from which something was taken."""
        return trained_scores(run for run in self.runs if run.ablation is not None)

    @property
    def shipped(self) -> list[Score]:
        """Scores of shipped agents, wherever they played."""
        return [one for scores in self.compared.values() for one in scores if one.agent is not None]

    @cached_property
    def scenarios(self) -> list[str]:
        """Scenarios in which anything was tested, at their own arrival rate; the coupled ones first."""
        found = {one.scenario for one in self.comparisons.values() if one.case == one.scenario}
        found |= {run.scenario for run in self.runs}
        return sorted(found, key=lambda name: (place_of(name), name))

    def in_scenario(self, scenario: str) -> list[Score]:
        """Return all that played a scenario's test episodes, best first."""
        scores = [*self.compared.get(scenario, []), *(one for one in self.trained if one.trained_on == scenario)]
        return sorted(scores, key=lambda score: -score.throughput_rps.mean)


def place_of(scenario: str | None) -> int:
    """Return a scenario's place on the page; unknown ones are last."""
    return SCENARIO_ORDER.index(scenario) if scenario in SCENARIO_ORDER else len(SCENARIO_ORDER)


def read_stored(store: Path) -> Results:
    """Read all that is stored.

    Raises:
        OutputError: nothing is stored there, or something that is no result.
    """
    results = Results(read_comparisons(store), read_runs(store), _behaviours(store), _decisions(store / DECISIONS))
    if not (results.comparisons or results.runs or results.behaviours or results.decisions):
        raise OutputError(f"store: {store} holds no results; expected what the study's commands write")
    return results


def _behaviours(store: Path) -> list[Behaviour]:
    documents = {path: read_document(path) for path in sorted((store / "behaviour").glob("*.json"))}
    for document in documents.values():
        document.pop("versions", None)
    return [validated(TypeAdapter(Behaviour), document, path) for path, document in documents.items()]


def _decisions(path: Path) -> Decisions | None:
    if not path.is_file():
        return None
    document = read_document(path)
    try:
        about = document["metadata"]["machine"]
        words = f"{about['processor']}, {about['cores']} cores, load {about['load_average']:.1f} when it began"
    except (KeyError, TypeError, ValueError) as error:
        raise OutputError(f"{path}: metadata.machine: {error}; expected what benchmark decisions writes") from error
    decisions = validated(TypeAdapter(Decisions), {"machine": words, "rows": document.get("rows")}, path)
    return replace(decisions, rows=sorted(decisions.rows, key=lambda row: place_of(row.scenario)))
