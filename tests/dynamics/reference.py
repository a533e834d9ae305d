"""The dynamics once more, slowly and in plain Python, straight from their description: what the kernels are held to."""

from dataclasses import dataclass, field

import numpy as np

from edgellm_env.costs import quantization, radio, transformer
from edgellm_env.scenario import Scenario
from edgellm_env.slot.problem import SlotProblem
from edgellm_env.workload.trace import RequestTrace

KEPT = 1 + 1e-9  # a limit counts as kept up to rounding


def link_shares(scenario, trace, request, availability=(1.0, 1.0)):
    """(uplink share, downlink share) of one request."""
    cell, timing, gain = scenario.radio, scenario.timing, trace.channel_gain[request]
    sent_bits = trace.prompt_tokens[request] * cell.bits_per_token + trace.attachment_bits[request]
    links = (
        (sent_bits, timing.uplink_s, cell.uplink_bandwidth_hz, cell.user_transmit_power_w),
        (
            trace.output_tokens[request] * cell.bits_per_token,
            timing.downlink_s,
            cell.downlink_bandwidth_hz,
            cell.node_transmit_power_w,
        ),
    )
    shares = []
    for (bits, window_s, bandwidth_hz, power_w), free in zip(links, availability, strict=True):
        efficiency = radio.spectral_efficiency(power_w, gain, cell.noise_w_per_hz, bandwidth_hz)
        shares.append(float(radio.link_share(bits, window_s, bandwidth_hz, efficiency, free)))
    return tuple(shares)


