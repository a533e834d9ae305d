"""From a name, a path or a mapping to the settings of a whole scenario: ``base`` names one, the rest differs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgellm_env.settings import ScenarioError, read_settings, shorten

SCENARIO_FOLDER = Path(__file__).parent / "shipped"

_SAY_NOTHING = ("name", "description")


def scenario_names() -> tuple[str, ...]:
    """Names of the scenarios that ship with the package."""
    return tuple(sorted(path.stem for path in SCENARIO_FOLDER.glob("*.yaml")))


def settings_of(source: Mapping[str, Any] | str | Path) -> Any:
    """Return the settings that a shipped scenario's name, the path of a YAML file, or a mapping stands for.

    Raises:
        ScenarioError: no such name or file, one that can't be read, or a base of which the same is true.
    """
    if isinstance(source, str | Path):
        return _read(str(source), Path(), ())
    return _completed(source, "scenario", Path(), ())


def _read(name: str, folder: Path, below: tuple[Path, ...]) -> Any:
    """Return what a shipped scenario's name, or a path from ``folder``, stands for; ``below`` are those based on it."""
    path = SCENARIO_FOLDER / f"{name}.yaml" if name in scenario_names() else folder / name
    said = f"{below[-1].name}: base" if below else "scenario"
    if not path.is_file():
        names = ", ".join(scenario_names())
        raise ScenarioError(f"{said}: {name!r} is neither a file nor a shipped scenario; shipped: {names}")
    if path.resolve() in below:
        raise ScenarioError(f"{said}: {name!r}, which is based on this one; expected another scenario")
    tree = read_settings(path, name)
    if isinstance(tree, Mapping) and "base" in tree:
        tree = {"name": path.stem, **tree}
    return _completed(tree, name, path.parent, (*below, path.resolve()))


def _completed(tree: Any, origin: str, folder: Path, below: tuple[Path, ...]) -> Any:
    """Return settings with what their ``base``, if they have one, says where they say nothing."""
    if not isinstance(tree, Mapping) or "base" not in tree:
        return tree
    own = {name: value for name, value in tree.items() if name not in ("base", "provenance")}
    if not isinstance(tree["base"], str):
        raise ScenarioError(f"{origin}: base: {shorten(tree['base'])}; expected a scenario's name or path")
    base, changed = _read(tree["base"], folder, below), list[str]()
    if not isinstance(base, Mapping):
        return base
    merged = _merged(base, own, "", changed)
    merged["description"] = own.get("description", f"As {tree['base']}, but for: {', '.join(changed) or 'nothing'}.")
    theirs: Any = base.get("provenance", {})
    given: Any = tree.get("provenance", {})
    if isinstance(theirs, Mapping) and isinstance(given, Mapping):
        # What is given anew has not the source that the base gave for it.
        anew = tuple(f"{path}." for path in changed)
        kept = {path: tag for path, tag in theirs.items() if not f"{path}.".startswith(anew)}
        merged["provenance"] = {**kept, **dict.fromkeys(() if "default" in given else changed, "assumed"), **given}
    elif given:
        merged["provenance"] = given
    return merged


def _merged(base: Mapping[str, Any], own: Mapping[str, Any], path: str, changed: list[str]) -> dict[str, Any]:
    """Return ``base`` with what ``own`` says; add the dotted paths of what it replaces to ``changed``.

    A mapping of another ``kind`` (a distribution, a cost model) is replaced whole.
    """
    merged = dict(base)
    for name, value in own.items():
        at, before = f"{path}{name}", base.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping) and _of_one_kind(value, before):
            merged[name] = _merged(before, value, f"{at}.", changed)
        else:
            merged[name] = value
            changed += [at] if path or name not in _SAY_NOTHING else []
    return merged


def _of_one_kind(own: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    return "kind" not in own or own["kind"] == base.get("kind")
