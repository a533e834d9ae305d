"""DFTSP's tree on a continuous node: how many of each class to take, pruned by whether deadlines can still be kept.

As :mod:`edgellm_env.solvers._dftsp_tree`, without deadline thresholds: running requests' deadlines limit every batch,
and a member's own becomes a limit where the tree takes it.
"""

import numpy as np

from edgellm_env._compile import compiled
from edgellm_env.arrays import BoolArray, FloatArray, IntArray
from edgellm_env.solvers._continuous import greedy
from edgellm_env.solvers._continuous_case import SUMS, Case
from edgellm_env.solvers._core import fitting
from edgellm_env.solvers._dftsp_tree import (
    COUNTS,
    ENTRIES_PER_NODE,
    FIRST_RESOURCE,
    SIZE_BOUND,
    STOP_AT_FIRST,
    TABLE_ENTRIES,
    smallest_sums,
)
from edgellm_env.solvers._prepare import copy_into, rising_order
from edgellm_env.solvers._surrogate import EXHAUSTED, FOUND, STOPPED


@compiled
def _equal_lengths(case: Case, i: int, j: int) -> bool:
    return bool(
        case.to_go[i] == case.to_go[j] and case.added[i, i] == case.added[j, i] and case.added[i, i] == case.added[j, j]
    )


@compiled
def _classes(case: Case) -> tuple[IntArray, IntArray]:
    """Split the requests into chains: equal lengths, uplink and downlink share both rising, deadlines never looser.

    Returns:
        ``members`` (m,): requests, chain after chain; ``starts`` (chains + 1,): where each chain begins. Chains come by
        rising seconds that a request adds, then tokens.
    """
    m = case.left.size
    order = np.arange(m)
    for keys in (-case.left, case.rows[2], case.rows[1], case.to_go, np.diag(case.added).copy()):
        order = order[rising_order(keys[order])]
    last = np.empty(m, dtype=np.int64)
    chain_of = np.empty(m)
    chains, first_of_class = 0, 0
    for k in range(m):
        i = order[k]
        if k > 0 and not _equal_lengths(case, i, order[k - 1]):
            first_of_class = chains
        chain = first_of_class
        while chain < chains and (case.rows[2, last[chain]] > case.rows[2, i] or case.left[last[chain]] < case.left[i]):
            chain += 1
        chains = max(chains, chain + 1)
        last[chain] = i
        chain_of[i] = chain
    members = order[rising_order(chain_of[order])]
    starts = np.zeros(chains + 1, dtype=np.int64)
    for number in chain_of:
        starts[int(number) + 1] += 1
    return members, np.cumsum(starts)


