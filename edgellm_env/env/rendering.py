"""What ``render`` does, by mode: a slot as text, as an array of colours, or in a window."""

from typing import TYPE_CHECKING, Any, Final

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from edgellm_env.env.picture import Camera
from edgellm_env.env.view import slot_as_text

if TYPE_CHECKING:
    from edgellm_env.env.canvas import Canvas
    from edgellm_env.env.engine import Engine

RENDER_FPS: Final = 4
SIZE: Final = (1280, 720)
"""Width and height of frames, in pixels."""


class Renderer:
    """Renders environments of an engine. Nothing is drawn, and pygame not imported, before it is asked for.

    Args:
        engine: whose environments.
        mode: ``"ansi"``, ``"rgb_array"``, ``"human"`` or None.
    """

    def __init__(self, engine: "Engine", mode: str | None) -> None:
        self.mode = mode
        self._engine = engine
        self._cameras: dict[int, Camera] = {}
        self._canvas: Canvas | None = None

    def look(self) -> None:
        """Look at what has been rendered before a step: the next picture tells of the slot that it plays."""
        for camera in self._cameras.values():
            camera.look()

    def forget(self) -> None:
        """Forget the slots seen: the environments stand somewhere else now."""
        self._cameras.clear()

    def render(self, row: int = 0) -> Any:
        """Return environment ``row`` as text or as colours (720, 1280, 3), or show it in a window and return None.

        Raises:
            DependencyNotInstalled: pygame is missing.
        """
        if self.mode is None:
            gym.logger.warn('render() was called without a render mode; pass one to gym.make: render_mode="rgb_array"')
            return None
        if self.mode == "ansi":
            return slot_as_text(self._engine.view_of(row), self._engine.info_of(row), self._engine.scenario)
        pixels = self._frame(row)
        return pixels if self.mode == "rgb_array" else None

    def _frame(self, row: int) -> NDArray[np.uint8]:
        try:
            from edgellm_env.env.canvas import Canvas  # noqa: PLC0415 - pygame is optional
            from edgellm_env.env.drawing import draw  # noqa: PLC0415
        except ImportError as error:
            raise gym.error.DependencyNotInstalled(
                f'render_mode: {self.mode!r} needs pygame ({error}); install it with: pip install "edgellm-env[render]"'
            ) from error
        self._canvas = self._canvas or Canvas()
        if row not in self._cameras:
            self._cameras[row] = Camera(self._engine, row)
        pixels = draw(self._canvas, self._cameras[row].picture())
        if self.mode == "human":
            self._canvas.show(RENDER_FPS)
        return pixels

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._canvas is not None:
            self._canvas.close()
