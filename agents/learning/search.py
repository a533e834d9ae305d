"""Direct search for a ranker: the cross-entropy method on a linear scorer, then an evolution strategy on hidden units.

All candidates of a generation play the very same episodes, side by side. A search continued from a saved state goes on
exactly as if it had not been interrupted.
"""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Self

import numpy as np
from pydantic import Field, field_validator, model_validator
from stable_baselines3.common.logger import Logger, configure

from agents.learned import ScoringPolicy
from agents.learning.evolution import CrossEntropy, EvolutionStrategy, antithetic_noise
from agents.learning.generations import Generations
from agents.learning.judging import Validation
from agents.learning.runs import CHECKPOINTS, TENSORBOARD, Learner, Progress, Run, known
from agents.learning.variations import training_scenarios
from agents.models.packing import PACKINGS, PackingName
from agents.models.scorer import FEATURES, LINEAR, Scorers, parameter_count, parameter_mask
from agents.models.storage import WEIGHTS, reading, require_arrays, save_arrays
from agents.policy import DETERMINISTIC, Decision, Generators, Policy, PolicyError
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.env.slots import Slots
from edgellm_env.scenario import Scenario

STATE: Final = "search.safetensors"


class RankerSearch(Learner):
    """Trains a ranker: the first of :class:`agents.models.scorer.Scorers`."""

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
    variations: Annotated[int, Field(ge=0)] = 0
    """Random variations of the scenario that candidates play, and as a generalist are judged on; 0: itself alone."""
    variations_at_a_time: Annotated[int, Field(ge=0)] = 0
    """How many of them a generation plays, in turn; 0: all."""
    validation_episodes: Annotated[int, Field(ge=2)]
    validate_every: Annotated[int, Field(ge=1)]
    dropped_features: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Features that the ranker must do without, by name: to see what they are worth."""

    @field_validator("dropped_features")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return known("feature", names, FEATURES)

    @model_validator(mode="after")
    def _at_most_all(self) -> Self:
        if self.variations_at_a_time > self.variations:
            raise ValueError(
                f"variations_at_a_time: {self.variations_at_a_time}; expected at most variations = {self.variations}"
            )
        return self

    @property
    def scenarios_per_generation(self) -> int:
        """How many scenarios a generation plays."""
        return self.variations_at_a_time or max(1, self.variations)

    @property
    def size(self) -> int:
        """How many numbers a ranker is, D."""
        return parameter_count(self.hidden_units)

    @property
    def parameter_mask(self) -> FloatArray:
        """(D,) 0 where a weight of the ranker stays 0, 1 elsewhere."""
        return parameter_mask(self.dropped_features, self.hidden_units)

    def scorers(self, parameters: FloatArray) -> Scorers:
        """Return the scorers of (P, D) or (P, R) numbers, the latter linear."""
        units = 0 if parameters.shape[1] == LINEAR else self.hidden_units
        return Scorers.from_parameters(parameters, units, self.packing)

    def slots_per_generation(self, scenario: Scenario) -> int:
        """Return how many slots a generation plays."""
        return self.scenarios_per_generation * self.candidates * self.episodes * scenario.timing.episode_slots

    def default_steps(self, scenario: Scenario) -> int:
        """Return how many environment steps it trains for unless told."""
        return self.generations * self.slots_per_generation(scenario)

    def train(self, run: Run) -> Path:
        """Search, and save the ranker that did best on validation episodes; see :meth:`Learner.train`.

        A resumed search goes on exactly as if it had not been interrupted.
        """
        per_generation = self.slots_per_generation(run.scenario)
        generations = -(-run.steps // per_generation)
        state_path = run.folder / CHECKPOINTS / STATE
        state = load_state(state_path, self.size) if run.resume else first_state(self)
        if state.generation >= generations:
            raise PolicyError(
                f"steps: {generations} generations; {run.folder} has {state.generation} already, expected more"
            )
        state_path.parent.mkdir(exist_ok=True)
        search = _Search(self, run.scenario, run.seed, configure(str(run.folder / TENSORBOARD), ["tensorboard"]))
        while state.generation < generations:
            state = search.advance(state, last=state.generation + 1 == generations)
            save_state(state, state_path)
            self.scorers(state.best[None]).save(run.folder / WEIGHTS)
            judged = state.best_rps if np.isfinite(state.best_rps) else None
            run.on_progress(Progress(state.generation * per_generation, judged))
        search.log.close()
        return run.folder / WEIGHTS


def linear_weights(scenario: Scenario, settings: RankerSearch, generations: int, seed: int) -> FloatArray:
    """Return (R,) weights of a linear ranker after some generations of the cross-entropy method."""
    search, state = _Search(settings, scenario, seed, Logger(None, [])), first_state(settings)
    for generation in range(generations):
        state = search.advance(state, last=generation + 1 == generations)
    return state.best[:LINEAR]


@dataclass(frozen=True, eq=False)
class SearchState:
    """Where a search stands."""

    generation: int  # generations played
    seconds: float  # time taken so far
    linear: CrossEntropy  # the cross-entropy method's distribution over linear scorers
    network: EvolutionStrategy | None  # the evolution strategy's state; None before it has begun
    best: FloatArray  # (D,) the weights that did best on the validation episodes
    best_rps: float  # how they did


def first_state(settings: RankerSearch) -> SearchState:
    """Return the search's beginning: smaller footprints first, everything else unknown."""
    mean = np.zeros(LINEAR)
    mean[FEATURES.index("footprint")] = -1.0
    mean *= settings.parameter_mask[:LINEAR]
    linear = CrossEntropy(mean, np.full(LINEAR, settings.initial_deviation))
    return SearchState(0, 0.0, linear, None, _padded(mean, settings.size), -np.inf)


