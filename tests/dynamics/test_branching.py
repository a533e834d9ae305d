"""A branch that meets the very future of the episode that it came from is that episode."""

import dataclasses

import numpy as np
import pytest

from agents.heuristics import Greedy, compute_seconds
from agents.policy import BATCH
from agents.rollout import make_engine
from edgellm_env.env.futures import Futures
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import load_scenario
from edgellm_env.workload.trace import REQUEST_FIELDS, SLOT_FIELDS, TraceBatch

SLOTS, AHEAD = 30, 12


def _batch(slots: Slots) -> np.ndarray:
    batch = Greedy("sjf", compute_seconds).decide(slots, []).batch
    assert batch is not None
    return batch


def _what_comes(traces: TraceBatch, first: int, now: int, slot_s: float) -> TraceBatch:
    """Return the only trace from request ``first`` and slot ``now`` on."""
    values = {name: getattr(traces, name)[:, first:].copy() for name in REQUEST_FIELDS}
    values |= {name: getattr(traces, name)[:, now : now + AHEAD] for name in SLOT_FIELDS}
    values["arrival_s"] -= now * slot_s
    return dataclasses.replace(traces, **values, count=traces.count - first)


@pytest.mark.parametrize("name", ["chat", "spillover", "bursty", "quantized", "reasoning"])
def test_a_branch_with_the_episodes_own_future_is_that_episode(name: str) -> None:
    scenario = load_scenario(name)
    engine = make_engine(scenario, BATCH, 1)
    engine.begin(np.arange(1), [7])
    futures = Futures(scenario, 2, AHEAD)

    def play() -> float:
        slots = Slots(engine)
        batch = np.zeros((1, slots.capacity), dtype=np.bool_)
        chosen = _batch(slots)
        batch[:, : chosen.shape[1]] = chosen
        return float(engine.execute(engine.interface.toward(batch, slots.scheme))[0][0])

    for _ in range(SLOTS):
        play()
    node = engine.dynamics.node
    now, first = int(node["slot"][0]), int(node["next_request"][0])
    own = _what_comes(engine.source.draw([7]), first, now, scenario.timing.slot_s)
    both = [np.repeat(getattr(own, one.name), 2, axis=0) for one in dataclasses.fields(own)]
    slots = Slots(engine)
    slots.copy_into(futures.engine.dynamics, np.zeros(2, dtype=np.int64), TraceBatch(*both))
    ahead = np.array([futures.play(_batch(futures.slots())) for _ in range(AHEAD)])
    played = [play() for _ in range(AHEAD)]
    assert ahead[:, 0].tolist() == ahead[:, 1].tolist() == played
    assert sum(played) > 0


def test_where_every_episode_brings_the_same_requests_nothing_arrives() -> None:
    scenario = load_scenario("tiny")
    engine = make_engine(scenario, BATCH, 1)
    engine.begin(np.arange(1), [0])
    futures = Futures(scenario, 1, 2)
    futures.begin(Slots(engine), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.uint64))
    none = np.zeros((1, 1), dtype=np.bool_)
    futures.play(none)
    assert futures.engine.dynamics.node["arrived"].tolist() == [0]
