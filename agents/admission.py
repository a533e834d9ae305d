"""Rules of admission: greedy orders that leave requests waiting although they would fit.

Where requests share iterations, one whose deadline leaves little time per token keeps the batch small for as long as it
runs, so that refusing what would fit pays. Each rule is a few numbers, tuned per scenario (:mod:`agents.tuned`).
"""

from dataclasses import dataclass

import numpy as np

from agents.policy import Decision, Generators
from agents.tuned import Settings, Tuned, number
from edgellm_env.arrays import FloatArray
from edgellm_env.costs import iterations as formulas
from edgellm_env.env.slots import Slots
from edgellm_env.slot.problem import Problems

_LEAST_S = 1e-9


def stretch(problems: Problems) -> FloatArray:
    """Return (R, n) the time that each request has left over what it takes alone: how far others may slow it down."""
    return np.asarray(problems.slack_s / np.maximum(_LEAST_S, problems.compute_s))


def own_seconds(problems: Problems) -> FloatArray:
    """Return (R, n) the node's time that each request adds: all that it takes, but for what iterations share."""
    iterations = problems.iterations
    if iterations is None:
        return problems.compute_s
    costs = iterations.costs.view(np.recarray)[0]
    return np.asarray(formulas.own_seconds(costs, problems.compute_s, iterations.output_tokens))


@dataclass(frozen=True)
class SloThresholdSettings(Settings):
    """The three numbers of ``slo-threshold``."""

    policy = "slo-threshold"
    # Least stretch, the time left over the time that the request takes alone: below it requests are refused. On a
    # continuous node that is a threshold on the time left per token, in units of an iteration that the request has to
    # itself.
    least_stretch: float = number(1.5, 0.3, "more than 0")
    # Requests that run together (rounded); on a slot-batch node, in one batch.
    most_running: float = number(40.0, 0.5, "more than 0")
    # How much of the iterations' shared time counts when the shortest go first: 0 orders by the time that a request
    # adds to the others' iterations, 1 by the time that it takes alone.
    shared: float = number(0.5, 0.5)


class SloThreshold(Tuned):
    """Shortest first, but refuse what has too little time left per token, and cap the number that run together."""

    settings = SloThresholdSettings

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the batches."""
        least, most, shared = self.numbers(slots)
        problems, own_s = slots.problems, own_seconds(slots.problems)
        keys = own_s + shared * (problems.compute_s - own_s)
        keys = np.where(stretch(problems) >= least, keys, np.inf)
        running = 0 if problems.iterations is None else problems.iterations.running
        return Decision(slots.pack(keys, np.round(most[:, 0]) - running))


def delay_of_running(problems: Problems) -> FloatArray:
    """Return (R, n) how much later the running requests of a continuous node finish if a request joins, summed."""
    iterations = problems.iterations
    if iterations is None:
        return np.zeros(problems.compute_s.shape)
    costs, most = iterations.costs.view(np.recarray)[0], max(1, int(iterations.running.max(initial=0)))
    runs = np.arange(most) < iterations.running[:, None]
    to_go = iterations.members["to_go"][:, None, :most]
    prompt, output = iterations.prompt_tokens[..., None], iterations.output_tokens[..., None]
    shared = np.minimum(to_go, output)
    delay_s = formulas.joining_seconds(costs, prompt, shared)
    return np.asarray(np.where(runs[:, None], delay_s, 0.0).sum(axis=2))


@dataclass(frozen=True)
class BidPriceSettings(Settings):
    """The prices of ``bid-price``: what a unit of each use costs, in requests served."""

    policy = "bid-price"
    added: float = number(0.1, 0.1, "at least 0")  # a second of the node's time that the request adds
    delay: float = number(0.01, 0.02, "at least 0")  # a second by which a running request finishes later
    tightness: float = number(1.5, 0.3, "at least 0")  # the time that it takes alone over the time that it has left
    memory: float = number(0.1, 0.2, "at least 0")  # all of the free KV memory
    radio: float = number(0.1, 0.2, "at least 0")  # all of the uplink, or of the downlink


class BidPrice(Tuned):
    """Admit what is worth its price: 1 request against the prices of what it uses, the largest margin first.

    Bid-price control of network revenue management (Talluri and van Ryzin, Management Science 44(11), 1998). Prices do
    not follow the node's state; uses do.
    """

    settings = BidPriceSettings

    def decide(self, slots: Slots, rngs: Generators) -> Decision:
        """Return the batches."""
        added, delay, tightness, memory, radio = self.numbers(slots)
        problems = slots.problems
        price = added * own_seconds(problems) + delay * delay_of_running(problems)
        price += tightness / np.maximum(_LEAST_S, stretch(problems))
        price += memory * problems.kv_bytes / np.maximum(1.0, problems.memory_bytes)[:, None]
        price += radio * (problems.uplink_share + problems.downlink_share)
        return Decision(slots.pack(np.where(price < 1.0, price, np.inf)))
