"""Any order of steps, resets, copies and restored states: environments stay what a plain simulator says they are."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.twins import Twins, draw_scenario, every_kind


class Machine(RuleBasedStateMachine):
    """Twins of one id and kind of node, on a scenario drawn at random; see :mod:`tests.twins` for what is compared."""

    environment_id, continuous = "", False

    @initialize(number=st.integers(0, 10**9), seed=st.integers(0, 10**9))
    def begin(self, number, seed):
        self.twins = Twins(self.environment_id, draw_scenario(number, self.continuous), seed)

    @rule(steps=st.integers(1, 6))
    def step(self, steps):
        for _ in range(steps):
            self.twins.step()

    @rule()
    def take_places(self):
        self.twins.take_places()

    @rule()
    def reset(self):
        self.twins.reset()


@pytest.mark.parametrize(("environment_id", "continuous"), every_kind())
def test_environments_copies_vectors_and_simulators_agree(environment_id, continuous):
    machine = type("Own", (Machine,), {"environment_id": environment_id, "continuous": continuous})
    few = settings(
        max_examples=20,
        stateful_step_count=8,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=few)


def test_enough_is_served_for_the_comparison_to_mean_something():
    served = 0
    for environment_id, continuous in every_kind():
        twins = Twins(environment_id, draw_scenario(1, continuous), 0)
        while twins.slots < 12:
            twins.step()
        served += twins.served
    assert served > 50
