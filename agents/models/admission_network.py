"""Admission networks: a score for each waiting request of a continuous node, that of ending the slot's batch being 0.

Scores are logits: a softmax over the requests that fit and the end. The network admits the likeliest request as long as
the end is less likely than all requests together, sum(exp(score)) > 1. After each admission all scores are computed
anew, since a request more makes iterations longer and leaves the running requests less time to spare. With noise of
Gumbel's distribution on scores and 0 the same loop draws from the softmax: what :mod:`agents.learning.ppo_admission`
trains.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agents.models.admission_inputs import (
    ALL_INPUTS,
    INPUTS,
    NODE,
    About,
    columns_of,
    write_node_inputs,
    write_own,
    write_request_inputs,
)
from agents.models.admitting import Draw, Drawn
from agents.models.storage import OBSERVATIONS, reading, require_arrays, save_arrays
from edgellm_env._compile import compiled_leaf, compiled_parallel
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.env.slots import Slots
from edgellm_env.slot import usage
from edgellm_env.slot.usage import Account, Queues

CONTINUOUS: Final = {OBSERVATIONS: ["requests", "valid", "node", "running"]}
"""What networks of continuous nodes say of themselves."""

_INPUTS_KEY: Final = "inputs"

SHIFTED: Final = "waiting"
"""The input whose weight :meth:`AdmissionNetwork.shifted` changes."""


class Weights(NamedTuple):
    """P networks: a weighted sum of I inputs and of hidden units x / (1 + abs(x)) on them."""

    linear: FloatArray  # (P, I + 1) the bias last
    hidden: FloatArray  # (P, H, I + 1)
    output: FloatArray  # (P, H)


class Record(NamedTuple):
    """What R slots' choices were made of, for training: R of at most C rows each, and of at most K choices."""

    inputs: NDArray[np.float32]  # (R, C, INPUTS) a choice's rows: the end of the batch (no request's inputs), requests
    choices: IntArray  # (R, K, 2) how many requests were open, and which of them was taken, -1 for the end
    counts: IntArray  # (R, 2) choices and rows

    @classmethod
    def blank(cls, slots: int, rows: int, choices: int) -> "Record":
        """Return room for ``slots`` slots; no rows: nothing is recorded."""
        inputs = np.zeros((slots, rows, INPUTS), dtype=np.float32)
        return cls(inputs, np.zeros((slots, choices, 2), dtype=np.int64), np.zeros((slots, 2), dtype=np.int64))


_NOTHING_RECORDED: Final = Record.blank(0, 0, 0)
_MOST_ROWS: Final = 2048  # recorded of a slot: 30 admissions from a full queue of 64; then its batch ends
_MOST_CHOICES: Final = 64
_NO_NOISE: Final = np.zeros((0, 0))