def save_state(state: SearchState, path: Path) -> None:
    """Write a search's state, whole or not at all."""
    arrays = {"progress": np.array([state.generation, state.seconds, state.best_rps]), "best": state.best}
    arrays |= {f"linear.{name}": array for name, array in state.linear._asdict().items()}
    if state.network is not None:
        numbers = state.network._asdict() | {"steps": np.array([float(state.network.steps)])}
        arrays |= {f"network.{name}": array for name, array in numbers.items()}
    save_arrays(path, arrays, {})


def load_state(path: Path, size: int) -> SearchState:
    """Read a search's state.

    Raises:
        PolicyError: no such file, not a search, or one of rankers of another ``size``.
    """
    with reading(path, "search to resume", {}) as (arrays, _):
        network, progress = None, arrays.pop("progress")
        shapes = {"best": (size,), "linear.mean": (LINEAR,), "linear.deviation": (LINEAR,)}
        if "network.steps" in arrays:
            shapes |= {f"network.{name}": (size,) for name in EvolutionStrategy._fields} | {"network.steps": (1,)}
        require_arrays(arrays, shapes)
        if "network.steps" in arrays:
            weights, average, first, second, steps = (arrays[f"network.{name}"] for name in EvolutionStrategy._fields)
            network = EvolutionStrategy(weights, average, first, second, int(steps[0]))
        generation, seconds, best_rps = progress.tolist()
        return SearchState(
            generation=int(generation),
            seconds=seconds,
            linear=CrossEntropy(arrays["linear.mean"], arrays["linear.deviation"]),
            network=network,
            best=arrays["best"],
            best_rps=best_rps,
        )


class Population(Policy):
    """Several scorers; ``candidate`` (E,) says which of them plays each episode."""

    name, modes = "candidates", DETERMINISTIC

    def __init__(self, scorers: Scorers, candidate: IntArray) -> None:
        self._scorers, self._candidate = scorers, candidate

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Score each episode's requests by the weights of the candidate that plays it, and pack."""
        scores = self._scorers.score(slots.observation, self._candidate[slots.episode])
        return Decision(PACKINGS[self._scorers.packing](scores, slots))


