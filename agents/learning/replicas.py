"""Gradients by several threads: each has a copy of the networks and a part of the minibatch."""

import copy
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from agents.learning.admission_rollouts import Played
from agents.models.admission_actor import Choices

Answer = TypeVar("Answer")


class Networks:
    """Networks that are trained, and copies of them for all threads but one.

    PyTorch's own threads split single operations, and wait for one another after each: half as much is gained.

    Args:
        first: what is trained.
        threads: how many work.

    Attributes:
        first: likewise.
    """

    def __init__(self, first: nn.ModuleList, threads: int) -> None:
        self.first, self._copies = first, [first, *(copy.deepcopy(first) for _ in range(threads - 1))]
        self._pool = ThreadPoolExecutor(threads)

    def each(self, function: Callable[[Choices], Answer], parts: Iterable[Choices]) -> list[Answer]:
        """Return what ``function`` makes of each part, without gradients."""

        def without_gradients(part: Choices) -> Answer:
            with torch.no_grad():  # of the thread
                return function(part)

        return list(self._pool.map(without_gradients, parts))

    def write_gradients(
        self,
        loss_of: Callable[[nn.ModuleList, Choices], tuple[Tensor, Tensor]],
        played: Played,
        low: int,
        high: int,
    ) -> float:
        """Give the networks the gradient of a minibatch's mean loss.

        Args:
            loss_of: returns the mean loss of networks in some choices, and another mean.
            played: the rollout.
            low: the minibatch's first choice,
            high: and that after its last.

        Returns:
            The other mean, of the minibatch.
        """
        bounds: list[int] = np.linspace(low, high, len(self._copies) + 1).astype(int).tolist()
        parts = [(first, last) for first, last in pairwise(bounds) if first < last]  # the mean of none is no number

        def work(place: int) -> float:
            networks, (first, last) = self._copies[place], parts[place]
            share = (last - first) / (high - low)
            if place:
                with torch.no_grad():
                    for own, trained in zip(networks.parameters(), self.first.parameters(), strict=True):
                        own.copy_(trained)
            networks.zero_grad()
            loss, other = loss_of(networks, played.between(first, last))
            (loss * share).backward()  # type: ignore[no-untyped-call] # of the library
            return share * float(other.detach())

        other = float(sum(self._pool.map(work, range(len(parts)))))
        for networks in self._copies[1 : len(parts)]:
            for own, trained in zip(networks.parameters(), self.first.parameters(), strict=True):
                assert own.grad is not None
                assert trained.grad is not None
                trained.grad += own.grad
        return other
