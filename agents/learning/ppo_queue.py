"""Trains the queue network by PPO, from scratch or from a clone of DFTSP: a bit per request, or pick by pick."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray
from pydantic import Field, model_validator
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO

from agents.learned import PickingPolicy, ranking_policy
from agents.learning.imitation import ImitationSettings
from agents.learning.imitation import train as imitate
from agents.learning.judging import Judgement
from agents.learning.ppo_run import PpoRunSettings, learn, open_model
from agents.learning.queue_rollouts import PerSlotRollouts, UnmaskedPerSlotRollouts
from agents.learning.runs import WEIGHTS
from agents.learning.settings import OnProgress
from agents.models.network_storage import load_scorer, save_scorer
from agents.models.queue_network import RequestScorer
from agents.models.sb3_policies import MaskedQueuePolicy, PerRequest, QueueFeatures, QueuePolicy
from agents.optimal import Dftsp
from agents.rollout import Tally, rollout
from agents.seeds import episode_seeds
from edgellm_env.arrays import BoolArray, FloatArray
from edgellm_env.env.observation import Observation
from edgellm_env.scenario import Scenario
from edgellm_env.wrappers.sb3 import SB3VecEnv

_CLONE_FOLDER = "clone"


class PpoQueueSettings(PpoRunSettings):
    """Hyper-parameters of PPO over batches."""

    environment: Literal["Batch", "Select"]
    steps: Annotated[int, Field(ge=1)]
    masked: bool
    clone_first: bool
    width: Annotated[int, Field(ge=1)]
    rollout_steps: Annotated[int, Field(ge=2)]
    discount: Annotated[float, Field(ge=0, lt=1)]
    clip_range: Annotated[float, Field(gt=0)]
    commit_logit: float

    @model_validator(mode="after")
    def _only_single_picks_are_masked(self) -> Self:
        if self.masked and self.environment != "Select":
            raise ValueError(f"masked: True; expected False in {self.environment}, whose actions are never illegal")
        return self


class AgainstPar(VectorWrapper[Observation, NDArray[Any], Observation, NDArray[Any], NDArray[Any]]):
    """A slot's reward as the share above par, so that a critic begins near the truth.

    Args:
        env: one of the package's.
        par: the reward that counts as 0; twice as much counts as 1.
    """

    def __init__(self, env: VectorEnv[Observation, NDArray[Any], NDArray[Any]], par: float) -> None:
        super().__init__(env)
        self._par = par
        self._slot = np.zeros(env.num_envs, dtype=np.int64)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin episodes; see the wrapped environment."""
        observation, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type] # a list is fine
        self._slot = infos["slot"]
        return observation, infos

    def step(self, actions: NDArray[Any]) -> tuple[Observation, FloatArray, BoolArray, BoolArray, dict[str, Any]]:
        """Execute actions; see the wrapped environment."""
        observation, rewards, terminated, truncated, infos = self.env.step(actions)
        # Where a slot takes several actions, it also ends after too many illegal ones.
        closed, self._slot = (infos["slot"] != self._slot) | truncated, infos["slot"]
        return observation, rewards / self._par - closed, terminated, truncated, infos


