import pytest

from edgellm_env.node.records import BLOCKED, EXPIRED, REJECTED, SERVED, WAITS
from experiments.report.findings import LATENCY_SHARES, policy_series
from experiments.report.recordings import CAUSES, HOPELESS
from tests.experiments.report.episodes import episode, played, requests


def test_series_by_hand() -> None:
    # Delivered at 1.5 and 3.5 s, 1.0 and 2.0 s after arrival, where 2 and 2 s are allowed.
    about = requests([0.5, 1.5, 0.2], [2.0, 2.0, 9.0])
    one = played("one", [SERVED, SERVED, WAITS], [1, 3, 3], [0, 0, 0], 4)
    series = policy_series([episode(one, about=about)], "one", slot_s=2.0)
    assert series is not None
    assert series.served_total == [0, 1, 1, 2]
    # Ten seconds are five slots, of which there are four: one window over all.
    assert series.throughput_rps == [2 / 8]
    assert series.time_s == [4.0]
    within = dict(zip(LATENCY_SHARES, series.within, strict=True))
    assert (within[0.0], within[0.48], within[0.5], within[1.0]) == pytest.approx((0, 0, 1 / 3, 2 / 3), abs=1e-4)
    assert sum(series.whys.values()) == 0
    assert policy_series([episode(one, about=about)], "other", 2.0) is None


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ([], "left_out"),
        (["compute_limit_s"], "time"),
        (["slack_s", "compute_limit_s"], "time"),
        (["uplink_share"], "link"),
        (["memory_bytes"], "memory"),
        (["admissible"], "accuracy"),
        (["slack_s", "uplink_share"], "several"),
    ],
)
def test_every_cause_has_its_word(broken: list[str], why: str) -> None:
    cause = sum(CAUSES[name] for name in broken)
    one = played("one", [EXPIRED], [1], [cause], 2)
    series = policy_series([episode(one, about=requests([0.5], [2.0]))], "one", 1.0)
    assert series is not None
    assert {name: lost for name, lost in series.whys.items() if lost} == {why: 1}


def test_who_never_joined_is_counted_by_why_and_episodes_are_averaged() -> None:
    about = requests([0.1, 0.1, 0.1], [2.0, 2.0, 2.0])
    one = played("one", [BLOCKED, REJECTED, EXPIRED], [1, 1, 1], [0, 0, HOPELESS], 2)
    two = played("one", [SERVED, SERVED, SERVED], [1, 1, 1], [0, 0, 0], 2)
    series = policy_series([episode(one, about=about), episode(two, about=about)], "one", 1.0)
    assert series is not None
    assert {name: lost for name, lost in series.whys.items() if lost} == {
        "blocked": 0.5, "rejected": 0.5, "hopeless": 0.5,
    }  # fmt: skip
    assert series.served_total == [0, 1.5]
