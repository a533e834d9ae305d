"""Batches picked one request after the other, several side by side: a beam search over what a network says."""

from typing import Any

import numpy as np
import torch

from agents.models.queue_network import RequestScorer, one_torch_thread, shortened
from agents.policy import require_finite
from edgellm_env._compile import by_none, compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.observation import Observation
from edgellm_env.env.slots import Slots
from edgellm_env.slot import picking
from edgellm_env.slot.usage import Queues


def pick_numbers(
    network: RequestScorer, observation: Observation, legal: BoolArray, rows: IntArray | None = None
) -> FloatArray:
    """Return (E, N + 1) numbers of what can be picked next, the last for closing the batch; ``-inf`` if illegal.

    Without a number for closing, a network's batches go on until no request fits any more.

    Args:
        network: of pointers.
        observation: (E, ...) arrays, ``batch`` among them.
        legal: (E, N + 1) bool, which picks are legal; the last always is.
        rows: (E,) the slot of each batch under way, if it is not one for each slot.

    Raises:
        DecisionError: the network's numbers are not finite.
    """
    numbers = np.full(legal.shape, -np.finfo(np.float64).max)
    scores = network.score(observation)
    require_finite(scores, "scores", rows)
    numbers[:, : scores.shape[1]] = scores
    return np.where(legal, numbers, -np.inf)


def next_picks(network: RequestScorer, observation: Observation, legal: BoolArray) -> IntArray:
    """Return (E,) what to add to each batch under way: the place of the highest number, or N to close the batch.

    See :func:`pick_numbers`.
    """
    return np.asarray(pick_numbers(network, observation, legal).argmax(axis=1))


@one_torch_thread()
def picked_batches(network: RequestScorer, slots: Slots) -> BoolArray:
    """Return (R, N) the batches that the network picks under the masks of ``EdgeLLM/Select-v0``.

    A pick is as probable as the network's numbers say, among what is legal. Of the batches under way in a slot the
    network's ``beams`` most probable are kept, no two the same, and widened by a request each, until no request fits
    beside any of them: the most probable of those that took most requests is the answer. One beam takes the most
    probable pick every time, and closes its batch when the network prefers that.

    Args:
        network: of pointers.
        slots: R slots with nothing begun.
    """
    count, capacity, beams = slots.size, slots.capacity, network.beams
    length = max(1, int(slots.waiting.max()))
    each = np.repeat(np.arange(count), beams)
    seen = shortened(slots.observation, length)
    state = slots.state(each)
    partial = picking.start_partial(each.size, length, state.running)
    # The environment's own way of picking, so that masks are the same.
    picking.start_selecting(np.arange(each.size), state, partial)
    legal = partial.legal
    likelihood = np.where(np.arange(each.size) % beams == 0, 0.0, -np.inf)
    for _ in range(length):  # each batch takes a request more, or closes
        rows = np.flatnonzero(legal[:, :-1].any(axis=1) & np.isfinite(likelihood))
        if not rows.size:
            break
        options = np.full(legal.shape, -np.inf)
        begun = {name: array[each[rows]] for name, array in seen.items()}
        begun["batch"] = partial.batch[rows].astype(np.int8)
        numbers = torch.as_tensor(pick_numbers(network, begun, legal[rows], each[rows]))
        options[rows] = torch.log_softmax(numbers, dim=1).numpy()
        _widen(beams, options, likelihood, state, partial)
    batches = np.zeros((count, capacity), dtype=np.bool_)
    best = likelihood.reshape(count, beams).argmax(axis=1)
    batches[:, :length] = partial.batch.reshape(count, beams, length)[np.arange(count), best]
    return batches


@compiled
def _widen(
    beams: int,
    options: FloatArray,
    likelihood: FloatArray,
    queues: Queues,
    partial: picking.Partial,
) -> None:
    """Replace each slot's batches by the most probable ones with a pick more; leave them if there is none.

    Args:
        beams: rows of a slot, one after the other.
        options: (rows, N + 1) logarithms of the picks' probabilities, ``-inf`` where there is none; used up.
        likelihood: (rows,) logarithms of the batches' probabilities, ``-inf`` for none.
        queues: of the batches' slots.
        partial: the batches.
    """
    parents, places = np.empty(beams, dtype=np.int64), np.empty(beams, dtype=np.int64)
    values = np.empty(beams)
    for first in range(0, likelihood.size, beams):
        found = 0
        while found < beams:
            parent, place, best = -1, -1, -np.inf
            for beam in range(first, first + beams):
                for option in range(options.shape[1]):
                    if likelihood[beam] + options[beam, option] > best:
                        parent, place, best = beam, option, likelihood[beam] + options[beam, option]
            if place < 0:
                break
            options[parent, place] = -np.inf
            if not _is_known(parent, place, parents[:found], places[:found], partial.batch):
                parents[found], places[found], values[found] = parent, place, best
                found += 1
        if found == 0:
            continue
        own = slice(first, first + beams)
        batch_before, used_before = partial.batch[own].copy(), partial.used[own].copy()
        members_before = _copied(partial.members, own), _copied(partial.taken, own)
        legal_before = partial.legal[own].copy()
        likelihood[first : first + beams] = -np.inf
        for child in range(found):
            row, parent = first + child, parents[child] - first
            likelihood[row] = values[child]
            partial.batch[row], partial.used[row] = batch_before[parent], used_before[parent]
            partial.legal[row] = legal_before[parent]
            _put_back(partial.members, row, members_before[0], parent)
            _put_back(partial.taken, row, members_before[1], parent)
            closed = picking.pick(row, places[child], False, queues, partial)
            picking.refresh(row, False, queues, partial)
            if closed:
                partial.legal[row] = False


@compiled
def _nothing(array: None, rows: slice) -> None:
    return None


@compiled
def _copy(array: Any, rows: slice) -> Any:
    return array[rows].copy()


_copied = by_none(_nothing, _copy)


@compiled
def _put_back(array: Any, row: int, before: Any, parent: int) -> None:
    if array is not None:
        array[row] = before[parent]


@compiled
def _is_known(parent: int, place: int, parents: IntArray, places: IntArray, batches: BoolArray) -> bool:
    """Return whether the batch of ``parent`` with the request at ``place`` is one of those found already."""
    for other in range(parents.size):
        same = True
        for one in range(batches.shape[1]):
            ours, theirs = batches[parent, one] or one == place, batches[parents[other], one] or one == places[other]
            if ours != theirs:
                same = False
                break
        if same:
            return True
    return False
