"""What a batch uses of a node's limits, and whether one more request fits: the one place that knows, compiled.

An account follows one batch: ``start`` empties it, ``fits`` says whether the batch stays feasible with a request more,
``add`` adds the request. Packing, picking, masks, the transition, solvers' last check and
:class:`~edgellm_env.slot.problem.SlotProblem` all go by it, so that they agree to the last bit.

Memory and links are additive for every kind of node: a batch takes the sums of what its members take. So is the time of
a slot-batch node, whose batch ends before the tightest of its deadlines. On a continuous node members share iterations,
and each has its own finishing time (:mod:`edgellm_env.slot.timeline`). An account without a timeline is a slot-batch
node's; numba compiles each function for both kinds of account, so that telling them apart costs nothing.
"""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgellm_env._compile import by_none, compiled, compiled_leaf
from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.slot import timeline as iterations
from edgellm_env.slot.timeline import Timeline
from edgellm_env.slot.tolerance import within

COMPUTE_S, KV_BYTES, UPLINK_SHARE, DOWNLINK_SHARE, TIGHTEST_SLACK_S = range(5)
WIDTH = 5
"""Numbers in an account: a batch's sums, and its tightest slack."""

_LEAST_SHARE: Final = 1e-9


class Requests(NamedTuple):
    """What each of n requests takes; an array of records with these fields stands for one too."""

    compute_s: FloatArray  # (n,)
    kv_bytes: FloatArray  # (n,)
    uplink_share: FloatArray  # (n,)
    downlink_share: FloatArray  # (n,)
    slack_s: FloatArray  # (n,) compute time that each can still afford
    admissible: BoolArray  # (n,)


class Limits(NamedTuple):
    """What a batch may take; numbers, or arrays of them for batches side by side."""

    compute_limit_s: Any
    memory_bytes: Any
    uplink_limit_share: Any
    downlink_limit_share: Any


class Queues(NamedTuple):
    """What decisions in E environments with queues of N are about."""

    node: Any  # (E,) records of edgellm_env.node.records.NODE
    waiting: Any  # (E, N) WAITING, real up to the node's ``waiting``, oldest first
    requests: Any  # (E, M) REQUEST
    running: Any  # (E, R) MEMBER of continuous nodes, real up to the node's ``running``; None of slot-batch nodes
    iteration: Any  # (1,) ITERATION of continuous nodes, else None


class Room(NamedTuple):
    """Where an account is kept."""

    used: FloatArray  # (WIDTH,)
    members: Any  # (R,) MEMBER of a continuous node, else None
    taken: Any  # (2,) of a timeline
    order: Any  # (2, N) for packing, else None


class Account(NamedTuple):
    """What one batch uses so far, of which limits, and among which requests."""

    used: FloatArray  # (WIDTH,)
    requests: Any  # Requests, or records
    limits: Limits
    timeline: Timeline | None  # a continuous node's


def room_for(nodes: Any, admitted: BoolArray) -> Room:
    """Return room for the accounts of ``nodes``, one at a time, and for packing their queues, as wide as ``admitted``.

    ``nodes`` are :class:`Queues`, or anything with their fields.
    """
    members, taken = None, None
    if nodes.running is not None:
        members, taken = np.empty_like(nodes.running[0]), np.empty(2, dtype=np.int64)
    return Room(np.empty(WIDTH), members, taken, np.empty((2, admitted.shape[1]), dtype=np.int64))


@compiled_leaf
def _no_timeline(running: None, room: Room, nodes: Any, row: int) -> None:
    return None


@compiled_leaf
def _timeline(running: Any, room: Room, nodes: Any, row: int) -> Timeline:
    own = running[row, : nodes.node[row].running]
    return Timeline(nodes.iteration, own, room.members, room.taken, nodes.requests[row], nodes.waiting[row].request)


_timeline_of = by_none(_no_timeline, _timeline)


