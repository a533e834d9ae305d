"""Collecting: what is recorded, that it does not depend on who works, that nothing is lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium as gym
import h5py
import minari
import numpy as np
import pytest

from agents.files import PARTIAL, OutputError
from agents.registry import build_policies
from agents.rollout import PolicyFailureError
from agents.seeds import episode_seeds
from edgellm_env.scenario import load_scenario
from experiments.datasets import plan as plans
from experiments.datasets.collect import STAGING
from experiments.datasets.storage import DATA_FILE, CollectionError, DatasetError, read_metadata
from experiments.datasets.verification import StoredDataset
from experiments.datasets.work import run_tasks
from experiments.grid import parallel
from experiments.grid.evaluation import evaluate
from tests.experiments.datasets.conftest import collect, episodes_of, require_equal
from tests.experiments.datasets.dying import HalfWritten

ENVIRONMENTS = ("batch", "select", "rank")


def small_units(monkeypatch: pytest.MonkeyPatch, episodes: int) -> None:
    monkeypatch.setattr(plans, "UNIT_EPISODES", episodes)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_minari_reads_the_dataset_and_its_environment_replays_it(datasets: Path, monkeypatch, environment: str) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets))
    dataset = minari.load_dataset(f"test/{environment}-v0")
    assert (dataset.total_episodes, len(dataset)) == (5, 5)
    env = dataset.recover_environment()
    for metadata, episode in zip(dataset.storage.get_episode_metadata(range(5)), dataset, strict=True):
        observation, info = env.reset(seed=metadata["seed"])
        assert metadata["total_steps"] == len(episode)
        assert episode.actions.dtype == dataset.action_space.dtype
        for step in range(len(episode) + 1):
            recorded = {name: array[step] for name, array in episode.observations.items()}
            assert dataset.observation_space.contains(recorded)
            for name, array in recorded.items():
                np.testing.assert_array_equal(observation[name], array)
            for name in set(episode.infos) - {"optimal_count", "nodes"}:
                np.testing.assert_array_equal(info[name], episode.infos[name][step])
            if step < len(episode):
                assert dataset.action_space.contains(episode.actions[step])
                observation, reward, terminated, truncated, info = env.step(episode.actions[step])
                assert (reward, terminated, truncated) == (
                    episode.rewards[step],
                    episode.terminations[step],
                    episode.truncations[step],
                )
        assert truncated


def test_the_same_policy_scores_the_same_whatever_the_way_to_act(datasets: Path) -> None:
    returns = [
        [episode.arrays["rewards"].sum() for episode, _ in episodes_of(datasets / f"test/{name}-v0")]
        for name in ENVIRONMENTS
    ]
    assert returns[0] == returns[1] == returns[2]


def test_select_adds_in_queue_order_and_commits(datasets: Path) -> None:
    for episode, _ in episodes_of(datasets / "test/select-v0"):
        capacity = episode.arrays["observations/valid"].shape[1]
        for batch in np.split(episode.arrays["actions"], np.flatnonzero(episode.arrays["actions"] == capacity) + 1)[
            :-1
        ]:
            assert (np.diff(batch) > 0).all()
            assert batch[-1] == capacity
        assert episode.arrays["infos/action_mask"][np.arange(episode.steps), episode.arrays["actions"]].all()


@pytest.mark.parametrize("name", ["dftsp", "random", "edf"])
def test_recorded_policies_play_as_in_compare(tmp_path: Path, name: str) -> None:
    scenario = load_scenario("balanced").with_values({"timing.episode_slots": 20})
    rows = evaluate(scenario, build_policies([name], scenario), episode_seeds("train", 7, 3))
    expected = [row.served for row in rows]
    recorded = episodes_of(collect(tmp_path, "played", policy=name, episodes=3, seed=7))
    assert [episode.arrays["rewards"].sum() for episode, _ in recorded] == expected


def test_ranking_can_hold_back_on_a_continuous_node(tmp_path: Path) -> None:
    scenario = load_scenario("chat")
    rows = evaluate(scenario, build_policies(["slo-threshold"], scenario), episode_seeds("train", 7, 2))
    settings = {"scenario": "chat", "env": "Rank", "policy": "slo-threshold", "slots": None}
    folder = collect(tmp_path, "held-back", **settings, episodes=2, seed=7)
    assert [one.arrays["rewards"].sum() for one, _ in episodes_of(folder)] == [row.served for row in rows]
    assert json.loads(read_metadata(folder)["env_spec"])["id"] == "EdgeLLM/Rank-v1"
    assert StoredDataset(folder, "test/held-back-v0").verify(1).replayed == 1


def test_a_plain_ppo_model_is_recorded_in_every_environment(tmp_path: Path) -> None:
    from stable_baselines3 import PPO

    environment = gym.make("EdgeLLM/Batch-v0", scenario="balanced")
    PPO("MultiInputPolicy", environment, n_steps=8, batch_size=8, seed=0).save(tmp_path / "model.zip")
    batch, select = (
        episodes_of(
            collect(tmp_path, way.lower(), env=way, policy=f"ppo={tmp_path / 'model.zip'}", episodes=1, trust=True)
        )
        for way in ("Batch", "Select")
    )
    assert batch[0][0].arrays["rewards"].sum() == select[0][0].arrays["rewards"].sum() > 0


def test_noise_is_as_frequent_as_asked_and_zero_is_the_expert(tmp_path: Path) -> None:
    expert = episodes_of(collect(tmp_path, "expert", episodes=3))
    silent = episodes_of(collect(tmp_path, "silent", policy="noisy-expert", epsilon=0.0, episodes=3))
    noisy = episodes_of(collect(tmp_path, "noisy", policy="noisy-expert", epsilon=0.5, episodes=3))
    for (one, _), (other, _), (third, _) in zip(expert, silent, noisy, strict=True):
        np.testing.assert_array_equal(one.arrays["actions"], other.arrays["actions"])
        short = third.arrays["infos/optimal_count"][:-1] > third.arrays["rewards"]
        assert 0.1 < short.mean() < 0.6


def test_the_number_of_workers_changes_nothing(tmp_path: Path, monkeypatch) -> None:
    small_units(monkeypatch, 2)
    alone = collect(tmp_path / "one", "same", policy="mixed", episodes=7)
    together = collect(tmp_path / "two", "same", policy="mixed", episodes=7, workers=2)
    require_equal(alone, together)
    assert (alone / "data/metadata.json").read_text() == (together / "data/metadata.json").read_text()
    assert (alone / "README.md").read_text() == (together / "README.md").read_text()
    # The units' size is a matter of memory alone.
    small_units(monkeypatch, 50)
    require_equal(alone, collect(tmp_path / "whole", "same", policy="mixed", episodes=7))


def test_more_episodes_begin_with_the_same(tmp_path: Path) -> None:
    few = episodes_of(collect(tmp_path, "few", episodes=2))
    more = episodes_of(collect(tmp_path, "more", episodes=4))
    assert [one.difference(other) for (one, _), (other, _) in zip(few, more, strict=False)] == [None, None]


SLOW_COLLECT = """
import sys, time
from pathlib import Path
from experiments.datasets import plan, work
from tests.experiments.datasets.conftest import collect
plan.UNIT_EPISODES = 1
made = work.make_file
def slowly(*arguments):
    made(*arguments)
    time.sleep(0.15)
