import json

import numpy as np
import pytest

from agents.policy import PolicyError
from agents.registry import build_policies
from agents.shipping import CARD, SHIPPED_FOLDER, shipped_agents, shipped_path
from edgellm_env import load_scenario
from experiments.grid.evaluation import evaluate


def test_something_is_shipped_for_every_coupled_scenario() -> None:
    assert {f"cem-linear:{name}" for name in ("light", "balanced", "memory", "patient")} <= set(shipped_agents())


@pytest.mark.parametrize("spec", shipped_agents())
def test_a_shipped_agent(spec: str) -> None:
    agent, _, scenario = spec.partition(":")
    folder = shipped_path(spec)
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    assert (card["agent"], card["scenario"]) == (agent, scenario)
    assert f"--scenario {scenario} --agent {agent} --seed {card['seed']}" in card["command"]
    assert card["scenario_checksum"] == load_scenario(scenario).checksum
    assert card["validation"]["episodes"] >= 16
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}  # nothing that would be unpickled
    assert (folder / "model.safetensors").stat().st_size <= 1_000_000
    # Scenarios of another capacity are playable too.
    other = load_scenario("spillover").with_values({"timing.episode_slots": 12})
    (row,) = evaluate(other, build_policies([spec], other), [3])
    assert row.served > 0
    assert row.infeasible_slots == 0


def test_unknown() -> None:
    with pytest.raises(PolicyError, match=r"'cem-linear:nowhere': no such trained agent; expected one of cem-linear:"):
        build_policies(["cem-linear:nowhere"], load_scenario("light"))
    assert np.all([(SHIPPED_FOLDER / spec.replace(":", "/") / CARD).is_file() for spec in shipped_agents()])