@compiled_leaf
def account_of(room: Room, nodes: Any, row: int) -> Account:
    """Return the account of a node's current slot, kept in ``room``; ``start`` it before its first use.

    ``nodes`` are :class:`Queues`, or anything with their fields.
    """
    node = nodes.node[row]
    limits = Limits(node.compute_limit_s, node.memory_bytes, 1.0, 1.0)
    waiting = nodes.waiting[row]
    return Account(room.used, waiting[: node.waiting], limits, _timeline_of(nodes.running, room, nodes, row))


@compiled_leaf
def _memory_and_links_fit(used: Any, limits: Limits) -> bool:
    return bool(
        within(used[KV_BYTES], limits.memory_bytes)
        and within(used[UPLINK_SHARE], limits.uplink_limit_share)
        and within(used[DOWNLINK_SHARE], limits.downlink_limit_share)
    )


@compiled_leaf
def totals_fit(used: Any, limits: Limits) -> bool:
    """Whether an additive batch that uses ``used`` (WIDTH,) is feasible: the feasibility check itself."""
    return bool(
        within(used[COMPUTE_S], limits.compute_limit_s)
        and within(used[COMPUTE_S], used[TIGHTEST_SLACK_S])
        and _memory_and_links_fit(used, limits)
    )


@compiled_leaf
def start(account: Account) -> None:
    """Begin with an empty batch, on a continuous node beside the running requests."""
    account.used[:] = 0.0
    account.used[TIGHTEST_SLACK_S] = np.inf
    _start_time(account.timeline)


@compiled_leaf
def _start_time(timeline: Timeline | None) -> None:
    if timeline is not None:
        iterations.begin(timeline)


@compiled_leaf
def fits(account: Account, place: int) -> bool:
    """Whether the batch is feasible with the request at ``place`` added."""
    return bool(account.requests.admissible[place] and _fits(account.timeline, account, place))


@compiled_leaf
def _fits(timeline: Timeline | None, account: Account, place: int) -> bool:
    used, requests = account.used, account.requests
    then = (
        used[COMPUTE_S] + requests.compute_s[place],
        used[KV_BYTES] + requests.kv_bytes[place],
        used[UPLINK_SHARE] + requests.uplink_share[place],
        used[DOWNLINK_SHARE] + requests.downlink_share[place],
        min(used[TIGHTEST_SLACK_S], requests.slack_s[place]),
    )
    if timeline is None:
        return totals_fit(then, account.limits)
    return bool(
        _memory_and_links_fit(then, account.limits) and iterations.joins(timeline, place, requests.slack_s[place])
    )


@compiled_leaf
def add(account: Account, place: int) -> None:
    """Add the request at ``place`` to the batch, feasible or not."""
    used, requests = account.used, account.requests
    used[KV_BYTES] += requests.kv_bytes[place]
    used[UPLINK_SHARE] += requests.uplink_share[place]
    used[DOWNLINK_SHARE] += requests.downlink_share[place]
    _add_time(account.timeline, used, requests, place)


@compiled_leaf
def _add_time(timeline: Timeline | None, used: FloatArray, requests: Any, place: int) -> None:
    if timeline is None:
        used[COMPUTE_S] += requests.compute_s[place]
        used[TIGHTEST_SLACK_S] = min(used[TIGHTEST_SLACK_S], requests.slack_s[place])
    else:
        iterations.join(timeline, place, requests.slack_s[place])  # each member has a slack of its own


@compiled_leaf
def feasible(account: Account) -> bool:
    """Whether the batch that has been added keeps every limit; its members' admissibility is left to the caller."""
    return _feasible(account.timeline, account)


@compiled_leaf
def _feasible(timeline: Timeline | None, account: Account) -> bool:
    if timeline is None:
        return totals_fit(account.used, account.limits)
    return bool(_memory_and_links_fit(account.used, account.limits) and iterations.all_in_time(timeline))


