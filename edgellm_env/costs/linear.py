"""What requests cost a node, compiled: the formulas of :mod:`edgellm_env.costs`, request by request."""

from typing import Any

from edgellm_env._compile import compiled_parallel
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.costs import radio, transformer


@compiled_parallel(work="arrival_s")
def write_costs(
    count: IntArray,
    rate: Any,
    arrival_s: FloatArray,
    latency_requirement_s: FloatArray,
    accuracy_requirement: FloatArray,
    prompt_tokens: IntArray,
    output_tokens: IntArray,
    attachment_bits: FloatArray,
    channel_gain: FloatArray,
    records: Any,
    first: int = 0,
    last: int = 0,
) -> None:
    """Fill ``records`` (E, M) of :data:`edgellm_env.node.records.REQUEST` up to each row's ``count`` (E,)."""
    r = rate[0]
    for row in range(first, last):
        for index in range(count[row]):
            record = records[row, index]
            prompt, output = float(prompt_tokens[row, index]), float(output_tokens[row, index])
            computed = r.padded_prompt_tokens if r.padded_prompt_tokens > 0.0 else prompt
            flops = transformer.prefill_flops(r.layers, r.hidden_size, r.parameters, computed)
            flops += transformer.decode_flops(r.layers, r.hidden_size, r.parameters, computed, output)
            gain = channel_gain[row, index]
            up = radio.spectral_efficiency(r.user_power_w, gain, r.noise_w_per_hz, r.uplink_hz)
            down = radio.spectral_efficiency(r.node_power_w, gain, r.noise_w_per_hz, r.downlink_hz)
            sent_bits = prompt * r.bits_per_token + attachment_bits[row, index]
            record.arrival_s = arrival_s[row, index]
            record.deadline_s = arrival_s[row, index] + latency_requirement_s[row, index]
            record.compute_s = transformer.compute_seconds(flops, 1.0, r.node_flops)
            record.kv_bytes = transformer.kv_cache_bytes(r.layers, r.kv_hidden_size, computed, output)
            record.uplink_share = radio.link_share(sent_bits, r.uplink_s, r.uplink_hz, up)
            record.downlink_share = radio.link_share(output * r.bits_per_token, r.downlink_s, r.downlink_hz, down)
            record.accuracy_requirement = accuracy_requirement[row, index]
            record.prompt_tokens = prompt_tokens[row, index]
            record.output_tokens = output_tokens[row, index]
