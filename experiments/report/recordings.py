"""What is kept of recorded episodes: each request once, and each policy's fate for it; and the file that holds it.

A queue can be put together again from these, for any slot: a request waits from its first slot to its last.
"""

import gzip
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agents.files import written_whole

FILE_NAME: Final = "recordings.json.gz"

CAUSES: Final = {
    "compute_limit_s": 1,
    "slack_s": 2,
    "memory_bytes": 4,
    "uplink_share": 8,
    "downlink_share": 16,
    "admissible": 32,
}
"""Constraints that a request would have broken beside the batch of the last slot it waited in, as bits.

Keys are those of :meth:`edgellm_env.slot.problem.SlotProblem.violations`. No bit: it would have fitted and was left
out.
"""
HOPELESS: Final = 64
"""The bit of a request that no slot could have served, not even alone: it never joined the queue that policies see."""

Numbers: TypeAlias = list[float]
Whole: TypeAlias = list[Annotated[int, Field(ge=0)]]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Requests(_Part):
    """The M requests of an episode that arrived, in order of arrival; the same for every policy.

    Costs are those under full availability in FP16; a slot's scales turn them into what its batch pays.
    """

    arrival_s: Numbers
    latency_requirement_s: Numbers
    prompt_tokens: Whole
    output_tokens: Whole
    compute_s: Numbers
    kv_bytes: Numbers
    uplink_share: Numbers
    downlink_share: Numbers
    first_slot: Whole
    """First slot at whose start the request is there."""


class Slots(_Part):
    """A policy's K slots: what its batches could use, and how costs scale in that slot under the batch's scheme."""

    scheme: Whole
    start_s: Numbers
    """Compute that still runs at the slot's start, and the time to load another scheme."""
    compute_limit_s: Numbers
    free_memory_bytes: Numbers
    capacity_bytes: Numbers
    compute_scale: Numbers
    kv_scale: Numbers
    uplink_scale: Numbers
    downlink_scale: Numbers
    delivered_s: Numbers
    """When the slot's batch is delivered, from the episode's start."""
    infeasible: list[Literal[0, 1]]


class Played(_Part):
    """What one policy made of an episode.

    ``outcome`` (M,) is an index of :data:`edgellm_env.node.transition.OUTCOMES`, as it is when the episode ends.
    ``last_slot`` (M,) is the slot that served the request, or the last that it waited in; for one that never waited,
    the slot at whose start it was turned away. ``cause`` (M,) has bits of :data:`CAUSES` for those that expired.
    """

    policy: str
    outcome: Whole
    last_slot: Whole
    cause: Whole
    slots: Slots


class RecordedEpisode(_Part):
    """One episode, as every recorded policy played it."""

    episode: int
    seed: int
    trace_checksum: str
    requests: Requests
    played: list[Played]


class Recordings(_Part):
    """What ``recordings.json.gz`` holds; ``scenario_checksum`` is that of the results beside it."""

    format: Literal[1] = 1
    scenario_checksum: str
    episodes: list[RecordedEpisode]


class RecordingError(ValueError):
    """A file of recordings that can't be read."""


def write_recordings(path: Path, recordings: Recordings) -> None:
    """Write ``path``, compressed JSON; the same recordings give the same bytes."""
    text = recordings.model_dump_json().encode("utf-8")
    with written_whole(path) as temporary:
        temporary.write_bytes(gzip.compress(text, mtime=0))


def read_recordings(path: Path) -> Recordings:
    """Read back what :func:`write_recordings` wrote.

    Raises:
        RecordingError: the file is damaged or of another format.
    """
    try:
        return Recordings.model_validate_json(gzip.decompress(path.read_bytes()))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordingError(f"{path}: {where}: {first['msg']}; expected what compare --record writes") from error
    except (OSError, EOFError) as error:
        raise RecordingError(f"{path}: can't be read: {error}; expected what compare --record writes") from error
