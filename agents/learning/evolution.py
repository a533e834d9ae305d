"""The two methods of direct search, each a state and two functions, ask and tell: candidates out, their fitness in.

Random numbers come from a seed and the generation's index alone.
"""

from typing import NamedTuple

import numpy as np

from edgellm_env.arrays import FloatArray


class CrossEntropy(NamedTuple):
    """A normal distribution over weights, moved towards the best of each generation's candidates."""

    mean: FloatArray  # (D,)
    deviation: FloatArray  # (D,) standard deviation of each weight

    def ask(self, noise: FloatArray) -> FloatArray:
        """Return (P, D) candidates from standard normal ``noise``."""
        return self.mean + self.deviation * noise

    def tell(
        self, noise: FloatArray, fitness: FloatArray, elite: float, memory: float, least: float = 0.0
    ) -> "CrossEntropy":
        """Return the distribution after candidates made of ``noise`` (P, D) reached ``fitness`` (P,).

        Args:
            noise: as given to :meth:`ask`.
            fitness: higher is better.
            elite: the fraction of the candidates that counts; better ones count more (by the logarithm of their rank).
            memory: what stays of the variance from the generation before, 0 to 1.
            least: no deviation falls below it.
        """
        count = max(1, round(elite * fitness.size))
        weights = np.log(count + 0.5) - np.log(np.arange(1, count + 1))
        weights /= weights.sum()
        best = noise[np.argsort(-fitness, kind="stable")[:count]]
        mean = self.mean + self.deviation * (weights @ best)
        spread = np.sqrt(memory + (1.0 - memory) * (weights @ best**2))
        return CrossEntropy(mean, np.maximum(least, self.deviation * spread))

    def rescaled(self) -> "CrossEntropy":
        """Return the same with a largest absolute weight of 1, where only the weights' direction matters."""
        scale = max(1e-12, float(np.abs(self.mean).max()))
        return CrossEntropy(self.mean / scale, self.deviation / scale)


class EvolutionStrategy(NamedTuple):
    """Climbs the gradient of the mean fitness under normal noise on the weights, estimated from pairs, with Adam."""

    weights: FloatArray  # (D,) where it stands
    average: FloatArray  # (D,) running mean of ``weights``, smoother and as a rule better
    first: FloatArray  # (D,) Adam's mean of the gradients
    second: FloatArray  # (D,) Adam's mean of their squares
    steps: int  # gradient steps taken

    @classmethod
    def start(cls, weights: FloatArray) -> "EvolutionStrategy":
        """Begin at ``weights``."""
        return cls(weights, weights, np.zeros_like(weights), np.zeros_like(weights), 0)

    def ask(self, noise: FloatArray, deviation: float) -> FloatArray:
        """Return (P, D) candidates from antithetic standard normal ``noise``."""
        return self.weights + deviation * noise

    def tell(
        self, noise: FloatArray, fitness: FloatArray, learning_rate: float, averaging: float
    ) -> "EvolutionStrategy":
        """Return the state after candidates made of antithetic ``noise`` (P, D) reached ``fitness`` (P,).

        Differences within pairs are divided by their standard deviation, so that the step does not depend on the
        scale of the fitness.
        """
        pairs = fitness.size // 2
        difference = fitness[:pairs] - fitness[pairs:]
        gradient = difference / (difference.std() + 1e-12) @ noise[:pairs] / pairs
        steps = self.steps + 1
        first = 0.9 * self.first + 0.1 * gradient
        second = 0.99 * self.second + 0.01 * gradient**2
        step = (first / (1.0 - 0.9**steps)) / (np.sqrt(second / (1.0 - 0.99**steps)) + 1e-8)
        weights = self.weights + learning_rate * step
        return EvolutionStrategy(weights, averaging * self.average + (1.0 - averaging) * weights, first, second, steps)


def antithetic_noise(seed: int, generation: int, candidates: int, size: int) -> FloatArray:
    """Return (P, D) standard normal numbers, the second half the negative of the first: their mean is exactly 0."""
    half = np.random.default_rng([seed, generation]).standard_normal((candidates // 2, size))
    return np.concatenate([half, -half])
