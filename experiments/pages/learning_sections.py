"""The page's sections on learning: curves, what was learned, ablations, decision time."""

from collections.abc import Sequence

from experiments.grid.study_ablations import ABLATIONS
from experiments.grid.study_behaviour import Behaviour
from experiments.grid.study_store import TrainedRun
from experiments.pages.markdown import MINUS, listing, signed, table
from experiments.pages.scores import COUPLED, code
from experiments.pages.stored_results import Results
from experiments.results.summary import REFERENCE

_WORDS = {
    "no-slack": "without anything that tells of deadlines",
    "no-context": "without anything that tells of the rest of the queue",
    "one-beam": "taking the most probable pick every time",
    "no-masking": "without action masks while learning",
}


def gain_percent(run: TrainedRun) -> list[float]:
    """Return the gain over DFTSP of every validation."""
    return [100.0 * (mean / run.curve.expert_rps - 1.0) for mean in run.curve.throughput_rps]


def curve_section(results: Results, figure: str | None) -> str:
    """Return the learning curves and where they end."""
    if figure is None:
        return "No training runs are stored."
    rows = []
    for run in results.runs:
        gains = gain_percent(run)
        best = max(gains)
        near = next(second for second, gain in zip(run.curve.seconds, gains, strict=True) if gain >= best - 0.5)
        ablation = "" if run.ablation is None else f" {run.ablation}"
        rows.append(
            [
                code(run.agent) + ablation,
                code(run.scenario),
                str(run.seed),
                *(f"{gain:+.1f}".replace("-", MINUS) for gain in (gains[0], best, gains[-1])),
                f"{near:,.0f}",
                f"{run.training_s:,.0f}",
                f"{run.steps:,}",
            ]
        )
    text = (
        "Throughput on validation episodes during training, in percent above or below DFTSP in the same episodes; the "
        "best model is kept. `Within 0.5` says after how many seconds a run first came that close to its best, in "
        "percent of DFTSP. Seconds are wall-clock, on machines that did other things as well."
    )
    headings = ["agent", "scenario", "seed", "first, %", "best, %", "last, %", "within 0.5, s", "training, s", "slots"]
    return "\n\n".join([text, f"![Learning curves]({figure})", table(headings, rows)])


def behaviour_section(results: Results, figures: Sequence[str]) -> str:
    """Return what agents serve and defer."""
    if not results.behaviours:
        return "Not measured."
    parts = [
        "Waiting requests of validation episodes, each counted in every slot that it waits in, by how many more slots "
        "it can be served in (slack less compute time, in slots) and by its footprint (the largest share of any limit "
        "that it takes). Left: its score, less the mean of its slot. Middle: the part served at once. Right: that part "
        "less what DFTSP would have served of the very same queue: below 0 the agent defers, above 0 it prefers."
    ]
    for behaviour, figure in zip(results.behaviours, figures, strict=True):
        parts += [
            f"![{behaviour.policy} in {behaviour.scenario}]({figure})",
            f"`{behaviour.policy}` in `{behaviour.scenario}`: {_preferences(behaviour)}",
        ]
    return "\n\n".join(parts)


def _preferences(behaviour: Behaviour) -> str:
    """Say which classes the agent serves most above and most below DFTSP."""
    cells = []
    for place, counts in enumerate(behaviour.requests):
        for column, count in enumerate(counts):
            ours, theirs = behaviour.served[place][column], behaviour.served_by_dftsp[place][column]
            if count and ours is not None and theirs is not None:
                cells.append((ours - theirs, count, place, column))
    total = sum(behaviour.requests[place][column] for _, _, place, column in cells)
    common = [cell for cell in cells if cell[1] >= 0.005 * total]
    if not common:
        return "too few requests to say."
    defers, prefers = min(common), max(common)

    def named(cell: tuple[float, int, int, int]) -> str:
        _, _, place, column = cell
        return (
            f"{_class(behaviour.chance_bounds, place)} slots left and a footprint of "
            f"{_class(behaviour.footprint_bounds, column)} ({100 * cell[0]:+.0f} points)".replace("-", MINUS)
        )

    return (
        f"of the classes with at least half a percent of the {total:,} requests, it defers most those with "
        f"{named(defers)}, and prefers most those with {named(prefers)}."
    )


def _class(bounds: Sequence[float], place: int) -> str:
    return f"{bounds[place]:g} to {bounds[place + 1]:g}" if place + 1 < len(bounds) else f"{bounds[place]:g} or more"


def ablation_section(results: Results) -> str:
    """Return what parts of the learners are worth."""
    rows = []
    for score in results.ablated:
        whole = next(
            (one for one in results.trained if (one.agent, one.trained_on) == (score.agent, score.trained_on)), None
        )
        rows.append(
            [
                score.policy,
                code(score.trained_on or ""),
                ", ".join(str(seed) for seed in score.seeds),
                signed(score.difference_percent, 1) + (" (one seed)" if len(score.seeds) == 1 else ""),
                "not measured" if whole is None else signed(whole.difference_percent, 1),
            ]
        )
    measured = {run.ablation for run in results.runs}
    missing = [f"{code(name)} ({_WORDS[name]})" for name in ABLATIONS if name not in measured]
    words = "; ".join(f"{code(name)}: {_WORDS[name]}" for name in ABLATIONS if name in measured)
    parts = []
    if rows:
        parts.append(
            f"The same training with something taken away, in percent above or below DFTSP on test episodes. {words}."
        )
        parts.append(table(["agent", "scenario", "seeds", "difference, %", "whole, %"], rows))
    if missing:
        parts.append(f"Not measured: {listing(missing)}.")
    return "\n\n".join(parts)


def decision_section(results: Results) -> str:
    """Return how long decisions take, many at once."""
    if results.decisions is None:
        return "Not measured."
    rows = results.decisions.rows
    size = rows[0].environments
    text = (
        f"{size:,} slots decided in one call, each of an episode of its own, as DFTSP meets them; the same slots for "
        f"all, in one run ({results.decisions.machine}). `times as fast` is DFTSP's processor time by the "
        "policy's. The ranker that packs greedily needs a score and a sort; agents that pack by value solve an integer "
        "programme for every slot, as DFTSP does, with the fast solver."
    )
    cells = [
        [
            code(row.policy) if row.policy == REFERENCE or ":" in row.policy else row.policy,
            code(row.scenario),
            f"{row.mean_waiting:.1f}",
            f"{row.microseconds:.1f}",
            f"{row.low_microseconds:.1f} to {row.high_microseconds:.1f}",
            f"{row.cpu_microseconds:.1f}",
            f"{row.times_as_fast:.2f}",
        ]
        for row in sorted(
            rows, key=lambda row: COUPLED.index(row.scenario) if row.scenario in COUPLED else len(COUPLED)
        )
    ]
    headings = ["policy", "scenario", "waiting", "µs a decision", "lowest to highest", "CPU µs", "times as fast"]
    return "\n\n".join([text, table(headings, cells)])
