"""Stored results of the study: what the results page is written from.

comparisons/<case>.json                          every policy on the same test episodes, a row per episode
training/<agent>[-<ablation>]/<scenario>-<seed>.json   a training run: its curve, its time, its test episodes
behaviour/<agent>-in-<scenario>.json             which requests an agent serves and defers, or refuses
decisions.json                                   how long decisions take, batched
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from agents.files import OutputError, read_document, write_text
from experiments.grid.evaluation import EpisodeResult

STORE: Final = Path("docs/results/data")
_TABLES: Final = {"rows", "reference"}
COLUMNS: Final = tuple(one.name for one in fields(EpisodeResult))

Stored = TypeVar("Stored")


@dataclass(frozen=True)
class Curve:
    """Throughput on validation episodes during a training run, a point per validation."""

    steps: tuple[int, ...]  # (V,) environment steps so far
    seconds: tuple[float, ...]  # (V,) since training began
    throughput_rps: tuple[float, ...]  # (V,) of the agent as it then was
    expert_rps: float  # of DFTSP in the same episodes


@dataclass(frozen=True)
class TrainedRun:
    """A finished training run and what it reached on test episodes."""

    agent: str  # the learner's name
    ablation: str | None  # what was taken from it; None for the learner as it is
    scenario: str  # trained on and tested in
    scenario_checksum: str  # of its settings
    seed: int  # of the training
    steps: int  # environment steps
    training_s: float  # wall-clock seconds
    command: str  # that trains the same agent
    about: Mapping[str, Any]  # versions, machine and hyper-parameters
    curve: Curve  # in validation
    rows: Sequence[EpisodeResult]  # its test episodes
    reference: Sequence[EpisodeResult]  # DFTSP's, the same episodes

    @property
    def name(self) -> str:
        """``cem-linear``, or ``cem-linear, no-slack``."""
        return self.agent if self.ablation is None else f"{self.agent}, {self.ablation}"


@dataclass(frozen=True)
class Measured:
    """How a policy's rows of a comparison came about."""

    command: str  # that measured them
    versions: Mapping[str, str]  # of what they depend on
    # of a learned agent: learner, scenario, training seed, steps and seconds; None for others
    trained: Mapping[str, Any] | None = None
    model: str | None = None  # hash of its weights; None for others


@dataclass(frozen=True)
class Comparison:
    """Policies on the same test episodes of one case."""

    case: str  # a scenario's name, with another arrival rate ``light-12rps``, or a case of the suite
    scenario: str  # the scenario that it is made of
    scenario_checksum: str  # of its settings, the trace file's place left out
    arrival_rate_rps: float | None  # in place of the scenario's; None for its own
    trace: Mapping[str, str] | None  # name and hash of the trace file; None for a synthetic scenario
    seed: int  # chose the episodes
    slots: int  # of an episode
    policies: Mapping[str, Measured]  # by name, in the order in which they were measured
    rows: Sequence[EpisodeResult]  # of all of them
    # clairvoyant upper bound on an episode's throughput, by episode, of all or some; empty where none is stored
    bounds_rps: Mapping[int, float] = field(default_factory=dict)
    # the throughput of the best schedule found with the future known, likewise
    hindsight_rps: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Behaviour:
    """What an agent does with requests, by slots left to serve them and by size; (C, F) tables as nested tuples."""

    policy: str  # the agent
    scenario: str  # where it played
    seed: int  # chose the validation episodes
    episodes: int  # how many
    # (C,) lower ends of the classes of how many more slots a request can be served in; the last is open
    chance_bounds: tuple[float, ...]
    # (F,) lower ends of the classes of the largest share of any limit that a request takes
    footprint_bounds: tuple[float, ...]
    requests: tuple[tuple[int, ...], ...]  # waiting requests met, each counted in every slot that it waits in
    # their mean score, less their slot's mean; None where there were no requests
    score: tuple[tuple[float | None, ...], ...]
    served: tuple[tuple[float | None, ...], ...]  # the part of them that the agent served in that slot
    # the part that DFTSP would have served of the very same queue
    served_by_dftsp: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class Refusals:
    """What an agent on a continuous node and rules beside it refuse of the waiting requests that fit."""

    policy: str  # the agent
    scenario: str  # where they played
    seed: int  # chose the validation episodes
    episodes: int  # how many
    running_bounds: tuple[int, ...]  # lower ends of the classes of how many requests run; the last is open
    # by policy: requests that were admitted or would have fitted beside a batch, and those of them that never were
    # admitted, by "output" (fifths of the episode's requests by output tokens, from the fewest) and "allowed" (by the
    # time that their deadlines allow per output token, from the tightest); and by "running" the same of a slot,
    # admitted in it or not, so that a request counts in every slot that it waits in
    counts: Mapping[str, Mapping[str, tuple[tuple[int, ...], ...]]]


