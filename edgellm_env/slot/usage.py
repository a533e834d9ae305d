"""What a batch uses of a node's limits, and whether one more request fits: the one place that knows, compiled.

An account follows one batch: ``start`` empties it, ``fits`` says whether the batch stays feasible with a request more,
``add`` adds the request. Packing, picking, masks, the transition, solvers' last check and
:class:`~edgellm_env.slot.problem.SlotProblem` all go by it, so that they agree to the last bit.

Use is additive: a batch takes the sums of what its members take, and ends before the tightest of their deadlines.
"""

from typing import Any, Final, NamedTuple

import numpy as np

from edgellm_env._compile import compilable, compiled
from edgellm_env.arrays import BoolArray, FloatArray

RELATIVE_TOLERANCE = 2.0**-30
"""A limit counts as kept when exceeded by at most this fraction of itself (9.3e-10): sums of floats that are equal on
paper (ten times 0.1 against 1.0) differ in their last bits by the order of summation, and every solver sums in its own.
No decimal number of few digits, such as 1 + 1e-9, lies at this edge, where solvers and check could differ."""

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


class Account(NamedTuple):
    """What one batch uses so far, of which limits, and among which requests."""

    used: FloatArray  # (WIDTH,)
    requests: Any  # Requests, or records
    limits: Limits


@compilable
def within(used: Any, limit: Any) -> Any:
    """Whether ``used`` keeps to ``limit``, up to :data:`RELATIVE_TOLERANCE`; numbers or arrays."""
    return used <= limit + RELATIVE_TOLERANCE * abs(limit)


@compiled
def totals_fit(used: Any, limits: Limits) -> bool:
    """Whether a batch that uses ``used`` (WIDTH,) is feasible: the feasibility check itself."""
    return bool(
        within(used[COMPUTE_S], limits.compute_limit_s)
        and within(used[COMPUTE_S], used[TIGHTEST_SLACK_S])
        and within(used[KV_BYTES], limits.memory_bytes)
        and within(used[UPLINK_SHARE], limits.uplink_limit_share)
        and within(used[DOWNLINK_SHARE], limits.downlink_limit_share)
    )


@compiled
def account_of(used: FloatArray, node: Any, waiting: Any) -> Account:
    """Return the account, kept in ``used`` (WIDTH,), of a node's current slot; ``start`` it before its first use."""
    limits = Limits(node.compute_limit_s, node.memory_bytes, 1.0, 1.0)
    return Account(used, waiting[: node.waiting], limits)


@compiled
def start(account: Account) -> None:
    """Begin with an empty batch."""
    account.used[:] = 0.0
    account.used[TIGHTEST_SLACK_S] = np.inf


@compiled
def fits(account: Account, place: int) -> bool:
    """Whether the batch is feasible with the request at ``place`` added."""
    used, requests = account.used, account.requests
    then = (
        used[COMPUTE_S] + requests.compute_s[place],
        used[KV_BYTES] + requests.kv_bytes[place],
        used[UPLINK_SHARE] + requests.uplink_share[place],
        used[DOWNLINK_SHARE] + requests.downlink_share[place],
        min(used[TIGHTEST_SLACK_S], requests.slack_s[place]),
    )
    return bool(requests.admissible[place] and totals_fit(then, account.limits))


@compiled
def add(account: Account, place: int) -> None:
    """Add the request at ``place`` to the batch, feasible or not."""
    used, requests = account.used, account.requests
    used[COMPUTE_S] += requests.compute_s[place]
    used[KV_BYTES] += requests.kv_bytes[place]
    used[UPLINK_SHARE] += requests.uplink_share[place]
    used[DOWNLINK_SHARE] += requests.downlink_share[place]
    used[TIGHTEST_SLACK_S] = min(used[TIGHTEST_SLACK_S], requests.slack_s[place])


@compiled
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
def check(used: FloatArray, requests: tuple[Any, ...], limits: tuple[Any, ...], batch: BoolArray) -> tuple[int, bool]:
    """Fill ``used`` (WIDTH,) with ``batch`` (n,), in queue order.

    Args:
        used: filled.
        requests: the fields of :class:`Requests`; a plain tuple's type is found in a fraction of the time.
        limits: the fields of :class:`Limits`.
        batch: the members.

    Returns:
        How many members are inadmissible, and whether the batch is feasible.
    """
    account = Account(used, Requests(*requests), Limits(*limits))
    inadmissible = add_up(account, batch)
    return inadmissible, inadmissible == 0 and totals_fit(used, account.limits)


def shares(used: FloatArray, limits: Limits) -> FloatArray:
    """Return (E, 4) which share of each limit (E,) batches use, ``used`` (E, WIDTH); 0 of a limit of 0.

    The limit of compute time is the tighter of two: the slot's, and the batch's tightest slack.
    """
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
    tightest_s = np.where(taken, requests.slack_s, np.inf).min(axis=1)
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
