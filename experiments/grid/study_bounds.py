"""``study bounds``: takes the clairvoyant bounds of a comparison's results and stores them with the study's."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from agents.files import OutputError
from experiments.grid.study_store import (
    STORE,
    Comparison,
    comparison_path,
    read_comparison,
    read_document,
    write_comparison,
)


@dataclass(frozen=True)
class StudyBounds:
    """Store what a scheduler that knew the future could serve at most in the study's test episodes."""

    results: Path
    """The results.json of a compare that bounded the same episodes: compare --clairvoyant-s SECONDS."""
    store: Path = STORE
    """Where results are stored."""

    def run(self, console: Console) -> Comparison:
        """Check that the bounds are of the stored episodes, then store them.

        Raises:
            ValueError: no bounds in the file, no stored comparison of its scenario, or bounds of other episodes.
        """
        document = read_document(self.results)
        scenario, bounds = document.get("metadata", {}).get("scenario"), document.get("bounds")
        if not isinstance(scenario, str) or not bounds:
            raise OutputError(f"results: {self.results} holds no bounds; expected those of compare --clairvoyant-s")
        path = comparison_path(self.store, scenario)
        if not path.is_file():
            raise OutputError(f"results: {scenario!r}; {self.store} holds no comparison of it: run study compare first")
        stored = read_comparison(path)
        # With a trace file the checksum tells where the file lies; its episodes are told apart by their seeds.
        if stored.trace is None and document["metadata"].get("scenario_checksum") != stored.scenario_checksum:
            raise OutputError(f"scenario_checksum: {self.results} is of other settings than {path}")
        stored = dataclasses.replace(stored, bounds_rps=_by_episode(stored, bounds, self.results))
        write_comparison(stored, self.store)
        console.print(f"{scenario}: bounds of {len(stored.bounds_rps)} episodes in {path}", markup=False)
        return stored


def _by_episode(stored: Comparison, bounds: list[dict[str, Any]], path: Path) -> dict[int, float]:
    """Return the upper bound on throughput by episode, once every episode is the stored one."""
    episodes = {row.episode: row for row in stored.rows}
    if {bound["episode"] for bound in bounds} != set(episodes):
        raise OutputError(f"episodes: {path} bounds {len(bounds)}; expected the {len(episodes)} that are stored")
    answer = {}
    for bound in bounds:
        row = episodes[bound["episode"]]
        if bound["seed"] != row.seed:
            raise OutputError(f"episode {row.episode}: {path} bounds seed {bound['seed']}; expected {row.seed}")
        answer[row.episode] = bound["upper"] / row.covered_s
    return answer