@dataclass(frozen=True, eq=False)
class AdmissionNetwork:
    """One network, or P of them side by side.

    Args:
        weights: of its inputs.
        inputs: their names, I of them in the order of :data:`ALL_INPUTS`; networks may do without some.

    Raises:
        ValueError: weights that do not belong together or are not finite; other inputs.
    """

    weights: Weights
    inputs: tuple[str, ...] = ALL_INPUTS

    def __post_init__(self) -> None:
        """Check inputs and shapes."""
        (networks, units), width = self.weights.output.shape, self._columns.size + 1
        shapes = {"linear": (networks, width), "hidden": (networks, units, width), "output": (networks, units)}
        require_arrays(self.weights._asdict(), shapes)

    @classmethod
    def from_parameters(cls, parameters: FloatArray, hidden_units: int, inputs: tuple[str, ...]) -> "AdmissionNetwork":
        """Cut (P, D) rows of numbers into the weights of P networks, the inverse of :attr:`parameters`."""
        width = len(inputs) + 1
        linear, hidden, output = np.split(parameters, np.cumsum([width, hidden_units * width]), axis=1)
        units = hidden.reshape(-1, hidden_units, width)
        parts = (np.ascontiguousarray(part, dtype=np.float64) for part in (linear, units, output))
        return cls(Weights(*parts), inputs)

    @property
    def parameters(self) -> FloatArray:
        """(P, D) all numbers of each network: linear, hidden, output."""
        count = self.weights.output.shape[0]
        return np.concatenate([part.reshape(count, -1) for part in self.weights], axis=1)

    @cached_property
    def _columns(self) -> IntArray:
        return columns_of(self.inputs)

    @cached_property
    def _of_all(self) -> Weights:
        """The weights of all inputs, 0 of those that it does without."""
        linear, hidden, output = self.weights
        if self.inputs == ALL_INPUTS:
            return self.weights
        wide, places = np.zeros((*hidden.shape[:2], INPUTS + 1)), np.append(self._columns, INPUTS)
        wide[:, :, places] = hidden
        first = np.zeros((linear.shape[0], INPUTS + 1))
        first[:, places] = linear
        return Weights(first, wide, output)

    def shifted(self, offset: float) -> "AdmissionNetwork":
        """Return the same with ``offset`` times the input :data:`SHIFTED` added to scores: below 0 it refuses more."""
        linear = self.weights.linear.copy()
        linear[:, self.inputs.index(SHIFTED)] += offset
        return AdmissionNetwork(self.weights._replace(linear=linear), self.inputs)

    @classmethod
    def load(cls, path: Path) -> "AdmissionNetwork":
        """Read a network.

        Raises:
            PolicyError: no such file, no admission network, or made for other inputs.
        """
        with reading(path, "admission network", CONTINUOUS) as (arrays, about):
            units, inputs = arrays["output"].size, tuple(about[_INPUTS_KEY])
            width = len(inputs) + 1
            require_arrays(arrays, {"linear": (width,), "hidden": (units, width), "output": (units,)})
            return cls(Weights(*(np.asarray(arrays[name][None], dtype=np.float64) for name in Weights._fields)), inputs)

    def save(self, path: Path) -> None:
        """Write the first of these networks, with the names of its inputs."""
        about = {_INPUTS_KEY: list(self.inputs)} | CONTINUOUS
        save_arrays(path, {name: array[0] for name, array in self.weights._asdict().items()}, about)

    def admit(
        self,
        slots: Slots,
        about: About,
        arrivals: FloatArray,
        candidate: IntArray | None = None,
        noise: FloatArray = _NO_NOISE,
        record: Record = _NOTHING_RECORDED,
    ) -> BoolArray:
        """Return the batches (R, n) that the network admits.

        Args:
            slots: R slots of continuous nodes.
            about: what their scenario says of the node.
            arrivals: (R,) recent arrivals per slot.
            candidate: (R,) which of the networks decides each slot; the first unless given.
            noise: (R, any) added to scores and to the 0 that they must exceed, in turn; none unless given.
            record: filled, where it has rows.
        """
        admitted = np.zeros(slots.waits.shape, dtype=np.bool_)
        rows = np.zeros(slots.size, dtype=np.int64) if candidate is None else candidate
        _admit_rows(slots.episode, rows, slots.live, about, arrivals, self._of_all, noise, record, admitted)
        return admitted

    def drawing(self, size: int) -> Draw:
        """Return what draws batches of ``size`` slots at a time; see :class:`agents.models.admitting.Draw`."""
        record = Record.blank(size, _MOST_ROWS, _MOST_CHOICES)

        def draw(slots: Slots, about: About, arrivals: FloatArray, noise: FloatArray) -> tuple[BoolArray, Drawn]:
            batch = self.admit(slots, about, arrivals, noise=noise, record=record)
            own, rows = record.counts.T
            inputs = record.inputs[:, : rows.max()]
            inputs = inputs[np.arange(inputs.shape[1]) < rows[:, None]].take(self._columns, axis=1)
            return batch, Drawn(inputs, record.choices[np.arange(_MOST_CHOICES) < own[:, None]], own.copy())

        return draw


@compiled_leaf
def _begin_units(weights: Weights, own: int, inputs: FloatArray, begun: FloatArray) -> float:
    """Write what the node's inputs contribute to each hidden unit; return what they contribute to every score."""
    score = weights.linear[own, INPUTS]
    for index in range(NODE):
        score += weights.linear[own, index] * inputs[index]
    for unit in range(begun.size):
        total = weights.hidden[own, unit, INPUTS]
        for index in range(NODE):
            total += weights.hidden[own, unit, index] * inputs[index]
        begun[unit] = total
    return float(score)


