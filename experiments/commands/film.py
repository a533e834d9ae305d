"""``film``: policies on the very same requests, side by side, as a GIF."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from agents.files import prepare_folder, require_place, written_whole
from agents.policy import Policy
from agents.registry import build_policies
from agents.rollout import Observer, Step, rollout
from agents.seeds import episode_seeds
from edgellm_env.env.engine import Engine
from edgellm_env.env.picture import Camera, Picture
from edgellm_env.env.rendering import RENDER_FPS
from edgellm_env.scenario import Scenario
from experiments.changes import Changes
from experiments.extras import require
from experiments.grid.evaluation import require_playable

_COLOURS: Final = 96
_LAST_FOR: Final = 8  # the last frame stays for the time of so many


@dataclass(frozen=True)
class Film(Changes):
    """Film policies on the very same requests, side by side: a GIF with a frame for each slot.

    The episode is one of validation.
    """

    out: Path  # The GIF.
    scenario: str = "chat"  # Shipped scenario, or path to a YAML file.
    policies: list[str] = field(default_factory=lambda: ["dftsp", "slo-threshold"])  # As for compare.
    trust: bool = False  # As for compare.
    seed: int = 0  # Chooses the episode.
    slots: int = 60  # Slots that are played.
    width: int = 640  # Width of a policy's frames; they are drawn at 1280.

    def run(self, console: Console) -> Path:
        """Check everything, then play, draw and write."""
        image = require("PIL.Image", "datasets")
        require("pygame", "render")
        from edgellm_env.env.canvas import Canvas  # noqa: PLC0415 - pygame is optional
        from edgellm_env.env.drawing import draw  # noqa: PLC0415

        prepare_folder(self.out.parent)
        require_place(self.out)
        if not 16 <= self.width <= 1280:
            raise ValueError(f"width: {self.width}; expected 16 to 1280")
        (seed,) = episode_seeds("validation", self.seed, 1)
        scenario = self.changed(self.scenario, self.slots)
        require_playable(scenario)
        policies = build_policies(self.policies, scenario, self.trust)
        require_playable(scenario, policies)
        canvas, frames = Canvas(), []
        for pictures in zip(*(_film(policy, scenario, seed) for policy in policies), strict=True):
            drawn = [image.fromarray(draw(canvas, picture)) for picture in pictures]
            small = [one.reduce(2) if self.width == 640 else one for one in drawn]
            frames.append(_side_by_side([one.resize((self.width, self.width * 9 // 16)) for one in small]))
        # Colours that all frames share, so that what does not move costs nothing.
        palette = image.fromarray(np.concatenate(frames[:: max(1, len(frames) // 4)])).quantize(_COLOURS)
        images = [image.fromarray(frame).quantize(palette=palette, dither=image.Dither.NONE) for frame in frames]
        lasts_ms = [1000 // RENDER_FPS] * (len(images) - 1) + [_LAST_FOR * 1000 // RENDER_FPS]
        with written_whole(self.out) as temporary:
            images[0].save(
                temporary, "GIF", save_all=True, append_images=images[1:], duration=lasts_ms, loop=0, optimize=True
            )
        size_mb = self.out.stat().st_size / 1e6
        console.print(f"{self.out}: {len(images)} frames, {size_mb:.1f} MB; {' beside '.join(self.policies)}")
        return self.out


def _side_by_side(images: Sequence[Any]) -> NDArray[np.uint8]:
    return np.concatenate([np.asarray(image) for image in images], axis=1)


class _Filming(Observer):
    """Takes a picture of each slot of one episode."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.pictures: list[Picture] = []

    def begin(self, engine: Engine, seeds: Sequence[int]) -> None:
        self._camera = Camera(engine)
        self._take()

    def decided(self, step: Step) -> None:
        self._camera.look()

    def played(self, step: Step) -> None:
        if step.closed[0]:
            self._take()

    def _take(self) -> None:
        picture = self._camera.picture()
        self.pictures.append(replace(picture, title=self._policy.name, node=f"{picture.title}   {picture.node}"))


def _film(policy: Policy, scenario: Scenario, seed: int) -> list[Picture]:
    filming = _Filming(policy)
    rollout(policy, scenario, [seed], [filming])
    return filming.pictures
