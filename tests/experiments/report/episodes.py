"""Hand-made recordings, small enough to tell their story by head."""

from experiments.report.recordings import Played, RecordedEpisode, Requests, Slots

SLOT_S, RADIO_S = 1.0, 0.0


def played(policy: str, outcome: list[int], last_slot: list[int], cause: list[int], slots: int) -> Played:
    ones, zeros = [1.0] * slots, [0.0] * slots
    return Played(
        policy=policy,
        outcome=outcome,
        last_slot=last_slot,
        cause=cause,
        slots=Slots(
            scheme=[0] * slots,
            start_s=zeros,
            compute_limit_s=ones,
            free_memory_bytes=ones,
            capacity_bytes=ones,
            compute_scale=ones,
            kv_scale=ones,
            uplink_scale=ones,
            downlink_scale=ones,
            delivered_s=[slot + 0.5 for slot in range(slots)],
            infeasible=[0] * slots,
        ),
    )


def requests(arrival_s: list[float], latency_requirement_s: list[float]) -> Requests:
    count = len(arrival_s)
    return Requests(
        arrival_s=arrival_s,
        latency_requirement_s=latency_requirement_s,
        prompt_tokens=[1] * count,
        output_tokens=[1] * count,
        compute_s=[0.6] * count,
        kv_bytes=[0.1] * count,
        uplink_share=[0.1] * count,
        downlink_share=[0.1] * count,
        first_slot=[int(arrival) + 1 for arrival in arrival_s],
    )


def episode(*players: Played, about: Requests) -> RecordedEpisode:
    return RecordedEpisode(episode=0, seed=0, trace_checksum="x", requests=about, played=list(players))
