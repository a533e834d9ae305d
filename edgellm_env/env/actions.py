"""Ways to act: each turns agents' actions into batches, for many environments at once.

An interface owns its action space, knows how to execute actions of it, and how to express a given batch in it. What a
batch then does is the dynamics' business alone, so the same batch has the same effect through every interface.
"""

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from edgellm_env.arrays import BoolArray, IntArray
from edgellm_env.env.observation import Observation, ObservationEncoder, flags
from edgellm_env.node.nodes import Dynamics, InfeasibleBatchError
from edgellm_env.slot import picking, usage


class ActionInterface:
    """What an environment needs to know of a way to act; ``dynamics`` has E environments with queues of N.

    The base takes one action a slot, adds nothing to observations and has no masks.
    """

    def __init__(self, dynamics: Dynamics, encoder: ObservationEncoder) -> None:
        self.dynamics = dynamics
        self.encoder = encoder
        self._every = np.ones(dynamics.num_envs, dtype=np.bool_)

    def space(self) -> spaces.Space[Any]:
        """Return the action space of one environment."""
        raise NotImplementedError

    def begin(self, rows: IntArray) -> None:
        """Forget what was under way in these environments: their episodes begin anew."""

    def under_way(self) -> dict[str, NDArray[Any]]:
        """Return the arrays (E, ...) in which a slot of several actions is kept."""
        return {}

    def execute(self, actions: NDArray[Any], observation: Observation) -> BoolArray:
        """Execute one action per environment, (E, ...); return (E,) bool, whose slot has ended with it.

        What is to be seen then, but for what :meth:`observe` adds, is written into ``observation``, the encoder's
        blank arrays.

        Raises:
            ValueError: actions of the wrong shape or with values outside the space.
        """
        raise NotImplementedError

    def observation_spaces(self) -> dict[str, spaces.Space[Any]]:
        """Return the spaces of what :meth:`observe` adds."""
        return {}

    def observe(self, observation: Observation) -> None:
        """Add what an agent must see of its own choices so far, if a slot takes several actions."""

    def action_mask(self) -> BoolArray | None:
        """Return which actions are legal now, (E, number of actions), if single actions can be illegal."""
        return None

    def partial_batch(self) -> BoolArray | None:
        """Return what has been chosen so far of the slots' batches, (E, N) bool, if a slot takes several actions."""
        return None

    def toward(self, batch: BoolArray, scheme: IntArray) -> NDArray[Any]:
        """Return an action for every environment, (E, ...), that executes its ``batch``, or the next part of it.

        Args:
            batch: (E, N) bool, what is wanted; where a slot takes several actions, requests that have had theirs are
                cleared.
            scheme: (E,) the schemes to run them under, where the interface chooses them.
        """
        raise NotImplementedError

    def express(self, selection: BoolArray, row: int, scheme: int | None) -> Any:
        """Return the action, or the list of actions, by which environment ``row`` executes exactly ``selection``.

        Raises:
            ValueError: the interface can't express this batch.
        """
        raise NotImplementedError

    def _loaded_only(self, scheme: int | None) -> None:
        if scheme is not None:
            raise ValueError(f"scheme: {scheme}; expected None: only EdgeLLM/Joint-v0 chooses the scheme")

    def _every_slot_closed(self) -> BoolArray:
        return self._every


class BatchInterface(ActionInterface):
    """``MultiBinary(N)``: a bit per place in the queue; bits at empty places mean nothing."""

    def space(self) -> spaces.MultiBinary:
        """``MultiBinary(N)``."""
        return spaces.MultiBinary(self.dynamics.capacity)

    def execute(self, actions: NDArray[Any], observation: Observation) -> BoolArray:
        """Admit the marked requests, treating an infeasible batch by the scenario's rule, and advance by a slot."""
        asked = _checked_bits(_checked(actions, (self.dynamics.num_envs, self.dynamics.capacity), "MultiBinary(N)"))
        self.dynamics.play_selected(asked, shown=self.encoder.places(observation))
        return self._every_slot_closed()

    def toward(self, batch: BoolArray, scheme: IntArray) -> NDArray[np.int8]:
        """Return the batches as bits, (E, N) int8."""
        return batch.astype(np.int8)

    def express(self, selection: BoolArray, row: int, scheme: int | None) -> NDArray[np.int8]:
        """Return the selection padded to the queue's capacity, (N,) int8."""
        self._loaded_only(scheme)
        return _padded(selection, self.dynamics.capacity)


