"""Trains a ranker by direct search: the cross-entropy method on a linear scorer, then evolution on hidden units."""

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from pydantic import Field, field_validator
from stable_baselines3.common.logger import Logger, configure

from agents.learning.judging import record_validation
from agents.learning.population import Population
from agents.learning.runs import CHECKPOINTS, TENSORBOARD, WEIGHTS
from agents.learning.search import CrossEntropy, EvolutionStrategy, antithetic_noise
from agents.learning.settings import OnProgress, Progress, Settings
from agents.models.packing import PACKINGS, PackingName
from agents.models.ranker_features import FEATURES
from agents.models.ranker_storage import SearchState, load_state, save_ranker, save_state
from agents.models.scorer import LINEAR, Scorers, parameter_count, parameter_mask
from agents.optimal import Dftsp
from agents.policy import PolicyError
from agents.rollout import rollout
from agents.seeds import episode_seeds
from edgellm_env.arrays import FloatArray
from edgellm_env.scenario import Scenario

STATE: Final = "search.safetensors"


class RankerSettings(Settings):
    """Hyper-parameters of the search."""

    packing: PackingName
    hidden_units: Annotated[int, Field(ge=0)]
    generations: Annotated[int, Field(ge=1)]
    linear_generations: Annotated[int, Field(ge=1)]
    candidates: Annotated[int, Field(ge=4, multiple_of=2)]
    episodes: Annotated[int, Field(ge=1)]
    initial_deviation: Annotated[float, Field(gt=0)]
    elite: Annotated[float, Field(gt=0, le=1)]
    variance_memory: Annotated[float, Field(ge=0, lt=1)]
    least_deviation: Annotated[float, Field(gt=0)]
    unit_scale: Annotated[float, Field(gt=0)]
    noise: Annotated[float, Field(gt=0)]
    learning_rate: Annotated[float, Field(gt=0)]
    averaging: Annotated[float, Field(ge=0, lt=1)]
    validation_episodes: Annotated[int, Field(ge=2)]
    validate_every: Annotated[int, Field(ge=1)]
    dropped_features: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Features that the ranker must do without, by name: to see what they are worth."""

    @field_validator("dropped_features")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(names) - set(FEATURES))
        if unknown:
            raise ValueError(f"no such feature: {', '.join(unknown)}; expected some of {', '.join(FEATURES)}")
        return names

    @property
    def parameter_mask(self) -> FloatArray:
        """(D,) 0 where a weight of the ranker stays 0, 1 elsewhere."""
        return parameter_mask(self.dropped_features, self.hidden_units)

    def slots_per_generation(self, scenario: Scenario) -> int:
        """Return how many slots a generation plays."""
        return self.candidates * self.episodes * scenario.timing.episode_slots


def train(
    scenario: Scenario,
    settings: RankerSettings,
    steps: int,
    seed: int,
    run: Path,
    resume: bool = False,
    on_progress: OnProgress = lambda progress: None,
) -> Path:
    """Search, and save the ranker that did best on validation episodes in the folder ``run``.

    The same arguments give the same ranker. A resumed search goes on exactly as if it had not been interrupted.

    Args:
        scenario: what to learn.
        settings: hyper-parameters.
        steps: environment steps (slots over all environments), rounded up to whole generations.
        seed: 0 to 2**30 - 1.
        run: the run's folder; it exists.
        resume: continue from where the run's last generation ended.
        on_progress: called after every generation.

    Returns:
        Path of the saved ranker.

    Raises:
        PolicyError: nothing to resume from, or nothing left to do.
    """
    per_generation = settings.slots_per_generation(scenario)
    generations = -(-steps // per_generation)
    state_path = run / CHECKPOINTS / STATE
    state = load_state(state_path, settings.hidden_units) if resume else new_state(settings)
    if state.generation >= generations:
        raise PolicyError(f"steps: {generations} generations; {run} has {state.generation} already, expected more")
    state_path.parent.mkdir(exist_ok=True)
    search = _Search(scenario, settings, seed, configure(str(run / TENSORBOARD), ["tensorboard"]))
    while state.generation < generations:
        state = search.advance(state, last=state.generation + 1 == generations)
        save_state(state, state_path)
        save_ranker(Scorers.from_parameters(state.best[None], settings.hidden_units), settings.packing, run / WEIGHTS)
        judged = state.best_rps if np.isfinite(state.best_rps) else None
        on_progress(Progress(state.generation * per_generation, judged))
    search.log.close()
    return run / WEIGHTS


def linear_weights(scenario: Scenario, settings: RankerSettings, generations: int, seed: int) -> FloatArray:
    """Return (R,) weights of a linear ranker after some generations of the cross-entropy method."""
    search, state = _Search(scenario, settings, seed, Logger(None, [])), new_state(settings)
    for generation in range(generations):
        state = search.advance(state, last=generation + 1 == generations)
    return state.best[:LINEAR]


def new_state(settings: RankerSettings) -> SearchState:
    """Return the search's beginning: smaller footprints first, everything else unknown."""
    mean = np.zeros(LINEAR)
    mean[FEATURES.index("footprint")] = -1.0
    mean *= settings.parameter_mask[:LINEAR]
    return SearchState(
        generation=0,
        seconds=0.0,
        linear=CrossEntropy(mean, np.full(LINEAR, settings.initial_deviation)),
        network=None,
        best=np.concatenate([mean, np.zeros(parameter_count(settings.hidden_units) - LINEAR)]),
        best_rps=-np.inf,
    )


