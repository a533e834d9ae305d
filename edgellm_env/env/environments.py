"""The registered environments. Each class's docstring is its documentation page."""

from edgellm_env.arrays import BoolArray
from edgellm_env.env.actions import BatchInterface, JointInterface, RankInterface, SelectInterface
from edgellm_env.env.single import EdgeLLMEnv


class BatchEnv(EdgeLLMEnv):
    """One edge node; every step decides one slot's whole batch.

    ## Description

    An edge node (a base station with a small server) hosts one quantized LLM. Time runs in slots. Requests arrive
    during a slot; at the next slot's start the agent sees all that wait and picks a batch. The batch's prompts go up
    the radio link, are computed (prefill, then autoregressive decode), and the answers go down. A batch is feasible if
    the node's compute time, every member's deadline, the KV memory and both links allow it, and the model is accurate
    enough for each member. Source of the problem: Zhang et al., arXiv 2405.07140.

    ## Action Space

    `MultiBinary(N)`: a bit per place in the queue, oldest request first; N is `queue.capacity`. Bits at places where
    nobody waits (`valid` is 0) mean nothing. An infeasible batch is treated by the scenario's `queue.infeasible`:
    `trim` admits the marked requests in queue order, skipping what no longer fits; `reject` serves none; `raise` raises
    `InfeasibleBatchError`. `info["infeasible"]` says whether that happened.

    ## Observation Space

    A `Dict` of three; every entry is finite, non-negative and within the space's bounds.

    | key | shape, type | content |
    | --- | --- | --- |
    | `requests` | (N, 10) float32 | a row per waiting request, oldest first; rows beyond the queue are 0 |
    | `valid` | (N,) int8 | 1 where a request waits |
    | `node` | (9,) float32, one more per scheme if there are several | the node's state |

    Columns of `requests`:

    | column | name | content | unit |
    | --- | --- | --- | --- |
    | 0 | `compute` | compute time on the whole node, at this slot's availability | slots |
    | 1 | `kv` | size of the KV cache | share of the memory that the lightest scheme's weights leave |
    | 2 | `uplink_share` | uplink that it needs, at this slot's availability | share of the uplink |
    | 3 | `downlink_share` | downlink that it needs, at this slot's availability | share of the downlink |
    | 4 | `slack` | compute time that it can still afford before its deadline | slots |
    | 5 | `waited` | time since its arrival | slots |
    | 6 | `prompt` | prompt tokens | share of the limit |
    | 7 | `output` | output tokens | share of the limit |
    | 8 | `accuracy_requirement` | least quality of the model that it accepts | quality |
    | 9 | `last_chance` | 1 if it can't be served any more after this slot | 0 or 1 |

    Columns of `node`:

    | column | name | content | unit |
    | --- | --- | --- | --- |
    | 0 | `phase` | index of the slot | share of the episode |
    | 1 | `waiting` | waiting requests | share of N |
    | 2 | `arrivals` | requests that arrived in the slot before; may exceed 1 | share of N |
    | 3 | `backlog` | compute time that earlier batches still take | slots |
    | 4 | `compute_limit` | compute time that this slot's batch may take | slots |
    | 5 | `memory` | free KV memory | share of the memory that the lightest scheme's weights leave |
    | 6 | `compute_availability` | compute that background load leaves | share |
    | 7 | `uplink_availability` | uplink that background load leaves | share |
    | 8 | `downlink_availability` | downlink that background load leaves | share |
    | 9 ... | `scheme` | 1 for the loaded quantization scheme, 0 for the others | 0 or 1 |

    ## Rewards

    The number of requests served in the slot. An episode's return divided by its seconds is the throughput.

    ## Starting State

    An empty queue at slot 0; the first requests are seen at slot 1. Everything random is drawn at `reset` from the
    seed: arrivals, lengths, requirements, channels, background load. `reset(seed=s)` gives the very same requests
    whatever the agent does.

    ## Episode End

    Truncation after `timing.episode_slots` slots. Episodes never terminate.

    ## Information

    The same keys from `reset` and `step`. Totals since the episode's start: `arrived`, `served`, `expired`, `rejected`
    (the model is not accurate enough), `blocked` (the queue was full), and `waiting`; arrived = served + expired +
    rejected + blocked + waiting. Of the slot just ended: `slot_served`, `slot_latency_s` (sum over the served, arrival
    to delivery), `compute_utilisation`, `memory_utilisation`, `uplink_utilisation`, `downlink_utilisation` (0 to 1),
    `infeasible`. And `slot` (index of the slot about to be decided), `episode_seed`.

    ## Arguments

    | argument | default | meaning |
    | --- | --- | --- |
    | `scenario` | `"balanced"` | shipped name, path to a YAML file, mapping, or `Scenario` |
    | `trace` | `None` | path to a trace file, for scenarios that replay one (`azure-conv`) |
    | `overrides` | `None` | settings to replace, by dotted path: `{"workload.arrival_rate_rps": 10}` |
    | `render_mode` | `None` | `"ansi"`: `render()` returns the slot as text |

    ```python
    import gymnasium as gym
    env = gym.make("edgellm_env:EdgeLLM/Batch-v0", scenario="light")
    observation, info = env.reset(seed=0)
    ```

    ## Version History

    * v0: first version.
    """

    interface = BatchInterface