work.make_file = slowly
collect(Path(sys.argv[1]), "killed", policy="mixed", episodes=12)
"""


def test_killed_at_any_moment_it_continues_and_nothing_is_missing_or_twice(tmp_path: Path, monkeypatch) -> None:
    small_units(monkeypatch, 1)
    expected = collect(tmp_path / "uninterrupted", "killed", policy="mixed", episodes=12)
    root = tmp_path / "interrupted"
    units = root / STAGING / "test/killed-v0/units"
    for at_least in (2, 6):
        process = subprocess.Popen([sys.executable, "-c", SLOW_COLLECT, str(root)], cwd=Path(__file__).parents[3])
        deadline_s = time.monotonic() + 60
        while len(list(units.glob("*.hdf5"))) < at_least and time.monotonic() < deadline_s:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (root / "test/killed-v0").exists()
    kept = {path: path.stat().st_mtime_ns for path in units.glob("*.hdf5")}
    assert 6 <= len(kept) < 12
    # What a power cut could leave: half a file, and a unit whose bytes are not what was written.
    (units / "unit_000011.hdf5.partial").write_bytes(b"half")
    damaged = sorted(kept)[1]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    shutil.copytree(units.parent, tmp_path / "copy")

    final = collect(root, "killed", policy="mixed", episodes=12)

    require_equal(expected, final)
    assert (expected / "data/metadata.json").read_text() == (final / "data/metadata.json").read_text()
    assert not (root / STAGING).exists()


def test_a_worker_that_ends_in_the_middle_of_a_file_leaves_nothing_of_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(parallel, "ATTEMPTS", 1)
    (tmp_path / f"unit_000000.hdf5.1{PARTIAL}").write_bytes(b"left by a process that was killed")
    with pytest.raises(CollectionError, match=r"a worker process died .* run the same command again"):
        run_tasks(None, [HalfWritten(0), HalfWritten(1)], tmp_path, 2, None, lambda task: None)
    assert list(tmp_path.iterdir()) == []


def test_a_dead_worker_is_an_error_and_the_rest_is_kept(tmp_path: Path, monkeypatch) -> None:
    small_units(monkeypatch, 1)
    monkeypatch.setattr(parallel, "ATTEMPTS", 1)
    monkeypatch.setenv("EDGELLM_TEST_KILL", "1")
    with pytest.raises(CollectionError, match=r"a worker process died .* run the same command again"):
        collect(tmp_path, "dead", policy="tests.experiments.datasets.dying:Dying", tier="dead", episodes=4, workers=2)
    assert not (tmp_path / "test/dead-v0").exists()
    monkeypatch.delenv("EDGELLM_TEST_KILL")
    folder = collect(
        tmp_path, "dead", policy="tests.experiments.datasets.dying:Dying", tier="dead", episodes=4, workers=1
    )
    assert len(episodes_of(folder)) == 4


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_policy_is_an_error_that_says_where(tmp_path: Path, monkeypatch, workers: int) -> None:
    small_units(monkeypatch, 1)
    policy = "tests.experiments.datasets.dying:Failing"
    with pytest.raises(PolicyFailureError, match=r"policy 'failing', slot 0: decide raised KeyError: 'queue'"):
        collect(tmp_path, "failing", policy=policy, tier="failing", episodes=2, workers=workers)


def test_a_full_disk_is_an_error_and_leaves_no_half_file(tmp_path: Path, monkeypatch) -> None:
    small_units(monkeypatch, 1)
    from experiments.datasets import work

    written = work.write_shard

    def full(path: Path, *arguments) -> None:
        written(path, *arguments)
        if path.name.startswith("unit_000002"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(work, "write_shard", full)
    with pytest.raises(CollectionError, match="No space left on device; what is complete is kept"):
        collect(tmp_path, "full", episodes=4)
    units = tmp_path / STAGING / "test/full-v0/units"
    assert sorted(path.name for path in units.iterdir()) == ["unit_000000.hdf5", "unit_000001.hdf5"]
    monkeypatch.setattr(work, "write_shard", written)
    assert len(episodes_of(collect(tmp_path, "full", episodes=4))) == 4


def test_a_complete_dataset_is_left_alone_and_another_of_its_name_refused(tmp_path: Path) -> None:
    folder = collect(tmp_path, "once", episodes=2)
    written = (folder / "data" / DATA_FILE).stat().st_mtime_ns
    assert collect(tmp_path, "once", episodes=2) == folder
    assert (folder / "data" / DATA_FILE).stat().st_mtime_ns == written
    with pytest.raises(DatasetError, match=r"exists in .* with other settings"):
        collect(tmp_path, "once", episodes=3)


def test_what_has_begun_can_not_continue_as_something_else(tmp_path: Path, monkeypatch) -> None:
    from experiments.datasets import collect as module

    monkeypatch.setattr(module, "merge_units", lambda *arguments: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(CollectionError, match="disk full; no unit is lost"):
        collect(tmp_path, "begun", episodes=2)
    monkeypatch.undo()
    with pytest.raises(OutputError, match=r"holds a collection with other settings \(episodes, seed, checksum\)"):
        collect(tmp_path, "begun", episodes=3, seed=1)
    # Nothing is left to be played: workers, however many, have nothing to do.
    assert len(episodes_of(collect(tmp_path, "begun", episodes=2, workers=2))) == 2


def test_metadata_and_card_say_how_it_was_made(datasets: Path, monkeypatch) -> None:
    folder = datasets / "test/batch-v0"
    metadata = json.loads((folder / "data/metadata.json").read_text())
    own = metadata["edgellm"]
    assert own["policy"] == "mixed(dftsp, noisy-expert(epsilon=0.2), random)"
    assert own["epsilon"] == 0.2
    assert own["solver"]["optimality_share"] == 1.0
    assert own["episode_seeds"] == {"split": "train", "first": 0, "last": 4}
    assert metadata["ref_min_score"] < metadata["ref_max_score"]
    assert {"python", "edgellm-env", "numpy"} <= set(own["versions"])
    scenario = load_scenario("balanced").with_values({"timing.episode_slots": 20})
    assert own["scenario_checksum"] == scenario.checksum
    card = (folder / "README.md").read_text()
    for text in (own["content_sha256"], own["command"], "gap between the references", "Jain", "uplink", "@misc"):
        assert text in card
    assert (folder / "returns.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets))
    dataset = minari.load_dataset("test/batch-v0")
    scores = minari.get_normalized_score(dataset, np.array([metadata["ref_min_score"], metadata["ref_max_score"]]))
    np.testing.assert_allclose(scores, [0.0, 1.0])


def test_empty_places_take_no_room(datasets: Path) -> None:
    with h5py.File(datasets / "test/batch-v0/data" / DATA_FILE) as file:
        requests = file["episode_0/observations/requests"]
        waiting = file["episode_0/infos/waiting"][()].max()
        tiles = -(-waiting // requests.chunks[1])
        assert requests.id.get_num_chunks() == tiles < requests.shape[1] // requests.chunks[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policy": "dftps"}, "policy 'dftps': no such policy"),
        ({"episodes": 0}, "episodes: 0; expected"),
        ({"seed": -1}, "seed: -1; expected"),
        ({"epsilon": 1.5}, "epsilon: 1.5; expected a number from 0 to 1"),
        ({"workers": -1}, "workers: -1; expected at least 1"),
        ({"scenario": "nowhere"}, "neither a file nor a shipped scenario"),
        ({"scenario": "quantized"}, "several schemes"),
        ({"dataset_id": "../elsewhere-v0"}, "id: '../elsewhere-v0'; expected NAMESPACE/NAME-vN"),
        ({"dataset_id": "test/unversioned"}, "expected NAMESPACE/NAME-vN"),
        ({"policy": "mixed", "parts": []}, r"parts: \[\]; expected"),
        ({"policy": "ppo=nowhere"}, "nowhere"),
        ({"policy": "tests.experiments.own_policies:first_legal@EdgeLLM/Select-v0"}, "actions of EdgeLLM/Select-v0"),
    ],
)
def test_what_can_not_be_collected_is_refused_before_anything_is_played(tmp_path: Path, settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        collect(tmp_path, "never", **settings)
    assert not list(tmp_path.rglob("*.hdf5"))
