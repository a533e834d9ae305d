"""``study compare``: policies on test episodes, added to what is stored; what is stored is not played again."""

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from agents.files import OutputError, file_sha256
from agents.registry import build_policies, names, shipped_agents
from edgellm_env.scenario import Scenario, load_scenario
from experiments.grid.evaluation import EpisodeResult, make_environment, require_same_traces
from experiments.grid.study_store import (
    STORE,
    Comparison,
    Measured,
    comparison_path,
    read_comparison,
    write_comparison,
)
from experiments.grid.study_testing import (
    TEST_EPISODES,
    TEST_SEED,
    play_test_episodes,
    shipped_scenario,
    shipped_training,
)
from experiments.results.provenance import package_versions


@dataclass(frozen=True)
class StudyCompare:
    """Play policies on the study's test episodes and store the rows; those that are stored are not played again."""

    scenario: list[str]
    """Shipped scenarios."""
    policies: list[str] = field(default_factory=list)
    """As in compare; unless given, all that need nothing but their name, and the agents shipped for the scenario."""
    rates: list[float] = field(default_factory=list)
    """Arrival rates in requests/s, each in place of the scenario's own."""
    trace: Path | None = None
    """Trace file, for scenarios that replay one."""
    again: bool = False
    """Play the policies again and replace what is stored of them."""
    episodes: int = TEST_EPISODES
    """Test episodes; stored ones must be as many."""
    store: Path = STORE
    """Where results are stored."""

    def run(self, console: Console) -> list[Comparison]:
        """Check everything, then play and store, policy by policy.

        Raises:
            ValueError: a scenario, rate, policy or trace file that can't be used, or stored results of other episodes
                or settings; nothing has been played then.
        """
        rates: list[float | None] = [*self.rates] or [None]
        cases = [(name, rate) for name in self.scenario for rate in rates]
        wanted = []
        for name, rate in cases:
            scenario = shipped_scenario(name).with_trace(self.trace).with_arrival_rate(rate)
            make_environment(scenario)
            policies = self.policies or default_policies(name)
            build_policies(policies, scenario)
            wanted.append((self._stored(name, rate, scenario), scenario, policies))
        return [self._fill(stored, scenario, policies, console) for stored, scenario, policies in wanted]

    def _stored(self, name: str, rate: float | None, scenario: Scenario) -> Comparison:
        """Return what is stored of a case, or an empty comparison."""
        case = name if rate is None else f"{name}-{rate:g}rps"
        plain = shipped_scenario(name).with_arrival_rate(rate)
        empty = Comparison(
            case=case,
            scenario=name,
            scenario_checksum=plain.checksum,
            arrival_rate_rps=rate,
            trace=None if self.trace is None else trace_identity(self.trace),
            seed=TEST_SEED,
            slots=scenario.timing.episode_slots,
            policies={},
            rows=[],
        )
        path = comparison_path(self.store, case)
        if not path.is_file():
            return empty
        stored = read_comparison(path)
        for field_name in ("scenario_checksum", "trace", "seed", "slots"):
            if getattr(stored, field_name) != getattr(empty, field_name):
                raise OutputError(
                    f"{field_name}: {getattr(empty, field_name)}; {path} holds results with "
                    f"{getattr(stored, field_name)}: expected the same, or another --store"
                )
        played = {row.episode for row in stored.rows}
        if played != set(range(self.episodes)):
            raise OutputError(f"episodes: {self.episodes}; {path} holds {len(played)}: expected the same")
        return stored

    def _fill(self, stored: Comparison, scenario: Scenario, policies: Sequence[str], console: Console) -> Comparison:
        for policy in policies:
            trained = shipped_training(policy)
            model = None if trained is None else trained[1]
            known = stored.policies.get(policy)
            if known is not None and known.model == model and not self.again:
                console.print(f"{stored.case}: {policy} is stored", markup=False)
                continue
            rows = play_test_episodes(scenario, [policy], self.episodes)
            measured = Measured(
                self._command(stored, policy), package_versions(), None if trained is None else trained[0], model
            )
            stored = with_policy(stored, policy, measured, rows)
            write_comparison(stored, self.store)
            mean = sum(row.throughput_rps for row in rows) / len(rows)
            console.print(f"{stored.case}: {policy} {mean:.2f} requests/s", markup=False)
        return stored

    def _command(self, case: Comparison, policy: str) -> str:
        words = ["python", "-m", "experiments", "study", "compare", "--scenario", case.scenario, "--policies", policy]
        if case.arrival_rate_rps is not None:
            words += ["--rates", f"{case.arrival_rate_rps:g}"]
        if self.trace is not None:
            words += ["--trace", self.trace.name]  # where it lies on this machine is nobody's business
        return shlex.join(words)


def default_policies(scenario: str) -> list[str]:
    """Return every policy that needs nothing but its name, and the agents shipped for ``scenario``.

    With one quantization scheme ``dftsp-joint`` is ``dftsp`` and left out.
    """
    joint = len(load_scenario(scenario).schemes) > 1
    plain = [name for name in names("build") if joint or name != "dftsp-joint"]
    return [*plain, *(spec for spec in shipped_agents() if spec.partition(":")[2] == scenario)]


def with_policy(stored: Comparison, policy: str, measured: Measured, rows: Sequence[EpisodeResult]) -> Comparison:
    """Return the comparison with a policy's rows added, or in place of those it had.

    Raises:
        RuntimeError: the policy met other requests than those stored.
    """
    others = [row for row in stored.rows if row.policy != policy]
    require_same_traces([*others, *rows])
    policies = {name: one for name, one in stored.policies.items() if name != policy} | {policy: measured}
    return dataclasses.replace(stored, policies=policies, rows=[*others, *rows])


def trace_identity(path: Path) -> dict[str, str]:
    """Return a trace file's name and hash."""
    return {"name": path.name, "sha256": file_sha256(path)}
