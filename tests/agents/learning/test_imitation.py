from pathlib import Path

import numpy as np
import pytest
import torch

from agents.learned import PickingPolicy, load_picking_network
from agents.learning.imitation import Imitation, collect
from agents.learning.runs import SETTINGS_FOLDER, Run, read_settings
from agents.models.queue_network import RequestScorer
from agents.policy import PolicyError
from agents.rollout import rollout
from agents.seeds import episode_seeds
from edgellm_env import load_scenario
from edgellm_env.node.features import UPLINK_SHARE
from tests.agents.learning.trap import probability_of_no_gain

SCENARIO = load_scenario("balanced").with_values({"timing.episode_slots": 25})


def settings_of(agent: str) -> Imitation:
    small = {"environments": 6, "validation_episodes": 4, "batch_size": 32, "width": 16}
    return read_settings(Imitation, SETTINGS_FOLDER / f"{agent}.yaml").model_copy(update=small)


@pytest.mark.parametrize("agent", ["bc", "dagger"])
def test_it_learns_from_the_expert_and_plays_the_same_once_loaded(agent: str, tmp_path: Path) -> None:
    settings = settings_of(agent)
    path = settings.train(Run(SCENARIO, 3 * settings.slots_per_round(SCENARIO), 0, tmp_path))
    network, seeds = RequestScorer.load(path), episode_seeds("train", 9, 10)
    indifferent = RequestScorer(settings.width)
    torch.nn.init.zeros_(indifferent.head.weight)
    torch.nn.init.zeros_(indifferent.head.bias)
    after, before = (rollout(PickingPolicy(one), SCENARIO, seeds).throughput_rps for one in (network, indifferent))
    assert probability_of_no_gain(after, before) < 0.01
    loaded = rollout(load_picking_network(tmp_path, agent), SCENARIO, seeds[:2])
    assert loaded.throughput_rps.tolist() == after[:2].tolist()


def test_labels_are_batches_of_waiting_requests() -> None:
    data = collect(SCENARIO, [1, 2, 3], None, np.random.default_rng(0))
    assert len(data["valid"]) == 75
    assert not (data["chosen"].numpy() & ~(data["valid"].numpy() > 0)).any()
    assert not data["begun"].numpy().any()
    assert data["chosen"].numpy().sum() > 75


def test_the_expert_completes_what_a_learner_began() -> None:
    torch.manual_seed(0)
    data = collect(SCENARIO, [1, 2, 3], RequestScorer(8), np.random.default_rng(0))
    assert data["begun"].numpy().any()
    assert not (data["chosen"].numpy() & ~(data["valid"].numpy() > 0)).any()
    assert not (data["chosen"].numpy() & data["begun"].numpy()).any()
    shares = (data["requests"].numpy()[..., UPLINK_SHARE] * (data["chosen"].numpy() | data["begun"].numpy())).sum(
        axis=1
    )
    assert shares.max() <= 1.0 + 1e-5
    # No request is left that would fit all by itself by its own deadline, beside an answer of nothing.
    assert data["chosen"].numpy().any(axis=1).all()


def test_it_can_not_resume(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="resume"):
        settings_of("bc").train(Run(SCENARIO, 1, 0, tmp_path, resume=True))
