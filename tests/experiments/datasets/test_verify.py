"""Verification finds whatever is not as recorded, and says where."""

import hashlib
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from edgellm_env.node.features import NODE_FEATURES
from experiments.__main__ import main
from experiments.commands.data import Verify
from experiments.datasets.storage import DATA_FILE, DatasetError, read_episode
from experiments.datasets.verification import StoredDataset, VerificationError
from tests.experiments.datasets.conftest import collect, episodes_of, quiet

ENVIRONMENTS = ("batch", "select", "rank")


@pytest.fixture
def copied(datasets: Path, tmp_path: Path):
    """Copies a dataset, so that it can be tampered with."""

    def copy(environment: str) -> Path:
        return Path(shutil.copytree(datasets / f"test/{environment}-v0", tmp_path / f"test/{environment}-v0"))

    return copy


def opened(folder: Path) -> h5py.File:
    return h5py.File(folder / "data" / DATA_FILE, "r+")


def sealed(folder: Path) -> None:
    """Make digests and metadata fit what is there now, as somebody would who wants to deceive."""
    digests = []
    with opened(folder) as file:
        for number in range(len(file)):
            digests.append(read_episode(file, number)[0].digest())
            file[f"episode_{number}"].attrs["sha256"] = digests[-1]
    path = folder / "data/metadata.json"
    metadata = json.loads(path.read_text())
    metadata["edgellm"]["content_sha256"] = hashlib.sha256("".join(digests).encode()).hexdigest()
    path.write_text(json.dumps(metadata))


def verify(folder: Path, episodes: int = 5):
    return StoredDataset(folder, f"test/{folder.name}").verify(episodes)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_was_collected_is_as_recorded(datasets: Path, environment: str) -> None:
    verified = Verify(f"test/{environment}-v0", episodes=5, out=datasets).run(quiet())
    assert (verified.episodes, verified.replayed) == (5, 5)
    assert verified.steps == verified.replayed_steps


@pytest.mark.parametrize("environment", ["Batch", "Select"])
def test_a_continuous_nodes_dataset_holds_what_runs_and_is_as_recorded(tmp_path: Path, environment: str) -> None:
    folder = collect(tmp_path, "chat", scenario="chat", env=environment, policy="mixed", episodes=3, slots=12)
    verified = Verify("test/chat-v0", episodes=3, out=tmp_path).run(quiet())
    assert (verified.episodes, verified.replayed) == (3, 3)
    seen = [{name: own[f"observations/{name}"] for name in ("node", "running", "running_valid")}
            for own in (episode.arrays for episode, _ in episodes_of(folder))]  # fmt: skip
    for episode in seen:
        assert episode["running_valid"].sum(axis=1).max() > 2
        shares = episode["running_valid"].mean(axis=1)
        np.testing.assert_allclose(episode["node"][:, len(NODE_FEATURES)], shares, rtol=1e-6)
        assert (episode["running"][episode["running_valid"] == 0] == 0).all()


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ("batch", "observations/requests"),
        ("batch", "observations/valid"),
        ("batch", "infos/optimal_count"),
        ("rank", "rewards"),
        ("select", "infos/action_mask"),
        ("select", "observations/used"),
    ],
)
@pytest.mark.parametrize("deceitful", [False, True])
def test_a_flipped_bit_is_found_with_episode_and_step(copied, environment: str, path: str, deceitful: bool) -> None:
    folder = copied(environment)
    with opened(folder) as file:
        dataset = file[f"episode_3/{path}"]
        array = dataset[()]
        row = array[7:8].view(np.uint8).reshape(-1)
        row[3 % row.size] ^= 1
        dataset[...] = array
    if deceitful:
        sealed(folder)
    with pytest.raises(VerificationError, match=rf"episode 3, step 7: {path}.*; expected"):
        verify(folder)


def test_a_flipped_byte_anywhere_in_the_file_is_found_or_changes_nothing(copied) -> None:
    folder = copied("batch")
    path = folder / "data" / DATA_FILE
    content = path.read_bytes()
    rng = np.random.default_rng(1)
    found = 0
    for place in rng.integers(0, len(content), 25):
        tampered = bytearray(content)
        tampered[place] ^= 0x40
        path.write_bytes(tampered)
        try:
            verify(folder, 0)
        except VerificationError:
            found += 1
    # The rest fell into gaps of the file format, where no data is.
    assert found > 5


