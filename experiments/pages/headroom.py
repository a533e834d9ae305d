"""How much room a scenario leaves: random order, per-slot optimum, best tuned rule, best known policy, bound."""

from dataclasses import dataclass
from typing import Final

from agents.registry import TUNED
from experiments.pages.scores import Results, Score, find, gain, in_percent
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
    best_to_bound: Estimate | None  # from the best known to what is proven at most, where that is stored
    bounded_episodes: int  # in how many episodes that is


def headroom_of(results: Results, scenario: str) -> Headroom | None:
    """Return a scenario's gaps from all that is stored; None where random order or DFTSP is not."""
    scores = results.in_scenario(scenario)
    lowest, optimum = find(scores, LOWEST), find(scores, REFERENCE)
    if lowest is None or optimum is None:
        return None
    best, reference = scores[0], next(one for one in scores if one.agent is None)
    rule = next((one for one in scores if one.policy in TUNED), None)
    bounds = results.comparisons[scenario].bounds_rps
    episodes = [place for place, row in enumerate(best.rows[0]) if row.episode in bounds]
    to_bound = None
    if episodes:
        ours = best.by_episode[episodes]
        top = [bounds[best.rows[0][place].episode] for place in episodes]
        to_bound = in_percent(paired_difference(top, ours), float(ours.mean()))
    return Headroom(
        scenario=scenario,
        best=best,
        reference=reference,
        rule=rule,
        lowest_to_optimum=gain(optimum, lowest),
        lowest_to_reference=gain(reference, lowest),
        optimum_to_best=gain(best, optimum),
        rule_to_best=None if rule is None else gain(best, rule),
        best_to_bound=to_bound,
        bounded_episodes=len(episodes),
    )
