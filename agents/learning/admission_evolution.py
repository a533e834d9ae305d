"""PPO, then an evolution strategy, for an admission network: PPO improves drawn choices, what plays is the likeliest.

Where many requests wait the two differ: in `chat-burst` drawn choices serve 5 % less than the likeliest ones. The
evolution strategy climbs the throughput of the latter, from where PPO ends, on all numbers of the network.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from stable_baselines3.common.logger import configure

from agents.learned import AdmissionPolicy
from agents.learning.evolution import EvolutionStrategy, antithetic_noise
from agents.learning.generations import Generations
from agents.learning.judging import Validation
from agents.learning.ppo_admission import PpoAdmission
from agents.learning.runs import TENSORBOARD, Learner, Progress, Run, falling
from agents.learning.variations import training_scenarios
from agents.models.admission_network import AdmissionNetwork, Weights
from agents.models.storage import WEIGHTS
from agents.policy import PolicyError
from edgellm_env.arrays import FloatArray
from edgellm_env.scenario import Scenario


class AdmissionEvolution(Learner):
    """Trains an :class:`agents.models.admission_network.AdmissionNetwork` by PPO, and then by its throughput."""

    kinds = ("continuous",)

    start: PpoAdmission
    """How it begins, and on how many variations it trains and is judged."""
    generations: Annotated[int, Field(ge=1)]
    candidates: Annotated[int, Field(ge=4, multiple_of=2)]
    candidate_slots: Annotated[int, Field(ge=1)]
    """Slots that a candidate plays in a generation, in whole episodes."""
    noise: Annotated[float, Field(gt=0)]
    learning_rate: Annotated[float, Field(gt=0)]
    averaging: Annotated[float, Field(ge=0, lt=1)]
    validation_episodes: Annotated[int, Field(ge=2)]
    validate_every: Annotated[int, Field(ge=1)]

    def default_steps(self, scenario: Scenario) -> int:
        """Return how many environment steps it trains for unless told."""
        return self.start.default_steps(scenario) + self.generations * self._per_generation(scenario)

    def train(self, run: Run) -> Path:
        """Train, and save the network that did best on validation episodes; see :meth:`Learner.train`.

        PPO has its usual part of the steps.

        Raises:
            PolicyError: asked to resume; the runs are short.
        """
        if run.resume:
            raise PolicyError("resume: ppo+es takes minutes and keeps no checkpoints; expected a new run")
        share = self.start.default_steps(run.scenario) / self.default_steps(run.scenario)
        begun = max(1, round(share * run.steps))
        path = self.start.train(replace(run, steps=begun))
        first = AdmissionNetwork.load(path)
        units, scale = first.weights.output.shape[1], _scales(first.weights)
        state = EvolutionStrategy.start(first.parameters[0] / scale)
        scenarios, judged = training_scenarios(run.scenario, self.start.variations, run.seed)
        validation = Validation(judged, run.seed, self.validation_episodes)
        log = configure(str(run.folder / TENSORBOARD), ["tensorboard"])
        validation.keep(AdmissionPolicy(first), first.save, path, log)
        playing = Generations(scenarios, run.seed, self.candidates, self._episodes(run.scenario))
        per_generation = self._per_generation(run.scenario)
        count = max(1, -(-(run.steps - begun) // per_generation))
        for generation in range(count):
            began_s = time.monotonic()
            noise = antithetic_noise(run.seed, generation, self.candidates, scale.size)
            candidates = AdmissionNetwork.from_parameters(scale * state.ask(noise, self.noise), units, first.inputs)
            fitness = playing.fitness(AdmissionPolicy(candidates, candidate=playing.candidate), generation)
            state = state.tell(noise, fitness, falling(self.learning_rate, generation, count), self.averaging)
            log.record("search/mean_fitness", float(fitness.mean()))
            log.record("time/slots_per_second", per_generation / (time.monotonic() - began_s))
            steps = begun + (generation + 1) * per_generation
            if (generation + 1) % self.validate_every == 0 or generation + 1 == count:
                averaged = AdmissionNetwork.from_parameters(scale * state.average[None], units, first.inputs)
                best_rps = validation.keep(AdmissionPolicy(averaged), averaged.save, run.folder / WEIGHTS, log)
                run.on_progress(Progress(steps, best_rps))
            log.dump(steps)
        log.close()
        return run.folder / WEIGHTS

    def _episodes(self, scenario: Scenario) -> int:
        return -(-self.candidate_slots // scenario.timing.episode_slots)

    def _per_generation(self, scenario: Scenario) -> int:
        played = self.candidates * self._episodes(scenario) * scenario.timing.episode_slots
        return max(1, self.start.variations) * played


def _scales(weights: Weights) -> FloatArray:
    """Return (D,) the root mean square of the weights of each number's layer: what noise and steps are parts of."""
    parts = [part.ravel() for part in weights]
    return np.concatenate([np.full(part.size, max(1e-6, float(np.sqrt(np.mean(part**2))))) for part in parts])
