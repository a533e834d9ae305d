"""``benchmark complexity``: nodes that brute force and DFTSP visit on the same slots, by arrival rate and pruning rule.

Nodes are counted by the searches themselves, all in the same tree and in the same way: a node is a branch that was
looked at, whether or not it was cut there.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from agents.seeds import episode_seeds
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.solvers import Solution, solve_dftsp
from edgellm_env.solvers.dftsp import NO_PRUNING, Pruning
from experiments.benchmarks.met_slots import settled_slots
from experiments.benchmarks.throughput import report, require_arguments
from experiments.changes import Changes
from experiments.results.provenance import measured_with
from experiments.results.statistics import REFERENCE, share_of
from experiments.results.summary import plain_table

PAPER_REDUCTION: Final = 0.45
"""The headline of arXiv 2405.07140 (we read it of nodes): DFTSP cuts brute force's complexity by more than 45 %."""

BRUTE_FORCE, FIRST_BATCH = "brute force", "only stop_at_first"
"""The last is the brute force that stops at the first batch found: sizes fall, so that it is a largest one."""

RULES: Final = tuple(rule.name for rule in fields(Pruning))
WITHOUT: Final = {f"without {rule}": replace(Pruning(), **{rule: False}) for rule in RULES}
ONLY: Final = {f"only {rule}": replace(NO_PRUNING, **{rule: True}) for rule in RULES}
SEARCHES: Final[dict[str, Pruning]] = {REFERENCE: Pruning(), BRUTE_FORCE: NO_PRUNING, **WITHOUT, **ONLY}
"""Every search that is counted, by name."""


@dataclass(frozen=True)
class NodeCount:
    """What a search visited at one arrival rate.

    ``nodes`` has those of a stopped search too: a finished one would have visited more. ``saved_share`` is how much
    fewer DFTSP visits, 1 - (DFTSP's nodes / nodes): a lower bound where the search did not finish, None where DFTSP did
    not, or nothing was visited. The two brute forces have its 95 % bootstrap interval over slots.
    """

    search: str  # its name in SEARCHES
    arrival_rate_rps: float  # at which the slots were met
    slots: int  # searched
    finished: int  # of them, those that the node limit did not stop
    nodes: int  # visited in all
    saved_share: float | None
    saved_low: float | None = None
    saved_high: float | None = None

    @property
    def mean_nodes(self) -> float:
        """Nodes per slot."""
        return self.nodes / self.slots

    @property
    def bound(self) -> str:
        """``≥`` before its numbers where the limit stopped it on a slot."""
        return "" if self.finished == self.slots else "≥ "


@dataclass(frozen=True)
class BenchmarkComplexity(Changes):
    """Count the nodes that brute force and DFTSP visit, by arrival rate and by pruning rule."""

    scenario: str = "paper"  # Shipped scenario, or path to a YAML file; its arrival rate is replaced.
    rates: list[float] = field(default_factory=lambda: [2.0, 5.0, 10.0, 20.0, 40.0])
    """Arrival rates in requests per second."""
    slots: int = 200  # Slots searched at each rate.
    node_limit: int = 50_000_000  # Nodes after which a search of a slot is given up, and said not to have finished.
    seed: int = 0  # Chooses the validation episode that is played at each rate.
    out: Path | None = None  # JSON file for all counts.

    def run(self, console: Console) -> list[NodeCount]:
        """Check everything, then play and count, then print.

        Raises:
            ValueError: an argument that can't be used; nothing has been played then.
            RuntimeError: searches disagree on a slot's count.
        """
        scenario = self.changed(self.scenario)
        if not self.rates or len(set(self.rates)) < len(self.rates):
            raise ValueError(f"rates: {self.rates}; expected at least one, each once")
        require_arguments(self.out, slots=self.slots, node_limit=self.node_limit)
        scenarios = [scenario.with_arrival_rate(rate) for rate in self.rates]
        (seed,) = episode_seeds("validation", self.seed, 1)
        about = {**measured_with(), "scenario": scenario.name, "scenario_checksum": scenario.checksum}

        rows, waiting = list[NodeCount](), dict[float, float]()
        with console.status("") as status:
            for rate, busy in zip(self.rates, scenarios, strict=True):
                status.update(f"{rate:g} requests/s")
                problems = settled_slots(busy, self.slots, seed)
                waiting[rate] = sum(problem.size for problem in problems) / len(problems)
                rows += count_nodes(problems, rate, self.node_limit)
        document = {
            "metadata": about,
            "node_limit": self.node_limit,
            "mean_waiting": [{"arrival_rate_rps": rate, "requests": number} for rate, number in waiting.items()],
            "headline": [
                {"arrival_rate_rps": row.arrival_rate_rps, "at_least_45_percent_fewer": headline(row)}
                for row in rows
                if row.search == BRUTE_FORCE
            ],
            "rows": [{**asdict(row), "mean_nodes": row.mean_nodes} for row in rows],
        }
        tables = rate_table(scenario.name, rows, waiting, self.node_limit), rule_table(scenario.name, rows)
        report(console, self.out, document, *tables)
        return rows


