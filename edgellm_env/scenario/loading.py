"""From YAML to checked settings: how files are read, and what is said of settings that can't be used."""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from edgellm_env.scenario.distributions import DISTRIBUTION_KINDS
from edgellm_env.scenario.parts import Part

AnyPart = TypeVar("AnyPart", bound=Part)


class ScenarioError(ValueError):
    """A scenario that can't be used; the message names each field, its value and what is allowed."""


class _Loader(yaml.SafeLoader):
    """Mends two habits of PyYAML: ``1e9``, without a dot, is text to it, and the last of two equal keys wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for index, key in enumerate(keys) if key in keys[:index]]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def parse_setting(text: str) -> Any:
    """Return a setting's value from YAML text, read as in a scenario file (``1e9`` is a number).

    Raises:
        ScenarioError: not valid YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ScenarioError(f"{text!r}: not valid YAML: {error}") from error


def read_settings(path: Path, origin: str) -> Any:
    """Return what a YAML file says; ``origin`` names it in messages.

    Raises:
        ScenarioError: not valid YAML.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{origin}: not valid YAML: {error}") from error


def checked(kind: type[AnyPart], tree: Any, origin: str) -> AnyPart:
    """Return settings as an object of ``kind``; ``origin`` names them in messages.

    Raises:
        ScenarioError: no mapping, or a setting that is unknown, of the wrong type, out of range or unworkable.
    """
    if not isinstance(tree, Mapping):
        raise ScenarioError(f"{origin}: {type(tree).__name__}; expected a mapping of settings")
    try:
        return kind.model_validate(dict(tree))
    except ValidationError as error:
        problems = _describe(error)
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise ScenarioError(f"{origin}: {len(problems)} invalid setting(s)\n{lines}") from error


def _describe(error: ValidationError) -> list[str]:
    """One line a problem: the setting's dotted path, its value, and what is allowed."""
    problems = error.errors(include_url=False)
    lines = []
    for problem in problems:
        location = problem["loc"]
        # A tuple with an invalid item is also reported as too short.
        if problem["type"] == "too_short" and any(_inside(other["loc"], location) for other in problems):
            continue
        path = ".".join(str(part) for part in location if part not in DISTRIBUTION_KINDS)
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "value_error":
            lines.append(f"{path}.{message}" if path else message)
        elif problem["type"] == "missing":
            lines.append(f"{path}: missing")
        elif problem["type"] == "extra_forbidden":
            lines.append(f"{path}: {problem['input']!r}; there is no such setting")
        else:
            lines.append(f"{path}: {problem['input']!r}; {message}")
    return lines


def _inside(location: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(location) > len(outer) and location[: len(outer)] == outer