@pytest.mark.parametrize("deceitful", [False, True])
def test_a_swapped_episode_is_found(copied, deceitful: bool) -> None:
    folder = copied("batch")
    with opened(folder) as file:
        file.move("episode_1", "other")
        file.move("episode_4", "episode_1")
        file.move("other", "episode_4")
        if deceitful:
            for number in (1, 4):
                file[f"episode_{number}"].attrs["id"] = number
                file[f"episode_{number}"].attrs["seed"] = np.uint64(number)
    if deceitful:
        sealed(folder)
    with pytest.raises(VerificationError, match=r"episode 1(: id: 4; expected 1|, step 1: )"):
        verify(folder)


@pytest.mark.parametrize("deceitful", [False, True])
def test_a_shifted_observation_is_found(copied, deceitful: bool) -> None:
    folder = copied("rank")
    with opened(folder) as file:
        dataset = file["episode_2/observations/node"]
        dataset[4:] = np.roll(dataset[4:], 1, axis=0)
    if deceitful:
        sealed(folder)
    with pytest.raises(VerificationError, match="episode 2, step 4: observations/node"):
        verify(folder)


def test_an_expert_that_is_no_expert_is_found(copied) -> None:
    folder = copied("batch")
    with opened(folder) as file:
        actions = file["episode_0/actions"]
        step = int(np.flatnonzero(actions[()].any(axis=1))[0])
        chosen = actions[step]
        chosen[np.flatnonzero(chosen)[0]] = 0
        actions[step] = chosen
    sealed(folder)
    with pytest.raises(VerificationError, match=rf"episode 0, step {step}: DFTSP served \d+; the optimum of the slot"):
        verify(folder)


