"""From YAML to checked settings: how files are read, and what is said of settings that can't be used."""

import re
from collections import Counter
from collections.abc import Collection, Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

Settings = TypeVar("Settings", bound=BaseModel)

MOST_BYTES = 200_000
"""Size of a file of settings, at most; the shipped ones have three thousand."""

_MOST_PROBLEMS = 12


class ScenarioError(ValueError):
    """A scenario, or a profile, that can't be used; the message names each field, its value and what is allowed."""


class _Loader(yaml.SafeLoader):
    """PyYAML without the habits that change numbers, keep the last of two equal keys, or let a few lines grow.

    ``1e9`` is a number; ``0100``, ``1:30``, ``1_000`` and ``no``, in YAML 1.1 64, 90, 1000 and false, are text.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "an alias (*name); expected settings written out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for key, times in Counter(keys).items() if times > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


_PLAIN = {
    "tag:yaml.org,2002:bool": r"^(true|True|TRUE|false|False|FALSE)$",
    "tag:yaml.org,2002:int": r"^[-+]?(0|[1-9]\d*)$",
    "tag:yaml.org,2002:float": (
        r"^([-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag not in _PLAIN]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in _PLAIN.items():
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list("-+.0123456789tTfF"))


def _parse(text: str, origin: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ScenarioError(f"{origin}: not valid YAML: {' '.join(str(error).split())}") from error
    except (RecursionError, TypeError) as error:  # nested without end, or a key that can be none
        raise ScenarioError(f"{origin}: not valid YAML: nested too deeply, or a key that is no text") from error


def parse_setting(text: str, origin: str | None = None) -> Any:
    """Return what YAML text says, read as in a scenario file (``1e9`` is a number); ``origin`` names it in messages.

    Raises:
        ScenarioError: not valid YAML.
    """
    return _parse(text, repr(text) if origin is None else origin)


def read_settings(path: Path, origin: str) -> Any:
    """Return what a YAML file says; ``origin`` names it in messages.

    Raises:
        ScenarioError: not valid YAML.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise ScenarioError(f"{origin}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{origin}: not valid YAML: {error}") from error
    if len(content) > MOST_BYTES:
        raise ScenarioError(f"{origin}: more than {MOST_BYTES} bytes; expected a file of settings")
    return _parse(text, origin)


def checked(kind: type[Settings], tree: Any, origin: str, hidden: Collection[str] = ()) -> Settings:
    """Return settings as an object of ``kind``; ``origin`` names them in messages, whose paths leave out ``hidden``.

    Raises:
        ScenarioError: no mapping, or a setting that is unknown, of the wrong type, out of range or unworkable.
    """
    if not isinstance(tree, Mapping):
        raise ScenarioError(f"{origin}: {type(tree).__name__}; expected a mapping of settings")
    try:
        return kind.model_validate(dict(tree))
    except ValidationError as error:
        problems = _describe(error, hidden)
        shown = [f"  {problem}" for problem in problems[:_MOST_PROBLEMS]]
        if len(problems) > _MOST_PROBLEMS:
            shown.append(f"  and {len(problems) - _MOST_PROBLEMS} more")
        raise ScenarioError("\n".join([f"{origin}: {len(problems)} invalid setting(s)", *shown])) from error


def _describe(error: ValidationError, hidden: Collection[str]) -> list[str]:
    """One line a problem: the setting's dotted path, its value, and what is allowed."""
    problems = error.errors(include_url=False)
    lines = []
    for problem in problems:
        location = problem["loc"]
        # A tuple with an invalid item is also reported as too short.
        if problem["type"] == "too_short" and any(
            location == other["loc"][: len(location)] != other["loc"] for other in problems
        ):
            continue
        path = ".".join(str(part) for part in location if part not in hidden)
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "value_error":
            lines.append(f"{path}.{message}" if path else message)
        elif problem["type"] == "missing":
            lines.append(f"{path}: missing")
        elif problem["type"] == "extra_forbidden":
            lines.append(f"{path}: {_short(problem['input'])}; there is no such setting")
        else:
            lines.append(f"{path}: {_short(problem['input'])}; {message}")
    return lines


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
