"""Files of models that are damaged or lie, and weights whose numbers grow beyond all bounds, in every kind of agent."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from agents.learning.ppo import PlainPpo
from agents.learning.runs import read_settings
from agents.learning.search import load_state, save_state
from agents.models.actor import SUMMARY_SIZE, Actor
from agents.models.admission_inputs import ALL_INPUTS
from agents.models.attention_network import AttentionNetwork
from agents.models.queue_network import RequestScorer
from agents.models.sb3 import save_policy
from agents.models.scorer import LINEAR, REQUEST_FEATURES, Scorers, parameter_count
from agents.models.storage import COLUMNS
from agents.policy import DecisionError, PolicyError, require_finite
from agents.registry import build_policies, settings_path
from agents.rollout import PolicyFailureError, rollout
from edgellm_env import load_scenario
from edgellm_env.node.features import fingerprint
from edgellm_env.scenario import Scenario
from tests.agents.learning.test_ppo import SMALL, new_model
from tests.agents.models.test_storage import search_state

SCENARIO, CONTINUOUS = (load_scenario(name).with_values({"timing.episode_slots": 12}) for name in ("light", "chat"))


def ppo(path: Path) -> None:
    save_policy(new_model(SCENARIO, read_settings(PlainPpo, settings_path("ppo")).model_copy(update=SMALL)), path)


def network(commits: bool, beams: int) -> Callable[[Path], None]:
    return lambda path: RequestScorer(4, commits, beams).save(path)


def ranker(packing: str) -> Callable[[Path], None]:
    parameters = np.random.default_rng(0).standard_normal((1, parameter_count(3)))
    return lambda path: Scorers.from_parameters(parameters, 3, packing).save(path)


def actor(packing: str) -> Callable[[Path], None]:
    sizes, rng = [(4, SUMMARY_SIZE), (len(REQUEST_FEATURES), 4)], np.random.default_rng(0)
    layers = [(rng.standard_normal(size).astype(np.float32), np.zeros(size[0], np.float32)) for size in sizes]
    return lambda path: Actor(tuple(layers), packing).save(path)


def attending(path: Path) -> None:
    torch.manual_seed(0)
    network = AttentionNetwork(ALL_INPUTS, 4, 2, 1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    network.save(path)


KINDS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "ranker": ("es-rank", ranker("greedy")),
    "value": ("es-value", ranker("exact")),
    "weighing": ("ppo-rank", actor("greedy")),
    "weighing values": ("ppo-value", actor("exact")),
    "scoring": ("ppo-batch", network(False, 1)),
    "pointing": ("ppo-select", network(True, 1)),
    "beams": ("dagger", network(False, 3)),
    "ppo": ("ppo", ppo),
    "attending": ("ppo-attend", attending),
}


def scenario_of(spec: str) -> Scenario:
    return CONTINUOUS if spec.startswith("ppo-attend") else SCENARIO


@pytest.fixture(params=KINDS)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    agent, save = KINDS[request.param]
    save(tmp_path / "model.safetensors")
    return f"{agent}={tmp_path}", tmp_path / "model.safetensors"


def parts(path: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(  # noqa: SIM118 - no mapping
            file.metadata()["about"]
        )


def said(call: Callable[[], object], kind: type[Exception]) -> str:
    """Return what an error of this kind says, if there is one."""
    try:
        call()
    except kind as error:
        return str(error)
    return ""


def refused(spec: str) -> str:
    with pytest.raises(PolicyError) as error:
        build_policies([spec], scenario_of(spec))
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 700
    assert "model.safetensors" in text
    return text


def test_an_undamaged_one_plays(saved: tuple[str, Path]) -> None:
    scenario = scenario_of(saved[0])
    tally = rollout(*build_policies([saved[0]], scenario), scenario, [3, 4])
    assert (tally.totals["arrived"] > 0).all()


def test_a_truncated_file_is_refused(saved: tuple[str, Path]) -> None:
    spec, path = saved
    whole = path.read_bytes()
    for length in (0, 7, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(spec)


def test_a_flipped_bit_of_the_header_is_refused_or_plays_and_is_never_a_traceback(saved: tuple[str, Path]) -> None:
    spec, path = saved
    whole = path.read_bytes()
    header, rng = 8 + int.from_bytes(whole[:8], "little"), np.random.default_rng(0)
    outcomes = set()
    for place in [*range(8), *rng.integers(8, header, 60)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        outcomes.add(said(lambda: build_policies([spec], scenario_of(spec)), PolicyError))
    assert len(outcomes) > 2
    assert not any("\n" in outcome for outcome in outcomes)


@pytest.mark.parametrize("about", [[], None, 7, "text", {}, {COLUMNS: []}, {COLUMNS: fingerprint()}])
def test_what_stands_beside_the_arrays_may_be_anything(saved: tuple[str, Path], about: object) -> None:
    spec, path = saved
    arrays, _ = parts(path)
    save_file(arrays, path, metadata={"about": json.dumps(about)})
    refused(spec)
    save_file(arrays, path, metadata={"about": "[" * 100_000})
    refused(spec)


@pytest.mark.parametrize(
    "wrong", [[], None, "x", -1, 10**12, {"valid": [10**12]}, {"valid": [[]]}, {"a": {}}, [[10**9]]]
)
def test_entries_that_are_not_what_they_should_be(saved: tuple[str, Path], wrong: object) -> None:
    spec, path = saved
    arrays, about = parts(path)
    for name in sorted(set(about) - {COLUMNS}):
        save_file(arrays, path, metadata={"about": json.dumps(about | {name: wrong})})
        refused(spec)


def test_arrays_that_are_missing_unknown_misshapen_or_no_numbers(saved: tuple[str, Path]) -> None:
    spec, path = saved
    arrays, about = parts(path)
    for name, array in arrays.items():
        changes = [
            {name: array[..., None]}, {name: array[:0]}, {name: array.astype(np.int32)}, {name: array * np.nan},
            {name: np.zeros((), np.float32)}, {f"{name}x": array}, {name: np.zeros((100_000, 0), np.float32)},
        ]  # fmt: skip
        for change in [*changes, None]:
            left = {other: value for other, value in arrays.items() if other != name} if change is None else arrays
            save_file(
                {one: np.require(value, requirements="C") for one, value in (left | (change or {})).items()},
                path,
                metadata={"about": json.dumps(about)},
            )
            refused(spec)


@pytest.mark.parametrize("factor", [1e20, 1e30, 1e38])
@pytest.mark.filterwarnings("error")
def test_huge_weights_play_or_are_named_with_policy_episode_and_slot(saved: tuple[str, Path], factor: float) -> None:
    spec, path = saved
    arrays, about = parts(path)
    largest = np.finfo(np.float32).max
    rng = np.random.default_rng(1)
    for huge in (
        {name: np.clip(array * factor, -largest, largest) for name, array in arrays.items()},
        {name: array * 0 + min(factor, largest) for name, array in arrays.items()},
        {name: rng.choice([-factor, factor], array.shape) for name, array in arrays.items()},
    ):
        save_file(
            {name: array.astype(arrays[name].dtype) for name, array in huge.items()},
            path,
            metadata={"about": json.dumps(about)},
        )
        (policy,) = build_policies([spec], scenario_of(spec))
        outcome = said(lambda policy=policy: rollout(policy, scenario_of(spec), [3, 4]), PolicyFailureError)
        message = rf"(policy '{re.escape(spec)}', episode [01], slot \d+: the model's [a-z ]+ are not finite; .*)?"
        assert re.fullmatch(message, outcome)


def test_who_among_many_is_named() -> None:
    scores = np.array([[1.0, 2.0], [1.0, np.nan], [0.0, 0.0]])
    with pytest.raises(DecisionError, match="scores are not finite") as error:
        require_finite(scores, "scores")
    assert error.value.row == 1
    with pytest.raises(DecisionError) as error:
        require_finite(scores, "scores", np.array([5, 6, 6]))
    assert error.value.row == 6


def test_a_search_to_resume_may_be_anything_too(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(search_state(), path)
    arrays, about = parts(path)
    for change in (
        {"progress": np.zeros(2)},
        {"progress": np.array([np.nan, 0, 0])},
        {"best": np.zeros(3)},
        {"linear.mean": np.full(LINEAR, np.inf)},
        {"network.steps": np.zeros(1)},
    ):
        save_file(arrays | change, path, metadata={"about": json.dumps(about)})
        with pytest.raises(PolicyError, match="no search to resume") as refused:
            load_state(path, LINEAR)
        assert "\n" not in str(refused.value)


def test_beams_are_bounded() -> None:
    with pytest.raises(ValueError, match="beams: 1000000; expected 1 to 10000"):
        RequestScorer(4, beams=1_000_000)
