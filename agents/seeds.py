"""Which episode seeds are for training, validation and test: three ranges that can't overlap.

An environment that is reset without a seed draws one below 2**63, so whatever training does by itself stays below that.
Test seeds are for comparisons alone: ``compare``, ``sweep``, ``reproduce``, and the study's
(experiments/grid/study_comparing.py).
"""

from typing import Final, Literal, TypeAlias

Split: TypeAlias = Literal["train", "validation", "test"]

FIRST_SEED: Final[dict[Split, int]] = {"train": 0, "validation": 2**63, "test": 2**63 + 2**62}
"""First episode seed of each split; each ends where the next begins, the last at 2**64."""

EPISODES_PER_SEED: Final = 2**32
MAXIMUM_SEED: Final = 2**30 - 1


def episode_seeds(split: Split, seed: int, episodes: int) -> list[int]:
    """Return the seeds of ``episodes`` episodes; different ``seed`` give different episodes, more episodes add to them.

    Args:
        split: what the episodes are for.
        seed: 0 to 2**30 - 1, the number that a command takes as ``--seed``.
        episodes: 1 to 2**32.

    Raises:
        ValueError: seed or episodes out of range.
    """
    if not 0 <= seed <= MAXIMUM_SEED:
        raise ValueError(f"seed: {seed}; expected a whole number from 0 to {MAXIMUM_SEED}")
    if not 1 <= episodes <= EPISODES_PER_SEED:
        raise ValueError(f"episodes: {episodes}; expected a whole number from 1 to {EPISODES_PER_SEED}")
    first = FIRST_SEED[split] + seed * EPISODES_PER_SEED
    return list(range(first, first + episodes))