class RankInterface(ActionInterface):
    """``Box(-1, 1, (N,))``: scores; the node packs greedily in descending score, skipping what no longer fits."""

    above: ClassVar[float] = -np.inf
    """Requests whose score is not above it are left waiting."""

    def space(self) -> spaces.Box:
        """``Box(-1, 1, (N,), float32)``."""
        return spaces.Box(-1.0, 1.0, (self.dynamics.capacity,), dtype=np.float32)

    def execute(self, actions: NDArray[Any], observation: Observation) -> BoolArray:
        """Pack by descending score, ties in queue order, and advance by a slot."""
        scores = _checked(actions, (self.dynamics.num_envs, self.dynamics.capacity), "Box(-1, 1, (N,))")
        low, high = scores.min(), scores.max()
        if not (low >= -1.0 and high <= 1.0):
            raise ValueError(f"action: scores from {low} to {high}; expected numbers within [-1, 1]")
        self.dynamics.play_ranked(scores, self.encoder.places(observation), self.above)
        return self._every_slot_closed()

    def toward(self, batch: BoolArray, scheme: IntArray) -> NDArray[np.float32]:
        """Return 1 for those asked for and -1 for the others, (E, N) float32; the node fills up in queue order."""
        return np.where(batch, np.float32(1.0), np.float32(-1.0))

    def express(self, selection: BoolArray, row: int, scheme: int | None) -> NDArray[np.float32]:
        """Return scores of 1 for the selected and -1 for the others, (N,) float32.

        Where packing is greedy to the end, only batches that no further request fits into can be expressed.
        """
        self._loaded_only(scheme)
        scores = np.where(_padded(selection, self.dynamics.capacity), 1.0, -1.0).astype(np.float32)
        packed = self.dynamics.preview_ranked(scores, row, self.above)[: selection.size]
        if not np.array_equal(packed, selection):
            full = " that no further request fits into" if self.above < 0.0 else ""
            raise ValueError(
                f"selection: ranking serves {np.flatnonzero(packed).tolist()} and not exactly "
                f"{np.flatnonzero(selection).tolist()}; expected a feasible batch{full}"
            )
        return scores


class PositiveRankInterface(RankInterface):
    """As :class:`RankInterface`, but that requests are admitted only by a score above 0: capacity can be held back."""

    above = 0.0


class SelectInterface(ActionInterface):
    """``Discrete(N + 1)``: add the request at this place to the batch, or (N) commit the slot."""

    def __init__(self, dynamics: Dynamics, encoder: ObservationEncoder) -> None:
        super().__init__(dynamics, encoder)
        self._partial = picking.start_partial(dynamics.num_envs, dynamics.capacity, dynamics.nodes.running)

    def space(self) -> spaces.Space[Any]:
        """``Discrete(N + 1)``."""
        return spaces.Discrete(self.dynamics.capacity + 1)

    def begin(self, rows: IntArray) -> None:
        """Start with empty batches."""
        picking.start_selecting(rows, self.dynamics.nodes.queues, self._partial)

    def under_way(self) -> dict[str, NDArray[Any]]:
        """Return the partial batches, by the names of :class:`edgellm_env.slot.picking.Partial`."""
        return {name: part for name, part in self._partial._asdict().items() if part is not None}

    def execute(self, actions: NDArray[Any], observation: Observation) -> BoolArray:
        """Add to the partial batches; advance by a slot where one has been committed."""
        picks = _checked(actions, (self.dynamics.num_envs,), "Discrete(N + 1)")
        if not np.issubdtype(picks.dtype, np.integer):
            raise ValueError(f"action: dtype {picks.dtype}; expected integers for Discrete(N + 1)")
        picks = picks.astype(np.int64, copy=False)
        if picks.min() < 0 or picks.max() > self.dynamics.capacity:
            raise ValueError(
                f"action: values from {picks.min()} to {picks.max()}; expected 0 to {self.dynamics.capacity}"
            )
        if self.dynamics.scenario.queue.infeasible == "raise":
            self._refuse_illegal(picks)
        return self.dynamics.play_picked(picks, self._partial, self.encoder.places(observation))

    def toward(self, batch: BoolArray, scheme: IntArray) -> IntArray:
        """Return the next pick of each batch, (E,): its oldest request, or the commit once all have been picked.

        A request that is not legal any more is skipped, as the rule ``trim`` does.
        """
        # Feasible sets are downward closed: what is illegal now stays so until the slot ends.
        batch &= self._partial.legal[:, :-1]
        left = batch.any(axis=1)
        places: IntArray = np.where(left, np.argmax(batch, axis=1), self.dynamics.capacity)
        batch[np.flatnonzero(left), places[left]] = False
        return places

    def _refuse_illegal(self, picks: IntArray) -> None:
        illegal = ~self._partial.legal[np.arange(picks.size), picks]
        if illegal.any():
            row = int(np.argmax(illegal))
            place, waiting = int(picks[row]), int(self.dynamics.node["waiting"][row])
            if place >= waiting:
                reason = f"no request waits there ({waiting} waiting)"
            elif self._partial.batch[row, place]:
                reason = "already in the batch"
            else:
                batch = self._partial.batch[row, :waiting].copy()
                batch[place] = True
                reason = f"infeasible batch, {self.dynamics.slot_problem(row).violations(batch)}"
            raise InfeasibleBatchError(f"environment {row}, pick {place}: {reason}")

    def observation_spaces(self) -> dict[str, spaces.Space[Any]]:
        """``batch`` (N,) marks the partial batch; ``used`` (4,) float32 is its use of each limit, 0 to 1."""
        return {
            "batch": flags(self.dynamics.capacity),
            "used": spaces.Box(0.0, 1.0 + 1e-6, (4,), dtype=np.float32),
        }

    def observe(self, observation: Observation) -> None:
        """Add ``batch`` and ``used`` (shares of compute limit, free memory, uplink, downlink)."""
        node = self.dynamics.node
        limits = usage.Limits(node["compute_limit_s"], node["memory_bytes"], 1.0, 1.0)
        observation["batch"] = self._partial.batch.astype(np.int8)
        observation["used"] = usage.shares(self._partial.used, limits, self._partial.real_members()).astype(np.float32)

    def action_mask(self) -> BoolArray:
        """Return (E, N + 1) bool: an index is legal if and only if the batch stays feasible with it; N always is."""
        return self._partial.legal.copy()

    def partial_batch(self) -> BoolArray:
        """Return the requests picked so far, (E, N) bool."""
        return self._partial.batch.copy()

    def express(self, selection: BoolArray, row: int, scheme: int | None) -> list[int]:
        """Return the places in queue order, oldest first, then the commit; the slot must not be under way."""
        self._loaded_only(scheme)
        if self._partial.picks[row]:
            raise ValueError(
                f"selection: {int(self._partial.picks[row])} pick(s) were made in this slot; expected none yet"
            )
        return [*np.flatnonzero(selection).tolist(), self.dynamics.capacity]


