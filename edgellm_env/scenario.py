"""One frozen, validated description of everything: model, node, radio, timing, queue, workload, availability.

A scenario is loaded by shipped name, YAML path, mapping or object (:func:`load_scenario`), checked once, and never
changes. Fields carry their unit in their name; units are converted here and nowhere else.
"""

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeAlias

import yaml
from pydantic import Field, ValidationError, model_validator

from edgellm_env.physics import quantization, transformer
from edgellm_env.settings import Availability, Model, Node, Part, Queue, Radio, Scheme, Timing, Workload

SCENARIO_FOLDER = Path(__file__).parent / "scenarios"

class ScenarioError(ValueError):
    """A scenario that can't be used; the message names each field, its value and what is allowed."""


class Scenario(Part):
    """Everything that defines an environment. See ``configs/scenarios/*.yaml`` for the shipped ones."""

    name: str
    description: str = ""
    model: Model
    schemes: tuple[Scheme, ...] = Field(min_length=1, strict=False)
    node: Node
    radio: Radio
    timing: Timing
    queue: Queue
    workload: Workload
    availability: Availability = Availability()
    provenance: dict[str, str] = Field(default_factory=lambda: {"default": "assumed"})

    def weight_bytes(self, scheme: Scheme) -> float:
        """Bytes that the model's weights take under ``scheme``."""
        return transformer.weight_bytes(
            self.model.layers,
            self.model.parameters_per_layer,
            quantization.weight_factor(scheme.weight_bits),
            self.model.hidden_size,
            self.model.vocabulary_size if self.model.include_embeddings else 0,
        )

    @model_validator(mode="after")
    def _check_workable(self) -> Self:
        for index, scheme in enumerate(self.schemes):
            if self.weight_bytes(scheme) >= self.node.memory_bytes:
                raise ValueError(
                    f"node.device_memory_bytes: {self.node.memory_bytes:.4g} bytes in all; expected more than the "
                    f"{self.weight_bytes(scheme):.4g} bytes of the weights under schemes[{index}] ({scheme.name})"
                )
        longest_s = self.workload.longest_latency_requirement_s
        if self.timing.radio_s >= longest_s:
            raise ValueError(
                f"timing.uplink_s + timing.downlink_s: {self.timing.radio_s}; expected below the longest "
                f"workload.latency_requirement_s = {longest_s}: no request could ever be served"
            )
        names = [scheme.name for scheme in self.schemes]
        if len(set(names)) != len(names):
            raise ValueError(f"schemes: names {names}; expected distinct names")
        self._check_provenance()
        return self

    def _check_provenance(self) -> None:
        known = set(_leaves(self.model_dump(exclude={"provenance"})))
        for path, tag in self.provenance.items():
            if tag not in ("paper", "assumed") and not tag.startswith("source: "):
                raise ValueError(f"provenance.{path}: {tag!r}; expected 'paper', 'assumed' or 'source: ...'")
            if path != "default" and not any(leaf == path or leaf.startswith(path + ".") for leaf in known):
                raise ValueError(f"provenance.{path}: names no field of the scenario")
        for path in self.numbers():
            self.provenance_of(path)

    def provenance_of(self, path: str) -> str:
        """Where the number at dotted ``path`` comes from: the entry of its longest prefix, or ``default``."""
        parts = path.split(".")
        for length in range(len(parts), 0, -1):
            tag = self.provenance.get(".".join(parts[:length]))
            if tag is not None:
                return tag
        if "default" not in self.provenance:
            raise ValueError(f"provenance.{path}: missing; expected an entry for it, a prefix of it, or 'default'")
        return self.provenance["default"]

    def numbers(self) -> dict[str, float]:
        """Every number of the scenario by dotted path."""
        leaves = _leaves(self.model_dump(exclude={"provenance"}))
        return {
            path: value
            for path, value in leaves.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }

    def with_values(self, values: Mapping[str, Any]) -> "Scenario":
        """Return a copy with the fields at these dotted paths replaced; their provenance becomes ``assumed``.

        Raises:
            ScenarioError: unknown path, or a value that the scenario does not allow.
        """
        tree = self.model_dump()
        for path, value in values.items():
            _replace(tree, path, value)
            for stale in [key for key in tree["provenance"] if key == path or key.startswith(path + ".")]:
                del tree["provenance"][stale]
            tree["provenance"][path] = "assumed"
        return load_scenario(tree)

    def to_yaml(self) -> str:
        """Return the scenario as YAML text that :func:`load_scenario` reads back to an equal object."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False, width=120)

    @functools.cached_property
    def checksum(self) -> str:
        """Hash over all settings except name, description and provenance: equal if and only if behaviour is."""
        settings = self.model_dump(mode="json", exclude={"name", "description", "provenance"})
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


ScenarioLike: TypeAlias = Scenario | Mapping[str, Any] | str | Path


def scenario_names() -> tuple[str, ...]:
    """Names of the scenarios that ship with the package."""
    return tuple(sorted(path.stem for path in SCENARIO_FOLDER.glob("*.yaml")))


def load_scenario(source: ScenarioLike) -> Scenario:
    """Load a scenario by shipped name, YAML path, mapping, or return the object itself.

    Raises:
        ScenarioError: unknown name or file, or a setting that is unknown, of the wrong type, out of range or unworkable.
    """
    if isinstance(source, Scenario):
        return source
    origin = "scenario"
    tree: Any = source
    if isinstance(source, str | Path):
        path = SCENARIO_FOLDER / f"{source}.yaml" if str(source) in scenario_names() else Path(source)
        origin = str(source)
        if not path.is_file():
            raise ScenarioError(
                f"scenario: {origin!r} is neither a file nor a shipped scenario; shipped: {', '.join(scenario_names())}"
            )
        try:
            tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ScenarioError(f"{origin}: not valid YAML: {error}") from error
    if not isinstance(tree, Mapping):
        raise ScenarioError(f"{origin}: {type(tree).__name__}; expected a mapping of settings")
    try:
        return Scenario.model_validate(dict(tree))
    except ValidationError as error:
        problems = "\n".join(f"  {_describe(problem)}" for problem in error.errors())
        raise ScenarioError(f"{origin}: {error.error_count()} invalid setting(s)\n{problems}") from error


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers: PyYAML reads ``1e9``, without a dot, as text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _describe(problem: Any) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{path}.{message}" if path else message
    return f"{path}: {problem['input']!r}; {message}"


def _leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, Mapping):
        items = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list | tuple):
        items = [(str(index), value) for index, value in enumerate(tree)]
    else:
        return {prefix: tree}
    leaves: dict[str, Any] = {}
    for key, value in items:
        leaves |= _leaves(value, f"{prefix}.{key}" if prefix else key)
    return leaves


def _replace(tree: Any, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    branch = tree
    for part in (*parents, last):
        holder = branch
        key: Any = int(part) if isinstance(holder, list | tuple) and part.isdigit() else part
        inside = key < len(holder) if isinstance(key, int) and isinstance(holder, list | tuple) else (
            isinstance(holder, Mapping) and key in holder
        )
        if not inside:
            known = ", ".join(map(str, holder)) if isinstance(holder, Mapping) else f"0 to {len(holder) - 1}"
            raise ScenarioError(f"{path}: no such setting; at {part!r} expected one of: {known}")
        branch = holder[key]
    holder[key] = value
