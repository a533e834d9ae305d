import json
import shutil
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from stable_baselines3 import PPO

from agents.learned import PpoPolicy
from agents.learning.ppo import PlainPpo
from agents.learning.runs import CHECKPOINTS, Progress, Run, read_settings
from agents.models.sb3 import load_checkpoint, load_policy, save_checkpoint, save_policy
from agents.models.storage import FOREIGN, WEIGHTS
from agents.policy import BATCH, PolicyError
from agents.registry import build_policies, make_learner, settings_path
from agents.rollout import make_engine, rollout
from edgellm_env import Scenario, load_scenario
from edgellm_env.env.slots import Slots
from edgellm_env.node import features
from edgellm_env.node.features import FEATURES, fingerprint
from edgellm_env.wrappers.sb3 import SB3VecEnv

SMALL = {
    "environments": 2,
    "rollout_slots": 16,
    "batch_size": 16,
    "epochs": 1,
    "hidden_sizes": (8,),
    "validation_episodes": 2,
    "validate_every": 1,
    "checkpoint_every": 2,
}


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario("tiny").with_values({"timing.episode_slots": 8})


@pytest.fixture(scope="module")
def settings() -> PlainPpo:
    return read_settings(PlainPpo, settings_path("ppo")).model_copy(update=SMALL)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, scenario: Scenario, settings: PlainPpo) -> Path:
    folder = tmp_path_factory.mktemp("run")
    settings.train(Run(scenario, 128, 0, folder))
    return folder


def weights(path: Path) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in load_policy(path).state_dict().items()}


def new_model(scenario: Scenario, settings: PlainPpo, **changes: object) -> PPO:
    environments = SB3VecEnv(gym.make_vec(BATCH, num_envs=2, scenario=scenario))
    return settings.model_copy(update=changes)._new_model(environments, 0)


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_training_saves_model_checkpoints_and_curves(run: Path) -> None:
    assert (run / WEIGHTS).is_file()
    names = ["step_000000064.safetensors", "step_000000128.safetensors"]
    assert [path.name for path in sorted((run / CHECKPOINTS).iterdir())] == names
    found = [(run / CHECKPOINTS / names[1], 128), (run / CHECKPOINTS / names[0], 64)]
    assert Run(load_scenario("tiny"), 1, 0, run).checkpoints() == found
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = EventAccumulator(str(run / "tensorboard")).Reload()
    throughput = curves.Scalars("validation/throughput_rps")
    assert [point.step for point in throughput] == [0, 32, 64, 96, 128]
    assert all(0.0 <= point.value <= 2.75 for point in throughput)  # 22 of tiny's requests in 8 s
    assert {"rollout/served_ratio", "rollout/infeasible_ratio", "train/loss"} <= set(curves.Tags()["scalars"])


def test_same_seed_same_model(tmp_path: Path, run: Path, scenario: Scenario, settings: PlainPpo) -> None:
    for name, seed in (("same", 0), ("other", 1)):
        (tmp_path / name).mkdir()
        settings.train(Run(scenario, 128, seed, tmp_path / name))
    newest = Path(CHECKPOINTS) / "step_000000128.safetensors"
    for file in (Path(WEIGHTS), newest):
        assert same(weights(run / file), weights(tmp_path / "same" / file))
    assert not same(weights(run / newest), weights(tmp_path / "other" / newest))


def test_resuming_continues_the_step_count_and_is_repeatable(
    tmp_path: Path, scenario: Scenario, settings: PlainPpo
) -> None:
    results = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        settings.train(Run(scenario, 64, 0, folder))
        reports: list[Progress] = []
        settings.train(Run(scenario, 128, 0, folder, resume=True, on_progress=reports.append))
        assert [state.steps for state in reports] == [96, 128]
        newest = folder / CHECKPOINTS / "step_000000128.safetensors"
        model = new_model(scenario, settings)
        load_checkpoint(model, newest)
        assert (model.num_timesteps, len(model.ep_info_buffer)) == (128, 16)
        results.append(weights(newest))
    assert same(*results)
    with pytest.raises(PolicyError, match="has 128 already, expected more"):
        settings.train(Run(scenario, 128, 0, folder, resume=True))


