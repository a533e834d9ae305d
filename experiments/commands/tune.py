"""Tunes `lookahead` on training seeds: the cross-entropy method over its three weights."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
import yaml
from rich.console import Console

from agents.files import write_text
from agents.optimal import LOOKAHEAD_FILE, Lookahead, LookaheadSettings
from agents.policy import BATCH
from agents.rollout import make_engine, rollout
from agents.seeds import episode_seeds
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.scenario import Scenario, load_scenario, parse_setting

POPULATION = 16
ELITE = 4
EPISODES = 8
_START = np.array([0.5, np.log(2.0), 0.0])  # urgency, log of decay in slots, bulk
_SPREAD = np.array([0.3, 0.6, 0.3])
_KEPT_SPREAD = 0.75


def served_by(candidates: Sequence[LookaheadSettings], scenario: Scenario, seeds: Sequence[int]) -> IntArray:
    """Return how many requests each candidate serves in each of the same episodes, (candidates, seeds)."""
    engine = make_engine(scenario, BATCH, len(seeds))
    return np.stack([rollout(Lookahead(one), scenario, seeds, engine=engine).served for one in candidates])


def tune(scenario: Scenario, generations: int, seed: int, console: Console | None = None) -> LookaheadSettings:
    """Return settings tuned for coupled slots; equal arguments give equal settings.

    Each generation draws 16 candidates and plays them on 8 training episodes of its own.
    """
    if not scenario.queue.carry_over:
        raise ValueError(
            f"queue.carry_over: false in {scenario.name!r}; expected coupled slots: nothing to look ahead to"
        )
    if generations < 1:
        raise ValueError(f"generations: {generations}; expected at least 1")
    rng = np.random.default_rng(seed)
    center, spread = _START.copy(), _SPREAD.copy()
    for generation in range(generations):
        drawn = center + spread * rng.standard_normal((POPULATION, 3))
        drawn[0] = center
        drawn[:, 0] = np.abs(drawn[:, 0])
        candidates = [_settings(weights) for weights in drawn]
        seeds = episode_seeds("train", seed, (generation + 1) * EPISODES)[-EPISODES:]
        served = served_by(candidates, scenario, seeds).mean(axis=1)
        elite = drawn[np.argsort(-served)[:ELITE]]
        center = (center + elite.mean(axis=0)) / 2.0
        spread = _KEPT_SPREAD * spread + (1.0 - _KEPT_SPREAD) * elite.std(axis=0)
        text = f"generation {generation + 1} of {generations}: {served.max():.1f} served, {_settings(center)}"
        if console is not None:
            console.print(text)
    return _settings(np.round(center, 3))


def _settings(weights: FloatArray) -> LookaheadSettings:
    return LookaheadSettings(float(abs(weights[0])), round(float(np.exp(weights[1])), 3), float(weights[2]))


@dataclass(frozen=True)
class TuneLookahead:
    """Tune `lookahead` for a scenario on training seeds and store its settings."""

    scenario: Annotated[str, tyro.conf.arg(help="shipped name or path of the scenario")]
    generations: Annotated[int, tyro.conf.arg(help="generations of 16 candidates on 8 episodes")] = 25
    seed: Annotated[int, tyro.conf.arg(help="seed of candidates and training episodes")] = 0
    out: Annotated[Path, tyro.conf.arg(help="settings file to update")] = LOOKAHEAD_FILE

    def run(self, console: Console) -> None:
        """Tune, and write the result into the settings file."""
        scenario = load_scenario(self.scenario)
        settings = tune(scenario, self.generations, self.seed, console)
        text = self.out.read_text(encoding="utf-8") if self.out.is_file() else ""
        header = "".join(line + "\n" for line in text.splitlines() if line.startswith("#"))
        table = parse_setting(text, f"out: {self.out}") or {}
        if not isinstance(table, dict):
            raise ValueError(f"out: {self.out} holds {type(table).__name__}; expected settings by scenario")
        table[scenario.name] = asdict(settings)
        write_text(self.out, header + yaml.safe_dump(table, sort_keys=True))
        console.print(f"{scenario.name}: {settings}, stored in {self.out}")
