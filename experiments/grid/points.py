"""The points of a sweep: every combination of the values given for each setting."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from edgellm_env.scenario import Scenario, ScenarioError, parse_setting
from edgellm_env.settings import InputError

Label: TypeAlias = str | float


class SweepError(InputError):
    """A sweep that can't be done; the message names what and what is expected."""


@dataclass(frozen=True)
class Axis:
    """A setting and the values that it takes."""

    path: str  # dotted path of the scenario's field
    values: tuple[Any, ...]  # at least one, all different; numbers, words, mappings or lists, as in a scenario file

    @property
    def labels(self) -> tuple[Label, ...]:
        """Short form of each value: numbers as they are, a mapping or list of mappings by its names."""
        return tuple(label_of(value) for value in self.values)

    def as_text(self) -> str:
        """Return what :func:`parse_axis` reads."""
        return f"{self.path}={','.join(map(_value_text, self.values))}"

    def describe(self, label: Label) -> str:
        """Return ``path = label``, or the label alone where it is a name."""
        named = any(isinstance(value, Mapping | list) for value in self.values)
        return label_text(label) if named else f"{self.path} = {label_text(label)}"


@dataclass(frozen=True)
class Point:
    """One combination of settings."""

    index: int  # place in the grid; the last axis changes fastest
    labels: tuple[Label, ...]  # one for each axis
    scenario: Scenario  # with the settings in place


def split_setting(text: str, expected: str) -> tuple[str, str]:
    """Return the dotted path before ``=``, and what is written after it.

    Raises:
        SweepError: one of them is missing; ``expected`` says what was wanted.
    """
    path, _, written = (part.strip() for part in text.partition("="))
    if not path or not written:
        raise SweepError(f"set: {text!r}; expected {expected}")
    return path, written


def parse_axis(text: str) -> Axis:
    """Return the axis that ``PATH=VALUE,VALUE,...`` writes; values are YAML, such as ``{kind: constant, value: 1}``.

    Raises:
        SweepError: no path, no values, or the same value twice.
    """
    path, written = split_setting(text, "PATH=VALUE,VALUE,...")
    try:
        values = parse_setting(f"[{written}]")
    except ScenarioError as error:
        raise SweepError(f"set {path}: {written!r}; expected values separated by commas: {error}") from error
    axis = Axis(path, tuple(values))
    written_out = {json.dumps(value, sort_keys=True, default=str) for value in values}
    if min(len(written_out), len(set(axis.labels))) < len(values):
        raise SweepError(f"set {path}: {', '.join(map(str, axis.labels))}; expected different values (or names)")
    return axis


def _value_text(value: Any) -> str:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if plain else json.dumps(value)  # JSON is YAML


def label_of(value: Any) -> Label:
    """Return a value's short form."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, Mapping):
        parts = (f"{key}={part:g}" if isinstance(part, float) else f"{key}={part}" for key, part in value.items())
        return str(value["name"]) if "name" in value else " ".join(parts)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "+".join(label_text(label_of(part)) for part in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def label_text(label: Label) -> str:
    """Return a label as text."""
    return f"{label:g}" if isinstance(label, float) else label


def make_points(scenario: Scenario, axes: Sequence[Axis]) -> Iterator[Point]:
    """Yield every combination of the axes' values, each as a scenario.

    Raises:
        SweepError: no axis, or two that set the same field.
        ScenarioError: no such field, or a value (or combination) that the scenario does not allow.
    """
    if not axes:
        raise SweepError("set: none given; expected at least one PATH=VALUE,VALUE,...")
    for one, other in itertools.combinations(axes, 2):
        if (one.path + ".").startswith(other.path + ".") or (other.path + ".").startswith(one.path + "."):
            raise SweepError(f"set: {one.path} and {other.path} set the same field; expected different ones")
    paths = [axis.path for axis in axes]
    for index, values in enumerate(itertools.product(*(axis.values for axis in axes))):
        labels = tuple(map(label_of, values))
        try:
            changed = scenario.with_values(dict(zip(paths, values, strict=True)))
        except ScenarioError as error:
            where = ", ".join(f"{path}={label_text(label)}" for path, label in zip(paths, labels, strict=True))
            raise ScenarioError(f"set {where}: {error}") from error
        yield Point(index, labels, changed)