@compiled
def _search_size(
    table: FloatArray,
    caps: FloatArray,
    limits: int,
    starts: IntArray,
    size: int,
    rules: BoolArray,
    sums: FloatArray,
    node_budget: int,
    answer: IntArray,
) -> tuple[int, int]:
    """Search one tree: is there a feasible batch of exactly ``size``?

    Args:
        table: (m, limits + m) what each request takes of each limit that always holds, and of each request's time.
        caps: (limits + m,) how much there is.
        limits: how many always hold.
        starts: (levels + 1,) where each level of ``table`` begins, each a chain.
        size: requests to take, >= 1.
        rules: (7,) the pruning rules.
        sums: what ``smallest_sums`` returned for ``table``; not looked at when no resource's rule is on.
        node_budget: nodes after which to stop.
        answer: (levels,) filled with how many of each level the first batch found takes.

    Returns:
        FOUND, EXHAUSTED or STOPPED (whether or not one was found before), and the nodes visited.
    """
    levels = starts.size - 1
    m, columns = table.shape
    used = np.zeros((levels + 1, columns))
    left = np.zeros(levels + 1, dtype=np.int64)
    left[0] = size
    taken = np.zeros(levels, dtype=np.int64)
    held = np.empty(m, dtype=np.int64)
    held_count = np.zeros(levels + 1, dtype=np.int64)
    bounds = np.ones(columns, dtype=np.bool_)
    for c in range(columns):
        # Memory, uplink, downlink; the number is COUNTS' business, and all deadlines are compute's.
        bounds[c] = rules[FIRST_RESOURCE + 1 + c] if c < SUMS else c > SUMS and rules[FIRST_RESOURCE]
    ended, nodes, level = EXHAUSTED, 0, 0
    taken[0] = min(starts[1], size) + 1
    while level >= 0:
        # The next branch of this level: one request fewer than the branch before.
        taken[level] -= 1
        count = taken[level]
        if count < 0:
            level -= 1
            continue
        if nodes >= node_budget:
            return STOPPED, nodes
        nodes += 1
        rest = left[level] - count
        if rules[COUNTS] and rest > m - starts[level + 1]:
            # Still fewer taken leaves still more to find below.
            taken[level] = 0
            continue
        copy_into(used[level + 1], used[level])
        for k in range(count):
            at = starts[level] + k
            held[held_count[level] + k] = at
            for c in range(columns):
                used[level + 1, c] += table[at, c]
        held_count[level + 1] = held_count[level] + count

        # Even the least that completes the batch must keep every limit, and the deadlines of what is taken.
        leaf = level + 1 == levels
        row = level + 1 if sums.shape[0] > 1 else 0
        cut = False
        for k in range(limits + held_count[level + 1]):
            c = k if k < limits else limits + held[k - limits]
            if bounds[c] or leaf:
                more = sums[row, rest, c] if bounds[c] else 0.0
                if used[level + 1, c] + more > caps[c]:
                    cut = True
                    break
        if cut:
            continue
        if not leaf:
            left[level + 1] = rest
            taken[level + 1] = min(starts[level + 2] - starts[level + 1], rest) + 1
            level += 1
        elif rest == 0 and ended == EXHAUSTED:
            copy_into(answer, taken)
            ended = FOUND
            if rules[STOP_AT_FIRST]:
                break
    return ended, nodes


@compiled
def search_case(case: Case, rules: BoolArray, node_limit: int, chosen: BoolArray) -> tuple[int, bool]:
    """Fill ``chosen`` (m,) with a largest feasible batch; return the nodes visited and whether the search completed.

    Args:
        case: its values are not looked at.
        rules: (7,) the pruning rules in the order of ``Pruning``.
        node_limit: most nodes to visit, tables included.
        chosen: (m,) filled; a greedy batch when the limit came before the first batch found.
    """
    m, limits = case.left.size, case.caps.size
    chosen[:] = False
    if m == 0:
        return 0, True
    members, starts = _classes(case)
    table = np.empty((m, limits + m))
    caps = np.concatenate((case.caps, case.left[members]))
    for k in range(m):
        for r in range(limits):
            table[k, r] = case.rows[r, members[k]]
        for j in range(m):
            table[k, limits + j] = case.added[members[j], members[k]]
    top = min(m, int(caps[SUMS]))
    if rules[SIZE_BOUND]:
        for r in range(limits):
            amounts = table[:, r].copy()
            top = min(top, fitting(amounts, rising_order(amounts), m, caps[r]))

    bounded = rules[FIRST_RESOURCE:].any()
    answer = np.zeros(starts.size - 1, dtype=np.int64)
    best, nodes, charged = 0, 0, 0
    for size in range(top, 0, -1):
        entries = starts.size * (size + 1) * (limits + m)
        per_level = entries <= TABLE_ENTRIES
        if bounded:
            charged += entries if per_level else (size + 1) * (limits + m)
        budget = node_limit - nodes - charged // ENTRIES_PER_NODE
        sums = np.zeros((1, size + 1, limits + m))
        if bounded and budget > 0:
            sums = smallest_sums(table, starts, size, per_level)
        ended, visited = _search_size(table, caps, limits, starts, size, rules, sums, budget, answer)
        nodes += visited
        if ended == STOPPED:
            if best == 0:
                greedy(case, chosen)
            return nodes, False
        if ended == FOUND and best == 0:
            best = size
            for level in range(answer.size):
                for k in range(starts[level], starts[level] + answer[level]):
                    chosen[members[k]] = True
            if rules[STOP_AT_FIRST]:
                break
    return nodes, True