def test_nothing_to_resume(tmp_path: Path, scenario: Scenario, settings: PlainPpo) -> None:
    with pytest.raises(PolicyError, match="no checkpoint to resume from"):
        settings.train(Run(scenario, 128, 0, tmp_path, resume=True))


def test_a_saved_model_plays(run: Path, scenario: Scenario) -> None:
    (policy,) = build_policies([f"ppo={run}"], scenario)
    assert policy.name == f"ppo={run}"
    first, again = (rollout(policy, scenario, [3]) for _ in range(2))
    assert first.served == again.served


def test_a_saved_model_draws_its_actions_when_asked_to(run: Path, scenario: Scenario) -> None:
    usual, drawing = build_policies([f"ppo={run}@deterministic", f"ppo={run}@stochastic"], scenario)
    assert (usual.name, drawing.name) == (f"ppo={run}", f"ppo={run}@stochastic")
    assert (usual.modes[0], drawing.modes[0]) == ("deterministic", "stochastic")
    torch.manual_seed(0)
    untouched = torch.random.get_rng_state()
    engine = make_engine(scenario, BATCH, 1)
    engine.begin(np.arange(1), [0])
    for _ in range(6):
        engine.execute(np.zeros((1, engine.dynamics.capacity), dtype=np.int8))
    batches = []
    for policy, seed in ((usual, 3), (drawing, 3), (drawing, 3), (drawing, 4)):
        rng = np.random.default_rng(seed)
        batches.append([policy.decide(Slots(engine), [rng]).batch.tolist() for _ in range(20)])
    assert len({str(batch) for batch in batches[0]}) == 1
    assert len({str(batch) for batch in batches[1]}) > 1
    assert batches[1] == batches[2] != batches[3]
    assert torch.equal(torch.random.get_rng_state(), untouched)


def test_a_model_that_does_not_fit_the_scenario(run: Path) -> None:
    with pytest.raises(PolicyError, match=r"trained on .*\(8, 10\).*'balanced' gives .*\(128, 10\).*capacity = 128"):
        build_policies([f"ppo={run}"], load_scenario("balanced"))


def test_a_file_that_is_no_model(tmp_path: Path, scenario: Scenario) -> None:
    (tmp_path / WEIGHTS).write_text("no model")
    with pytest.raises(PolicyError, match="no PPO model: SafetensorError"):
        PpoPolicy.load(tmp_path, "ppo")


def test_a_checkpoint_holds_everything_that_training_goes_on_from(
    run: Path, scenario: Scenario, settings: PlainPpo, tmp_path: Path
) -> None:
    path = run / CHECKPOINTS / "step_000000128.safetensors"
    model, again = new_model(scenario, settings), tmp_path / path.name
    load_checkpoint(model, path)
    state = model.policy.optimizer.state_dict()["state"]
    assert {int(one["step"]) for one in state.values()} == {8}  # updates: 4 rollouts of 32 steps, batches of 16
    assert all(float(one["exp_avg_sq"].sum()) > 0.0 for one in state.values())
    save_checkpoint(model, again)
    assert again.read_bytes() == path.read_bytes()
    other = new_model(scenario, settings, hidden_sizes=(9,))
    with pytest.raises(PolicyError, match=r"no checkpoint of this learner: .* shape \(8, .*expected \(9, "):
        load_checkpoint(other, path)