def test_an_infeasible_batch_and_a_masked_pick_are_found(copied) -> None:
    folder = copied("batch")
    with opened(folder) as file:
        waiting = int(file["episode_2/infos/waiting"][12])
        file["episode_2/actions"][12, :waiting] = 1
    sealed(folder)
    with pytest.raises(VerificationError, match="episode 2, step 12: actions: infeasible batch"):
        verify(folder)
    folder = copied("select")
    with opened(folder) as file:
        file["episode_2/actions"][9] = int(np.argmin(file["episode_2/infos/action_mask"][9]))
    sealed(folder)
    with pytest.raises(VerificationError, match=r"episode 2, step 9: actions: \d+ is masked"):
        verify(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.move("episode_4", "spare"), "episode_4 is missing"),
        (lambda file: file.copy("episode_4", "episode_5"), "episode_5 is unexpected"),
        (lambda file: file["episode_1"].pop("rewards"), "episode 1: can't be read"),
        (lambda file: file["episode_1"].attrs.modify("seed", 77), "episode 1: seed: 77; expected 1"),
        (lambda file: file["episode_1/infos"].pop("nodes"), "episode 1, arrays"),
    ],
)
def test_missing_and_additional_parts_are_found(copied, change, message: str) -> None:
    folder = copied("batch")
    with opened(folder) as file:
        change(file)
    with pytest.raises(VerificationError, match=message):
        verify(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(dataset_id="other/name-v0"), "dataset_id: 'other/name-v0'; expected"),
        (lambda data: data["edgellm"].update(environment="Joint"), "environment: 'Joint'; expected one of"),
        (lambda data: data["edgellm"].update(seed=1), "episode 0: seed: 0; expected 4294967296"),
        (lambda data: data["edgellm"].update(scenario_checksum="0"), "scenario_checksum"),
        (lambda data: data.update(total_steps=5), "total_steps: 5; expected 100"),
        (lambda data: data.pop("edgellm"), "not as collected"),
        (
            lambda data: data.update(env_spec=data["env_spec"].replace("edgellm_env.env.environments", "os.path")),
            "env_spec",
        ),
        (lambda data: data.update(action_space='{"type": "Discrete", "n": 3}'), "action_space"),
        (lambda data: data.update(ref_max_score=1e9), "ref_max_score: 1000000000.0; expected"),
        (lambda data: data.update(ref_min_score=None), "ref_min_score: None; expected"),
        (lambda data: data.update(algorithm_name="dftsp"), "algorithm_name: 'dftsp'; expected 'mixed"),
        (lambda data: data.update(description="1e6 episodes"), "description"),
        (lambda data: data.update(total_episodes=4), "episode_4 is unexpected"),
        (lambda data: data.update(total_episodes=1e300), "episodes: 1e[+]300; expected a whole number"),
        (lambda data: data.update(total_episodes=True), "episodes: True; expected a whole number"),
        (lambda data: data.update(dataset_size=7.0), "dataset_size: 7.0; expected"),
        (lambda data: data.update(data_format="arrow"), "data_format"),
        (lambda data: data["edgellm"].update(policy="os:getcwd"), "policy: 'os:getcwd'; expected 'mixed"),
        (lambda data: data["edgellm"].update(acting=["os:getcwd"]), "behaviour: 'dftsp'; expected 'os:getcwd'"),
        (lambda data: data["edgellm"].update(acting=["mixed", "dftsp", "fcfs", "random"]), "expected 'fcfs'"),
        (
            lambda data: data["edgellm"].update(acting="mixed"),
            "acting: mixed; expected a policy, or mixed",
        ),
        (lambda data: data["edgellm"].update(acting=[]), "not as collected: ValueError"),
        (lambda data: data["edgellm"].update(epsilon=0.3), r"behaviour: 'noisy-expert\(0.2\)'; expected"),
        (lambda data: data["edgellm"].update(epsilon="0.2"), "acting"),
        (lambda data: data["edgellm"]["episode_seeds"].update(last=9), "episode_seeds.last: 9; expected 4"),
        (lambda data: data["edgellm"].update(unit_episodes=3), "unit_episodes: 3; expected 50"),
        (lambda data: data["edgellm"].update(plan_checksum="0"), "plan_checksum: '0'; expected"),
        (lambda data: data["edgellm"].update(files_sha256={"trace": "0"}), "files_sha256"),
        (lambda data: data["edgellm"].update(command="rm -r /"), "command: 'rm -r /'; expected 'python -m exp"),
        (lambda data: data["edgellm"]["solver"].update(optimality_share=0.5), "optimality_share: 0.5; expected 1.0"),
        (lambda data: data["edgellm"]["reference_scores"].update(maximum="es-value:light"), "reference_scores.maximum"),
        (lambda data: data["edgellm"].update(scenario="a: &a [*a]"), "not as collected: ScenarioError: .* an alias"),
        (lambda data: data.update(edgellm=[]), "not as collected"),
        (lambda data: data["edgellm"].pop("content_sha256"), "not those that the metadata was written for"),
        (lambda data: data["edgellm"].update(tier=[1]), "not as collected: OutputError: edgellm: tier: "),
        (lambda data: data["edgellm"].update(acting=["mixed", "dftsp", 3]), "not as collected: OutputError: edgellm: "),
        (lambda data: data["edgellm"].update(acting=[1]), "not as collected: OutputError: edgellm: policy: "),
        (lambda data: data.update(env_spec="["), "not as collected"),
    ],
)
def test_metadata_that_does_not_fit_is_found(copied, change, message: str) -> None:
    folder = copied("batch")
    path = folder / "data/metadata.json"
    metadata = json.loads(path.read_text())
    change(metadata)
    path.write_text(json.dumps(metadata))
    with pytest.raises(VerificationError, match=message):
        verify(folder)


def rewritten(folder: Path, change) -> None:
    path = folder / "data/metadata.json"
    metadata = json.loads(path.read_text())
    change(metadata)
    path.write_text(json.dumps(metadata))


def test_what_can_not_be_recomputed_is_named(copied) -> None:
    folder = copied("batch")
    always = {"license", "author", "minari_version", "edgellm.versions", "edgellm.citation", "requirements"}
    always |= {"README.md", "returns.png"}
    assert set(verify(folder).unchecked) == always
    scores = {"ref_min_score", "ref_max_score", "num_episodes_average_score"}
    players = {f"who acted as {name!r}" for name in ("dftsp", "noisy-expert(0.2)", "random")}
    assert set(verify(folder, 0).unchecked) == (
        always | players | scores | {"edgellm.reference_scores", "edgellm.solver"}
    )
    rewritten(folder, lambda data: data["edgellm"].update(reviewed_by="everybody") or data.update(stars=5))
    assert set(verify(folder).unchecked) == always | {"stars", "edgellm.reviewed_by"}


