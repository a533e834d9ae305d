"""``tune`` finds the numbers of a policy that has some, for one scenario."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import tyro
import yaml
from rich.console import Console

from agents.files import alone_in, require_place, write_text
from agents.learning.evolution import antithetic_noise
from agents.policy import BATCH
from agents.registry import TUNED, TunedName
from agents.rollout import make_engine, rollout
from agents.seeds import episode_seeds
from agents.tuned import Settings, Tuned
from edgellm_env.scenario import Scenario, parse_setting
from experiments.changes import Changes
from experiments.progress import progress_bar

CANDIDATES: Final = 16
"""Settings that a generation tries, each in the same episodes."""

EPISODES: Final = 8
"""Training episodes of a generation, new ones in each."""


@dataclass(frozen=True)
class Tune(Changes):
    """Tune a policy's numbers for a scenario by the cross-entropy method on training seeds, and store them."""

    policy: tyro.conf.Positional[TunedName]  # Which policy.
    scenario: str  # Shipped name or path of the scenario.
    generations: int = 25  # Generations of 16 candidates on 8 episodes.
    seed: int = 0  # Seed of candidates and training episodes.
    out: Path | None = None  # Settings file to update; the policy's own in configs/agents unless given.

    def run(self, console: Console) -> None:
        """Tune, and write the result into the settings file."""
        scenario, kind = self.changed(self.scenario), TUNED[self.policy]
        out = self.out or kind.settings.path()
        require_place(out)
        with alone_in(out.parent, "tuning", out.name):
            settings = tune(kind, scenario, self.generations, self.seed, console)
            text = out.read_text(encoding="utf-8") if out.is_file() else ""
            header = "".join(line + "\n" for line in text.splitlines() if line.startswith("#"))
            table = parse_setting(text, f"out: {out}") or {}
            if not isinstance(table, dict):
                raise ValueError(f"out: {out} holds {type(table).__name__}; expected settings by scenario")
            table[scenario.name] = asdict(settings)
            write_text(out, header + yaml.safe_dump(table, sort_keys=True))
        console.print(f"{scenario.name}: {settings}, stored in {out}")


def tune(kind: type[Tuned], scenario: Scenario, generations: int, seed: int, console: Console) -> Settings:
    """Return settings tuned for coupled slots by the cross-entropy method; equal arguments give equal settings."""
    if not scenario.queue.carry_over:
        raise ValueError(
            f"queue.carry_over: false in {scenario.name!r}; expected coupled slots: nothing to look ahead to"
        )
    if generations < 1:
        raise ValueError(f"generations: {generations}; expected at least 1")
    engine = make_engine(scenario, BATCH, CANDIDATES * EPISODES)
    search = kind.settings.search()
    with progress_bar(console, generations, kind.settings.policy) as bar:
        for generation in range(generations):
            noise = antithetic_noise(seed, generation, CANDIDATES, search.mean.size)
            candidates = [kind.settings.of(weights) for weights in search.ask(noise)]
            seeds = episode_seeds("train", seed, (generation + 1) * EPISODES)[-EPISODES:]
            # All candidates side by side, the first one's episodes first.
            policy = kind(*(one for one in candidates for _ in seeds))
            served = rollout(policy, scenario, seeds * CANDIDATES, engine=engine).served.reshape(CANDIDATES, EPISODES)
            fitness = served.mean(axis=1)
            search = search.tell(noise, fitness, elite=0.25, memory=0.5)
            found = kind.settings.of(search.mean)
            console.print(f"generation {generation + 1} of {generations}: {fitness.max():.1f} served, {found}")
            bar(1, "")
    return found