@compiled_leaf
def add_up(account: Account, batch: BoolArray) -> int:
    """Fill the account with ``batch`` (n,), in queue order; return how many of its members are inadmissible."""
    start(account)
    inadmissible = 0
    for place in range(account.requests.compute_s.size):
        if batch[place]:
            add(account, place)
            inadmissible += not account.requests.admissible[place]
    return inadmissible


@compiled
def check(
    used: FloatArray, requests: tuple[Any, ...], limits: tuple[Any, ...], timeline: Any, batch: BoolArray
) -> tuple[int, bool]:
    """Fill ``used`` (WIDTH,) with ``batch`` (n,), in queue order.

    Args:
        used: filled.
        requests: the fields of :class:`Requests`; a plain tuple's type is found in a fraction of the time.
        limits: the fields of :class:`Limits`.
        timeline: a continuous node's, else None.
        batch: the members.

    Returns:
        How many members are inadmissible, and whether the batch is feasible.
    """
    account = Account(used, Requests(*requests), Limits(*limits), timeline)
    inadmissible = add_up(account, batch)
    return inadmissible, inadmissible == 0 and feasible(account)


def shares(used: FloatArray, limits: Limits, members: NDArray[np.void] | None = None) -> FloatArray:
    """Return (E, 4) which share of each limit (E,) batches use, ``used`` (E, WIDTH); 0 of a limit of 0.

    The limit of compute time is the tighter of two: the slot's, and the batch's tightest slack. On a continuous node,
    whose ``members`` (E, R) are given, it is the largest share of its own slack that a member takes.
    """
    if members is not None:
        own = np.divide(
            members["finish_s"], members["slack_s"], out=np.zeros(members.shape), where=members["to_go"] > 0
        )
        used = np.concatenate([own.max(axis=1, initial=0.0)[:, None], used[:, 1:]], axis=1)
        limits = limits._replace(compute_limit_s=1.0)
    tightest = limits._replace(compute_limit_s=np.minimum(limits.compute_limit_s, used[:, TIGHTEST_SLACK_S]))
    bounds = np.stack(np.broadcast_arrays(*tightest), axis=1)
    amounts = used[:, :TIGHTEST_SLACK_S]
    used_shares: FloatArray = np.divide(amounts, bounds, out=np.zeros_like(amounts), where=bounds > 0.0)
    return used_shares


def beside(requests: Requests, limits: Limits, taken: BoolArray) -> tuple[Requests, Limits]:
    """Return what can be added to the feasible batches ``taken`` (R, n), as requests and limits of their own.

    Args:
        requests: (R, n) arrays.
        limits: (R,) arrays.
        taken: admissible requests.
    """
    compute_s, kv_bytes, uplink, downlink = (np.where(taken, amounts, 0.0).sum(axis=1) for amounts in requests[:4])
    tightest_s = np.where(taken, requests.slack_s, np.inf).min(axis=1, initial=np.inf)
    # Links keep their limits, and requests take the more of them: solvers compare shares of whole links.
    free_uplink = np.maximum(_LEAST_SHARE, limits.uplink_limit_share - uplink)
    free_downlink = np.maximum(_LEAST_SHARE, limits.downlink_limit_share - downlink)
    return (
        requests._replace(
            uplink_share=requests.uplink_share * limits.uplink_limit_share[:, None] / free_uplink[:, None],
            downlink_share=requests.downlink_share * limits.downlink_limit_share[:, None] / free_downlink[:, None],
            slack_s=requests.slack_s - compute_s[:, None],
            admissible=requests.admissible & ~taken & (requests.slack_s >= compute_s[:, None]),
        ),
        limits._replace(
            compute_limit_s=np.maximum(0.0, np.minimum(limits.compute_limit_s, tightest_s) - compute_s),
            memory_bytes=np.maximum(0.0, limits.memory_bytes - kv_bytes),
        ),
    )
