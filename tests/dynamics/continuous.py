"""A continuous node once more, an iteration at a time and in plain Python: what the closed forms are held to."""

from dataclasses import dataclass, field

import numpy as np

from edgellm_env.scenario import Scenario, load_scenario
from edgellm_env.workload.trace import RequestTrace
from tests.dynamics.reference import KEPT, link_shares

COSTS = {
    "kind": "measured",
    "step_s": 0.0169,
    "sequence_s": 4.2e-5,
    "context_token_s": 1.4e-7,
    "prefill_token_s": 4.4e-5,
    "prefill_token_squared_s": 1e-8,
    "kv_tokens": 20_000,
}


def continuous_scenario(**values):
    """Return a small continuous scenario; ``values`` replace settings, ``__`` for a dot."""
    settings = load_scenario("balanced").model_dump(mode="json")
    settings |= {"name": "continuous", "costs": COSTS, "serving": {"kind": "continuous", "max_running": 24}}
    settings["schemes"] = [{"name": "bf16", "weight_bits": 16, "compute_factor": 1.0, "quality": 1.0}]
    settings["timing"] |= {"uplink_s": 0.125, "downlink_s": 0.125, "episode_slots": 80}
    settings["queue"]["capacity"] = 32
    settings["workload"] |= {
        "arrival_rate_rps": 12.0,
        "latency_requirement_s": {"kind": "uniform", "low": 1.0, "high": 9.0},
        "attachment_bits": {"kind": "uniform", "low": 1e4, "high": 4e6},
    }
    scenario = load_scenario(settings)
    return scenario.with_values({name.replace("__", "."): value for name, value in values.items()})


@dataclass
class Sequence:
    """A request that runs."""

    request: int
    prompt: int
    output: int
    latest_s: float  # since the episode's start, by which its last token must be made
    produced: int = 0


def iteration_s(costs, sequences):
    """Return how long the next iteration takes."""
    length_s = costs.step_s
    for one in sequences:
        if one.produced == 0:
            length_s += costs.prefill_token_s * one.prompt + costs.prefill_token_squared_s * one.prompt**2
        else:
            length_s += costs.sequence_s + costs.context_token_s * (one.prompt + one.produced)
    return length_s


def play_out(costs, sequences, clock_s):
    """Return when each sequence has its last token, by request, if no other joins."""
    running = [Sequence(one.request, one.prompt, one.output, one.latest_s, one.produced) for one in sequences]
    finished_s = {}
    while running:
        clock_s += iteration_s(costs, running)
        for one in running:
            one.produced += 1
        finished_s |= {one.request: clock_s for one in running if one.produced == one.output}
        running = [one for one in running if one.produced < one.output]
    return finished_s


@dataclass
class SlowEngine:
    """One continuous node on one trace."""

    scenario: Scenario
    trace: RequestTrace
    slot: int = 0
    overrun_s: float = 0.0
    queue: list[int] = field(default_factory=list)
    running: list[Sequence] = field(default_factory=list)
    first_token_s: dict[int, float] = field(default_factory=dict)
    finished_s: dict[int, float] = field(default_factory=dict)
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("arrived", "served", "expired", "rejected", "blocked"), 0)
    )

    def __post_init__(self):
        trace = self.trace
        self.shares = np.array([link_shares(self.scenario, trace, one) for one in range(trace.size)]).reshape(-1, 2)
        self._open()

    @property
    def available(self):
        """(2,) what background load leaves of both links in this slot."""
        slot = min(self.slot, self.trace.slots - 1)
        return np.array([self.trace.uplink_availability[slot], self.trace.downlink_availability[slot]])

    @property
    def now_s(self):
        return self.slot * self.scenario.timing.slot_s

    def sequence(self, request):
        trace = self.trace
        latest_s = trace.arrival_s[request] + trace.latency_requirement_s[request] - self.scenario.timing.radio_s
        return Sequence(request, int(trace.prompt_tokens[request]), int(trace.output_tokens[request]), latest_s)

    def feasible(self, requests, scheme=None):
        """Whether the waiting ``requests`` may be admitted together."""
        costs, members = self.scenario.costs, [*self.running, *map(self.sequence, requests)]
        finished_s = play_out(costs, members, self.now_s + self.overrun_s)
        return (
            all(finished_s[one.request] <= one.latest_s + 1e-9 for one in members)
            and sum(one.prompt + one.output for one in members) <= costs.kv_tokens
            and len(members) <= self.scenario.serving.max_running
            and bool((self.shares[list(requests)].sum(axis=0) <= self.available * KEPT).all())
        )

    def serve(self, requests, scheme=None):
        """Admit ``requests`` in queue order, run the slot's iterations, open the next; return how many these are."""
        requests = [one for one in self.queue if one in requests]
        self.counts["served"] += len(requests)
        self.queue = [one for one in self.queue if one not in requests]
        if not self.scenario.queue.carry_over:
            self.counts["expired"] += len(self.queue)
            self.queue = []
        self.running += map(self.sequence, requests)
        clock_s, slot_s = self.overrun_s, self.scenario.timing.slot_s
        while self.running and clock_s < slot_s:
            clock_s += iteration_s(self.scenario.costs, self.running)
            for one in self.running:
                one.produced += 1
                if one.produced == 1:
                    self.first_token_s[one.request] = self.now_s + clock_s
                if one.produced == one.output:
                    self.finished_s[one.request] = self.now_s + clock_s
            self.running = [one for one in self.running if one.produced < one.output]
        self.overrun_s = max(0.0, clock_s - slot_s)
        self.slot += 1
        self._open()
        return len(requests)

    def _open(self):
        costs, trace, scenario = self.scenario.costs, self.trace, self.scenario
        while self.counts["arrived"] < trace.size and trace.arrival_s[self.counts["arrived"]] < self.now_s:
            request = self.counts["arrived"]
            self.counts["arrived"] += 1
            if scenario.schemes[0].quality < trace.accuracy_requirement[request]:
                self.counts["rejected"] += 1
            elif len(self.queue) == scenario.queue.capacity:
                self.counts["blocked"] += 1
            else:
                self.queue.append(request)
        best = np.array([scenario.availability.uplink.high, scenario.availability.downlink.high])
        hopeless = []
        for request in self.queue:
            one = self.sequence(request)
            alone_s = play_out(costs, [one], self.now_s)[request]
            too_large = one.prompt + one.output > costs.kv_tokens or (self.shares[request] > best * KEPT).any()
            if alone_s > one.latest_s + 1e-9 or too_large:
                hopeless.append(request)
        self.counts["expired"] += len(hopeless)
        self.queue = [one for one in self.queue if one not in hopeless]
