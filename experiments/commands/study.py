"""``study ...``: commands that measure learned agents and store what the results page is written from."""

import itertools
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from rich.console import Console

from agents.files import alone_in, prepare_folder
from agents.learned import ScoringPolicy
from agents.registry import ADMISSION_RULES, LearnerName, build_policies
from agents.seeds import MAXIMUM_SEED, episode_seeds
from edgellm_env.scenario import Scenario
from experiments.changes import Changes
from experiments.grid import study_comparing as comparing
from experiments.grid.drawn import drawn_name
from experiments.grid.evaluation import require_playable
from experiments.grid.ledger import CONTINUES
from experiments.grid.study_behaviour import observe_behaviour, observe_refusals
from experiments.grid.study_comparing import TEST_EPISODES, shipped_scenario
from experiments.grid.study_store import (
    STORE,
    Behaviour,
    Comparison,
    Refusals,
    TrainedRun,
    training_path,
    write_document,
    write_stored,
)
from experiments.grid.training import StudyRun, ablated_learner, finish_run, stored_run
from experiments.progress import training_bar
from experiments.results.provenance import package_versions
from experiments.results.statistics import REFERENCE
from experiments.results.summary import empty_texts


@dataclass(frozen=True)
class StudyTrain(Changes):
    """Train agents in scenarios with several seeds, as ``train`` does, and store what each reaches on test episodes.

    A run that is stored is not trained again. It may be ended at any time: the run under way begins anew. Several of
    these commands may run side by side as long as they train different runs.
    """

    kept: ClassVar[str] = CONTINUES

    agent: list[LearnerName]  # Which learners.
    scenario: list[str]  # Shipped scenarios.
    seed: list[int] = field(default_factory=lambda: [0, 1, 2])  # Training seeds.
    ablation: str | None = None
    """Train without something: no-slack, no-context, one-beam, no-masking. The learner as it is, unless given."""
    steps: int | None = None  # Environment steps of each run; each agent's own number unless given.
    slots: int | None = None  # Slots per episode, in place of the scenario's: for trying things out.
    episodes: int = TEST_EPISODES  # Test episodes that each trained agent plays.
    again: bool = False  # Train what is stored again.
    runs: Path = Path("runs/study")  # Where the training runs' folders go.
    store: Path = STORE  # Where results are stored.

    def run(self, console: Console) -> list[TrainedRun]:
        """Check everything, then train, play and store, run by run."""
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps: {self.steps}; expected at least 1")
        folder, runs = prepare_folder(self.runs), []
        for seed, agent, name in itertools.product(self.seed, self.agent, self.scenario):
            episode_seeds("train", seed, 1)
            scenario = self.changed(shipped_scenario(name), self.slots)
            learner = ablated_learner(agent, self.ablation)
            steps = learner.default_steps(scenario) if self.steps is None else self.steps
            words = [*self.words, *([] if self.slots is None else ["--slots", str(self.slots)])]
            stored_at = training_path(self.store, agent, self.ablation, name, seed)
            own = folder / stored_at.parent.name / stored_at.stem
            runs.append(StudyRun(agent, learner, self.ablation, scenario, words, steps, seed, own, stored_at))
        known = [None if self.again else stored_run(run, self.episodes) for run in runs]
        finished = []
        for place, (run, stored) in enumerate(zip(runs, known, strict=True), 1):
            became = " is stored" if stored else ""
            if stored is None:
                with alone_in(run.folder.parent, "training this run", run.folder.name):
                    if self.again:
                        shutil.rmtree(run.folder, ignore_errors=True)
                    with training_bar(console, run.label, run.steps) as progress:
                        result = finish_run(run, self.episodes, progress)
                    write_stored(result, self.store)
                ours, dftsp = (
                    np.mean([row.throughput_rps for row in rows]) for rows in (result.rows, result.reference)
                )
                became = f": {ours:.2f} requests/s, {REFERENCE} {dftsp:.2f}; trained in {result.training_s:.0f} s"
            finished.append(stored or result)
            console.print(f"{place} of {len(runs)}: {run.label}{became}")
        return finished


@dataclass(frozen=True)
class StudyCompare(Changes):
    """Play policies on the study's test episodes and store the rows; those that are stored are not played again."""

    kept: ClassVar[str] = CONTINUES

    scenario: list[str]  # Shipped scenarios.
    policies: list[str] = field(default_factory=list)
    """As in compare; unless given, all that need nothing but their name, and the agents shipped for the scenario."""
    rates: list[float] = field(default_factory=list)
    """Arrival rates in requests/s, each in place of the scenario's own."""
    loads: list[float] = field(default_factory=list)
    """The same as multiples of the scenario's own."""
    again: bool = False  # Play the policies again and replace what is stored of them.
    episodes: int = TEST_EPISODES  # Test episodes; stored ones must be as many.
    store: Path = STORE  # Where results are stored.

    def run(self, console: Console) -> list[Comparison]:
        """Check everything, then play and store, policy by policy."""
        with alone_in(self.store / "comparisons", "comparing for this store"):
            wanted = []
            for name in self.scenario:
                for rate_rps in self._rates_rps(name):
                    stored, scenario = comparing.stored_comparison(self.store, name, self, rate_rps, self.episodes)
                    policies = self.policies or comparing.default_policies(name)
                    require_playable(scenario, build_policies(policies, scenario))
                    wanted.append((stored, scenario, policies))
            return [self._fill(stored, scenario, policies, console) for stored, scenario, policies in wanted]

    def _rates_rps(self, name: str) -> list[float | None]:
        own_rps = shipped_scenario(name).workload.arrival_rate_rps
        if self.loads and own_rps is None:
            raise ValueError(f"loads: {self.loads}; expected none, as {name!r} has no workload.arrival_rate_rps")
        return [*self.rates, *(one * own_rps for one in self.loads if own_rps is not None)] or [None]

    def _fill(self, stored: Comparison, scenario: Scenario, policies: Sequence[str], console: Console) -> Comparison:
        for policy in policies:
            if comparing.is_stored(stored, policy) and not self.again:
                console.print(f"{stored.case}: {policy} is stored")
                continue
            stored = comparing.with_policy(stored, scenario, policy, self.episodes, self.words)
            write_stored(stored, self.store)
            rates_rps = [row.throughput_rps for row in stored.rows if row.policy == policy]
            console.print(f"{stored.case}: {policy} {sum(rates_rps) / len(rates_rps):.2f} requests/s")
        episodes = {row.episode: row.arrived for row in stored.rows}
        for text in empty_texts(sum(not arrived for arrived in episodes.values()), len(episodes)):
            console.print(f"{stored.case}: {text}")
        return stored