def leaves(tree, path=()):
    """The places of every number, text and truth in a document."""
    if isinstance(tree, dict | list):
        for key in tree if isinstance(tree, dict) else range(len(tree)):
            yield from leaves(tree[key], (*path, key))
    else:
        yield path


def test_no_entry_of_the_metadata_is_believed(copied) -> None:
    """Whichever is changed: it is found, or its name is among those that were not checked."""
    folder = copied("batch")
    path = folder / "data/metadata.json"
    text = path.read_text()
    unchecked = set(verify(folder).unchecked)
    places, believed = list(leaves(json.loads(text))), []
    for *before, last in places:
        metadata = holder = json.loads(text)
        for key in before:
            holder = holder[key]
        value = holder[last]
        holder[last] = f"{value}x" if isinstance(value, str) else (not value) if isinstance(value, bool) else 17.5
        path.write_text(json.dumps(metadata))
        names = {str(before[0] if before else last), ".".join(map(str, [*before, last][:2]))}
        try:
            verify(folder)
        except VerificationError:
            continue
        believed += [] if names & unchecked else [(*before, last)]
    assert believed == []
    assert len(places) > 50


def test_somebody_elses_policy_is_named_and_never_imported(copied, tmp_path: Path, monkeypatch) -> None:
    folder = copied("batch")
    (tmp_path / "dangerous.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    name = "dangerous:Policy"
    with opened(folder) as file:
        for number in range(len(file)):
            file[f"episode_{number}"].attrs["behaviour"] = name
    sealed(folder)

    def claim(**more) -> None:
        def change(data) -> None:
            data["edgellm"].update(acting=[name], policy=name, epsilon=None, tier="expert", **more)
            data.update(algorithm_name=name, dataset_size=round((folder / "data" / DATA_FILE).stat().st_size / 1e6, 1))

        rewritten(folder, change)

    # As careful as somebody can be who wants to deceive.
    claim()
    command = json.loads((folder / "data/metadata.json").read_text())["edgellm"]["command"]
    mixed = "--policy mixed --parts dftsp noisy-expert random --epsilon 0.2 --tier mixed"
    assert mixed in command
    claim(command=command.replace(mixed, f"--policy {name} --tier expert"))
    with pytest.raises(VerificationError, match=r"metadata: edgellm\.plan_checksum: '\w+'; expected '\w+'") as found:
        verify(folder)
    claim(
        command=command.replace(mixed, f"--policy {name} --tier expert"), plan_checksum=str(found.value).split("'")[-2]
    )
    assert {f"who acted as {name!r}", "edgellm.tier", "description"} <= set(verify(folder).unchecked)


def test_another_policy_than_is_claimed_is_found(copied) -> None:
    folder = copied("rank")
    with opened(folder) as file:
        file["episode_2"].attrs["behaviour"] = "edf"
    sealed(folder)
    rewritten(folder, lambda data: data["edgellm"].update(acting=["mixed", "dftsp", "noisy-expert", "edf"]))
    with pytest.raises(VerificationError, match=r"episode 2, step \d+: .*; expected .*, by 'edf'"):
        verify(folder)


@pytest.mark.parametrize("content", [b"[]", b"{", b"\xff", b"1" * 5000, b"[" * 100_000, b"null"])
def test_metadata_that_are_no_object_are_one_line(copied, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    folder = copied("batch")
    (folder / "data/metadata.json").write_bytes(content)
    root = str(folder.parents[1])
    train = ["train", "--agent", "bc", "--dataset", "test/batch-v0", "--dataset-root", root, "--out", f"{root}/run"]
    for line in (["verify", "test/batch-v0", "--out", root], train):
        assert main(line) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert "metadata.json" in said
        assert said.count("\n") == 1


def test_no_dataset_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="can't be read"):
        Verify("test/nowhere-v0", out=tmp_path).run(quiet())
    with pytest.raises(DatasetError, match="episodes: -1; expected at least 0"):
        Verify("test/nowhere-v0", episodes=-1, out=tmp_path).run(quiet())
