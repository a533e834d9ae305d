"""What a dataset says of itself in its metadata: all of it follows from its plan and from sums over its episodes."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from agents.rollout import make_engine
from edgellm_env import __version__
from edgellm_env.scenario import load_scenario
from experiments.datasets.plan import NOISY, Plan, environment_spec, spaces_of
from experiments.datasets.storage import OWN
from experiments.extras import require
from experiments.results.provenance import package_versions

CITATION: Final = Path(__file__).with_name("citation.bib").read_text(encoding="utf-8").replace("VERSION", __version__)


def described(
    plan: Plan,
    steps: int,
    proven_share: float,
    scores: Mapping[str, Any],
    references: Mapping[str, Any] | None,
    content: str,
    size_bytes: int,
) -> dict[str, Any]:
    """Return the metadata beyond author, licence and Minari's version, as plain values.

    Args:
        plan: of the dataset.
        steps: of all episodes.
        proven_share: share of the slots whose optimum the solver proved.
        scores: what Minari calls the scenario's reference scores.
        references: what they are made from; None if that is not known.
        content: checksum over all episodes.
        size_bytes: of the file of episodes.
    """
    scenario = load_scenario(plan.scenario)
    # Who acted, in words: parts of a mixture and epsilon included, folders of models left out.
    names = [name.partition("=")[0] for name in plan.players]
    words = [f"{NOISY}(epsilon={plan.epsilon:g})" if name == NOISY else name for name in names]
    policy, portable = f"mixed({', '.join(words)})" if plan.parts else words[0], plan.portable()
    return {
        "dataset_id": plan.dataset_id,
        "total_episodes": plan.episodes,
        "total_steps": steps,
        "dataset_size": round(size_bytes / 1e6, 1),
        "algorithm_name": policy,
        "description": (
            f"{plan.episodes} episodes of {scenario.timing.episode_slots} slots of EdgeLLM/{plan.environment}-v0 in "
            f"scenario {scenario.name!r}, played by {policy} (tier: {plan.tier})."
        ),
        "requirements": [f"edgellm-env>={__version__}"],
        **scores,
        OWN: {
            "environment": plan.environment,
            "tier": plan.tier,
            "policy": policy,
            "acting": [portable.policy, *portable.parts],
            "epsilon": plan.epsilon if plan.epsilon else None,
            "scenario": yaml.safe_dump(plan.scenario, sort_keys=False, width=120),
            "scenario_checksum": scenario.checksum,
            "seed": plan.seed,
            "episode_seeds": {"split": "train", "first": plan.seeds(0)[0], "last": plan.seeds(plan.units - 1)[-1]},
            "unit_episodes": plan.unit_episodes,
            "files_sha256": plan.files,
            "plan_checksum": plan.checksum,
            "content_sha256": content,
            "solver": {"name": "dftsp", "optimality_share": proven_share},
            "reference_scores": references,
            "versions": package_versions(),
            "command": _command_of(portable),
            "citation": CITATION,
        },
    }


def described_environment(plan: Plan) -> dict[str, Any]:
    """Return what the metadata say of environment and spaces, JSON in JSON read."""
    engine = make_engine(plan.playable_scenario(), plan.environment_id, 1)
    serialize = require("minari.serialization", "datasets").serialize_space
    spaces = {name: json.loads(serialize(space)) for name, space in spaces_of(engine).items()}
    return spaces | {"env_spec": json.loads(environment_spec(plan.environment_id, plan.scenario).to_json())}


def _command_of(plan: Plan) -> str:
    """Return the command that makes the same dataset, from the scenario in the file ``scenario.yaml``."""
    words = ["python", "-m", "experiments", "collect", "--scenario", "scenario.yaml", "--env", plan.environment]
    words += ["--policy", plan.policy]
    if plan.parts:
        words += ["--parts", *plan.parts]
    if plan.epsilon:
        words += ["--epsilon", f"{plan.epsilon:g}"]
    words += ["--tier", plan.tier, "--episodes", str(plan.episodes), "--seed", str(plan.seed)]
    if plan.trace is not None:
        words += ["--trace", plan.trace]
    return shlex.join([*words, "--id", plan.dataset_id])
