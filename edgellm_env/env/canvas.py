"""What pictures are drawn with: colours, letters, panels, bars and marks on a surface of pygame's.

Nothing needs a display but :meth:`Canvas.show`. Colours are Okabe and Ito's, which colour-blind people tell apart;
marks differ in shape too.
"""

import os
from collections.abc import Sequence
from typing import Any, Final

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from edgellm_env.env import picture as shows
from edgellm_env.env.rendering import SIZE

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
import pygame
from pygame import Rect

_PAPER, _PANEL, LINE, GRID = (246, 246, 243), (255, 255, 255), (222, 222, 217), (236, 236, 232)
INK, QUIET, _EMPTY = (34, 34, 34), (105, 105, 105), (233, 233, 229)
BLUE, SKY, GREEN, ORANGE, VERMILION = (0, 114, 178), (86, 180, 233), (0, 158, 115), (230, 159, 0), (213, 94, 0)
GREY, PURPLE, PALE = (140, 140, 140), (204, 121, 167), (246, 221, 165)

_MARKS: Final = {
    shows.WAITING: SKY, shows.URGENT: ORANGE, shows.INADMISSIBLE: GREY, shows.PICKED: BLUE,
    shows.ADMITTED: GREEN, shows.LOST: VERMILION,
}  # fmt: skip
_FINER: Final = 4  # marks and letters are drawn this many times as large, and shrunk: smooth, and evenly spaced


class Canvas:
    """A surface, with fonts and marks that have been drawn before."""

    def __init__(self) -> None:
        pygame.font.init()
        self._pixels = np.zeros((SIZE[1], SIZE[0], 3), dtype=np.uint8)
        self.surface = pygame.image.frombuffer(self._pixels.data, SIZE, "RGB")  # draws into these
        self._window: pygame.Surface | None = None
        self._clock = pygame.time.Clock()
        self._fonts: dict[int, pygame.font.Font] = {}
        self._texts: dict[tuple[Any, ...], pygame.Surface] = {}
        self._marks: dict[tuple[int, int], pygame.Surface] = {}

    def __reduce__(self) -> tuple[type["Canvas"], tuple[()]]:
        """Be a new canvas as a copy: fonts and windows can't be copied, and nothing here is worth it."""
        return Canvas, ()

    def clear(self) -> None:
        """Begin with an empty sheet."""
        self.surface.fill(_PAPER)

    def colours(self) -> NDArray[np.uint8]:
        """Return what has been drawn, (720, 1280, 3), an array of its own."""
        return self._pixels.copy()

    def show(self, fps: float) -> None:
        """Show what has been drawn in a window, at most ``fps`` times a second.

        Raises:
            gymnasium.error.Error: there is no display.
        """
        try:
            if self._window is None:
                pygame.display.init()
                self._window = pygame.display.set_mode(SIZE)
                pygame.display.set_caption("EdgeLLM")
            self._window.blit(self.surface, (0, 0))
            pygame.event.pump()
            pygame.display.flip()
        except pygame.error as error:
            raise gym.error.Error(f"render_mode: 'human': {error}; expected a display, or 'rgb_array'") from error
        self._clock.tick(fps)

    def close(self) -> None:
        """Close the window."""
        if self._window is not None:
            pygame.display.quit()
            self._window = None

    def text(
        self, text: str, at: tuple[float, float], size: int = 16, colour: Any = INK, align: float = 0.0,
        upright: bool = False,
    ) -> int:  # fmt: skip
        """Write ``text`` with its top at ``at``, which is its left end, or a share ``align`` of it; return its width.

        Upright, it is written from below, its middle at ``at``.
        """
        key = text, size, colour, upright
        if key not in self._texts:
            if len(self._texts) > 4096:
                self._texts.clear()
            if size not in self._fonts:
                self._fonts[size] = pygame.font.Font(None, size * _FINER)
            big = self._fonts[size].render(text, True, colour)
            small = pygame.transform.smoothscale_by(big, 1.0 / _FINER)
            self._texts[key] = pygame.transform.rotate(small, 90) if upright else small
        written = self._texts[key]
        down = 0.5 * written.get_height() if upright else 0.0
        self.surface.blit(written, (round(at[0] - align * written.get_width()), round(at[1] - down)))
        return written.get_width()

    def panel(self, box: Rect, title: str, said: str = "", legend: Sequence[tuple[str, Any]] = ()) -> Rect:
        """Draw a panel with a title and, at its right, what colours mean; return what is left of it."""
        pygame.draw.rect(self.surface, _PANEL, box, border_radius=8)
        pygame.draw.rect(self.surface, LINE, box, width=1, border_radius=8)
        width = self.text(title, (box.left + 14, box.top + 10), 20)
        self.text(said, (box.left + 24 + width, box.top + 12), 17, QUIET)
        right = box.right - 14
        for name, colour in reversed(legend):
            right -= self.text(name, (right, box.top + 12), 17, QUIET, 1.0) + 18
            pygame.draw.rect(self.surface, colour, Rect(right, box.top + 11, 12, 12), border_radius=2)
            right -= 14
        return Rect(box.left + 14, box.top + 36, box.width - 28, box.height - 46)

    def bar(self, box: Rect, parts: Sequence[tuple[float, Any]]) -> None:
        """Draw shares of a whole one behind the other."""
        pygame.draw.rect(self.surface, _EMPTY, box)
        at = 0.0
        for share, colour in parts:
            left, right = (box.left + round(box.width * min(1.0, edge)) for edge in (at, at + share))
            pygame.draw.rect(self.surface, colour, Rect(left, box.top, right - left, box.height))
            at += share

    def mark(self, kind: int, radius: int) -> pygame.Surface:
        """Return the mark of a request."""
        if (kind, radius) not in self._marks:
            size, colour = 2 * radius + 4, _MARKS[kind]
            middle, reach = size * _FINER / 2, radius * _FINER
            big = pygame.Surface((size * _FINER, size * _FINER), pygame.SRCALPHA)
            big.fill((*colour, 0))
            if kind == shows.LOST:
                arm = 0.75 * reach
                for sign in (-1, 1):
                    begin, end = (middle - arm, middle - sign * arm), (middle + arm, middle + sign * arm)
                    pygame.draw.line(big, colour, begin, end, 3 * _FINER)
            elif kind == shows.URGENT:
                corners = [(0.0, -1.05), (1.0, 0.75), (-1.0, 0.75)]
                points = [(middle + x * reach, middle + y * reach) for x, y in corners]
                pygame.draw.polygon(big, (*colour, 225), points)
                pygame.draw.polygon(big, INK, points, width=_FINER)
            elif kind == shows.ADMITTED:
                side = 1.7 * reach
                box = Rect(round(middle - side / 2), round(middle - side / 2), round(side), round(side))
                pygame.draw.rect(big, (*colour, 225), box)
            elif kind == shows.INADMISSIBLE:
                pygame.draw.circle(big, colour, (middle, middle), reach, width=2 * _FINER)
            else:
                pygame.draw.circle(big, (*colour, 200), (middle, middle), reach)
                pygame.draw.circle(
                    big, INK if kind == shows.PICKED else BLUE, (middle, middle), reach,
                    width=(3 if kind == shows.PICKED else 1) * _FINER,
                )  # fmt: skip
            self._marks[kind, radius] = pygame.transform.smoothscale(big, (size, size))
        return self._marks[kind, radius]
