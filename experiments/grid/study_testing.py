"""Plays test episodes for the study, as ``compare`` does."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from agents.registry import CARD, build_policies, shipped_agents, shipped_path
from agents.seeds import episode_seeds
from edgellm_env.scenario import Scenario, load_scenario, scenario_names
from experiments.grid.evaluation import EpisodeResult, evaluate
from experiments.grid.study_store import read_document

TEST_EPISODES: Final = 20
TEST_SEED: Final = 0
_FROM_CARD: Final = ("agent", "scenario", "seed", "steps", "training_s")


def shipped_scenario(name: str) -> Scenario:
    """Return a shipped scenario; results are stored by its name, which must mean the same everywhere.

    Raises:
        ValueError: no such scenario.
    """
    if name not in scenario_names():
        raise ValueError(f"scenario: {name!r}; expected a shipped one: {', '.join(scenario_names())}")
    return load_scenario(name)


def play_test_episodes(
    scenario: Scenario,
    policies: Sequence[str],
    episodes: int = TEST_EPISODES,
    on_progress: Callable[[EpisodeResult], None] = lambda result: None,
) -> list[EpisodeResult]:
    """Return a row per policy and test episode; the same episodes as ``compare --seed 0`` plays."""
    return evaluate(
        scenario, build_policies(policies, scenario), episode_seeds("test", TEST_SEED, episodes), on_progress
    )


def shipped_training(policy: str) -> tuple[dict[str, Any], str] | None:
    """Return how a shipped agent was trained, and a hash of its weights; None if ``policy`` is none."""
    if policy not in shipped_agents():
        return None
    folder = shipped_path(policy)
    card = read_document(folder / CARD)
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.name != CARD:
            digest.update(path.read_bytes())
    return {name: card[name] for name in _FROM_CARD if name in card}, digest.hexdigest()[:16]
