"""What every command on a scenario takes beside it: settings in place of the scenario's own, and a trace file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from edgellm_env.scenario import Scenario, load_scenario, parse_setting
from edgellm_env.scenario.scenario import ScenarioLike
from experiments.grid.points import split_setting


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Base of the commands on scenarios."""

    settings: Annotated[
        tuple[str, ...], tyro.conf.arg(name="set", metavar="PATH=VALUE"), tyro.conf.UseAppendAction
    ] = ()
    """PATH=VALUE: a value, as in a scenario file, for the scenario's field at a dotted path; as often as needed."""
    trace: Path | None = None  # Trace file, for scenarios that replay one: docs/traces.md.

    def changed(self, source: ScenarioLike, slots: int | None = None) -> Scenario:
        """Return a scenario with these settings, the trace file, and ``slots`` slots an episode in place of its own.

        Raises:
            ValueError: a setting that is malformed or given twice.
            ScenarioError: no such scenario or field, a value that is not allowed, or a scenario that replays no file.
        """
        values: dict[str, Any] = {}
        for text in self.settings:
            path, written = split_setting(text, "PATH=VALUE")
            if path in values:
                raise ValueError(f"set: {path} is given twice; expected once")
            values[path] = parse_setting(written, f"set {path}: {written!r}")
        return load_scenario(source).with_values(values).with_trace(self.trace).with_slots(slots)

    @property
    def words(self) -> list[str]:
        """The words of a command line that give the same; a trace file's folder is this machine's own."""
        given = [word for text in self.settings for word in ("--set", text)]
        return given if self.trace is None else [*given, "--trace", self.trace.name]
