import pytest

from edgellm_env.node.records import BLOCKED, EXPIRED, SERVED, WAITS
from experiments.report.findings import Exchange, best_pair, tell_stories
from experiments.report.recordings import HOPELESS
from tests.experiments.report.episodes import episode, played, requests

# Four slots; requests 0 and 1 are there in slot 1, 2 in slot 2, 3 in slot 3. Request 1 can wait for no other slot.
ABOUT = requests([0.1, 0.2, 1.1, 2.1], [4.0, 2.0, 4.0, 4.0])
PATIENT = played("patient", [SERVED, SERVED, SERVED, WAITS], [2, 1, 3, 3], [0, 0, 0, 0], 4)
HASTY = played("hasty", [SERVED, EXPIRED, SERVED, EXPIRED], [1, 1, 2, 3], [0, 1, 0, HOPELESS], 4)


def test_a_story_by_hand() -> None:
    patient, hasty = tell_stories(episode(PATIENT, HASTY, about=ABOUT))
    assert (patient.first, patient.second) == ("patient", "hasty")
    assert (patient.both, patient.only_first, patient.only_second, patient.neither) == (2, 1, 0, 1)
    # The patient one leaves 0 in slot 1 and 2 in slot 2, where the hasty one serves them.
    assert (patient.deferred, patient.deferred_served) == (2, 2)
    assert patient.differing_slots == hasty.differing_slots == [1, 2]
    assert patient.exchange_slots == 1
    assert patient.exchanges == [Exchange(slot=1, deferred=0, rescued=1, served_slot=2, same_queue=True)]
    assert (hasty.only_first, hasty.only_second, hasty.deferred, hasty.deferred_served) == (0, 1, 1, 0)
    assert hasty.exchanges == []


def test_no_exchange_where_the_other_could_still_have_served() -> None:
    later = played("later", [SERVED, SERVED, EXPIRED, EXPIRED], [1, 2, 3, 3], [0, 0, 1, 1], 4)
    story = tell_stories(episode(PATIENT, later, about=ABOUT))[0]
    assert story.deferred == 1  # request 0; request 1, which the patient one serves first, is served here too
    assert story.exchanges == []


def test_requests_that_never_joined_a_queue_are_no_difference() -> None:
    full = played("full", [SERVED, BLOCKED, SERVED, BLOCKED], [2, 1, 3, 3], [0, 0, 0, 0], 4)
    story = tell_stories(episode(PATIENT, full, about=ABOUT))[0]
    assert (story.only_first, story.deferred, story.differing_slots) == (1, 0, [])


@pytest.mark.parametrize(
    ("names", "pair"),
    [
        (["sjf", "dftsp", "learned"], ("learned", "dftsp")),
        (["sjf", "dftsp"], ("dftsp", "sjf")),
        (["sjf", "learned"], ("learned", "sjf")),
        (["dftsp"], None),
    ],
)
def test_the_best_is_compared_with_the_reference(names: list[str], pair: tuple[str, str] | None) -> None:
    assert best_pair(names, {"sjf": 1.0, "dftsp": 2.0, "learned": 3.0}, "dftsp") == pair
