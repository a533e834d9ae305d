"""Counts the nodes that DFTSP and brute force visit on the same slots, rule by rule.

Nodes are counted by the searches themselves, all in the same tree and in the same way: a node is a branch that was
looked at, whether or not it was cut there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

from edgellm_env.slot.problem import SlotProblem
from edgellm_env.solvers import solve_dftsp
from edgellm_env.solvers.dftsp import NO_PRUNING, Pruning
from experiments.results.statistics import Estimate, bootstrap
from experiments.results.summary import REFERENCE

BRUTE_FORCE = "brute force"
RULES = tuple(rule.name for rule in fields(Pruning))


def without(rule: str) -> str:
    """Name of the search with every rule but ``rule``."""
    return f"without {rule}"


def only(rule: str) -> str:
    """Name of the search with no rule but ``rule``."""
    return f"only {rule}"


FIRST_BATCH = only("stop_at_first")
"""The brute force that stops at the first batch found: sizes fall, so that it is a largest one."""

SEARCHES: dict[str, Pruning] = {
    REFERENCE: Pruning(),
    BRUTE_FORCE: NO_PRUNING,
    **{without(rule): replace(Pruning(), **{rule: False}) for rule in RULES},
    **{only(rule): replace(NO_PRUNING, **{rule: True}) for rule in RULES},
}
"""Every search that is counted, by name."""


@dataclass(frozen=True)
class NodeCount:
    """What a search visited at one arrival rate.

    Args:
        search: its name in :data:`SEARCHES`.
        arrival_rate_rps: at which the slots were met.
        slots: slots searched.
        finished: of them, those that the node limit did not stop.
        nodes: visited in all; those of a stopped search too, so that a finished one would have visited more.
        saved_share: 1 - (DFTSP's nodes / nodes): how much fewer DFTSP visits. A lower bound where the search did not
            finish; None where DFTSP did not, or nothing was visited.
        saved_low: lower end of its 95 % bootstrap interval over slots, both searches on the same; None for searches
            other than the two brute forces.
        saved_high: upper end.
    """

    search: str
    arrival_rate_rps: float
    slots: int
    finished: int
    nodes: int
    saved_share: float | None
    saved_low: float | None = None
    saved_high: float | None = None

    @property
    def mean_nodes(self) -> float:
        """Nodes per slot."""
        return self.nodes / self.slots

    @property
    def is_finished(self) -> bool:
        """Whether the limit stopped it nowhere."""
        return self.finished == self.slots


def count_nodes(
    problems: Sequence[SlotProblem],
    arrival_rate_rps: float,
    node_limit: int,
    on_progress: Callable[[int], None] = lambda slot: None,
) -> list[NodeCount]:
    """Return what each search visits on ``problems``.

    Args:
        problems: at least one slot.
        arrival_rate_rps: at which they were met, for the record.
        node_limit: of each search on each slot.
        on_progress: called with the number of slots searched.

    Raises:
        RuntimeError: searches that finished disagree on a count.
    """
    nodes: dict[str, list[int]] = {name: [] for name in SEARCHES}
    finished = dict.fromkeys(SEARCHES, 0)
    for slot, problem in enumerate(problems):
        counts = set()
        for name, pruning in SEARCHES.items():
            solution = solve_dftsp(problem, node_limit=node_limit, pruning=pruning)
            nodes[name].append(solution.nodes)
            if solution.optimal:
                finished[name] += 1
                counts.add(solution.count)
        if len(counts) > 1:
            raise RuntimeError(f"slot {slot}: the searches disagree on the count: {sorted(counts)}")
        on_progress(slot + 1)
    slots = len(problems)

    def row(name: str) -> NodeCount:
        total = sum(nodes[name])
        if finished[REFERENCE] < slots or not total:
            return NodeCount(name, arrival_rate_rps, slots, finished[name], total, None)
        if name not in (BRUTE_FORCE, FIRST_BATCH):
            return NodeCount(name, arrival_rate_rps, slots, finished[name], total, 1.0 - sum(nodes[REFERENCE]) / total)
        saved = _saved(nodes[REFERENCE], nodes[name])
        return NodeCount(name, arrival_rate_rps, slots, finished[name], total, saved.mean, saved.low, saved.high)

    return [row(name) for name in SEARCHES]


def _saved(dftsp: Sequence[int], other: Sequence[int]) -> Estimate:
    """Return 1 - (sum of ``dftsp`` / sum of ``other``) over slots, both searches on the same."""
    return bootstrap(lambda ours, theirs, axis: 1.0 - ours.sum(axis=axis) / theirs.sum(axis=axis), dftsp, other)
