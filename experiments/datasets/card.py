"""What a dataset says of itself: its metadata, and its card, a page and a plot beside the data."""

import copy
import hashlib
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import gymnasium as gym
import numpy as np
import yaml
from gymnasium.envs.registration import EnvSpec

from agents.files import write_text
from agents.rollout import make_engine
from edgellm_env import __version__
from edgellm_env.scenario import Scenario, load_scenario
from experiments.datasets.plan import Plan
from experiments.datasets.policies import NOISY
from experiments.datasets.recorder import CENSUS_EVERY, UnitTotals, environment_id
from experiments.datasets.storage import OWN
from experiments.datasets.work import REFERENCE_EPISODES
from experiments.pages.rendering import render
from experiments.results.figures import plot_returns
from experiments.results.provenance import package_versions

CARD: Final = "README.md"
PLOT: Final = "returns.png"

CITATION: Final = f"""@misc{{edgellm_env,
  title = {{edgellm_env: a reinforcement-learning environment for edge LLM serving with an exact per-slot expert}},
  author = {{The edgellm-env maintainers}},
  note = {{Version {__version__}}}
}}
@misc{{zhang2024edge,
  title = {{Edge Intelligence Optimization for Large Language Model Inference with Batching and Quantization}},
  author = {{Zhang, Xinyuan and others}},
  year = {{2024}},
  eprint = {{2405.07140}},
  archivePrefix = {{arXiv}}
}}
"""


def environment_spec(environment: str, scenario: dict[str, Any]) -> EnvSpec:
    """Return what makes the environment anywhere: the whole scenario is in it, not the name of a shipped one.

    Its entry point is ``edgellm_env``'s, so that nothing must be imported, or registered, beforehand.
    """
    spec = copy.deepcopy(gym.spec(environment_id(environment)))
    spec.kwargs = {"scenario": scenario}
    return spec


def spaces_of(environment: str, scenario: Scenario) -> dict[str, gym.Space[Any]]:
    """Return observation and action space by their names in a dataset's metadata."""
    engine = make_engine(scenario, environment_id(environment), 1)
    return {"observation_space": engine.observation_space(), "action_space": engine.interface.space()}


def command_of(plan: Plan, settings: str = "scenario.yaml") -> str:
    """Return the command that makes the same dataset, from the scenario in the file ``settings``."""
    words = ["python", "-m", "experiments", "collect", "--scenario", settings, "--env", plan.environment]
    words += ["--policy", plan.policy]
    if plan.parts:
        words += ["--parts", *plan.parts]
    if plan.epsilon:
        words += ["--epsilon", f"{plan.epsilon:g}"]
    words += ["--tier", plan.tier, "--episodes", str(plan.episodes), "--seed", str(plan.seed)]
    if plan.trace is not None:
        words += ["--trace", "FILE"]
    return shlex.join([*words, "--id", plan.dataset_id])


def content_checksum(digests: Iterable[str]) -> str:
    """Return a hash over all episodes' digests, in order."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def describe(plan: Plan, totals: UnitTotals, scores: dict[str, float], digests: Iterable[str]) -> dict[str, Any]:
    """Return the metadata beyond spaces, environment, author and licence, as plain values."""
    seeds = plan.seeds(0)[0], plan.seeds(plan.units - 1)[-1]
    scenario = load_scenario(plan.scenario)
    policy = command_policy(plan)
    return {
        "dataset_id": plan.dataset_id,
        "total_episodes": plan.episodes,
        "total_steps": sum(totals.steps),
        "algorithm_name": policy,
        "description": (
            f"{plan.episodes} episodes of {scenario.timing.episode_slots} slots of EdgeLLM/{plan.environment}-v0 in "
            f"scenario {scenario.name!r}, played by {policy} (tier: {plan.tier})."
        ),
        "requirements": [f"edgellm-env>={__version__}"],
        "ref_min_score": scores["random"],
        "ref_max_score": scores["dftsp"],
        "num_episodes_average_score": REFERENCE_EPISODES,
        OWN: {
            "environment": plan.environment,
            "tier": plan.tier,
            "policy": policy,
            "epsilon": plan.epsilon if plan.epsilon else None,
            "scenario": yaml.safe_dump(plan.scenario, sort_keys=False, width=120),
            "scenario_checksum": scenario.checksum,
            "seed": plan.seed,
            "episode_seeds": {"split": "train", "first": seeds[0], "last": seeds[1]},
            "unit_episodes": plan.unit_episodes,
            "files_sha256": plan.files,
            "plan_checksum": plan.checksum,
            "content_sha256": content_checksum(digests),
            "solver": {"name": "dftsp", "optimality_share": totals.proven / max(1, totals.slots)},
            "reference_scores": {**scores, "episodes": REFERENCE_EPISODES, "split": "validation"},
            "versions": package_versions(),
            "command": command_of(plan),
            "citation": CITATION,
        },
    }


def command_policy(plan: Plan) -> str:
    """Return who acted, in words: parts of a mixture and epsilon included, folders of models left out."""
    names = [name.partition("=")[0] for name in plan.actors.names]
    words = [f"{NOISY}(epsilon={plan.epsilon:g})" if name == NOISY else name for name in names]
    return f"mixed({', '.join(words)})" if plan.parts else words[0]


def write_card(plan: Plan, totals: UnitTotals, metadata: dict[str, Any], size_bytes: int, folder: Path) -> None:
    """Write page and plot, made from the totals of all units, into ``folder``."""
    scores = {"random": metadata["ref_min_score"], "DFTSP": metadata["ref_max_score"]}
    plot_returns(totals.returns, scores, f"{plan.dataset_id}: {plan.episodes} episodes", folder / PLOT)
    page = render(
        "dataset_card.md.j2",
        plan=plan,
        scenario=load_scenario(plan.scenario),
        metadata=metadata,
        own=metadata[OWN],
        key=OWN,
        totals=totals,
        returns=np.array(totals.returns),
        median=float(np.median(totals.returns)),
        low=metadata["ref_min_score"],
        high=metadata["ref_max_score"],
        served=int(np.dot(np.arange(len(totals.served)), totals.served)),
        slots=max(1, totals.slots),
        share=lambda part, whole: f"{part / whole:.1%}" if whole else "no slot",
        census_every=CENSUS_EVERY,
        plot=PLOT,
        size_bytes=size_bytes,
    )
    write_text(folder / CARD, page)
