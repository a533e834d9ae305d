"""What all learners have in common: settings from YAML, progress, PyTorch's threads."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

SETTINGS_FOLDER: Final = Path(__file__).parents[2] / "configs" / "agents"


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
        raise ValueError(f"config: {path}: " + "; ".join(map(_in_words, error.errors()))) from error


def _in_words(error: ErrorDetails) -> str:
    message, where = error["msg"].removeprefix("Value error, "), ".".join(map(str, error["loc"]))
    if not where:  # of several settings together: the message names them
        return message
    # What is missing has no value of its own: the library gives all the others.
    return f"{where}: {message}" if error["type"] == "missing" else f"{where}: {error['input']!r}; {message}"


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
