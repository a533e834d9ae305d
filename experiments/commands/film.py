"""``film``: policies on the very same requests, side by side, as a GIF."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console

from agents.files import alone_in, prepare_folder, require_place, written_whole
from agents.policy import Policy
from agents.registry import build_policies
from agents.rollout import Observer, Step, rollout
from agents.seeds import episode_seeds
from edgellm_env.env.engine import Engine
from edgellm_env.env.picture import Camera, Picture
from edgellm_env.env.rendering import RENDER_FPS, SIZE
from edgellm_env.scenario import Scenario
from experiments.changes import Changes
from experiments.extras import require
from experiments.grid.evaluation import require_playable

_LAST_FOR: Final = 8  # the last frame stays for the time of so many


@dataclass(frozen=True)
class Film(Changes):
    """Film policies on the very same requests, side by side: a GIF with a frame for each slot, or its last as a PNG.

    The episode is one of validation.
    """

    out: Path  # The GIF; a name that ends in .png: a picture of the last slot alone.
    scenario: str = "chat"  # Shipped scenario, or path to a YAML file.
    policies: list[str] = field(default_factory=lambda: ["dftsp", "slo-threshold"])  # As for compare.
    trust: bool = False  # As for compare.
    seed: int = 0  # Chooses the episode.
    slots: int = 60  # Slots that are played.
    width: int = 640  # Pixels of a policy's frame, which is drawn at 1280.

    def run(self, console: Console) -> Path:
        """Check everything, then play, draw and write."""
        image = require("PIL.Image", "datasets")
        require("pygame", "render")
        if self.out.suffix not in (".gif", ".png"):
            raise ValueError(f"out: {self.out}; expected a name that ends in .gif or .png")
        if not 16 <= self.width <= SIZE[0]:
            raise ValueError(f"width: {self.width}; expected 16 to {SIZE[0]}")
        (seed,) = episode_seeds("validation", self.seed, 1)
        scenario = self.changed(self.scenario, self.slots)
        require_playable(scenario)
        policies = build_policies(self.policies, scenario, self.trust)
        require_playable(scenario, policies)
        prepare_folder(self.out.parent)
        require_place(self.out)
        from edgellm_env.env.canvas import Canvas  # noqa: PLC0415 - pygame is optional
        from edgellm_env.env.drawing import draw  # noqa: PLC0415

        with alone_in(self.out.parent, "filming", self.out.name):
            canvas, frames, size = Canvas(), [], (self.width, self.width * SIZE[1] // SIZE[0])
            for pictures in zip(*(_film(policy, scenario, seed) for policy in policies), strict=True):
                small = [np.asarray(image.fromarray(draw(canvas, picture)).resize(size)) for picture in pictures]
                frames.append(np.concatenate(small, axis=1))
            if self.out.suffix == ".png":
                frames = frames[-1:]
            first, *others = map(image.fromarray, frames)
            animation: dict[str, Any] = {}
            if others:
                # Colours that all frames share, so that what does not move costs nothing.
                palette = image.fromarray(np.concatenate(frames[:: -1 - len(frames) // 4])).quantize()
                first, *others = [one.quantize(palette=palette, dither=image.Dither.NONE) for one in (first, *others)]
                lasts_ms = [1000 // RENDER_FPS] * len(others) + [_LAST_FOR * 1000 // RENDER_FPS]
                animation = {"save_all": True, "append_images": others, "duration": lasts_ms, "loop": 0}
            with written_whole(self.out) as temporary:
                first.save(temporary, self.out.suffix[1:], optimize=True, **animation)
        size_mb, shown = self.out.stat().st_size / 1e6, " beside ".join(self.policies)
        console.print(f"{self.out}: {shown}; {len(frames)} frame(s), {size_mb:.2f} MB")
        return self.out


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
