"""A dataset's card: a page and a plot beside the data, made from the totals of its units."""

from pathlib import Path
from typing import Any

import numpy as np

from agents.files import write_text
from edgellm_env.scenario import load_scenario
from experiments.datasets.census import EVERY
from experiments.datasets.describe import OWN
from experiments.datasets.plan import Plan
from experiments.datasets.totals import UnitTotals
from experiments.results.figures import plot_returns

CARD = "README.md"
PLOT = "returns.png"

_ACTIONS = {
    "Batch": "`(N,)` int8: a bit per place in the queue, oldest first",
    "Select": "place of the request to add, N commits; a batch's requests come in queue order, oldest first",
    "Rank": "`(N,)` float32: 1 for the requests wanted, -1 for the others; the node fills what is left in queue order",
}


def write_card(plan: Plan, totals: UnitTotals, metadata: dict[str, Any], size_bytes: int, folder: Path) -> None:
    """Write page and plot into ``folder``."""
    scores = {"random": metadata["ref_min_score"], "DFTSP": metadata["ref_max_score"]}
    plot_returns(totals.returns, scores, f"{plan.dataset_id}: {plan.episodes} episodes", folder / PLOT)
    write_text(folder / CARD, card_text(plan, totals, metadata, size_bytes))


def card_text(plan: Plan, totals: UnitTotals, metadata: dict[str, Any], size_bytes: int) -> str:
    """Return the page."""
    own, scenario = metadata[OWN], load_scenario(plan.scenario)
    returns = np.array(totals.returns)
    low, high = metadata["ref_min_score"], metadata["ref_max_score"]
    served = int(np.dot(np.arange(len(totals.served)), totals.served))
    normalised = f"{(returns.mean() - low) / (high - low):.1%}" if high > low else "undefined: the references are equal"
    files = "".join(f"- file `{name}`: SHA-256 `{checksum}`\n" for name, checksum in plan.files.items())
    return f"""# {plan.dataset_id}

{metadata["description"]}

| | |
| --- | --- |
| environment | `EdgeLLM/{plan.environment}-v0` |
| scenario | {scenario.name}: {scenario.description or "no description"} |
| tier | {plan.tier} |
| policy | {own["policy"]} |
| episodes | {plan.episodes:,} |
| steps | {sum(totals.steps):,} ({min(totals.steps):,} to {max(totals.steps):,} an episode) |
| size | {size_bytes / 1e6:,.1f} MB |
| seeds | {own["episode_seeds"]["first"]} to {own["episode_seeds"]["last"]}, one an episode |
| licence | {metadata["license"]} |

```python
import minari
dataset = minari.load_dataset("{plan.dataset_id}")
environment = dataset.recover_environment()
```

## Returns

![Histogram of returns]({PLOT})

| | requests served in an episode |
| --- | --- |
| this dataset: mean | {returns.mean():.2f} |
| standard deviation | {returns.std():.2f} |
| least, median, most | {returns.min():g}, {np.median(returns):g}, {returns.max():g} |
| reference `random` (score 0) | {low:.2f} |
| reference `dftsp` (score 1) | {high:.2f} |
| normalised mean | {normalised} |

References are means over {metadata["num_episodes_average_score"]} validation episodes, none of them in the data.

## Actions

{_ACTIONS[plan.environment]}.

| requests served in a slot | slots | share |
| --- | --- | --- |
{_histogram(totals)}
A slot serves {served / max(1, totals.slots):.2f} requests of {totals.waiting / max(1, totals.slots):.2f} waiting on
average; its optimum was {totals.optimum / max(1, totals.slots):.2f}. Slots with an infeasible request:
{totals.infeasible:,} of {totals.slots:,}. The solver proved the optimum of
{own["solver"]["optimality_share"]:.2%} of the slots.

## Which constraints bind

In {totals.census_slots:,} slots (one in {EVERY}), in how many a larger batch would exist if the constraint alone were
dropped. In {_share(totals.left_behind, totals.census_slots)} somebody waiting could not be served.

| constraint | slots | share |
| --- | --- | --- |
{_census(totals)}
## How it was made

```
{own["command"]}
```

`scenario.yaml` is the text under `{OWN}.scenario` in `data/metadata.json`. Check the data with
`python -m experiments verify {plan.dataset_id}`.

{files}- content: SHA-256 `{own["content_sha256"]}` over all episodes
- versions: {", ".join(f"{name} {number}" for name, number in own["versions"].items())}

## Per step

Observations and infos have T + 1 entries for T steps: entry t is what was there before step t. Infos: the environment's
counts since the episode's start, `slot`, `infeasible`; `optimal_count` and `nodes` are the largest batch that the slot
allows and the nodes that DFTSP visits to find it (0 after the last step){
        "; `action_mask` is what was legal" if plan.environment == "Select" else ""
    }. Rewards are requests served.

## How to cite

```bibtex
{own["citation"].strip()}
```
"""


def _histogram(totals: UnitTotals) -> str:
    return "".join(
        f"| {size} | {times:,} | {_share(times, totals.slots)} |\n" for size, times in enumerate(totals.served)
    )


def _census(totals: UnitTotals) -> str:
    return "".join(
        f"| {name.replace('_', ' ')} | {times:,} | {_share(times, totals.census_slots)} |\n"
        for name, times in totals.binding.items()
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "no slot"