def train(
    scenario: Scenario,
    settings: PpoQueueSettings,
    imitation: ImitationSettings,
    steps: int,
    seed: int,
    run: Path,
    resume: bool = False,
    on_progress: OnProgress = lambda progress: None,
) -> Path:
    """Train, and save the network that did best on validation episodes in the folder ``run``.

    The same arguments give the same network on the same machine. Resuming continues network, optimiser and step count
    of the newest checkpoint with fresh episodes: repeatable, but not what an uninterrupted run would have given.

    Args:
        scenario: what to learn.
        settings: hyper-parameters.
        imitation: those of the clone to begin with, if ``settings`` ask for one; the width is that of ``settings``.
        steps: environment steps, rounded up to whole rollouts by the library.
        seed: 0 to 2**30 - 1.
        run: the run's folder; it exists.
        resume: continue from the newest checkpoint.
        on_progress: called after every rollout.

    Returns:
        Path of the saved network.

    Raises:
        PolicyError: nothing to resume from, or nothing left to do.
    """
    validation = episode_seeds("validation", seed, settings.validation_episodes)
    expert = rollout(Dftsp(), scenario, validation)
    par_per_slot = max(1e-9, float(expert.throughput_rps.mean()) * scenario.timing.slot_s)

    def play(network: RequestScorer) -> Tally:
        policy = PickingPolicy(network) if settings.environment == "Select" else ranking_policy(network)
        return rollout(policy, scenario, validation)

    envs = gym.make_vec(f"EdgeLLM/{settings.environment}-v0", num_envs=settings.environments, scenario=scenario)
    environments = SB3VecEnv(AgainstPar(envs, par_per_slot))

    kind: type[PPO | MaskablePPO] = MaskablePPO if settings.masked else PPO

    def new_model() -> PPO | MaskablePPO:
        model = _new_model(environments, settings, seed)
        if settings.clone_first:
            clone = run / _CLONE_FOLDER
            clone.mkdir(exist_ok=True)
            cloning = imitation.model_copy(update={"width": settings.width, "beams": 1})
            labelled = imitation.rounds * imitation.slots_per_round(scenario)
            _begin_with(model, load_scorer(imitate(scenario, cloning, labelled, seed, clone)))
        return model

    model, done = open_model(kind, environments, run, steps, seed, resume, new_model)
    environments.seed(episode_seeds("train", seed, 1)[0] + 2**31 + done)
    judgement = Judgement(
        play=lambda: play(scorer_of(model)),
        keep=lambda: save_scorer(scorer_of(model), run / WEIGHTS),
        expert=expert,
        best_rps=float(play(load_scorer(run / WEIGHTS)).throughput_rps.mean()) if resume else None,
    )
    learn(model, settings, judgement, run, steps, done, on_progress)
    environments.close()
    return run / WEIGHTS


def scorer_of(model: PPO | MaskablePPO) -> RequestScorer:
    """Return the actor: its logits as scores."""
    extractor, head = _parts(model)
    scorer = RequestScorer(extractor.width, commits=head.commit is not None)
    scorer.encoder.load_state_dict(extractor.encoder.state_dict())
    scorer.head.load_state_dict(head.head.state_dict())
    if scorer.commit is not None and head.commit is not None:
        scorer.commit.load_state_dict(head.commit.state_dict())
    return scorer


def _begin_with(model: PPO | MaskablePPO, scorer: RequestScorer) -> None:
    extractor, head = _parts(model)
    extractor.encoder.load_state_dict(scorer.encoder.state_dict())
    head.head.load_state_dict(scorer.head.state_dict())


def _parts(model: PPO | MaskablePPO) -> tuple[QueueFeatures, PerRequest]:
    extractor, head = model.policy.features_extractor, model.policy.action_net
    assert isinstance(extractor, QueueFeatures)
    assert isinstance(head, PerRequest)
    return extractor, head


def _new_model(environments: SB3VecEnv, settings: PpoQueueSettings, seed: int) -> PPO | MaskablePPO:
    arguments: dict[str, Any] = {
        "clip_range": settings.clip_range,
        "policy_kwargs": {"width": settings.width},
        **settings.arguments(settings.rollout_steps, seed),
    }
    model: PPO | MaskablePPO
    if settings.masked:
        model = MaskablePPO(MaskedQueuePolicy, environments, rollout_buffer_class=PerSlotRollouts, **arguments)
    else:
        buffer = UnmaskedPerSlotRollouts if settings.environment == "Select" else None
        model = PPO(QueuePolicy, environments, rollout_buffer_class=buffer, **arguments)
    commit = _parts(model)[1].commit
    if commit is not None:
        with torch.no_grad():
            commit.weight.zero_()
            commit.bias.fill_(settings.commit_logit)
    return model
