"""From YAML to checked settings: how files are read, and what is said of settings that can't be used."""

import difflib
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

_MOST_CHARACTERS = 300


def one_line(text: str) -> str:
    """Return an error's text as one line of at most 300 characters; what is cut is in the middle: hints come last."""
    line = " ".join(text.split())
    if len(line) <= _MOST_CHARACTERS:
        return line
    return f"{line[: _MOST_CHARACTERS - 105]} ... {line[-100:]}"


def nearest(word: str, known: Collection[str]) -> str:
    """Return what to expect in place of a word that is not known: all words if they are few, or the nearest three."""
    if len(known) <= 6:
        return f"one of {', '.join(known) or 'nothing'}"
    near = difflib.get_close_matches(word[:100], known, n=3, cutoff=0.0)
    return f"one of {', '.join(near)}, ... ({len(known)} in all)"


class InputError(ValueError):
    """Something given that can't be used; one line names what, its value and what is allowed."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class ScenarioError(InputError):
    """A scenario, or a profile, that can't be used."""


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
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
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
        raise ScenarioError(_listed(origin, _describe(error, hidden))) from error


def _listed(origin: str, problems: list[str]) -> str:
    """Return as many of the problems as a line holds, the first in any case, and how many more there are."""
    said, left = f"{origin}: {len(problems)} invalid setting(s): {problems[0]}", len(problems) - 1
    while left and len(said) + len(problems[-left]) < _MOST_CHARACTERS - 20:
        said, left = f"{said}; and {problems[-left]}", left - 1
    return f"{said}; and {left} more" if left else said


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
            lines.append(f"{path}: {shorten(problem['input'])}; there is no such setting")
        else:
            lines.append(f"{path}: {shorten(problem['input'])}; {message}")
    return lines


def shorten(value: object) -> str:
    """Return a value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