def test_resuming_leaves_out_checkpoints_that_cant_be_read(
    run: Path, tmp_path: Path, scenario: Scenario, settings: PlainPpo
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    newest, _ = Run(scenario, 1, 0, folder).checkpoints()[0]
    newest.write_bytes(newest.read_bytes()[:-100])
    notes: list[str] = []
    begun: list[Progress] = []
    resumed = Run(scenario, 160, 0, folder, True, begun.append, notes.append)
    settings.train(resumed)
    assert begun[0].steps == 64 + 32
    assert [note.startswith(f"left out: {newest}: no checkpoint") and "\n" not in note for note in notes] == [True]
    for path, _ in resumed.checkpoints():
        path.write_bytes(b"{}")
    with pytest.raises(PolicyError, match=r"no checkpoint to resume from; 3 can't be read; expected a new run"):
        settings.train(Run(scenario, 320, 0, folder, True, begun.append, notes.append))


class Runs:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_zip_file_runs_nothing_unless_it_is_trusted(tmp_path: Path, scenario: Scenario, settings: PlainPpo) -> None:
    model, traces = new_model(scenario, settings), tmp_path / "it ran"
    model.lr_schedule = Runs(traces)  # type: ignore[assignment]
    model.save(tmp_path / FOREIGN)
    for spec in (f"ppo={tmp_path}", f"ppo={tmp_path / FOREIGN}"):
        with pytest.raises(PolicyError, match=r"is a ZIP file of stable-baselines3, .* give --trust") as refused:
            build_policies([spec], scenario)
        assert "\n" not in str(refused.value)
    assert not traces.exists()
    foreign, _ = build_policies([f"ppo={tmp_path}", "fcfs"], scenario, trust=True)
    assert traces.exists()  # which is what trust means
    save_policy(model, tmp_path / "own.safetensors")
    (own,) = build_policies([f"ppo={tmp_path / 'own.safetensors'}"], scenario)
    np.testing.assert_array_equal(rollout(own, scenario, range(4)).served, rollout(foreign, scenario, range(4)).served)


def test_a_policy_that_is_not_the_librarys_own_is_not_saved(scenario: Scenario, tmp_path: Path) -> None:
    environments = SB3VecEnv(gym.make_vec(BATCH, num_envs=2, scenario=scenario))
    model = PPO("MultiInputPolicy", environments, policy_kwargs={"activation_fn": torch.nn.ReLU}, device="cpu")
    with pytest.raises(ValueError, match="only layers' sizes may differ"):
        save_policy(model, tmp_path / WEIGHTS)


def test_shipped_settings_load_and_every_one_has_its_reason() -> None:
    settings = make_learner("ppo")
    assert isinstance(settings, PlainPpo)
    assert settings.environments == yaml.safe_load(settings_path("ppo").read_text())["environments"]
    lines = settings_path("ppo").read_text().splitlines()
    for number, line in enumerate(lines):
        if line and not line.startswith("#"):
            assert lines[number - 1].startswith("# "), line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"discount": 1.5}, "discount: 1.5"),
        ({"dicsount": 0.5}, "dicsount"),
        ({"environments": "8"}, "environments: '8'"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = tmp_path / "ppo.yaml"
    path.write_text(json.dumps({**make_learner("ppo").model_dump(mode="json"), **change}))
    with pytest.raises(ValueError, match=message):
        make_learner("ppo", path)
    with pytest.raises(ValueError, match="can't be read"):
        make_learner("ppo", tmp_path / "none.yaml")


@pytest.mark.parametrize("file", ["", WEIGHTS, CHECKPOINTS])
def test_a_model_that_was_trained_on_other_columns(
    file: str, run: Path, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = next((run / CHECKPOINTS).iterdir()) if file == CHECKPOINTS else run / file
    build_policies([f"ppo={path}"], scenario)
    trained_on, (first, second, *others) = fingerprint(), FEATURES["requests"]
    monkeypatch.setattr(features, "FEATURES", {**FEATURES, "requests": (second, first, *others)})
    with pytest.raises(PolicyError, match=f"trained on observation columns {trained_on}; expected {fingerprint()}"):
        build_policies([f"ppo={path}"], scenario)