class _Search:
    """Plays generations; see :meth:`advance`."""

    def __init__(self, settings: RankerSearch, scenario: Scenario, seed: int, log: Logger) -> None:
        self.log = log
        self._settings, self._seed = settings, seed
        self._mask = settings.parameter_mask
        played, judged = training_scenarios(scenario, settings.variations, seed)
        at_a_time = settings.scenarios_per_generation
        self._generations = Generations(played, seed, settings.candidates, settings.episodes, at_a_time)
        self._per_generation = settings.slots_per_generation(scenario)
        self._validation = Validation(judged, seed, settings.validation_episodes)

    def advance(self, state: SearchState, last: bool) -> SearchState:
        """Play one generation."""
        settings, began_s = self._settings, time.monotonic()
        if settings.hidden_units and state.generation >= settings.linear_generations:
            state, weights, fitness = self._evolve(state)
        else:
            state, weights, fitness = self._cross_entropy(state)
        slots_per_second = self._per_generation / (time.monotonic() - began_s)
        if state.generation % settings.validate_every == 0 or last:
            mean_rps = self._validation.judge(ScoringPolicy(settings.scorers(weights[None])), self.log)
            if mean_rps > state.best_rps:
                state = dataclasses.replace(state, best=weights, best_rps=mean_rps)
        self.log.record("search/mean_rps", float(fitness.mean()))
        self.log.record("search/best_rps", float(fitness.max()))
        self.log.record("time/slots_per_second", slots_per_second)
        self.log.dump(state.generation * self._per_generation)
        return dataclasses.replace(state, seconds=state.seconds + time.monotonic() - began_s)

    def _cross_entropy(self, state: SearchState) -> tuple[SearchState, FloatArray, FloatArray]:
        settings = self._settings
        noise = self._mask[:LINEAR] * antithetic_noise(self._seed, state.generation, settings.candidates, LINEAR)
        fitness = self._play(state.linear.ask(noise), state.generation)
        linear = state.linear.tell(noise, fitness, settings.elite, settings.variance_memory, settings.least_deviation)
        if settings.packing == "greedy":
            linear = linear.rescaled()
        self.log.record("search/deviation", float(linear.deviation.mean()))
        state = dataclasses.replace(state, generation=state.generation + 1, linear=linear)
        return state, _padded(linear.mean, settings.size), fitness

    def _evolve(self, state: SearchState) -> tuple[SearchState, FloatArray, FloatArray]:
        settings = self._settings
        network = state.network or EvolutionStrategy.start(self._with_units(state.linear.mean))
        noise = self._mask * antithetic_noise(self._seed, state.generation, settings.candidates, settings.size)
        fitness = self._play(network.ask(noise, settings.noise), state.generation)
        network = network.tell(noise, fitness, settings.learning_rate, settings.averaging)
        state = dataclasses.replace(state, generation=state.generation + 1, network=network)
        return state, network.average, fitness

    def _play(self, parameters: FloatArray, generation: int) -> FloatArray:
        """Return (P,) the fitness of the candidates (P, D)."""
        population = Population(self._settings.scorers(parameters), self._generations.candidate)
        return self._generations.fitness(population, generation)

    def _with_units(self, linear: FloatArray) -> FloatArray:
        """Add hidden units that look at random directions and count for nothing yet: no score changes."""
        settings, weights = self._settings, _padded(linear, self._settings.size)
        inputs = slice(LINEAR, settings.size - settings.hidden_units)
        rng = np.random.default_rng([self._seed, 2**32])
        weights[inputs] = settings.unit_scale * rng.standard_normal(weights[inputs].size)
        return self._mask * weights


def _padded(linear: FloatArray, size: int) -> FloatArray:
    """Return (D,) the numbers of a ranker with these linear weights (R,) whose hidden units count for nothing."""
    return np.concatenate([linear, np.zeros(size - LINEAR)])
