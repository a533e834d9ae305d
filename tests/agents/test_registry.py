import json
from pathlib import Path

import numpy as np
import pytest

from agents import registry
from agents.learning.runs import Learner, Run
from agents.policy import CallablePolicy, Decision, Generators, Policy, PolicyError
from agents.registry import (
    CARD,
    SHIPPED_FOLDER,
    Row,
    build_policies,
    make_learner,
    names,
    settings_path,
    shipped_agents,
    shipped_path,
)
from agents.rollout import rollout
from edgellm_env import load_scenario
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario


class MyPolicy(Policy):
    name = "mine"

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        return Decision(slots.last_chance & False)


class Nameless:
    def decide(self, slots, rngs): ...


def test_every_built_in_policy_has_its_own_name() -> None:
    policies = build_policies(names("build"), load_scenario("balanced"))
    assert [policy.name for policy in policies] == names("build")


def test_a_policy_of_ones_own() -> None:
    (policy,) = build_policies([f"{__name__}:MyPolicy"], load_scenario("balanced"))
    assert policy.name == "mine"


def test_every_built_in_policy_says_how_it_acts() -> None:
    policies = build_policies(names("build"), load_scenario("balanced"))
    assert [policy.name for policy in policies if policy.modes != ("deterministic",)] == [
        "receding-horizon",
        "random",
    ]
    (same,) = build_policies(["random@stochastic"], load_scenario("balanced"))
    assert same.name == "random"


def scores(observation, info):
    return observation["valid"]


def test_a_function_of_observations() -> None:
    spec = f"{__name__}:scores@EdgeLLM/Rank-v0"
    (policy,) = build_policies([spec], load_scenario("balanced"))
    assert isinstance(policy, CallablePolicy)
    assert (policy.name, policy.environment_id, policy.modes) == (spec, "EdgeLLM/Rank-v0", ())


class Newest(Policy):
    """A policy of one file, for the table."""

    name, modes = "newest", ("deterministic",)

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        return Decision(slots.pack(-np.arange(slots.waits.shape[1]) + np.zeros(slots.waits.shape)))


class Coin(Learner):
    """A learner of one file: it learns nothing but which of two ways to pack is the better one."""

    sides: int

    def default_steps(self, scenario: Scenario) -> int:
        return self.sides * scenario.timing.episode_slots

    def train(self, run: Run) -> Path:
        served = {
            name: int(rollout(policy, run.scenario, [run.seed]).served[0])
            for name, policy in (("newest", Newest()), ("fcfs", *build_policies(["fcfs"], run.scenario)))
        }
        (run.folder / "coin.txt").write_text(max(served, key=served.__getitem__))
        return run.folder / "coin.txt"


def load_coin(path: Path, name: str) -> Policy:
    side = (path / "coin.txt").read_text()
    policy = Newest() if side == "newest" else registry.TABLE[side].build()
    policy.name = name
    return policy


def test_adding_a_policy_takes_its_own_file_and_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = load_scenario("light").with_values({"timing.episode_slots": 10})
    with pytest.raises(PolicyError, match="no such policy"):
        build_policies(["newest"], scenario)
    monkeypatch.setitem(registry.TABLE, "newest", Row(Newest))
    (policy,) = build_policies(["newest@deterministic"], scenario)
    tally = rollout(policy, scenario, [1, 2])
    assert (tally.served > 0).all()
    assert not tally.infeasible_slots.any()


def test_adding_a_learner_takes_its_own_file_a_row_and_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = load_scenario("light").with_values({"timing.episode_slots": 10})
    with pytest.raises(ValueError, match=r"agent: 'coin'; the nearest are [^,]+, [^,]+, [^,]+; README.md lists all"):
        make_learner("coin")
    monkeypatch.setitem(registry.TABLE, "coin", Row(load=load_coin, learn=f"{__name__}:Coin"))
    monkeypatch.setattr(registry, "SETTINGS_FOLDER", tmp_path)
    settings_path("coin").write_text("sides: 2\n")
    learner = make_learner("coin")
    assert learner.default_steps(scenario) == 20
    assert learner.train(Run(scenario, 20, 0, tmp_path)).is_file()
    (policy,) = build_policies([f"coin={tmp_path}"], scenario)
    assert policy.name == f"coin={tmp_path}"
    assert rollout(policy, scenario, [1]).served[0] > 0
    assert make_learner("coin", tmp_path / "coin.yaml") == learner
    (tmp_path / "other.yaml").write_text("sides: 2\nedges: 1\n")
    with pytest.raises(ValueError, match="edges"):
        make_learner("coin", tmp_path / "other.yaml")