@dataclass(frozen=True)
class StudyPerturb(Changes):
    """As ``study compare``, in settings that nothing was trained or tuned on, drawn around those of the scenarios."""

    kept: ClassVar[str] = CONTINUES

    scenario: list[str]  # Shipped scenarios that draw their requests; settings are shared out among them in turn.
    count: int = 40  # How many settings.
    seed: int = 7  # Draws the settings.
    policies: list[str] = field(default_factory=lambda: ["dftsp", "lookahead", "generalist"])  # As in compare.
    again: bool = False  # Play the policies again and replace what is stored of them.
    episodes: int = TEST_EPISODES  # Test episodes; stored ones must be as many.
    store: Path = STORE  # Where results are stored.

    def run(self, console: Console) -> list[Comparison]:
        """Check everything, then play and store, setting by setting."""
        if self.count < 1:
            raise ValueError(f"count: {self.count}; expected at least 1")
        if not 0 <= self.seed <= MAXIMUM_SEED:
            raise ValueError(f"seed: {self.seed}; expected a whole number from 0 to {MAXIMUM_SEED}")
        for name in self.scenario:
            if shipped_scenario(name).workload.arrival_rate_rps is None:
                raise ValueError(f"scenario: {name!r} has no workload.arrival_rate_rps; expected one to change")
        turns = (divmod(place, len(self.scenario)) for place in range(self.count))
        cases = [drawn_name(self.scenario[at], self.seed, index) for index, at in turns]
        return StudyCompare(
            cases, self.policies, again=self.again, episodes=self.episodes, store=self.store,
            settings=self.settings, trace=self.trace,
        ).run(console)  # fmt: skip


@dataclass(frozen=True)
class StudyBounds:
    """Store what a scheduler that knew the future could serve at most in the study's test episodes."""

    results: Path  # The results.json of a compare that bounded the same episodes: compare --clairvoyant-s SECONDS.
    store: Path = STORE  # Where results are stored.

    def run(self, console: Console) -> Comparison:
        """Check that the bounds are of the stored episodes, then store them."""
        with alone_in(self.store / "comparisons", "comparing for this store"):
            stored = comparing.with_bounds(self.store, self.results)
            path = write_stored(stored, self.store)
        console.print(f"{stored.scenario}: bounds of {len(stored.bounds_rps)} episodes in {path}")
        return stored


@dataclass(frozen=True)
class StudyBehaviour(Changes):
    """Count which requests an agent serves and defers in validation episodes, and store it.

    On a continuous node: which of those that fit it refuses, next to the rules with tuned numbers.
    """

    policy: str  # As in compare; on slot-batch nodes one that scores requests, such as es-value:light.
    scenario: str  # Shipped scenario.
    episodes: int = 16  # Validation episodes to play.
    seed: int = 0  # Chooses the episodes.
    slots: int | None = None  # Slots per episode, in place of the scenario's.
    store: Path = STORE  # Where results are stored.

    def run(self, console: Console) -> Behaviour | Refusals:
        """Check everything, then play, then store."""
        scenario = self.changed(shipped_scenario(self.scenario), self.slots)
        episode_seeds("validation", self.seed, self.episodes)
        continuous = scenario.serving.kind == "continuous"
        others = [rule for rule in ADMISSION_RULES if rule != self.policy] if continuous else []
        policies = build_policies([self.policy, *others], scenario)
        scoring = policies[0]
        if not continuous and not isinstance(scoring, ScoringPolicy):
            raise ValueError(f"policy: {self.policy!r} scores no requests; expected a ranker, such as es-value:light")
        path = self.store / "behaviour" / f"{self.policy.replace(':', '-').replace('/', '_')}-in-{scenario.name}.json"
        found: Behaviour | Refusals
        with alone_in(path.parent, "counting this", path.name):
            if isinstance(scoring, ScoringPolicy):
                found = observe_behaviour(scoring, scoring.model.score, scenario, self.seed, self.episodes)
            else:
                found = observe_refusals(policies, scenario, self.seed, self.episodes)
            write_document(path, {**asdict(found), "versions": package_versions()})
        console.print(f"{self.policy} in {scenario.name}: {path}")
        return found
