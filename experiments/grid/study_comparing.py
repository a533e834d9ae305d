"""The study's comparisons of policies on the same test episodes."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from agents.files import OutputError, file_sha256, read_document
from agents.registry import CARD, build_policies, playable, shipped_agents, shipped_path, shipped_spec
from agents.seeds import episode_seeds
from edgellm_env.scenario import Scenario, load_scenario, scenario_names
from experiments.changes import Changes
from experiments.grid.drawn import drawn
from experiments.grid.evaluation import EpisodeResult, evaluate, require_playable, require_same_traces
from experiments.grid.ledger import require_same
from experiments.grid.study_store import (
    Comparison,
    Measured,
    comparison_path,
    read_stored,
)
from experiments.grid.suite import suite_case, suite_cases
from experiments.results.provenance import command_line, package_versions

TEST_EPISODES: Final = 20
TEST_SEED: Final = 0
_FROM_CARD: Final = ("agent", "scenario", "seed", "steps", "training_s")


def shipped_scenario(name: str) -> Scenario:
    """Return a shipped scenario, or a case of the suite; results are stored by its name, the same everywhere.

    Raises:
        ValueError: no such scenario.
    """
    case = suite_case(name)
    if case is not None:
        return case.load()
    if name not in scenario_names():
        known, cases = ", ".join(scenario_names()), ", ".join(one for tier in suite_cases().values() for one in tier)
        raise ValueError(f"scenario: {name!r}; expected a shipped one: {known}; or a case of the suite: {cases}")
    return load_scenario(name)


def default_policies(scenario: str) -> list[str]:
    """Return every policy that needs nothing but its name and can play ``scenario``, and the agents shipped for it.

    With one quantization scheme ``dftsp-joint`` is ``dftsp`` and left out.
    """
    own = shipped_scenario(scenario)
    plain = [name for name in playable(own) if len(own.schemes) > 1 or name != "dftsp-joint"]
    return [*plain, *(spec for spec in shipped_agents() if spec.partition(":")[2] == own.name)]


def play_test_episodes(scenario: Scenario, policies: Sequence[str], episodes: int) -> list[EpisodeResult]:
    """Return a row per policy and test episode; the same episodes as ``compare --seed 0`` plays."""
    return evaluate(scenario, build_policies(policies, scenario), episode_seeds("test", TEST_SEED, episodes))


def stored_comparison(
    store: Path, name: str, changes: Changes, rate_rps: float | None, episodes: int
) -> tuple[Comparison, Scenario]:
    """Return what is stored of a shipped scenario, or an empty comparison, and the scenario to play.

    Raises:
        ValueError: no such scenario, it has no trace file or arrival rate to change, or stored results are of other
            episodes or settings.
    """
    scenario = changes.changed(shipped_scenario(name)).with_arrival_rate(rate_rps)
    require_playable(scenario)  # before the trace file is read otherwise: it could be anything
    plain, trace = scenario.without_trace(), changes.trace
    empty = Comparison(
        case=name if rate_rps is None else f"{name}-{rate_rps:g}rps",
        scenario=plain.name,
        scenario_checksum=plain.checksum,
        arrival_rate_rps=rate_rps,
        trace=None if trace is None else {"name": trace.name, "sha256": file_sha256(trace)},
        seed=TEST_SEED,
        slots=plain.timing.episode_slots,
        policies={},
        rows=[],
    )
    path = comparison_path(store, empty.case)
    if not path.is_file():
        return empty, scenario
    stored = read_stored(Comparison, path)
    played, names = len({row.episode for row in stored.rows}), ("scenario_checksum", "trace", "seed", "slots")
    ours = {name: getattr(empty, name) for name in names} | {"episodes": episodes}
    require_same(ours, asdict(stored) | {"episodes": played}, path, "another --store")
    return stored, scenario


def is_stored(stored: Comparison, policy: str) -> bool:
    """Return whether a policy's rows are there; those of a shipped agent with other weights are not its own."""
    if policy not in stored.policies:
        return False
    return stored.policies[policy].model == shipped_training(policy, load_scenario(stored.scenario))[1]


def with_policy(
    stored: Comparison, scenario: Scenario, policy: str, episodes: int, changes: Sequence[str] = ()
) -> Comparison:
    """Play a policy's test episodes; return the comparison with its rows added, or in place of those it had.

    Raises:
        RuntimeError: the policy failed, or met other requests than those stored.
    """
    rows = play_test_episodes(scenario, [policy], episodes)
    if drawn(stored.case) is not None:  # many, and compared by requests/s alone
        rows = [replace(row, service=None) for row in rows]
    name = stored.case if suite_case(stored.case) else stored.scenario
    words = ["study", "compare", "--scenario", name, "--policies", policy, *changes]
    if stored.arrival_rate_rps is not None:
        words += ["--rates", f"{stored.arrival_rate_rps:g}"]
    if episodes != TEST_EPISODES:
        words += ["--episodes", str(episodes)]
    others = [row for row in stored.rows if row.policy != policy]
    require_same_traces([*others, *rows])
    measured = Measured(command_line(words), package_versions(), *shipped_training(policy, scenario))
    policies = {name: one for name, one in stored.policies.items() if name != policy} | {policy: measured}
    return replace(stored, policies=policies, rows=[*others, *rows])


def shipped_training(policy: str, scenario: Scenario) -> tuple[dict[str, Any] | None, str | None]:
    """Return how a shipped agent that plays ``scenario`` was trained, and a hash of its weights; None, None if none."""
    policy = shipped_spec(policy, scenario)
    if policy not in shipped_agents():
        return None, None
    folder = shipped_path(policy)
    card = read_document(folder / CARD)
    weights = b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.name != CARD)
    return {name: card[name] for name in _FROM_CARD if name in card}, hashlib.sha256(weights).hexdigest()[:16]


def with_bounds(store: Path, results: Path) -> Comparison:
    """Return a stored comparison with the clairvoyant bounds of its episodes, or some, that a ``results.json`` holds.

    Raises:
        OutputError: no bounds in the file, no stored comparison of its scenario, or bounds of other episodes.
    """
    document = read_document(results)
    about, bounds = document.get("metadata", {}), document.get("bounds")
    scenario = about.get("scenario")
    if not isinstance(scenario, str) or not bounds:
        raise OutputError(f"results: {results} holds no bounds; expected those of compare --clairvoyant-s")
    path = comparison_path(store, scenario)
    if not path.is_file():
        raise OutputError(f"results: {scenario!r}; {store} holds no comparison of it: run study compare first")
    stored = read_stored(Comparison, path)
    # With a trace file the checksum tells where the file lies; its episodes are told apart by their seeds.
    if stored.trace is None and about.get("scenario_checksum") != stored.scenario_checksum:
        raise OutputError(f"scenario_checksum: {results} is of other settings than {path}")
    episodes = {row.episode: row for row in stored.rows}
    if not {bound["episode"] for bound in bounds} <= set(episodes):
        raise OutputError(f"episodes: {results} bounds {len(bounds)}; expected some of the {len(episodes)} stored ones")
    upper, lower = {}, {}
    for bound in bounds:
        episode, seed, row = bound["episode"], bound["seed"], episodes[bound["episode"]]
        if seed != row.seed:
            raise OutputError(f"episode {episode}: {results} bounds seed {seed}; expected {row.seed}")
        upper[episode], lower[episode] = (bound[side] / row.covered_s for side in ("upper", "lower"))
    return replace(stored, bounds_rps=upper, hindsight_rps=lower)
