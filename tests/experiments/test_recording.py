import gzip
from pathlib import Path

import numpy as np
import pytest

from agents.policy import Decision, Policy
from agents.registry import build_policies
from agents.rollout import make_engine
from agents.seeds import episode_seeds
from edgellm_env.node.records import BLOCKED, EXPIRED, OUTCOMES, REJECTED, SERVED
from edgellm_env.scenario import load_scenario
from experiments.grid.evaluation import play_episode
from experiments.grid.ledger import Ledger
from experiments.grid.points import Point
from experiments.grid.runner import Plan, play_plans
from experiments.report.recordings import (
    CAUSES,
    HOPELESS,
    FateRecorder,
    RecordingError,
    read_recordings,
    record_first,
    recordings_of,
    write_recordings,
)
from tests.conftest import arguments_for

SLOTS = 30
RAISING = "tests.experiments.own_policies:Raising"


def scenario_of(name: str, **overrides):
    settings = arguments_for(name)
    changes = {"timing.episode_slots": SLOTS, **overrides}
    if "trace" in settings:
        changes["workload.trace.path"] = settings["trace"]
    return load_scenario(name).with_values(changes)


class Witness(Policy):
    """Keeps every view and every decision of the policy it wraps."""

    def __init__(self, policy: Policy) -> None:
        self._policy, self.name, self.environment_id = policy, policy.name, policy.environment_id

    def begin(self, scenario, episodes) -> None:
        self._policy.begin(scenario, episodes)
        self.views = []

    def decide(self, slots, rngs) -> Decision:
        decision, view = self._policy.decide(slots, rngs), slots.view(0)
        scheme = view.scheme if decision.scheme is None else int(decision.scheme[0])
        self.views.append((view, scheme, decision.batch[0, : view.problem.size]))
        return decision


def record(scenario, policy: Policy, seed: int):
    """Play one episode; return its row, the recorded requests, and what became of them."""
    episode = play_episode(make_engine(scenario, policy.environment_id, 1), policy, 0, seed, FateRecorder())
    recordings = recordings_of(scenario.checksum, [episode.result], {(policy.name, 0): episode.note})
    (recorded,) = recordings.episodes
    (played,) = recorded.played
    return episode.result, recorded.requests, played


@pytest.mark.parametrize(
    ("name", "policy", "overrides"),
    [
        ("light", "dftsp", {}),
        ("bursty", "sjf", {"queue.capacity": 12}),
        ("spillover", "least-footprint", {}),
        ("quantized", "dftsp-joint", {}),
        ("paper", "dftsp", {}),
        ("azure-conv", "edf", {}),
    ],
)
def test_queues_and_outcomes_are_those_that_the_policy_saw(name: str, policy: str, overrides) -> None:
    scenario = scenario_of(name, **overrides)
    witness = Witness(build_policies([policy], scenario)[0])
    row, requests, played = record(scenario, witness, 5)

    counts = np.bincount(played.outcome, minlength=len(OUTCOMES))
    assert dict(zip(OUTCOMES, counts.tolist(), strict=True)) == {name: getattr(row, name) for name in OUTCOMES}
    outcome, first, last = (np.array(values) for values in (played.outcome, requests.first_slot, played.last_slot))
    waits_ever = (outcome != REJECTED) & (outcome != BLOCKED) & (np.array(played.cause) != HOPELESS)
    deadline_s = np.array(requests.arrival_s) + np.array(requests.latency_requirement_s)
    slots, timing = played.slots, scenario.timing
    for slot, (view, scheme, batch) in enumerate(witness.views):
        queue = np.flatnonzero(waits_ever & (first <= slot) & ((last >= slot) | (outcome == 0)))
        assert queue.tolist() == sorted(view.request.tolist())
        problem = view.problems[scheme]
        assert slots.scheme[slot] == scheme
        # What the page works out for a slot is what the policy was shown.
        near = {"rel": 2e-5, "abs": 3e-5}
        shown_s = deadline_s[view.request] - slot * timing.slot_s - timing.radio_s - slots.start_s[slot]
        assert shown_s == pytest.approx(problem.slack_s, **near)
        for field, scale in (("compute_s", "compute"), ("kv_bytes", "kv"), ("uplink_share", "uplink"),
                             ("downlink_share", "downlink")):  # fmt: skip
            cost = np.array(getattr(requests, field))[view.request] * getattr(slots, f"{scale}_scale")[slot]
            assert cost == pytest.approx(getattr(problem, field), **near)
        assert slots.compute_limit_s[slot] == pytest.approx(problem.compute_limit_s, **near)
        assert slots.free_memory_bytes[slot] == pytest.approx(problem.memory_bytes, **near)
        served = view.request[batch]
        if not slots.infeasible[slot]:
            assert set(served) == set(np.flatnonzero((outcome == SERVED) & (last == slot)))

    served = np.flatnonzero(outcome == SERVED)
    latency_s = np.array(slots.delivered_s)[last[served]] - np.array(requests.arrival_s)[served]
    assert (latency_s <= np.array(requests.latency_requirement_s)[served] + 1e-4).all()
    if served.size:
        assert latency_s.mean() == pytest.approx(row.mean_latency_s, abs=1e-4)


