import pytest

from edgellm_env.scenario import ScenarioError, load_scenario
from experiments.grid.points import SweepError, make_points, parse_axis

PAPER = load_scenario("paper")


def test_values_are_read_as_in_a_scenario_file() -> None:
    axis = parse_axis("node.device_flops=1e12,2.5e12")
    assert (axis.path, axis.values, axis.labels) == ("node.device_flops", (1e12, 2.5e12), (1e12, 2.5e12))
    axis = parse_axis("workload.latency_requirement_s={kind: constant, value: 1.5},{kind: uniform, low: 1, high: 2}")
    assert axis.values[0] == {"kind": "constant", "value": 1.5}
    assert axis.labels == ("kind=constant value=1.5", "kind=uniform low=1 high=2")
    axis = parse_axis("schemes=[{name: A}, {name: B}],[{name: C}]")
    assert (axis.labels, axis.describe("C")) == (("A+B", "C"), "C")
    axis = parse_axis("queue.carry_over=true,false")
    assert (axis.values, axis.describe("true")) == ((True, False), "queue.carry_over = true")


def test_points_are_every_combination_and_the_last_axis_changes_fastest() -> None:
    axes = [parse_axis("queue.capacity=8,16"), parse_axis("workload.arrival_rate_rps=5,10,20")]
    points = list(make_points(PAPER, axes))
    assert [point.index for point in points] == list(range(6))
    assert [point.labels for point in points] == [(8, 5), (8, 10), (8, 20), (16, 5), (16, 10), (16, 20)]
    last = points[-1].scenario
    assert (last.queue.capacity, last.workload.arrival_rate_rps) == (16, 20.0)
    assert last == PAPER.with_values({"queue.capacity": 16, "workload.arrival_rate_rps": 20})


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "set: none given"),
        (["workload.arrival_rate_rps"], "expected PATH=VALUE,VALUE"),
        (["workload.arrival_rate_rps="], "expected PATH=VALUE,VALUE"),
        (["=5"], "expected PATH=VALUE,VALUE"),
        (["workload.arrival_rate_rps=5,5.0"], "expected different values"),
        (["workload.arrival_rate_rps={5"], "expected values separated by commas"),
        (["queue.capacity=8", "queue={capacity: 8}"], "queue.capacity and queue set the same field"),
        (["queue.capacity=8", "queue.capacity=9"], "set the same field"),
        (
            ["queue.length=8"],
            "set queue.length=8: queue.length: no such setting; at 'length' expected one of capacity",
        ),
        (["queue.capacity=8,0"], "set queue.capacity=0: scenario: 1 invalid setting"),
        (["queue.capacity=eight"], "'eight'; Input should be a valid integer"),
    ],
)
def test_what_can_not_be_swept_is_named(texts: list[str], message: str) -> None:
    with pytest.raises((SweepError, ScenarioError)) as caught:
        list(make_points(PAPER, [parse_axis(text) for text in texts]))
    assert message in str(caught.value)
