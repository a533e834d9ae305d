"""What the project set out to show of learned agents, next to what was measured; and what failed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from experiments.grid.study_store import TrainedRun
from experiments.pages.comparison_sections import BASELINES, transferred
from experiments.pages.learning_sections import gain_percent
from experiments.pages.markdown import listing, plain, signed, table
from experiments.pages.scores import COUPLED, Score, best_learned, code, difference, find
from experiments.pages.stored_results import Results
from experiments.results.summary import REFERENCE

GAIN_PERCENT: Final = {"light": 9.0, "balanced": 4.5, "memory": 3.5, "patient": 6.0}
PPO_FROM_SCRATCH: Final = ("ppo", "ppo-rank", "ppo-value", "ppo-batch", "ppo-select")
IMITATION_PERCENT: Final = {"bc": 97.0, "dagger": 99.0}
SEEDED: Final = ("ppo-rank", "cem-linear")
TRAINING_S: Final = 600.0
PAPER_PERCENT: Final = 99.0
PPO_SCENARIOS: Final = 3
SEEDS: Final = 3
COLLAPSE_PERCENT: Final = 1.0
LOOKAHEAD: Final = "lookahead"
_MARKS: Final = {True: "yes", False: "**no**", None: "not measured"}


@dataclass(frozen=True)
class Aim:
    """One thing to show.

    Args:
        aim: in words.
        measured: in words.
        met: whether; None if it was not measured.
    """

    aim: str
    measured: str
    met: bool | None


def aims_section(results: Results) -> str:
    """Return the aims next to the measurements."""
    rows = [(aim.aim, aim.measured, _MARKS[aim.met]) for aim in aims(results)]
    return "\n\n".join(
        [
            "Set before the agents were trained, and not moved since. `yes` needs the mean at the bar and, where a bar "
            "is a comparison, the 95 % interval of the paired difference on the right side of zero.",
            table(["aim", "measured", "met"], rows),
        ]
    )


def aims(results: Results) -> list[Aim]:
    """Return every aim, measured or not."""
    return [
        *(_gain(results, scenario, bar) for scenario, bar in GAIN_PERCENT.items()),
        *(_beats(results, scenario, LOOKAHEAD) for scenario in COUPLED),
        *(_not_below_linear(results, scenario) for scenario in COUPLED),
        _paper(results),
        _ppo(results),
        *(_seeds(results, agent) for agent in SEEDED),
        *(_imitation(results, agent, bar) for agent, bar in IMITATION_PERCENT.items()),
        _training_time(results),
        _reproduced(results),
        *(_transfer(results, scenario) for scenario in ("balanced", "azure-conv")),
        _decision(results),
    ]


def _gain(results: Results, scenario: str, bar: float) -> Aim:
    text = f"`{scenario}`: the best learned agent at least {bar:g} % above `{REFERENCE}`"
    best = best_learned(results.in_scenario(scenario))
    if best is None:
        return Aim(text, "", None)
    gain = best.difference_percent
    return Aim(text, f"{best.policy} {signed(gain, 1, ' %')}", gain.mean >= bar and (gain.low or 0.0) > 0.0)


def _beats(results: Results, scenario: str, policy: str) -> Aim:
    text = f"`{scenario}`: the best learned agent beats `{policy}`"
    scores = results.in_scenario(scenario)
    best, other = best_learned(scores), find(scores, policy)
    if best is None or other is None:
        return Aim(text, "", None)
    gain = difference(best, other)
    return Aim(text, f"{best.policy} {signed(gain)} requests/s", (gain.low or 0.0) > 0.0)


def _not_below_linear(results: Results, scenario: str) -> Aim:
    text = f"`{scenario}`: the best learned agent is not below `cem-linear`"
    scores = results.in_scenario(scenario)
    best = best_learned(scores)
    linear = best_learned(one for one in scores if one.agent == "cem-linear" and one.trained_on == scenario)
    if best is None or linear is None:
        return Aim(text, "", None)
    gain = difference(best, linear)
    return Aim(text, f"{best.policy} {signed(gain)} requests/s to {linear.policy}", gain.mean >= 0.0)


def _paper(results: Results) -> Aim:
    text = f"`paper`: the best learned agent reaches at least {PAPER_PERCENT:g} % of `{REFERENCE}`"
    best = best_learned(results.in_scenario("paper"))
    if best is None:
        return Aim(text, "", None)
    percent = 100.0 + best.difference_percent.mean
    return Aim(text, f"{best.policy} {percent:.1f} %", percent >= PAPER_PERCENT)


def _ppo(results: Results) -> Aim:
    text = (
        f"PPO from scratch beats `{REFERENCE}` in at least {PPO_SCENARIOS} of {listing([code(one) for one in COUPLED])}"
    )
    best = {
        scenario: best_learned(
            one for one in results.in_scenario(scenario) if one.agent in PPO_FROM_SCRATCH and one.trained_on == scenario
        )
        for scenario in COUPLED
    }
    found = {scenario: score for scenario, score in best.items() if score is not None}
    if not found:
        return Aim(text, "", None)
    ahead = [scenario for scenario, score in found.items() if (score.difference_rps.low or 0.0) > 0.0]
    words = "; ".join(
        f"`{name}`: {score.policy} {signed(score.difference_percent, 1, ' %')}" for name, score in found.items()
    )
    met = len(ahead) >= PPO_SCENARIOS
    return Aim(text, words, met if met or len(found) == len(COUPLED) else None)


def _seeds(results: Results, agent: str) -> Aim:
    text = f"`{agent}`: at least {SEEDS} training seeds in {listing([code(one) for one in COUPLED])}"
    counts = dict.fromkeys(COUPLED, 0)
    for score in results.trained:
        if score.agent == agent and score.trained_on in counts:
            counts[score.trained_on] = len(score.seeds)
    words = ", ".join(f"`{scenario}` {count}" for scenario, count in counts.items())
    return Aim(text, words, min(counts.values()) >= SEEDS if any(counts.values()) else None)


def _imitation(results: Results, agent: str, bar: float) -> Aim:
    text = f"`{agent}` reaches at least {bar:g} % of `{REFERENCE}`"
    scores = [one for name in results.scenarios for one in results.in_scenario(name) if _is_own(one, agent, name)]
    if not scores:
        return Aim(text, "", None)
    percents = [100.0 + score.difference_percent.mean for score in scores]
    words = ", ".join(f"`{one.trained_on}` {percent:.1f} %" for one, percent in zip(scores, percents, strict=True))
    return Aim(text, words, min(percents) >= bar)


def _is_own(score: Score, agent: str, scenario: str) -> bool:
    return score.agent == agent and score.trained_on == scenario


def _training_time(results: Results) -> Aim:
    text = f"Each shipped agent trains in at most {TRAINING_S:g} s by one command on 2 cores"
    shipped = {
        score.policy: score.training_s[0]
        for scores in results.compared.values()
        for score in scores
        if score.agent is not None and score.training_s
    }
    if not shipped:
        return Aim(text, "", None)
    slow = [f"{policy} {seconds:,.0f} s" for policy, seconds in sorted(shipped.items()) if seconds > TRAINING_S]
    return Aim(text, f"longer: {listing(slow)}" if slow else f"at most {max(shipped.values()):,.0f} s", not slow)


def _reproduced(results: Results) -> Aim:
    text = "A shipped agent's command, run again, gives its score within its interval"
    again = list(_repeated(results))
    if not again:
        return Aim(text, "", None)
    outside = [
        f"{shipped.policy} {plain(shipped.throughput_rps)}, again {_mean_rps(run):.2f}"
        for shipped, run in again
        if not _is_within(shipped, run)
    ]
    return Aim(text, f"outside: {listing(outside)}" if outside else f"{len(again)} of {len(again)}", not outside)


def _repeated(results: Results) -> Iterator[tuple[Score, TrainedRun]]:
    """Yield shipped agents with a stored run of the same learner, scenario, seed and length."""
    for name, comparison in results.comparisons.items():
        if name != comparison.scenario:
            continue
        for score in results.compared[name]:
            if score.agent is None or score.trained_on != name:
                continue
            trained = comparison.policies[score.policy.strip("`")].trained or {}
            for run in results.runs:
                same = (run.agent, run.scenario, run.seed, run.steps) == (
                    score.agent,
                    name,
                    score.seeds[0],
                    trained.get("steps"),
                )
                if same and run.ablation is None:
                    yield score, run


def _is_within(shipped: Score, run: TrainedRun) -> bool:
    mean = _mean_rps(run)
    estimate = shipped.throughput_rps
    return (estimate.low or estimate.mean) <= mean <= (estimate.high or estimate.mean)


def _mean_rps(run: TrainedRun) -> float:
    return float(np.mean([row.throughput_rps for row in run.rows]))


def _transfer(results: Results, scenario: str) -> Aim:
    others = listing([code(one) for one in BASELINES])
    text = f"An agent trained in `light` beats {others} in `{scenario}` without retraining"
    scores = results.compared.get(scenario, [])
    agents = [one for one in transferred(scores, scenario) if one.trained_on == "light"]
    baselines = [find(scores, name) for name in BASELINES]
    if not agents or None in baselines:
        return Aim(text, "", None)
    worst = {
        agent.policy: min(
            (difference(agent, one) for one in baselines if one is not None), key=lambda gain: gain.low or gain.mean
        )
        for agent in agents
    }
    words = "; ".join(f"{policy} {signed(gain)} requests/s to the better of them" for policy, gain in worst.items())
    return Aim(text, words, any((gain.low or 0.0) > 0.0 for gain in worst.values()))


def _decision(results: Results) -> Aim:
    text = f"A decision of the learned ranker takes less time than `{REFERENCE}`'s, many at once"
    rows = [] if results.decisions is None else [row for row in results.decisions.rows if ":" in row.policy]
    if not rows:
        return Aim(text, "", None)
    by_agent: dict[str, list[float]] = {}
    for row in rows:
        by_agent.setdefault(row.policy.partition(":")[0], []).append(row.times_as_fast)
    words = "; ".join(f"`{agent}` {min(all_):.2f} to {max(all_):.2f} times as fast" for agent, all_ in by_agent.items())
    return Aim(text, words, all(one > 1.0 for one in by_agent.get("cem-linear", [0.0])))


def failures_section(results: Results) -> str:
    """Return what did not work, from the stored numbers."""
    lines = [*_below_reference(results), *_not_ahead_of_lookahead(results), *_collapses(results)]
    missed = [aim for aim in aims(results) if aim.met is False]
    lines += [f"- Aim missed: {aim.aim}: {aim.measured}." for aim in missed]
    return "\n".join(lines) if lines else "Nothing that is stored."


def _below_reference(results: Results) -> Iterator[str]:
    for name in results.scenarios:
        below = [
            f"{one.policy} {signed(one.difference_percent, 1, ' %')}"
            for one in results.in_scenario(name)
            if one.agent is not None and (one.difference_rps.high or one.difference_rps.mean) < 0.0
        ]
        if below:
            yield f"- Learned agents below `{REFERENCE}` in `{name}`: {listing(below)}."


def _not_ahead_of_lookahead(results: Results) -> Iterator[str]:
    for name in results.scenarios:
        scores = results.in_scenario(name)
        lookahead = find(scores, LOOKAHEAD)
        if lookahead is None or name == "paper":  # with independent slots there is nothing to look ahead to
            continue
        gains = {one.policy: difference(one, lookahead) for one in scores if one.trained_on == name}
        behind = [f"{policy} {signed(gain)}" for policy, gain in gains.items() if (gain.low or 0.0) <= 0.0]
        if behind:
            yield f"- Learned agents not ahead of `{LOOKAHEAD}` in `{name}`, requests/s: {listing(behind)}."


def _collapses(results: Results) -> Iterator[str]:
    for run in results.runs:
        gains = gain_percent(run)
        lost = max(gains) - gains[-1]
        if lost > COLLAPSE_PERCENT:
            yield (
                f"- {run.name} in `{run.scenario}`, seed {run.seed}: ended {lost:.1f} % of DFTSP below the best of "
                "its validations, which is what was kept."
            )
