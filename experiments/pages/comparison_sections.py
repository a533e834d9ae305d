"""The page's sections on policies: every scenario's table, training seeds, transfer."""

from collections.abc import Sequence

from edgellm_env.scenario import load_scenario
from experiments.grid.study_store import Comparison
from experiments.pages.markdown import listing, plain, signed, table
from experiments.pages.scores import Score, best_learned, code, difference, find
from experiments.pages.stored_results import SCENARIO_ORDER, Results
from experiments.results.summary import REFERENCE

BASELINES = ("sjf", "least-footprint")
"""What an agent must beat where it was not trained."""


def scenario_sections(results: Results) -> str:
    """Return a table of every policy for each scenario that was measured."""
    names = [name for name in results.scenarios if name in results.compared]
    parts = [
        "Test episodes, the same requests for all. Brackets are 95 % percentile bootstraps: over episodes, and where "
        f"an agent has several training seeds, over the seeds' means. Differences to `{REFERENCE}` are paired by "
        "episode, percentages are of its mean. `AGENT:SCENARIO` is an agent shipped with the project, trained on that "
        "scenario; a learner's name alone is the mean over its training seeds, not its best run. The best learned "
        "agent is in bold. Decision: milliseconds for one slot, from a policy's view of it to its batch (median over "
        "episodes of their means); see [Decision time](#decision-time) for many slots at once."
    ]
    for name in names:
        comparison = results.comparisons[name]
        parts += [f"### `{name}`", _about(comparison), _scenario_table(results, comparison)]
    missing = [code(name) for name in SCENARIO_ORDER if name not in names]
    if missing:
        parts.append(f"Not measured: {listing(missing)}.")
    return "\n\n".join(parts)


def _about(comparison: Comparison) -> str:
    episodes = len({row.episode for row in comparison.rows})
    text = f"{episodes} episodes of {comparison.slots} slots, test seed {comparison.seed}."
    if comparison.trace is not None:
        text += f" Requests from {code(comparison.trace['name'])} (SHA-256 {comparison.trace['sha256'][:12]}…)."
    return text


def _scenario_table(results: Results, comparison: Comparison) -> str:
    scores = results.in_scenario(comparison.scenario)
    best = best_learned(scores)
    shares = [score.share_of(comparison.bounds_rps) for score in scores]
    headings = ["policy", "requests/s", f"difference to `{REFERENCE}`", "in percent"]
    headings += ["of the clairvoyant bound"] if any(shares) else []
    headings += ["decision, ms", "training seeds", "training, s"]
    rows = []
    for score, share in zip(scores, shares, strict=True):
        row = [
            f"**{score.policy}**" if score is best else score.policy,
            plain(score.throughput_rps),
            "" if score.is_reference else signed(score.difference_rps),
            "" if score.is_reference else signed(score.difference_percent, 1),
        ]
        if any(shares):
            row.append("" if share is None else plain(share, 3))
        rows.append([*row, f"{1e3 * score.decision_s:.2f}", _seeds(score), _seconds(score)])
    return table(headings, rows)


def _seeds(score: Score) -> str:
    if score.agent is None:
        return ""
    return "one" if len(score.seeds) == 1 else str(len(score.seeds))


def _seconds(score: Score) -> str:
    if not score.training_s:
        return "" if score.agent is None else "not stored"
    mean = sum(score.training_s) / len(score.training_s)
    return f"{mean:,.0f}" + (f", at most {max(score.training_s):,.0f}" if len(score.training_s) > 1 else "")


def seed_section(results: Results) -> str:
    """Return how much the training seed matters, learner by learner."""
    scores = [score for score in results.trained if score.trained_on is not None]
    if not scores:
        return "No training runs are stored."
    rows = [
        [
            score.policy,
            code(score.trained_on or ""),
            ", ".join(str(seed) for seed in score.seeds),
            ", ".join(f"{mean:.2f}" for mean in score.by_run.mean(axis=1)),
            signed(score.difference_rps) if len(score.seeds) > 1 else f"{signed(score.difference_rps)} (one seed)",
            signed(score.difference_percent, 1),
            _seconds(score),
        ]
        for score in sorted(scores, key=lambda score: (score.agent or "", _place(score.trained_on)))
    ]
    headings = ["agent", "scenario", "seeds", "requests/s of each", f"mean difference to `{REFERENCE}`", "in percent"]
    few = sorted({len(score.seeds) for score in scores if 1 < len(score.seeds) < 4})
    text = (
        "Every run is the documented one-command training with another `--seed`, played on the same test episodes. "
        "The interval is over training seeds; `one seed` marks those with a single run, whose interval is over "
        "episodes and says nothing of what another training would give."
    )
    if few:
        counts = listing([str(count) for count in few])
        text += (
            f" Of {counts} seeds a percentile bootstrap is their range: it is too narrow, and shows how far seeds lie "
            "apart rather than where the next one will."
        )
    return "\n\n".join([text, table([*headings, "training, s"], rows)])


