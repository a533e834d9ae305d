"""Trains a PPO agent with stable-baselines3: settings from YAML, checkpoints, TensorBoard, resumable."""

from pathlib import Path
from typing import Annotated

import gymnasium as gym
from pydantic import Field
from stable_baselines3 import PPO

from agents.learned import PpoPolicy
from agents.learning.judging import Judgement
from agents.learning.ppo_run import PpoRunSettings, learn, open_model
from agents.learning.runs import MODEL
from agents.learning.settings import SETTINGS_FOLDER, OnProgress, read_settings
from agents.optimal import Dftsp
from agents.rollout import Tally, rollout
from agents.seeds import episode_seeds
from edgellm_env.scenario import Scenario
from edgellm_env.wrappers.sb3 import SB3VecEnv

ENVIRONMENT_ID = "EdgeLLM/Batch-v0"
SETTINGS_FILE = SETTINGS_FOLDER / "ppo.yaml"


class PpoSettings(PpoRunSettings):
    """Hyper-parameters of plain PPO."""

    rollout_slots: Annotated[int, Field(ge=2)]
    hidden_sizes: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)]
    entropy_coefficient: Annotated[float, Field(ge=0)]


def load_settings(path: Path = SETTINGS_FILE) -> PpoSettings:
    """Read hyper-parameters from YAML.

    Raises:
        ValueError: unreadable, or a setting that is unknown, missing or out of range.
    """
    return read_settings(PpoSettings, path)


def train(
    scenario: Scenario,
    settings: PpoSettings,
    steps: int,
    seed: int,
    run: Path,
    resume: bool = False,
    on_progress: OnProgress = lambda progress: None,
) -> Path:
    """Train, and save the model that did best on validation episodes in the folder ``run``.

    The same arguments give the same model on the same machine. Resuming continues network, optimiser and step count of
    the newest checkpoint, with fresh episodes and fresh random numbers derived from the seed and the step count: it is
    repeatable, but not bit-identical to a run without interruption, whose episodes would have gone on.

    Args:
        scenario: what to learn.
        settings: hyper-parameters.
        steps: environment steps in all, rounded up to whole rollouts by the library.
        seed: 0 to 2**30 - 1.
        run: the run's folder; it exists.
        resume: continue from the newest checkpoint.
        on_progress: called after every rollout.

    Returns:
        Path of the saved model.

    Raises:
        PolicyError: nothing to resume from, or nothing left to do.
    """
    validation = episode_seeds("validation", seed, settings.validation_episodes)
    environments = SB3VecEnv(gym.make_vec(ENVIRONMENT_ID, num_envs=settings.environments, scenario=scenario))
    model, done = open_model(
        PPO, environments, run, steps, seed, resume, lambda: _new_model(environments, settings, seed)
    )
    environments.seed(episode_seeds("train", seed, 1)[0] + done)

    def play(one: PPO) -> Tally:
        return rollout(PpoPolicy(one), scenario, validation)

    judgement = Judgement(
        play=lambda: play(model),
        keep=lambda: model.save(run / MODEL),
        expert=rollout(Dftsp(), scenario, validation),
        best_rps=float(play(PPO.load(run / MODEL, device="cpu")).throughput_rps.mean()) if resume else None,
    )
    learn(model, settings, judgement, run, steps, done, on_progress)
    environments.close()
    return run / MODEL


def _new_model(environments: SB3VecEnv, settings: PpoSettings, seed: int) -> PPO:
    return PPO(
        "MultiInputPolicy",
        environments,
        ent_coef=settings.entropy_coefficient,
        policy_kwargs={"net_arch": list(settings.hidden_sizes)},
        **settings.arguments(settings.rollout_slots, seed),
    )