def test_iterations_of_continuous_nodes_tell_who_runs_and_when_tokens_come() -> None:
    scenario = scenario_of("chat")
    witness = Witness(build_policies(["sjf"], scenario)[0])
    row, requests, played = record(scenario, witness, 5)
    slots, slot_s, radio_s = played.slots, scenario.timing.slot_s, scenario.timing.radio_s
    first, last, outcome = np.array(requests.first_slot), np.array(played.last_slot), np.array(played.outcome)
    served, output = np.flatnonzero(outcome == SERVED), np.array(requests.output_tokens)
    assert served.size > 20
    # Iterations in one row, with the slot that each begins in and the time at which it ends.
    begins_in = np.repeat(np.arange(SLOTS), [len(own) for own in slots.iterations_s])
    ends_s = np.concatenate(
        [k * slot_s + slots.start_s[k] + np.cumsum(own) for k, own in enumerate(slots.iterations_s)]
    )
    overrun_s = [max(0.0, slots.start_s[k] + sum(own) - slot_s) for k, own in enumerate(slots.iterations_s)]
    assert slots.start_s[1:] == pytest.approx(overrun_s[:-1], abs=1e-3)
    # The first iteration from the slot of admission on processes the prompt, the last of as many as tokens is the end.
    prompt_in = np.searchsorted(begins_in, last[served])
    for request, at in zip(served, prompt_in, strict=True):
        if at < ends_s.size:
            assert played.first_token_s[request] == pytest.approx(ends_s[at] + radio_s, abs=1e-3)
        done = at + output[request] - 1
        if done < ends_s.size:
            assert played.delivered_s[request] == pytest.approx(ends_s[done] + radio_s, abs=1e-3)
    for slot, (view, _, batch) in enumerate(witness.views):
        begun = np.searchsorted(begins_in, slot)
        running = served[(last[served] < slot) & (prompt_in + output[served] > begun)]
        members = view.problem.running.members
        assert members["request"].tolist() == running[np.argsort(last[running], kind="stable")].tolist()
        made = output[members["request"]] - members["to_go"]
        shown = np.maximum(0, begun - prompt_in[np.searchsorted(served, members["request"])])
        np.testing.assert_array_equal(made, shown)
        assert slots.margins_s[slot] == pytest.approx(members["slack_s"] - members["finish_s"], abs=1e-5)
        if not slots.infeasible[slot]:
            assert set(view.request[batch]) == set(served[last[served] == slot])
    assert (first[served] <= last[served]).all()
    latency_s = np.array(played.delivered_s)[served] - np.array(requests.arrival_s)[served]
    assert latency_s.mean() == pytest.approx(row.mean_latency_s, abs=1e-4)
    assert {"iterations_s", "margins_s"} & record(scenario_of("light"), Idle(), 3)[2].slots.model_fields_set == set()


def test_causes_name_what_the_request_would_have_broken() -> None:
    scenario = scenario_of("balanced")
    witness = Witness(build_policies(["dftsp"], scenario)[0])
    _, _, played = record(scenario, witness, 5)
    expired = [i for i, code in enumerate(played.outcome) if code == EXPIRED and played.cause[i] != HOPELESS]
    assert expired
    for request in expired:
        view, _, batch = witness.views[played.last_slot[request]]
        mask = batch.copy()
        mask[np.flatnonzero(view.request == request)[0]] = True
        assert played.cause[request] == sum(CAUSES[name] for name in view.problem.violations(mask))
        assert played.cause[request] > 0  # the expert leaves nothing out that fits


