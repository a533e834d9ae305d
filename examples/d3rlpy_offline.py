r"""d3rlpy clones a recorded policy offline, then plays under masks.

Record first (a checkout; the data need the package and Minari alone):

python -m experiments collect --scenario chat --env Select --policy slo-threshold --episodes 100 \
    --id edgellm/chat/select-v0

3.50 requests/s in ``chat`` from 100 episodes, 50 s on one core; the recorded policy serves 5.10.

python examples/d3rlpy_offline.py [--steps N] [--dataset ID]
"""

import argparse

import d3rlpy
import minari
import numpy as np
from validation import select_throughput


def flat(observation):
    """Return a float32 vector per step: what each request takes alone over what it has left, then all the rest."""
    requests = observation["requests"]
    tightness = requests[..., 0] / np.maximum(requests[..., 4], 1e-3)
    parts = [tightness, *(observation[name] for name in sorted(observation))]
    return np.concatenate([part.reshape(len(requests), -1) for part in parts], axis=1, dtype=np.float32)


def read(dataset_id):
    """Return a recorded dataset as d3rlpy has it."""
    episodes = list(minari.load_dataset(dataset_id).iterate_episodes())
    ends = [np.eye(1, len(one), len(one) - 1)[0] for one in episodes]
    return d3rlpy.dataset.MDPDataset(
        observations=np.concatenate([flat(one.observations)[:-1] for one in episodes]),
        actions=np.concatenate([one.actions for one in episodes]),
        rewards=np.concatenate([one.rewards for one in episodes]).astype(np.float32),
        terminals=np.zeros(sum(map(len, ends)), dtype=np.float32),
        timeouts=np.concatenate(ends),  # episodes end by the clock; without this all would be one
        action_size=episodes[0].observations["valid"].shape[1] + 1,
    )


def evaluate(algo):
    """Return requests/s; a choice that is not legal ends the batch."""

    def decide(observations, infos):
        chosen, masks = algo.predict(flat(observations)), infos["action_mask"]
        legal = masks[np.arange(len(chosen)), chosen] == 1
        return np.where(legal, chosen, masks.shape[1] - 1)

    return select_throughput(decide)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--dataset", default="edgellm/chat/select-v0")
    given = parser.parse_args()
    d3rlpy.seed(0)
    algo = d3rlpy.algos.DiscreteBCConfig(batch_size=256, learning_rate=1e-3, beta=0.0).create()
    algo.fit(
        read(given.dataset), n_steps=given.steps, n_steps_per_epoch=given.steps,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(), show_progress=False,
    )  # fmt: skip
    print(f"after {given.steps} steps: {evaluate(algo):.2f} requests/s")
