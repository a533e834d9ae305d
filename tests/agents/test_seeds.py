import pytest

from agents.seeds import EPISODES_PER_SEED, FIRST_SEED, MAXIMUM_SEED, episode_seeds


def test_ranges_are_disjoint_whatever_the_seed() -> None:
    last_of_block = EPISODES_PER_SEED - 1
    ranges = []
    for split in ("train", "validation", "test"):
        first = episode_seeds(split, 0, 1)[0]
        last = episode_seeds(split, MAXIMUM_SEED, 1)[0] + last_of_block
        ranges.append((first, last))
    assert ranges[0][1] < 2**63 <= ranges[1][0]  # what an environment draws by itself stays below 2**63
    assert ranges[1][1] < ranges[2][0]
    assert ranges[2][1] <= 2**64 - 1
    assert ranges[0][1] < ranges[1][0]


def test_seeds_do_not_overlap_and_more_episodes_add() -> None:
    ten, twenty = episode_seeds("test", 3, 10), episode_seeds("test", 3, 20)
    assert twenty[:10] == ten
    assert not set(twenty) & set(episode_seeds("test", 4, 20))
    assert ten[0] == FIRST_SEED["test"] + 3 * 2**32


@pytest.mark.parametrize(("seed", "episodes", "name"), [(-1, 1, "seed"), (2**30, 1, "seed"), (0, 0, "episodes")])
def test_out_of_range(seed: int, episodes: int, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: .*expected"):
        episode_seeds("test", seed, episodes)
