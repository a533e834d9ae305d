import pytest

from agents.policy import PolicyError
from agents.registry import BUILT_IN, build_policies
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
        (["agents.expert:NoSuchPolicy"], "AttributeError"),
        ([f"{__name__}:Nameless"], "has no name, begin_episode"),
    ],
)
def test_errors_say_what_is_wrong(specs: list[str], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        build_policies(specs, load_scenario("balanced"))