def count_nodes(problems: Sequence[SlotProblem], arrival_rate_rps: float, node_limit: int) -> list[NodeCount]:
    """Return what each search, stopped at ``node_limit``, visits on ``problems``, met at ``arrival_rate_rps``.

    Raises:
        RuntimeError: searches that finished disagree on a count.
    """
    answers = [
        [solve_dftsp(problem, node_limit=node_limit, pruning=pruning) for pruning in SEARCHES.values()]
        for problem in problems
    ]
    for slot, found in enumerate(answers):
        counts = {one.count for one in found if one.optimal}
        if len(counts) > 1:
            raise RuntimeError(f"slot {slot}: the searches disagree on the count: {sorted(counts)}")
    by_search = dict(zip(SEARCHES, zip(*answers, strict=True), strict=True))
    return [_counted(name, arrival_rate_rps, found, by_search[REFERENCE]) for name, found in by_search.items()]


def _counted(name: str, arrival_rate_rps: float, found: Sequence[Solution], dftsp: Sequence[Solution]) -> NodeCount:
    nodes, ours = [one.nodes for one in found], [one.nodes for one in dftsp]
    row = NodeCount(name, arrival_rate_rps, len(found), sum(one.optimal for one in found), sum(nodes), None)
    if not row.nodes or not all(one.optimal for one in dftsp):
        return row
    row = replace(row, saved_share=1.0 - sum(ours) / row.nodes)
    left = share_of(ours, nodes) if name in (BRUTE_FORCE, FIRST_BATCH) else None
    if left is None or left.low is None or left.high is None:
        return row
    return replace(row, saved_low=1.0 - left.high, saved_high=1.0 - left.low)


def headline(brute_force: NodeCount) -> bool | None:
    """Return whether DFTSP visits at least 45 % fewer nodes; None where that can't be told."""
    share = brute_force.saved_share
    if share is None or (share < PAPER_REDUCTION and brute_force.bound):
        return None
    return share >= PAPER_REDUCTION


def rate_table(scenario: str, rows: Sequence[NodeCount], waiting: dict[float, float], node_limit: int) -> Table:
    """Return brute force against DFTSP, a row for each arrival rate."""
    caption = (
        "Totals over the slots; all searches count nodes the same way, on the same slots.\n"
        "Brute force: the whole tree, every batch size and branch, feasibility looked at in the leaves.\n"
        "First batch: the same tree and no rule, but it stops at the first batch found.\n"
        f"Unfinished: slots on which brute force was stopped at {node_limit:,} nodes; what it had visited by then "
        "counts, so that its nodes and the saving are lower bounds (≥)."
    )
    headings = (
        "requests/s", "waiting", "brute force", "unfinished", "DFTSP", "fewer", ">= 45 %", "first batch",
        "fewer than it",
    )  # fmt: skip
    found = {(row.arrival_rate_rps, row.search): row for row in rows}
    block = []
    for rate, requests in waiting.items():
        brute, first, dftsp = (found[rate, name] for name in (BRUTE_FORCE, FIRST_BATCH, REFERENCE))
        holds = {True: "yes", False: "no", None: "not known"}[headline(brute)]
        total, less, own = (f"{one.bound}{one.nodes:,}" for one in (brute, first, dftsp))
        cells = [f"{rate:g}", f"{requests:.1f}", total, str(brute.slots - brute.finished), own]
        block.append([*cells, _saved(brute), holds, less, _saved(first)])
    title = f"{scenario}: nodes visited, by arrival rate, {rows[0].slots} slots each"
    return plain_table(title, caption, dict.fromkeys(headings, ">"), [block])


def rule_table(scenario: str, rows: Sequence[NodeCount]) -> Table:
    """Return mean nodes with each pruning rule switched off alone, and on alone; a column for each arrival rate."""
    caption = (
        "Means over the slots. without X: every rule but X. only X: no rule but X; only "
        "stop_at_first is the brute force that stops at the first batch. ≥: stopped by the node limit on some slots."
    )
    cells: dict[str, list[str]] = {name: [name] for name in SEARCHES}
    for row in rows:
        cells[row.search].append(f"{row.bound}{row.mean_nodes:,.1f}")
    columns = {"search": ""} | {f"{row.arrival_rate_rps:g}/s": ">" for row in rows}
    blocks = [[cells[name] for name in names] for names in ((REFERENCE,), WITHOUT, (BRUTE_FORCE, *ONLY))]
    return plain_table(f"{scenario}: nodes visited per slot, by pruning rule", caption, columns, blocks)


def _saved(row: NodeCount) -> str:
    if row.saved_share is None:
        return "not known"
    if row.saved_share > 0.9999:
        return "> 99.99%"  # not rounded up to all of them
    return f"{row.bound}{row.saved_share:.2%}"
