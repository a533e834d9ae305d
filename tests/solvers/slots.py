"""Slot problems for the solver tests: `balanced`-like ones (all numbers assumed, as in the scenario) and wild ones."""

from dataclasses import replace

import numpy as np

from edgellm_env.slot.problem import FloatArray, SlotProblem
from edgellm_env.solvers import solve_exact

LAYERS, HIDDEN, FEED_FORWARD = 30, 2560, 10240
WEIGHT_SCALE, TIME_SCALE = 0.5, 0.7
NODE_FLOPS = 26.6e12
SLOT_S, LINK_S, BANDWIDTH_HZ, BITS_PER_TOKEN = 0.5, 0.25, 20e6, 32
MEMORY_BYTES = 160e9 - 2 * LAYERS * (4 * HIDDEN**2 + 2 * HIDDEN * FEED_FORWARD) * WEIGHT_SCALE
NOISE_W = 10 ** ((-174 - 30) / 10) * BANDWIDTH_HZ
COLUMNS = ("compute_s", "kv_bytes", "uplink_share", "downlink_share", "slack_s")


def fresh_requests(rng: np.random.Generator, n: int) -> dict[str, FloatArray]:
    """n requests of `balanced` as they arrive, slack uniform in 0..3.5 s."""
    s, t = rng.integers(32, 513, n), rng.integers(32, 513, n)
    attachment_bits = rng.uniform(0.5e6, 8e6, n)
    distance_km = np.sqrt(rng.uniform(0.05**2, 0.5**2, n))
    gain = 10 ** (-(128.1 + 37.6 * np.log10(distance_km)) / 10) * rng.exponential(1.0, n)
    per_layer = 4 * HIDDEN**2 + 2 * HIDDEN * FEED_FORWARD
    flops = LAYERS * (2 * per_layer * s + 4 * s**2 * HIDDEN) + LAYERS * (t - 1) * (
        2 * per_layer + 4 * HIDDEN * (s + t / 2)
    )
    efficiency_up = np.log2(1 + 0.2 * gain / NOISE_W)
    efficiency_down = np.log2(1 + 10.0 * gain / NOISE_W)
    return {
        "compute_s": TIME_SCALE * flops / NODE_FLOPS,
        "kv_bytes": 4.0 * LAYERS * HIDDEN * (s + t),
        "uplink_share": (s * BITS_PER_TOKEN + attachment_bits) / (LINK_S * BANDWIDTH_HZ * efficiency_up),
        "downlink_share": t * BITS_PER_TOKEN / (LINK_S * BANDWIDTH_HZ * efficiency_down),
        "slack_s": rng.uniform(0.0, 3.5, n),
    }


def as_problem(requests: dict[str, FloatArray]) -> SlotProblem:
    """The slot problem over ``requests`` with the limits of `balanced`."""
    return SlotProblem(**requests, compute_limit_s=SLOT_S, memory_bytes=MEMORY_BYTES)


def fresh_slot(rng: np.random.Generator, n: int) -> SlotProblem:
    """A slot whose n waiting requests have just arrived."""
    return as_problem(fresh_requests(rng, n))


def met_slots(rng: np.random.Generator, n: int, slots: int, warm_up: int = 30) -> list[SlotProblem]:
    """Slots with n waiting requests, as the exact policy meets them: survivors of its own choices, topped up to n."""
    queue = fresh_requests(rng, n)
    met = []
    for k in range(warm_up + slots):
        # A request that cannot be served even alone has expired; new ones take the free places.
        alone = (queue["compute_s"] <= np.minimum(queue["slack_s"], SLOT_S)) & (queue["uplink_share"] <= 1.0)
        queue = {name: queue[name][alone] for name in COLUMNS}
        arrived = fresh_requests(rng, n - queue["compute_s"].size)
        arrived["slack_s"] = rng.uniform(0.5, 3.5, arrived["slack_s"].size)
        queue = {name: np.concatenate([queue[name], arrived[name]]) for name in COLUMNS}
        problem = as_problem(queue)
        if k >= warm_up:
            met.append(problem)
        keep = ~solve_exact(problem, node_limit=200_000).selection
        queue = {name: queue[name][keep] for name in COLUMNS}
        queue["slack_s"] = queue["slack_s"] - SLOT_S
    return met


def random_problem(rng: np.random.Generator, n: int) -> SlotProblem:
    """A problem with ties, zeros, a resource absent, huge ratios, or nothing feasible, drawn at random."""
    kind = rng.integers(0, 8)
    columns = [rng.uniform(0.0, 1.0, n) for _ in range(4)]
    slack = rng.uniform(-0.2, 4.0, n)
    limits = rng.uniform(0.5, 0.35 * n + 1.0, 4)
    if kind == 1:
        columns = [np.round(4 * column) / 4 for column in columns]
        slack, limits = np.round(2 * slack) / 2, np.round(4 * limits) / 4
    elif kind == 2:
        columns = [column * (rng.uniform(size=n) < 0.6) for column in columns]
    elif kind == 3:
        columns[rng.integers(4)][:] = 0.0
        limits[rng.integers(4)] = 0.0
    elif kind == 4:
        scale = 10.0 ** rng.uniform(-6, 6, 4)
        columns = [column * by * 10 ** rng.uniform(-2, 1, n) for column, by in zip(columns, scale, strict=True)]
        slack, limits = slack * scale[0], limits * scale
    elif kind == 5:
        slack = np.where(rng.uniform(size=n) < 0.5, np.inf, slack)
        limits[rng.integers(4)] = np.inf
    elif kind == 6:
        slack = rng.choice([0.5, 1.0, 2.0], n)
        columns[0], columns[1] = rng.choice([0.2, 0.4], n), rng.choice([0.3, 0.6], n)
    elif kind == 7 and rng.uniform() < 0.3:
        slack = slack - 5.0
    return SlotProblem(
        compute_s=columns[0],
        kv_bytes=columns[1],
        uplink_share=columns[2],
        downlink_share=columns[3],
        slack_s=slack,
        compute_limit_s=float(limits[0]),
        memory_bytes=float(limits[1]),
        uplink_limit_share=float(limits[2]),
        downlink_limit_share=float(limits[3]),
        admissible=rng.uniform(size=n) < 0.9,
    )


def permuted(problem: SlotProblem, order: np.ndarray) -> SlotProblem:
    """The same requests in another queue order."""
    names = (*COLUMNS, "admissible")
    return replace(problem, **{name: getattr(problem, name)[order] for name in names})
