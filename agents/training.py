"""What all learners have in common: settings from YAML, progress, and the expert's mark on the same episodes."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import gymnasium as gym
import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from agents.expert import dftsp_batches
from edgellm_env.arrays import FloatArray
from edgellm_env.scenario import Scenario
from edgellm_env.vector_env import EdgeLLMVectorEnv

SETTINGS_FOLDER: Final = Path(__file__).parent.parent / "configs" / "agents"


class Settings(BaseModel):
    """Base of learners' hyper-parameters; ``configs/agents`` has the values used, with a reason each."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


AnySettings = TypeVar("AnySettings", bound=BaseModel)


def read_settings(kind: type[AnySettings], path: Path) -> AnySettings:
    """Read hyper-parameters from YAML.

    Raises:
        ValueError: unreadable, or a setting that is unknown, missing or out of range.
    """
    try:
        return kind.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"config: {path} can't be read: {error}") from error
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, one['loc']))}: {one['input']!r}; {one['msg']}" for one in error.errors()]
        raise ValueError(f"config: {path}: " + "; ".join(lines)) from error


@dataclass(frozen=True)
class Progress:
    """Where a training run stands.

    Args:
        steps: environment steps (slots, over all environments) so far.
        throughput_rps: the latest mark, on validation episodes; None if there is none yet.
    """

    steps: int
    throughput_rps: float | None


OnProgress = Callable[[Progress], None]


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let PyTorch use one thread: networks this small gain nothing from more, and lose much on a busy machine."""
    import torch  # noqa: PLC0415 - not every learner needs it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def expert_throughput_rps(scenario: Scenario, seeds: Sequence[int]) -> FloatArray:
    """Return (M,) requests served per second by DFTSP in the episodes of these seeds."""
    slots = scenario.timing.episode_slots
    # A slot more than is played: nobody needs the episodes that would begin with the last one.
    longer = scenario.with_values({"timing.episode_slots": slots + 1})
    envs = gym.make_vec("EdgeLLM/Batch-v0", num_envs=len(seeds), scenario=longer).unwrapped
    assert isinstance(envs, EdgeLLMVectorEnv)
    envs.reset(seed=list(seeds))
    served = np.zeros(len(seeds))
    for _ in range(slots):
        served += envs.step(dftsp_batches(envs.dynamics))[1]
    return np.asarray(served / scenario.timing.episode_s)
