"""One frozen, validated description of everything: model, node, radio, timing, queue, workload, availability, costs.

A scenario is loaded by shipped name, YAML path, mapping or object (:func:`load_scenario`), checked once, and never
changes: its ``with_`` methods return changed copies. Fields carry their unit in their name.
"""

import functools
import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeAlias

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from edgellm_env.costs import CostModel, models, quantization, transformer
from edgellm_env.scenario.demand import Workload
from edgellm_env.scenario.distributions import DISTRIBUTION_KINDS
from edgellm_env.scenario.parts import (
    MOST_EVENTS,
    Availability,
    Model,
    Node,
    Part,
    Queue,
    Radio,
    Scheme,
    Serving,
    Timing,
)
from edgellm_env.scenario.reading import settings_of
from edgellm_env.settings import ScenarioError, checked, nearest, shorten


class Scenario(Part):
    """Everything that defines an environment. See ``shipped/*.yaml`` for the shipped ones."""

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
    costs: Annotated[SerializeAsAny[CostModel], BeforeValidator(models.cost_model)] = models.DEFAULT
    serving: Serving = Serving()
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
        self._check_sizes()
        self.costs.check(self)
        self._check_provenance()
        return self

    @model_serializer(mode="wrap")
    def _leave_out_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # What is stored of a scenario, its checksum too, is as it was before there was a choice.
        settings: dict[str, Any] = serialize(self)
        if self.costs == models.DEFAULT:
            settings.pop("costs", None)
        if self.serving == Serving():
            settings.pop("serving", None)
        return settings

    def _settings(self) -> dict[str, Any]:
        """Return every setting, those of the default cost model and kind of node too."""
        default = {name: getattr(self, name).model_dump(mode="json") for name in ("costs", "serving")}
        return {**self.model_dump(mode="json"), **default}

    def _check_sizes(self) -> None:
        """Refuse what no machine could hold, before anything is allocated."""
        timing, workload = self.timing, self.workload
        rates = [workload.arrival_rate_rps or 0.0, workload.bursts.rate_rps if workload.bursts else 0.0]
        round_s = workload.bursts.mean_calm_s + workload.bursts.mean_burst_s if workload.bursts else math.inf
        load_s = max(self.weight_bytes(scheme) for scheme in self.schemes) / self.node.load_bandwidth_bytes_per_s
        longest_s, slots = workload.longest_latency_requirement_s, "slots of running on"
        for path, value, size, what in (
            ("workload.arrival_rate_rps", max(rates), max(rates) * timing.episode_s, "requests an episode"),
            ("workload.bursts.mean_calm_s + mean_burst_s", round_s, timing.episode_s / round_s, "bursts an episode"),
            ("workload.latency_requirement_s", longest_s, longest_s / timing.slot_s, "slots of waiting"),
            ("timing.spill_s", timing.spill_s, timing.spill_s / timing.slot_s, slots),
            ("node.load_bandwidth_bytes_per_s", self.node.load_bandwidth_bytes_per_s, load_s / timing.slot_s, slots),
        ):
            if size > MOST_EVENTS:
                raise ValueError(f"{path}: {value:g}, which means {size:.3g} {what}; expected at most {MOST_EVENTS}")

    def _check_provenance(self) -> None:
        settings = self._settings()
        del settings["provenance"]
        known = set(_leaves(settings))
        for path, tag in self.provenance.items():
            if tag not in ("paper", "assumed") and not re.match(r"source: \S", tag):
                raise ValueError(f"provenance.{path}: {tag!r}; expected 'paper', 'assumed' or 'source: ...'")
            if path != "default" and not any(leaf == path or leaf.startswith(path + ".") for leaf in known):
                raise ValueError(f"provenance.{path}: names no field of the scenario")
        for path in self.numbers():
            self.provenance_of(path)

    def provenance_of(self, path: str) -> str:
        """Where the number at dotted ``path`` comes from: the entry of its longest prefix, or ``default``."""
        parts = path.split(".")
        for prefix in (*(".".join(parts[:length]) for length in range(len(parts), 0, -1)), "default"):
            if prefix in self.provenance:
                return self.provenance[prefix]
        raise ValueError(f"provenance.{path}: missing; expected an entry for it, a prefix of it, or 'default'")

    def numbers(self) -> dict[str, float]:
        """Every number of the scenario by dotted path."""
        leaves = _leaves(self.model_dump(exclude={"provenance"})).items()
        return {path: leaf for path, leaf in leaves if isinstance(leaf, int | float) and not isinstance(leaf, bool)}

    def with_values(self, values: Mapping[str, Any]) -> "Scenario":
        """Return a copy with the fields at these dotted paths replaced; their provenance becomes ``assumed``.

        Raises:
            ScenarioError: unknown path, or a value that the scenario does not allow.
        """
        if not isinstance(values, Mapping) or not all(isinstance(path, str) for path in values):
            raise ScenarioError(f"overrides: {shorten(values)}; expected a mapping from dotted paths to values")
        if not values:
            return self
        tree = self._settings()
        for path, value in values.items():
            _replace(tree, path, value)
            if path == "costs.kind":
                tree["costs"] = {"kind": value}  # another model has settings of its own
            for resolved in self.costs.resolved.get(path.removeprefix("costs."), ()):
                tree["costs"].pop(resolved, None)
        if isinstance(tree["provenance"], dict):
            for path in values:
                for stale in [key for key in tree["provenance"] if f"{key}.".startswith(f"{path}.")]:
                    del tree["provenance"][stale]
                tree["provenance"][path] = "assumed"
        return _checked(tree, "scenario")

    def with_trace(self, path: str | Path | None) -> "Scenario":
        """Return a copy that replays the trace file at ``path``; None leaves the scenario as it is.

        Raises:
            ScenarioError: the scenario does not replay a trace file.
        """
        if path is None:
            return self
        if self.workload.trace is None:
            raise ScenarioError(f"trace: {str(path)!r}; scenario {self.name!r} draws its requests and replays no file")
        return self.with_values({"workload.trace.path": str(path)})

    def without_trace(self) -> "Scenario":
        """Return a copy that names no trace file: the place of that is different on every machine."""
        trace = self.workload.trace
        named = trace is not None and trace.path is not None and not trace.is_shipped
        return self.with_values({"workload.trace.path": None} if named else {})

    def with_slots(self, slots: int | None) -> "Scenario":
        """Return a copy with episodes of ``slots`` slots; None leaves the scenario as it is.

        Raises:
            ScenarioError: fewer than one.
        """
        return self if slots is None else self.with_values({"timing.episode_slots": slots})

    def with_arrival_rate(self, rate_rps: float | None) -> "Scenario":
        """Return a copy at another arrival rate; None leaves the scenario as it is.

        A burst's rate changes by the same factor.

        Raises:
            ScenarioError: a rate that is not allowed, or requests that are recorded or written out.
        """
        if rate_rps is None:
            return self
        given_rps, bursts = self.workload.arrival_rate_rps, self.workload.bursts
        if given_rps is None:
            raise ScenarioError(
                f"scenario: {self.name!r} has workload.arrivals = {self.workload.arrivals!r}; "
                "expected one with a workload.arrival_rate_rps to change"
            )
        if not 0.0 < rate_rps < math.inf:
            raise ScenarioError(f"workload.arrival_rate_rps: {rate_rps}; expected a finite number above 0")
        values = {"workload.arrival_rate_rps": float(rate_rps)}
        if bursts is not None:
            values["workload.bursts.rate_rps"] = bursts.rate_rps * rate_rps / given_rps
        return self.with_values(values)

    def to_yaml(self) -> str:
        """Return the scenario as YAML text that :func:`load_scenario` reads back to an equal object."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_none=True), sort_keys=False, width=120)

    @functools.cached_property
    def checksum(self) -> str:
        """Hash over all settings; names, description and provenance, which change no behaviour, are left out."""
        settings = self.model_dump(mode="json", exclude={"name", "description", "provenance"})
        del settings["model"]["name"]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


ScenarioLike: TypeAlias = Scenario | Mapping[str, Any] | str | Path


def load_scenario(source: ScenarioLike) -> Scenario:
    """Load a scenario by shipped name, YAML path, mapping, or return the object itself.

    A file or mapping may name another scenario as its ``base`` (a path: from the file's folder) and say only what
    differs; what is loaded is whole.

    Raises:
        ScenarioError: no such name or file; a setting that is unknown, of the wrong type, out of range or unworkable.
    """
    if isinstance(source, Scenario):
        return source
    origin = str(source) if isinstance(source, str | Path) else "scenario"
    tree = settings_of(source)
    if isinstance(tree, Mapping):
        required = [name for name, field in Scenario.model_fields.items() if field.is_required()]
        missing = [name for name in required if name not in tree]
        if missing not in ([], ["name"]) and tree.keys() <= Scenario.model_fields.keys():
            expected = "expected them, or base: with a scenario to take them from"
            raise ScenarioError(f"{origin}: lacks {', '.join(missing)}; {expected}")
    return _checked(tree, origin)


def _checked(tree: Any, origin: str) -> Scenario:
    return checked(Scenario, tree, origin, hidden=DISTRIBUTION_KINDS)


def _keys(tree: Any) -> dict[str, Any]:
    """Return the keys, or indices, of a tree of settings by what dotted paths call them; none at a leaf."""
    keys = tree if isinstance(tree, Mapping) else range(len(tree)) if isinstance(tree, list | tuple) else ()
    return {str(key): key for key in keys}


def _leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping | list | tuple):
        return {prefix: tree}
    leaves: dict[str, Any] = {}
    for name, key in _keys(tree).items():
        leaves |= _leaves(tree[key], f"{prefix}.{name}" if prefix else name)
    return leaves


def _replace(tree: Any, path: str, value: Any) -> None:
    holder, key = [tree], 0
    for part in path.split("."):
        holder = holder[key]
        keys = _keys(holder)
        if part not in keys:
            raise ScenarioError(f"{path}: no such setting; at {part!r} expected {nearest(part, keys)}")
        key = keys[part]
    holder[key] = value
