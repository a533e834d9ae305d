"""What single and vector environments share: arguments, the engine, and a spec that others can read back."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

from gymnasium.envs.registration import EnvSpec

from edgellm_env.env.actions import ActionInterface
from edgellm_env.env.engine import Engine
from edgellm_env.env.observation import Observation
from edgellm_env.scenario.scenario import Scenario, ScenarioLike, load_scenario

RENDER_MODES = ["ansi"]
Options: TypeAlias = dict[str, Any] | None
Start: TypeAlias = tuple[Observation, dict[str, Any]]
"""What ``reset`` returns: observation and info."""


class RenderModeError(ValueError, TypeError):
    """A render mode that does not exist.

    A ``TypeError`` too: libraries that ask for ``rgb_array`` by default (stable-baselines3) go on without it then.
    """


class EngineEnv:
    """An engine of ``num_envs`` environments behind Gymnasium's attributes."""

    interface: ClassVar[type[ActionInterface]]

    def _open(
        self,
        num_envs: int,
        scenario: ScenarioLike,
        trace: str | None,
        overrides: Mapping[str, Any] | None,
        render_mode: str | None,
    ) -> None:
        if render_mode not in (None, *RENDER_MODES):
            raise RenderModeError(f"render_mode: {render_mode!r}; expected None or one of {RENDER_MODES}")
        self.render_mode = render_mode
        self._engine = Engine(scenario, self.interface, num_envs, trace, overrides)
        self._spec: EnvSpec | None = None

    @property
    def scenario(self) -> Scenario:
        """The scenario in force, with trace file and overrides applied."""
        return self._engine.scenario

    @property
    def engine(self) -> Engine:
        """What the environment is made of, for wrappers and schedulers; agents should not look."""
        return self._engine

    @property
    def spec(self) -> EnvSpec | None:
        """How ``gym.make`` made this environment; its scenario is a mapping of settings, whatever was given."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        if spec is not None and "scenario" in spec.kwargs:
            # A name may mean something else elsewhere, and an object can't be written as JSON.
            settings = load_scenario(spec.kwargs["scenario"]).model_dump(mode="json", exclude_none=True)
            spec.kwargs = {**spec.kwargs, "scenario": settings}
        if spec is not None and spec.kwargs.get("trace") is not None:
            spec.kwargs = {**spec.kwargs, "trace": str(spec.kwargs["trace"])}
        self._spec = spec
