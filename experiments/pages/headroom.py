"""How much room a scenario leaves: random order, per-slot optimum, best tuned rule, best known policy, bound."""

from dataclasses import dataclass
from typing import Final

from agents.registry import TUNED
from edgellm_env.arrays import FloatArray
from experiments.pages.scores import Results, Score, best_untrained, find, gain, in_percent
from experiments.results.statistics import REFERENCE, Estimate, paired_difference

LOWEST: Final = "random"


@dataclass(frozen=True)
class Headroom:
    """A scenario's gaps, paired by episode, each in percent of the mean of the lower of the two."""

    scenario: str
    best: Score  # the best known policy
    reference: Score  # the best of those that were not trained
    rule: Score | None  # the best of those whose numbers are tuned; None if none played
    lowest_to_optimum: Estimate  # from random order to DFTSP
    lowest_to_reference: Estimate  # from random order to the best that was not trained
    optimum_to_best: Estimate  # from DFTSP to the best known
    rule_to_best: Estimate | None  # from the best tuned rule to the best known
    # in the episodes with a stored bound: from the best tuned rule to the best schedule found with the future known,
    rule_to_hindsight: Estimate | None
    hindsight_to_bound: Estimate | None  # from there to the bound,
    best_to_bound: Estimate | None  # and from the best known policy to it
    bounded_episodes: int  # how many these are


def headroom_of(results: Results, scenario: str) -> Headroom | None:
    """Return a scenario's gaps from all that is stored; None where random order or DFTSP is not."""
    scores = results.in_scenario(scenario)
    lowest, optimum = find(scores, LOWEST), find(scores, REFERENCE)
    if lowest is None or optimum is None:
        return None
    best, reference = scores[0], best_untrained(scores)
    assert reference is not None  # random order is one
    rule = next((one for one in scores if one.policy in TUNED), None)
    comparison = results.comparisons[scenario]
    places, top = best.among(comparison.bounds_rps)
    found = best.among(comparison.hindsight_rps)[1]
    hindsight = found if len(found) == len(places) > 0 else None
    return Headroom(
        scenario=scenario,
        best=best,
        reference=reference,
        rule=rule,
        lowest_to_optimum=gain(optimum, lowest),
        lowest_to_reference=gain(reference, lowest),
        optimum_to_best=gain(best, optimum),
        rule_to_best=None if rule is None else gain(best, rule),
        rule_to_hindsight=None if rule is None else _gain(hindsight, rule.by_episode[places]),
        hindsight_to_bound=_gain(top, hindsight),
        best_to_bound=_gain(top, best.by_episode[places]),
        bounded_episodes=len(places),
    )


def _gain(ours: FloatArray | None, theirs: FloatArray | None) -> Estimate | None:
    """Return the difference in percent of the mean of ``theirs``, (M,) both; None where one is not known or empty."""
    if ours is None or theirs is None or not len(ours):
        return None
    return in_percent(paired_difference(ours, theirs), float(theirs.mean()))