class Idle(Policy):
    name = "idle"

    def decide(self, slots, rngs) -> Decision:
        return Decision(np.zeros(slots.waits.shape, dtype=np.bool_))


def test_a_request_that_was_left_out_has_no_cause() -> None:
    scenario = scenario_of("light", **{"queue.capacity": 8})
    row, requests, played = record(scenario, Idle(), 3)
    assert len(played.outcome) == len(requests.arrival_s) == row.arrived
    assert played.outcome.count(EXPIRED) == row.expired
    assert 0 in {cause for cause, code in zip(played.cause, played.outcome, strict=True) if code == EXPIRED}
    assert played.outcome.count(BLOCKED) == row.blocked


def test_episodes_hold_every_policy_that_has_rows_and_failing_ones_are_left_out() -> None:
    scenario = scenario_of("light")
    seeds = episode_seeds("test", 0, 3)
    plan = Plan((Point(0, (), scenario),), ("sjf", RAISING, "fcfs"), tuple(seeds), collect=record_first(2))
    ((contest,),) = play_plans([(plan, Ledger())])
    recordings = recordings_of(scenario.checksum, contest.rows, contest.notes)
    assert [episode.seed for episode in recordings.episodes] == seeds[:2]
    for number, episode in enumerate(recordings.episodes):
        assert [played.policy for played in episode.played] == ["sjf", "fcfs"]
        for played in episode.played:
            (row,) = (row for row in contest.rows if (row.policy, row.episode) == (played.policy, number))
            assert episode.trace_checksum == row.trace_checksum
            assert played.outcome.count(SERVED) == row.served


def test_files_are_read_back_and_damage_is_named(tmp_path: Path) -> None:
    scenario = scenario_of("light")
    (policy,) = build_policies(["sjf"], scenario)
    episode = play_episode(make_engine(scenario, policy.environment_id, 1), policy, 0, 1, FateRecorder())
    recordings = recordings_of(scenario.checksum, [episode.result], {("sjf", 0): episode.note})
    path = tmp_path / "recordings.json.gz"
    write_recordings(path, recordings)
    written = path.read_bytes()
    assert read_recordings(path) == recordings
    write_recordings(path, recordings)
    assert path.read_bytes() == written
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]

    path.write_bytes(written[:-20])
    with pytest.raises(RecordingError, match=r"can't be read"):
        read_recordings(path)
    path.write_bytes(gzip.compress(b'{"format": 2, "scenario_checksum": "", "episodes": []}'))
    with pytest.raises(RecordingError, match=r"format: .*; expected what compare --record writes"):
        read_recordings(path)
    for place in range(10, len(written), len(written) // 40):
        flipped = bytearray(written)
        flipped[place] ^= 0x40
        path.write_bytes(flipped)
        with pytest.raises(RecordingError, match=r"^[^\n]*expected what compare --record writes$"):
            read_recordings(path)


def everybody(observation, info):
    return observation["valid"]  # the node trims it to what fits, oldest first


def oldest_highest(observation, info):
    return np.linspace(1, -1, observation["valid"].size)


def oldest_legal(observation, info):
    return int(np.argmax(info["action_mask"]))  # or the commit, behind them all


@pytest.mark.parametrize(
    ("function", "way"), [("everybody", "Batch"), ("oldest_highest", "Rank"), ("oldest_legal", "Select")]
)
def test_functions_of_observations_are_watched_in_their_environment(function: str, way: str) -> None:
    scenario = scenario_of("spillover")
    policies = build_policies([f"{__name__}:{function}@EdgeLLM/{way}-v0", "fcfs"], scenario)
    theirs, fcfs = (record(scenario, policy, 7)[2] for policy in policies)
    assert fcfs.outcome.count(SERVED) > 0
    for part in ("outcome", "last_slot", "cause"):
        assert getattr(theirs, part) == getattr(fcfs, part)
    assert theirs.slots.delivered_s == fcfs.slots.delivered_s
    assert any(theirs.slots.infeasible) == (way == "Batch")