class JointInterface(ActionInterface):
    """``MultiDiscrete([S, 2, ..., 2])``: the quantization scheme, then a bit per place in the queue."""

    def __init__(self, dynamics: Dynamics, encoder: ObservationEncoder) -> None:
        super().__init__(dynamics, encoder)
        if dynamics.nodes.running is not None:
            raise ValueError("serving.kind: 'continuous'; EdgeLLM/Joint-v0 expects 'slot-batch': schemes are switched")

    def space(self) -> spaces.MultiDiscrete:
        """``MultiDiscrete([S] + [2] * N)``."""
        return spaces.MultiDiscrete([self.dynamics.schemes.size] + [2] * self.dynamics.capacity)

    def execute(self, actions: NDArray[Any], observation: Observation) -> BoolArray:
        """Admit the marked requests under the chosen schemes and advance by a slot."""
        shape = (self.dynamics.num_envs, 1 + self.dynamics.capacity)
        checked = _checked(actions, shape, "MultiDiscrete([S] + [2] * N)")
        scheme = checked[:, 0].astype(np.int64)
        if scheme.min() < 0 or scheme.max() >= self.dynamics.schemes.size:
            raise ValueError(
                f"action: schemes from {scheme.min()} to {scheme.max()}; expected 0 to {self.dynamics.schemes.size - 1}"
            )
        asked = _checked_bits(checked[:, 1:])
        self.dynamics.play_selected(asked, scheme, self.encoder.places(observation))
        return self._every_slot_closed()

    def toward(self, batch: BoolArray, scheme: IntArray) -> NDArray[np.int64]:
        """Return schemes and bits, (E, 1 + N) int64."""
        return np.concatenate([scheme[:, None], batch], axis=1).astype(np.int64)

    def express(self, selection: BoolArray, row: int, scheme: int | None) -> NDArray[np.int64]:
        """Return the scheme (the loaded one unless given) and the selection's bits, (1 + N,) int64."""
        if scheme is not None and not 0 <= scheme < self.dynamics.schemes.size:
            raise ValueError(f"scheme: {scheme}; expected 0 to {self.dynamics.schemes.size - 1}")
        chosen = int(self.dynamics.node["scheme"][row]) if scheme is None else scheme
        return np.concatenate([[chosen], _padded(selection, self.dynamics.capacity)]).astype(np.int64)


def _padded(selection: BoolArray, capacity: int) -> NDArray[np.int8]:
    bits = np.zeros(capacity, dtype=np.int8)
    bits[: selection.size] = selection
    return bits


def _checked_bits(bits: NDArray[Any]) -> NDArray[np.int8]:
    # MultiBinary's own type in one pass: as unsigned bytes, whatever is negative is above 1.
    if (bits.view(np.uint8) > 1).any() if bits.dtype == np.int8 else not ((bits == 0) | (bits == 1)).all():
        raise ValueError(f"action: bits from {bits.min()} to {bits.max()}; expected 0 and 1")
    return bits.astype(np.int8, copy=False)


def _checked(actions: NDArray[Any], shape: tuple[int, ...], name: str) -> NDArray[Any]:
    array = np.asarray(actions)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"action: {array.dtype}; expected numbers for {name}")
    if array.shape != shape:
        raise ValueError(f"action: shape {array.shape}; expected {shape} for {name}")
    return array