@dataclass
class SlowNode:
    """One node on one trace. ``scheme`` is the loaded scheme's index."""

    scenario: Scenario
    trace: RequestTrace
    slot: int = 0
    backlog_s: float = 0.0
    scheme: int = 0
    queue: list[int] = field(default_factory=list)
    running: list[tuple[float, float]] = field(default_factory=list)  # (absolute end, KV bytes)
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("arrived", "served", "expired", "rejected", "blocked"), 0)
    )

    fates: dict[int, tuple[str, int, float]] = field(default_factory=dict)  # outcome, slot, seconds of delivery
    _slots: dict[tuple[int, int], SlotProblem] = field(default_factory=dict)

    def __post_init__(self):
        self._open()

    def cost(self, request, scheme, availability):
        """(compute_s, kv_bytes, uplink share, downlink share) of one request."""
        scenario, trace = self.scenario, self.trace
        model = scenario.model
        prompt, output = trace.prompt_tokens[request], trace.output_tokens[request]
        padded = scenario.workload.prompt_limit_tokens if scenario.workload.prompt_padding == "fixed" else prompt
        shape = (model.layers, model.hidden_size, model.parameters_per_layer)
        flops = transformer.prefill_flops(*shape, padded) + transformer.decode_flops(*shape, padded, output)
        compute_s = scheme.compute_factor * flops / (scenario.node.flops * availability[0])
        kv_factor = quantization.weight_factor(scheme.kv_bits)
        kv_bytes = transformer.kv_cache_bytes(model.layers, model.kv_hidden_size, padded, output, kv_factor)
        return float(compute_s), float(kv_bytes), *link_shares(scenario, trace, request, availability[1:])

    def slack_s(self, request, start_s=None):
        deadline_s = self.trace.arrival_s[request] + self.trace.latency_requirement_s[request]
        start_s = self.backlog_s if start_s is None else start_s
        return deadline_s - self.slot * self.scenario.timing.slot_s - self.scenario.timing.radio_s - start_s

    def free_bytes(self, scheme):
        capacity = self.scenario.node.memory_bytes - self.scenario.weight_bytes(scheme)
        return max(0.0, capacity - sum(held for _, held in self.running))

    def problem(self, scheme_index=None):
        index = self.scheme if scheme_index is None else scheme_index
        scheme = self.scenario.schemes[index]
        load_s = 0.0
        if index != self.scheme:
            load_s = self.scenario.weight_bytes(scheme) / self.scenario.node.load_bandwidth_bytes_per_s
        slot = min(self.slot, self.trace.slots - 1)
        availability = [getattr(self.trace, f"{name}_availability")[slot] for name in ("compute", "uplink", "downlink")]
        costs = np.array([self.cost(request, scheme, availability) for request in self.queue]).reshape(-1, 4)
        timing = self.scenario.timing
        return SlotProblem(
            compute_s=costs[:, 0],
            kv_bytes=costs[:, 1],
            uplink_share=costs[:, 2],
            downlink_share=costs[:, 3],
            slack_s=np.array([self.slack_s(request, self.backlog_s + load_s) for request in self.queue]),
            compute_limit_s=max(0.0, timing.slot_s + timing.spill_s - self.backlog_s - load_s),
            memory_bytes=self.free_bytes(scheme),
            admissible=np.array(
                [scheme.quality >= self.trace.accuracy_requirement[request] for request in self.queue], dtype=bool
            ),
        ), load_s

    def feasible(self, requests, scheme_index=None):
        """Whether the waiting ``requests`` may be served together in this slot."""
        index = self.scheme if scheme_index is None else scheme_index
        if (self.slot, index) not in self._slots:
            self._slots = {(self.slot, index): self.problem(index)[0]}
        problem, places = self._slots[self.slot, index], [self.queue.index(request) for request in requests]
        compute_s = sum(float(problem.compute_s[place]) for place in places)
        return (
            all(bool(problem.admissible[place]) for place in places)
            and compute_s <= problem.compute_limit_s * KEPT
            and all(compute_s <= (slack := float(problem.slack_s[place])) + abs(slack) * (KEPT - 1) for place in places)
            and sum(float(problem.kv_bytes[place]) for place in places) <= problem.memory_bytes * KEPT
            and sum(float(problem.uplink_share[place]) for place in places) <= KEPT
            and sum(float(problem.downlink_share[place]) for place in places) <= KEPT
        )

    def step(self, mask, scheme_index=None):
        """Admit the marked requests in queue order, skipping what no longer fits; return how many are served."""
        chosen = []
        for place in np.flatnonzero(mask[: len(self.queue)]):
            if self.feasible([*chosen, self.queue[place]], scheme_index):
                chosen.append(self.queue[place])
        return self.serve(chosen, scheme_index)

    def serve(self, requests, scheme_index=None):
        """Serve ``requests``, which may be served together, and go on to the next slot; return how many these are."""
        index = self.scheme if scheme_index is None else scheme_index
        problem, load_s = self.problem(index)
        batch = np.isin(self.queue, requests)
        slot_s = self.scenario.timing.slot_s
        end_s = self.backlog_s + load_s + problem.compute_s[batch].sum()
        if batch.any():
            self.running.append((self.slot * slot_s + end_s, problem.kv_bytes[batch].sum()))
        self.counts["served"] += int(batch.sum())
        delivered_s = self.slot * slot_s + self.scenario.timing.radio_s + end_s
        for request, served in zip(self.queue, batch, strict=True):
            if served:
                self.fates[request] = ("served", self.slot, delivered_s)
            elif not self.scenario.queue.carry_over:
                self.fates[request] = ("expired", self.slot, 0.0)
        self.queue = [request for request, served in zip(self.queue, batch, strict=True) if not served]
        if not self.scenario.queue.carry_over:
            self.counts["expired"] += len(self.queue)
            self.queue = []
        self.backlog_s = max(0.0, end_s - slot_s) if end_s > slot_s * (1 + 1e-9) else 0.0
        self.scheme = index
        self.slot += 1
        now_s = self.slot * slot_s
        self.running = [(end, held) for end, held in self.running if end > now_s * (1 + 1e-12)]
        self._open()
        return int(batch.sum())

    def _open(self):
        slot_s = self.scenario.timing.slot_s
        schemes = self.scenario.schemes
        waited = set(self.queue)
        while self.counts["arrived"] < self.trace.size:
            request = self.counts["arrived"]
            if self.trace.arrival_s[request] >= self.slot * slot_s:
                break
            self.counts["arrived"] += 1
            if all(scheme.quality < self.trace.accuracy_requirement[request] for scheme in schemes):
                self.counts["rejected"] += 1
                self.fates[request] = ("rejected", self.slot, 0.0)
            elif len(self.queue) == self.scenario.queue.capacity:
                self.counts["blocked"] += 1
                self.fates[request] = ("blocked", self.slot, 0.0)
            else:
                self.queue.append(request)
        alive = [request for request in self.queue if self._servable(request)]
        self.counts["expired"] += len(self.queue) - len(alive)
        for request in set(self.queue) - set(alive):
            self.fates[request] = ("expired", self.slot - (request in waited), 0.0)
        self.queue = alive

    def _servable(self, request):
        """Alone, under some scheme, with everything at its best: now or later."""
        timing, best = self.scenario.timing, self.scenario.availability
        for scheme in self.scenario.schemes:
            if scheme.quality < self.trace.accuracy_requirement[request]:
                continue
            compute_s, kv_bytes, uplink, downlink = self.cost(
                request, scheme, (best.compute.high, best.uplink.high, best.downlink.high)
            )
            limit_s = min(timing.slot_s + timing.spill_s, self.slack_s(request))
            memory_bytes = self.scenario.node.memory_bytes - self.scenario.weight_bytes(scheme)
            if compute_s <= limit_s * KEPT and kv_bytes <= memory_bytes * KEPT and uplink <= KEPT and downlink <= KEPT:
                return True
        return False
