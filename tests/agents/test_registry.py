import pytest

from agents.callable_policy import CallablePolicy
from agents.policy import PolicyError, modes_of
from agents.registry import BUILT_IN, build_players, build_policies
from edgellm_env import load_scenario


class MyPolicy:
    name = "mine"

    def begin_episode(self, scenario, rng) -> None: ...

    def select(self, view):
        return view.last_chance & False


class Nameless:
    def select(self, view): ...


def test_every_built_in_policy_has_its_own_name() -> None:
    policies = build_policies(list(BUILT_IN), load_scenario("balanced"))
    assert [policy.name for policy in policies] == list(BUILT_IN)


def test_a_policy_of_ones_own() -> None:
    (policy,) = build_policies([f"{__name__}:MyPolicy"], load_scenario("balanced"))
    assert policy.name == "mine"


def test_every_built_in_policy_says_how_it_acts() -> None:
    policies = build_policies(list(BUILT_IN), load_scenario("balanced"))
    assert [policy.name for policy in policies if modes_of(policy) != ("deterministic",)] == ["random"]
    (same,) = build_policies(["random@stochastic"], load_scenario("balanced"))
    assert same.name == "random"


def scores(observation, info):
    return observation["valid"]


def test_a_function_of_observations() -> None:
    spec = f"{__name__}:scores@EdgeLLM/Rank-v0"
    (player,) = build_players([spec], load_scenario("balanced"))
    assert isinstance(player, CallablePolicy)
    assert (player.name, player.environment_id, player.modes) == (spec, "EdgeLLM/Rank-v0", ())
    with pytest.raises(PolicyError, match="acts in EdgeLLM/Rank-v0, which only compare plays"):
        build_policies([spec], load_scenario("balanced"))


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([], "none given"),
        (["dftps"], r"'dftps': no such policy; expected one of dftsp, .*, ppo=PATH, .*, MODULE:CLASS"),
        (["dftsp", "fcfs", "dftsp"], "dftsp given more than once"),
        (["ppo"], "needs the folder of a training run; expected ppo=PATH"),
        (["ppo="], "no such policy"),
        (["dqn=runs/x"], "no such policy"),
        (["ppo=no/such/run"], r"no/such/run: no trained model"),
        (["no_such_module:Policy"], "ModuleNotFoundError"),
        (["agents.optimal:NoSuchPolicy"], "AttributeError"),
        ([f"{__name__}:Nameless"], "has no name, begin_episode"),
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
    with pytest.raises(PolicyError, match=message):
        build_policies(specs, load_scenario("balanced"))
