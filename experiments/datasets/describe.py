"""A dataset's metadata: what Minari asks for, and all that is needed to understand, repeat and cite the data."""

import copy
import hashlib
import json
import shlex
from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import yaml
from gymnasium.envs.registration import EnvSpec

from edgellm_env import __version__
from edgellm_env.env.engine import Engine
from edgellm_env.scenario import load_scenario
from experiments.datasets.plan import Plan
from experiments.datasets.recorder import INTERFACES
from experiments.datasets.totals import UnitTotals
from experiments.datasets.work import REFERENCE_EPISODES
from experiments.results.provenance import package_versions

OWN = "edgellm"
"""Key of everything in the metadata that Minari has no name for."""

CITATION = f"""@misc{{edgellm_env,
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
    spec = copy.deepcopy(gym.spec(f"EdgeLLM/{environment}-v0"))
    spec.kwargs = {"scenario": scenario}
    return spec


def spaces_of(plan: Plan) -> tuple[gym.Space[Any], gym.Space[Any]]:
    """Return observation and action space."""
    engine = Engine(plan.playable_scenario(), INTERFACES[plan.environment], 1)
    return engine.observation_space(), engine.interface.space()


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


def describe(
    plan: Plan, totals: UnitTotals, scores: dict[str, float], digests: Iterable[str], licence: str, author: str
) -> dict[str, Any]:
    """Return the metadata beyond spaces and environment, plain values but for Minari's sets."""
    seeds = plan.seeds(0)[0], plan.seeds(plan.units - 1)[-1]
    scenario = load_scenario(plan.scenario)
    policy = command_policy(plan)
    return {
        "dataset_id": plan.dataset_id,
        "total_episodes": plan.episodes,
        "total_steps": sum(totals.steps),
        "algorithm_name": policy,
        "author": {author},
        "description": (
            f"{plan.episodes} episodes of {scenario.timing.episode_slots} slots of EdgeLLM/{plan.environment}-v0 in "
            f"scenario {scenario.name!r}, played by {policy} (tier: {plan.tier})."
        ),
        "requirements": [f"edgellm-env>={__version__}"],
        "ref_min_score": scores["random"],
        "ref_max_score": scores["dftsp"],
        "num_episodes_average_score": REFERENCE_EPISODES,
        "license": licence,
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
    names = [name.partition("=")[0] for name in (plan.parts or (plan.policy,))]
    words = [f"noisy-expert(epsilon={plan.epsilon:g})" if name == "noisy-expert" else name for name in names]
    return f"mixed({', '.join(words)})" if plan.parts else words[0]


def as_json(metadata: dict[str, Any]) -> str:
    """Return metadata as text, sets as sorted lists."""
    return json.dumps(metadata, indent=1, default=sorted, allow_nan=False)