def comparison_path(store: Path, case: str) -> Path:
    """Return the file of a case's comparison."""
    return store / "comparisons" / f"{case}.json"


def training_path(store: Path, agent: str, ablation: str | None, scenario: str, seed: int) -> Path:
    """Return the file of a training run."""
    folder = agent if ablation is None else f"{agent}-{ablation}"
    return store / "training" / folder / f"{scenario}-{seed}.json"


def write_stored(record: Comparison | TrainedRun, store: Path) -> Path:
    """Store a record, in place of the same one before, its rows as tables: columns' names are written once."""
    if isinstance(record, Comparison):
        path = comparison_path(store, record.case)
    else:
        path = training_path(store, record.agent, record.ablation, record.scenario, record.seed)
    document = asdict(record)
    for name in _TABLES & set(document):
        # Rows of earlier versions have no service, and files without one stay as they are.
        names = COLUMNS if any(row["service"] for row in document[name]) else COLUMNS[:-1]
        values = [[row[column] for column in names] for row in document[name]]
        document[name] = {"columns": names, "values": values}
    write_document(path, document)
    return path


def read_stored(kind: type[Stored], path: Path) -> Stored:
    """Read a stored record.

    Raises:
        OutputError: no such record, or one of another format.
    """
    document = read_document(path)
    for name in _TABLES & set(document):
        table = document[name]
        # Whatever is no table is left for validation to complain about.
        if isinstance(table, dict) and {"columns", "values"} <= set(table):
            document[name] = [dict(zip(table["columns"], values, strict=False)) for values in table["values"]]
    return validated(kind, document, path)


def read_comparisons(store: Path) -> dict[str, Comparison]:
    """Return every stored comparison, by case."""
    found = (read_stored(Comparison, path) for path in sorted((store / "comparisons").glob("*.json")))
    return {one.case: one for one in found}


def read_runs(store: Path) -> list[TrainedRun]:
    """Return every stored training run, by agent, ablation, scenario and seed."""
    runs = [read_stored(TrainedRun, path) for path in (store / "training").glob("*/*.json")]
    return sorted(runs, key=lambda run: (run.agent, run.ablation or "", run.scenario, run.seed))


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all; lists without names in them take a line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, _as_text(document, 0) + "\n")


def validated(kind: type[Stored], document: Any, path: Path) -> Stored:
    """Return what a stored document holds.

    Raises:
        OutputError: something else; names file and field.
    """
    try:
        return TypeAdapter(kind).validate_python(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise OutputError(f"{path}: {where}: {first['msg']}; expected a stored result") from error


def _as_text(value: Any, depth: int) -> str:
    if isinstance(value, Mapping) and value:
        parts = [f"{json.dumps(str(name))}: {_as_text(one, depth + 1)}" for name, one in value.items()]
    elif isinstance(value, list | tuple) and any(isinstance(one, list | tuple | Mapping) for one in value):
        parts = [_as_text(one, depth + 1) for one in value]
    else:
        return json.dumps(value, allow_nan=False)
    opening, closing = "{}" if isinstance(value, Mapping) else "[]"
    indent = " " * (depth + 1)
    return f"{opening}\n{indent}" + f",\n{indent}".join(parts) + f"\n{' ' * depth}{closing}"