@pytest.mark.parametrize("name", names("learn"))
def test_every_learner_is_made_from_its_own_settings(name: str) -> None:
    learner = make_learner(name)
    assert learner == make_learner(name, settings_path(name))
    assert learner.default_steps(load_scenario("light")) > 0


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([], "none given"),
        (
            ["dftps"],
            r"'dftps': no such policy; the nearest are dftsp, [-\w]+, [-\w]+; README.md lists all, and how to name",
        ),
        (["ppo:light"], r"'ppo:light': no such trained agent; the nearest are ppo-rank:light, "),
        (["dftsp", "fcfs", "dftsp"], "dftsp given more than once"),
        (["ppo"], "needs the folder of a training run; expected ppo=PATH"),
        (["ppo="], "no such policy"),
        (["dqn=runs/x"], "no such policy"),
        (["ppo=no/such/run"], "no/such/run holds no trained weights; expected model.safetensors"),
        (["no_such_module:Policy"], "ModuleNotFoundError"),
        (["agents.optimal:NoSuchPolicy"], "AttributeError"),
        ([f"{__name__}:Nameless"], "has no name, modes, environment_id, begin; expected a class that inherits"),
        (["dftsp@stochastic"], "'dftsp@stochastic': has no stochastic mode; those that it states: deterministic"),
        (["random@deterministic"], "has no deterministic mode; those that it states: stochastic"),
        ([f"{__name__}:MyPolicy@stochastic"], "has no stochastic mode; those that it states: none"),
        ([f"{__name__}:scores@EdgeLLM/Bach-v0"], "no environment 'EdgeLLM/Bach-v0'; expected one of EdgeLLM/Batch-v0"),
        (["scores@EdgeLLM/Rank-v0"], "expected MODULE:NAME"),
        (["math:pi@EdgeLLM/Rank-v0"], "math:pi can't be called"),
        ([f"{__name__}:scores"], "can't be made: TypeError"),
    ],
)
def test_errors_say_what_is_wrong(specs: list[str], message: str) -> None:
    with pytest.raises(PolicyError, match=message) as refused:
        build_policies(specs, load_scenario("balanced"))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_something_is_shipped_for_every_coupled_scenario() -> None:
    assert {f"cem-linear:{name}" for name in ("light", "balanced", "memory", "patient")} <= set(shipped_agents())


@pytest.mark.parametrize("spec", shipped_agents())
def test_a_shipped_agent(spec: str) -> None:
    agent, _, scenario = spec.partition(":")
    folder = shipped_path(spec)
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    assert (card["agent"], card["scenario"]) == (agent, scenario)
    words = card["command"].split()
    given = {name: words[words.index(f"--{name}") + 1] for name in ("scenario", "agent", "seed")}
    assert given == {"scenario": scenario, "agent": agent, "seed": str(card["seed"])}
    assert card["scenario_checksum"] == load_scenario(scenario).checksum
    assert card["validation"]["episodes"] >= 16
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}  # nothing that would be unpickled
    assert (folder / "model.safetensors").stat().st_size <= 1_000_000
    # Scenarios of another capacity are playable too.
    kind = load_scenario(scenario).serving.kind
    other = load_scenario("spillover" if kind == "slot-batch" else "reasoning").with_slots(12)
    tally = rollout(*build_policies([spec], other), other, [3])
    assert tally.served[0] > 0
    assert tally.infeasible_slots[0] == 0


def test_no_such_shipped_agent() -> None:
    with pytest.raises(PolicyError, match=r"'cem-linear:nowhere': no such trained agent; the nearest are cem-linear:"):
        build_policies(["cem-linear:nowhere"], load_scenario("light"))
    assert np.all([(SHIPPED_FOLDER / spec.replace(":", "/") / CARD).is_file() for spec in shipped_agents()])