class RankEnv(EdgeLLMEnv):
    """One edge node; every step ranks the waiting requests, and the node packs a batch by that ranking.

    ## Description

    The node of `EdgeLLM/Batch-v0`; only the way to act differs. Every action is feasible.

    ## Action Space

    `Box(-1, 1, (N,), float32)`: a score per place in the queue. The node goes through the waiting requests by
    descending score, ties in queue order, and admits each that still fits. Scores at places where nobody waits mean
    nothing. Scores outside [-1, 1] or NaN are an error. Since packing goes on to the end, a batch is never smaller than
    it must be; to hold a request back for later, rank it below those that fill the slot.

    ## Observation Space

    As `EdgeLLM/Batch-v0`.

    ## Rewards

    As `EdgeLLM/Batch-v0`: the number of requests served in the slot.

    ## Starting State

    As `EdgeLLM/Batch-v0`.

    ## Episode End

    As `EdgeLLM/Batch-v0`.

    ## Information

    As `EdgeLLM/Batch-v0`; `infeasible` is always False.

    ## Arguments

    As `EdgeLLM/Batch-v0`.

    ## Version History

    * v0: first version.
    """

    interface = RankInterface


class SelectEnv(EdgeLLMEnv):
    """One edge node; a slot's batch is built one request a step, under exact action masks.

    ## Description

    The node of `EdgeLLM/Batch-v0`; a slot takes several steps: add a request, add another, commit.

    ## Action Space

    `Discrete(N + 1)`: i < N adds the request at place i to the batch, N commits the slot. Index i is legal if and only
    if a request waits there, is not in the batch yet, and the batch stays feasible with it; N is always legal. The mask
    is `info["action_mask"]` (N + 1,) int8, and `env.unwrapped.action_masks()` (N + 1,) bool for sb3-contrib. An illegal
    index is treated by the scenario's `queue.infeasible`: `trim` adds nothing; `reject` ends the slot and serves none;
    `raise` raises `InfeasibleBatchError`. A slot ends by itself after N + 1 steps.

    ## Observation Space

    As `EdgeLLM/Batch-v0`, and what the agent has chosen so far:

    | key | shape, type | content |
    | --- | --- | --- |
    | `batch` | (N,) int8 | 1 where the request is in the batch |
    | `used` | (4,) float32 | share that the batch uses of compute, free memory, uplink, downlink |

    The compute share is that of the tighter of two limits: the slot's, and the batch's tightest slack.

    ## Rewards

    0 for every addition; the number of requests served when the slot ends. The sum over a slot is the reward of
    `EdgeLLM/Batch-v0` for the same batch.

    ## Starting State

    As `EdgeLLM/Batch-v0`, with an empty batch.

    ## Episode End

    Truncation when the last of `timing.episode_slots` slots ends.

    ## Information

    As `EdgeLLM/Batch-v0`, and `action_mask`. Entries on the slot just ended keep their values until the next one ends;
    `infeasible` tells of the slot under way until its first step.

    ## Arguments

    As `EdgeLLM/Batch-v0`.

    ## Version History

    * v0: first version.
    """

    interface = SelectInterface

    def action_masks(self) -> BoolArray:
        """Return which actions are legal now, (N + 1,) bool, as sb3-contrib asks for them."""
        self._require_episode()
        legal = self._engine.interface.action_mask()
        assert legal is not None
        own: BoolArray = legal[0]
        return own


class JointEnv(EdgeLLMEnv):
    """One edge node; every step chooses the quantization scheme together with the batch.

    ## Description

    The node of `EdgeLLM/Batch-v0`, on scenarios with several quantization schemes (`quantized`). A scheme changes
    compute time (beta), memory left by the weights (alpha), and quality, hence which requests are admissible. Running a
    batch under another scheme than the loaded one costs loading time, which takes from the slot's compute time and from
    everybody's slack, and lands in the backlog. The first scheme is loaded when an episode begins.

    ## Action Space

    `MultiDiscrete([S, 2, ..., 2])`, 1 + N entries: the scheme, then a bit per place in the queue as in
    `EdgeLLM/Batch-v0`. An infeasible batch (under the chosen scheme) is treated by `queue.infeasible`.

    ## Observation Space

    As `EdgeLLM/Batch-v0`. Compute, KV size and slack are those under the loaded scheme; `node` ends with a one-hot of
    it.

    ## Rewards

    As `EdgeLLM/Batch-v0`: the number of requests served in the slot.

    ## Starting State

    As `EdgeLLM/Batch-v0`.

    ## Episode End

    As `EdgeLLM/Batch-v0`.

    ## Information

    As `EdgeLLM/Batch-v0`.

    ## Arguments

    As `EdgeLLM/Batch-v0`; `scenario` is `"quantized"` unless given. `env.unwrapped.slot_problem(scheme=k)` is the
    slot's problem under scheme k, `env.unwrapped.to_action(selection, scheme=k)` the action for it.

    ## Version History

    * v0: first version.
    """

    interface = JointInterface