def _place(scenario: str | None) -> int:
    return SCENARIO_ORDER.index(scenario) if scenario in SCENARIO_ORDER else len(SCENARIO_ORDER)


def transferred(scores: Sequence[Score], scenario: str) -> list[Score]:
    """Return the learned agents that were trained on another scenario."""
    return [score for score in scores if score.agent is not None and score.trained_on != scenario]


def transfer_section(results: Results) -> str:
    """Return how agents fare where they were not trained."""
    parts = [
        "No weight of these agents belongs to a place in the queue, so one trained in `light` (queue of 64) plays any "
        "other capacity and load without retraining."
    ]
    rows = []
    for name in results.scenarios:
        scores = results.compared.get(name, [])
        for score in transferred(scores, name):
            against = [find(scores, baseline) for baseline in (*BASELINES, REFERENCE)]
            cells = [signed(difference(score, one)) if one is not None else "not measured" for one in against]
            rows.append([score.policy, code(name), plain(score.throughput_rps), *cells])
    if rows:
        against_headings = [f"to {code(baseline)}" for baseline in (*BASELINES, REFERENCE)]
        parts.append(table(["agent", "plays", "requests/s", *against_headings], rows))
    rates = [one for one in results.comparisons.values() if one.arrival_rate_rps is not None]
    if rates:
        parts += ["**Arrival rate.** " + _rate_text(results), _rate_table(results)]
    if len(parts) == 1:
        parts.append("Not measured.")
    return "\n\n".join(parts)


def rate_cases(results: Results) -> dict[str, list[tuple[float, Comparison]]]:
    """Return by scenario its comparisons at several arrival rates, its own among them, from the lowest."""
    cases: dict[str, list[tuple[float, Comparison]]] = {}
    for comparison in results.comparisons.values():
        if comparison.arrival_rate_rps is not None:
            cases.setdefault(comparison.scenario, []).append((comparison.arrival_rate_rps, comparison))
    for scenario, found in cases.items():
        own_rps = load_scenario(scenario).workload.arrival_rate_rps
        if scenario in results.comparisons and own_rps is not None:
            found.append((own_rps, results.comparisons[scenario]))
        found.sort(key=lambda one: one[0])
    return {scenario: found for scenario, found in cases.items() if len(rate_policies(found)) > 1}


def rate_policies(found: Sequence[tuple[float, Comparison]]) -> list[str]:
    """Return the policies that played at every rate."""
    everywhere = set.intersection(*(set(one.policies) for _, one in found))
    return [name for name in found[0][1].policies if name in everywhere]


def _rate_text(results: Results) -> str:
    names = listing([code(name) for name in rate_cases(results)])
    return (
        f"{names} with other arrival rates, everything else as it is; agents as trained. Difference to `{REFERENCE}` "
        "at the same rate, in percent of its mean."
    )


def _rate_table(results: Results) -> str:
    parts = []
    for scenario, found in rate_cases(results).items():
        policies = [name for name in rate_policies(found) if name != REFERENCE]
        rows = []
        for rate_rps, comparison in found:
            scores = results.compared[comparison.case]
            own = [find(scores, name) for name in policies]
            reference = find(scores, REFERENCE)
            rows.append(
                [
                    f"{code(scenario)} at {rate_rps:g}/s",
                    plain(reference.throughput_rps) if reference is not None else "not measured",
                    *(signed(one.difference_percent, 1) if one is not None else "" for one in own),
                ]
            )
        parts.append(table(["arrivals", code(REFERENCE), *(code(name) for name in policies)], rows))
    return "\n\n".join(parts)