class _Search:
    def __init__(self, scenario: Scenario, settings: RankerSettings, seed: int, log: Logger) -> None:
        self.log = log
        self._settings, self._seed = settings, seed
        self._mask = settings.parameter_mask
        packing = PACKINGS[settings.packing]
        self._population = Population(scenario, packing, settings.candidates, settings.episodes)
        self._per_generation = settings.slots_per_generation(scenario)
        self._validation_seeds = episode_seeds("validation", seed, settings.validation_episodes)
        self._judge = Population(scenario, packing, 1, settings.validation_episodes)
        self._expert = rollout(Dftsp(), scenario, self._validation_seeds)

    def advance(self, state: SearchState, last: bool) -> SearchState:
        """Play one generation."""
        settings, began_s = self._settings, time.monotonic()
        if settings.hidden_units and state.generation >= settings.linear_generations:
            state, weights, fitness = self._evolve(state)
        else:
            state, weights, fitness = self._cross_entropy(state)
        slots_per_second = self._per_generation / (time.monotonic() - began_s)
        if state.generation % settings.validate_every == 0 or last:
            state = self._validate(state, weights)
        self.log.record("search/mean_rps", float(fitness.mean()))
        self.log.record("search/best_rps", float(fitness.max()))
        self.log.record("time/slots_per_second", slots_per_second)
        self.log.dump(state.generation * self._per_generation)
        return dataclasses.replace(state, seconds=state.seconds + time.monotonic() - began_s)

    def _play(self, parameters: FloatArray, hidden_units: int, generation: int) -> FloatArray:
        """Return (P,) mean throughput of the candidates on this generation's own training episodes."""
        episodes = self._settings.episodes
        first = episode_seeds("train", self._seed, 1)[0] + generation * episodes
        scorers = Scorers.from_parameters(parameters, hidden_units)
        rates = self._population.throughput_rps(scorers, range(first, first + episodes))
        return np.asarray(rates.mean(axis=1))

    def _cross_entropy(self, state: SearchState) -> tuple[SearchState, FloatArray, FloatArray]:
        settings = self._settings
        noise = self._mask[:LINEAR] * antithetic_noise(self._seed, state.generation, settings.candidates, LINEAR)
        fitness = self._play(state.linear.ask(noise), 0, state.generation)
        rescale = settings.packing == "greedy"
        linear = state.linear.tell(
            noise, fitness, settings.elite, settings.variance_memory, settings.least_deviation, rescale
        )
        self.log.record("search/deviation", float(linear.deviation.mean()))
        state = dataclasses.replace(state, generation=state.generation + 1, linear=linear)
        unused = np.zeros(parameter_count(settings.hidden_units) - LINEAR)
        return state, np.concatenate([linear.mean, unused]), fitness

    def _evolve(self, state: SearchState) -> tuple[SearchState, FloatArray, FloatArray]:
        settings = self._settings
        size = parameter_count(settings.hidden_units)
        network = state.network or EvolutionStrategy.start(self._with_units(state.linear.mean))
        noise = self._mask * antithetic_noise(self._seed, state.generation, settings.candidates, size)
        fitness = self._play(network.ask(noise, settings.noise), settings.hidden_units, state.generation)
        network = network.tell(noise, fitness, settings.learning_rate, settings.averaging)
        state = dataclasses.replace(state, generation=state.generation + 1, network=network)
        return state, network.average, fitness

    def _with_units(self, linear: FloatArray) -> FloatArray:
        """Add hidden units that look at random directions and count for nothing yet: no score changes."""
        units = self._settings.hidden_units
        size = parameter_count(units)
        weights = np.zeros(size)
        weights[:LINEAR] = linear
        inputs = slice(LINEAR, size - units)
        rng = np.random.default_rng([self._seed, 2**32])
        weights[inputs] = self._settings.unit_scale * rng.standard_normal(size - units - LINEAR)
        return self._mask * weights

    def _validate(self, state: SearchState, weights: FloatArray) -> SearchState:
        scorers = Scorers.from_parameters(weights[None], self._settings.hidden_units)
        mean = record_validation(self.log, self._judge.play(scorers, self._validation_seeds), self._expert)
        if mean <= state.best_rps:
            return state
        return dataclasses.replace(state, best=weights, best_rps=mean)
