"""Profiles: what an iteration of a serving engine costs on one GPU, fitted to measurements (docs/profiles.md)."""

from pathlib import Path
from typing import Annotated, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from edgellm_env.settings import ScenarioError, checked, read_settings

PROFILE_FOLDER: Final = Path(__file__).parent
LEAST_STEP_S: Final = 1e-6
"""What an iteration takes at least: a slot would never end with iterations that take no time."""

Seconds: TypeAlias = Annotated[float, Field(ge=0, le=1e3, allow_inf_nan=False)]
Count: TypeAlias = Annotated[int, Field(ge=1, le=10**9)]
ErrorShare: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RegionFit(_Record):
    """Relative errors, fitted / measured - 1, over the measured iterations of one kind."""

    points: Count
    mean: ErrorShare  # of the magnitude
    p90: ErrorShare  # of the magnitude
    max: ErrorShare  # of the magnitude
    signed_mean: ErrorShare  # above 0: the fit is slower than the engine


class Profile(_Record):
    """The coefficients of an iteration's time (:mod:`edgellm_env.costs.iterations`), and where they are from."""

    name: str
    step_s: Annotated[float, Field(ge=LEAST_STEP_S, le=1e3, allow_inf_nan=False)]  # reading the weights, once for all
    sequence_s: Seconds  # of each decoding request
    context_token_s: Seconds  # of each token in a decoding request's KV cache
    prefill_token_s: Seconds  # of each token of a prompt
    prefill_token_squared_s: Seconds  # of each token of a prompt, times its length
    kv_tokens: Count | None = None  # that the KV cache holds; None: not known
    kv_tokens_from: str = ""  # where that number is from
    max_running: Count | None = None  # requests that run together, at most; None: not known
    fitted_sequences: Count | None = None  # the largest batch that was fitted
    fitted_prompt_tokens: Count | None = None  # the longest; beyond it the fit is too slow
    engine: str = ""
    gpu: str = ""
    model: str = ""
    source: str = ""  # of the measurements
    licence: str = ""  # of the measurements
    fit: dict[str, RegionFit] = {}  # by the kind of iteration
    command: str = ""  # that made the profile


def profile_names() -> tuple[str, ...]:
    """Names of the profiles that ship with the package."""
    return tuple(sorted(path.stem for path in PROFILE_FOLDER.glob("*.yaml")))


def load_profile(name_or_path: str | Path) -> Profile:
    """Load a profile by shipped name or YAML path.

    Raises:
        ScenarioError: no such name or file; a setting that is missing, unknown, of the wrong type or out of range.
    """
    shipped = str(name_or_path) in profile_names()
    path = PROFILE_FOLDER / f"{name_or_path}.yaml" if shipped else Path(name_or_path)
    if not path.is_file():
        names = ", ".join(profile_names())
        raise ScenarioError(f"profile: {str(name_or_path)!r} is neither a file nor a shipped profile; shipped: {names}")
    try:
        return checked(Profile, read_settings(path, str(name_or_path)), str(name_or_path))
    except ScenarioError as error:  # profiles are named inside of other settings: one line
        raise ScenarioError("; ".join(line.strip() for line in str(error).splitlines())) from error