@compiled_leaf
def _score(weights: Weights, own: int, inputs: FloatArray, begun: FloatArray, shared: float) -> float:
    score = shared
    for index in range(NODE, INPUTS):
        score += weights.linear[own, index] * inputs[index]
    for unit in range(begun.size):
        total = begun[unit]
        for index in range(NODE, INPUTS):
            total += weights.hidden[own, unit, index] * inputs[index]
        score += weights.output[own, unit] * total / (1.0 + abs(total))
    return float(score)


@compiled_leaf
def _close(account: Account, open_places: BoolArray) -> None:
    """Close the places of requests that no longer fit: feasible sets are downward closed, so they never will again."""
    for place in range(open_places.size):
        if open_places[place] and not usage.fits(account, place):
            open_places[place] = False


@compiled_leaf
def _write_down(inputs: FloatArray, known: int, written: NDArray[np.floating[Any]]) -> None:
    """Copy the first ``known`` inputs, zeros behind them."""
    for index in range(INPUTS):
        written[index] = inputs[index] if index < known else 0.0


def _room_for(queues: Queues, weights: Weights, admitted: BoolArray) -> tuple[Any, ...]:
    capacity = admitted.shape[1]
    places, is_open = np.empty(capacity, dtype=np.int64), np.empty(capacity, dtype=np.bool_)
    begun, seconds = np.empty(weights.output.shape[1]), np.empty((3, capacity))
    return tuple(usage.room_for(queues, admitted)), np.empty(INPUTS), begun, seconds, places, is_open


@compiled_parallel(work="admitted", least=2_000, room=_room_for, plain_first=False)
def _admit_rows(
    rows: IntArray,
    candidate: IntArray,
    queues: Queues,
    about: About,
    arrivals: FloatArray,
    weights: Weights,
    noise: FloatArray,
    record: Record,
    admitted: BoolArray,
    room: Any = None,
    first: int = 0,
    last: int = 0,
) -> None:
    queues, about, weights, record = Queues(*queues), About(*about), Weights(*weights), Record(*record)
    accounts, inputs, begun, seconds, places, is_open = room
    own_s, shorter_s, load_below = seconds[0], seconds[1], seconds[2]
    recorded, noises = record.inputs.shape[1], noise.shape[1]
    for index in range(first, last):
        row, own = rows[index], candidate[index]
        account = usage.account_of(usage.Room(*accounts), queues, row)
        timeline, waiting = account.timeline, account.requests.size
        usage.start(account)
        work_s = write_own(account, timeline, about, arrivals[index], own_s, shorter_s, load_below)
        is_open[:waiting] = True
        written, choices, drawn = 0, 0, 0
        while recorded == 0 or (choices < record.choices.shape[1] and written + waiting < recorded):
            # A choice: one of the requests that still fit, or the end of the batch.
            write_node_inputs(account, timeline, queues.node[row], about, work_s, arrivals[index], inputs)
            shared = _begin_units(weights, own, inputs, begun)
            _close(account, is_open[:waiting])
            highest, best, size, odds = -np.inf, -1, 0, 0.0
            if noises > 0:
                highest = noise[index, drawn % noises]
                drawn += 1
            if recorded > 0:
                _write_down(inputs, NODE, record.inputs[index, written])
                written += 1
            for place in range(waiting):
                if not is_open[place]:
                    continue
                known = own_s[place], shorter_s[place], load_below[place]
                write_request_inputs(account, timeline, place, about, inputs[2], *known, inputs[NODE:])
                score = _score(weights, own, inputs, begun, shared)
                if noises > 0:
                    score += noise[index, drawn % noises]
                    drawn += 1
                if recorded > 0:
                    _write_down(inputs, INPUTS, record.inputs[index, written])
                    written += 1
                odds += np.exp(score)
                if score > highest:
                    highest, best = score, size
                places[size] = place
                size += 1
            if noises == 0 and odds <= 1.0:
                best = -1
            if recorded > 0:
                record.choices[index, choices, 0], record.choices[index, choices, 1] = size, best
            choices += 1
            if best < 0:
                break
            usage.add(account, places[best])
            admitted[index, places[best]] = True
            is_open[places[best]] = False
        if recorded > 0:
            record.counts[index, 0], record.counts[index, 1] = choices, written
