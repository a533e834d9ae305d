from pathlib import Path

import numpy as np
import pytest
import torch
from agents.network_policies import PickingPolicy, play_picking

from agents.learning.imitation import ImitationSettings, collect, train
from agents.learning.settings import SETTINGS_FOLDER, read_settings
from agents.models.network_storage import load_scorer
from agents.models.queue_network import RequestScorer
from agents.policy import PolicyError
from agents.seeds import episode_seeds
from edgellm_env import load_scenario
from edgellm_env.node.features import UPLINK_SHARE
from experiments.grid.evaluation import evaluate
from tests.agents.learning import probability_of_no_gain

SCENARIO = load_scenario("balanced").with_values({"timing.episode_slots": 25})


def settings_of(agent: str) -> ImitationSettings:
    small = {"environments": 6, "validation_episodes": 4, "batch_size": 32, "width": 16}
    return read_settings(ImitationSettings, SETTINGS_FOLDER / f"{agent}.yaml").model_copy(update=small)


@pytest.mark.parametrize("agent", ["bc", "dagger"])
def test_it_learns_from_the_expert_and_plays_the_same_once_loaded(agent: str, tmp_path: Path) -> None:
    settings = settings_of(agent)
    path = train(SCENARIO, settings, 3 * settings.slots_per_round(SCENARIO), 0, tmp_path)
    network, seeds = load_scorer(path), episode_seeds("train", 9, 10)
    indifferent = RequestScorer(settings.width)
    torch.nn.init.zeros_(indifferent.head.weight)
    torch.nn.init.zeros_(indifferent.head.bias)
    after, before = (play_picking(SCENARIO, seeds, one).throughput_rps for one in (network, indifferent))
    assert probability_of_no_gain(after, before) < 0.01
    rows = evaluate(SCENARIO, [PickingPolicy.load(tmp_path, agent)], seeds[:2])
    assert [row.throughput_rps for row in rows] == pytest.approx(after[:2].tolist())


def test_labels_are_batches_of_those_who_wait() -> None:
    data = collect(SCENARIO, [1, 2, 3], None, np.random.default_rng(0))
    assert data.size == 75
    assert not (data.chosen & ~(data.valid > 0)).any()
    assert not data.begun.any()
    assert data.chosen.sum() > 75


def test_the_expert_completes_what_a_learner_began() -> None:
    torch.manual_seed(0)
    data = collect(SCENARIO, [1, 2, 3], RequestScorer(8), np.random.default_rng(0))
    assert data.begun.any()
    assert not (data.chosen & ~(data.valid > 0)).any()
    assert not (data.chosen & data.begun).any()
    shares = (data.requests[..., UPLINK_SHARE] * (data.chosen | data.begun)).sum(axis=1)
    assert shares.max() <= 1.0 + 1e-5
    # Nobody is left who would fit all by itself by its own deadline, beside an answer of nothing.
    assert data.chosen.any(axis=1).all()


def test_it_can_not_resume(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="resume"):
        train(SCENARIO, settings_of("bc"), 1, 0, tmp_path, resume=True)
