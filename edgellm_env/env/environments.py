"""The registered environments. Each class's docstring is its documentation page."""

from edgellm_env.arrays import BoolArray
from edgellm_env.env.actions import (
    BatchInterface,
    JointInterface,
    PositiveRankInterface,
    RankInterface,
    SelectInterface,
)
from edgellm_env.env.single import EdgeLLMEnv


class BatchEnv(EdgeLLMEnv):
    """One edge node; every step decides one slot's whole batch.

    ## Description
    An edge node (a base station with a small server) serves one quantized LLM. Time runs in slots. Requests arrive
    during a slot. At the next slot's start the agent sees all waiting requests and chooses a batch of them. The batch's
    prompts are sent up the radio link and computed (prefill, then autoregressive decode), and the answers are sent
    down. A batch is feasible if it fits the slot's compute limit, the free KV memory, both links and the deadline of
    every member, and if the model's quality meets every member's accuracy requirement. Source of the problem: Zhang et
    al., arXiv 2405.07140.

    A known limit of these slot-batch nodes: a batch's compute time is the sum of its members' times, as if they ran one
    after the other. On real GPUs, where decoding is bound by memory bandwidth, batching pays and a single request is
    far slower. Scenarios with `serving.kind: continuous` have that: the node runs iterations whose measured cost all
    requests share, the batch is what joins the running requests at the next iteration, and it is feasible if every
    request, running ones included, still makes its last token in time. An admitted request is never late.

    ## Action Space
    `MultiBinary(N)`: a bit per place in the queue, oldest request first; N is `queue.capacity`. Bits at empty places
    (`valid` is 0) mean nothing. The scenario's `queue.infeasible` says what happens to an infeasible batch: `trim`
    admits the marked requests in queue order and skips those that no longer fit; `reject` serves none; `raise` raises
    `InfeasibleBatchError`. `info["infeasible"]` says whether the batch was infeasible.

    ## Observation Space
    A `Dict` of three Boxes. Every value is finite, at least 0 and within the space's bounds. A waiting request that
    exceeded a bound could not be served, and has left the queue.

    | key | shape, type | content |
    | --- | --- | --- |
    | `requests` | (N, 10) float32 | a row per waiting request, oldest first; rows of empty places are 0 |
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
    | 4 | `compute_limit` | compute time that this slot's batch may take; if continuous, what is left of it | slots |
    | 5 | `memory` | free KV memory | share of the memory that the lightest scheme's weights leave |
    | 6 | `compute_availability` | compute that background load leaves | share |
    | 7 | `uplink_availability` | uplink that background load leaves | share |
    | 8 | `downlink_availability` | downlink that background load leaves | share |
    | 9 ... | `scheme` | 1 for the loaded quantization scheme, 0 for the others | 0 or 1 |

    On continuous nodes `node` ends in `running` (running requests, share of the most) and `iteration` (length of the
    next iteration, if nothing is admitted, in slots), and two Boxes say what runs: `running` (R, 5) float32 with a row
    per running request in order of admission, and `running_valid` (R,) int8, 1 where a request runs.

    Columns of `running`:

    | column | name | content | unit |
    | --- | --- | --- | --- |
    | 0 | `to_go` | output tokens still to be made | share of the limit |
    | 1 | `context` | tokens in the KV cache; of a waiting prompt: its own | share of the KV cache |
    | 2 | `finish` | time until its last token, if nothing is admitted | slots |
    | 3 | `margin` | by how much its last token may be later | slots |
    | 4 | `prompt_waits` | 1 if the next iteration processes its prompt | 0 or 1 |

    ## Rewards
    The number of requests served in the slot; on continuous nodes, of those admitted, which are all served in time. An
    episode's return, divided by the episode's length in seconds, is the throughput in requests per second.

    ## Starting State
    The queue is empty at slot 0; the first requests are seen at slot 1. `reset` draws everything random from the seed:
    arrivals, lengths, requirements, channels, background load. The same seed gives the same requests, whatever the
    agent does.

    ## Episode End
    An episode is truncated after `timing.episode_slots` slots. It never terminates.

    ## Information
    `reset` and `step` return the same keys:

    | key | content |
    | --- | --- |
    | `arrived` | requests since the episode's start; arrived = served + expired + rejected + blocked + waiting |
    | `served` | of these, requests that were served |
    | `expired` | requests whose deadline could no longer be met |
    | `rejected` | requests whose accuracy requirement no scheme meets |
    | `blocked` | requests that found the queue full |
    | `waiting` | requests in the queue now |
    | `slot_served` | requests served in the slot that has just ended |
    | `slot_latency_s` | sum of their latencies, from arrival to delivery |
    | `compute_utilisation`, `memory_utilisation`, `uplink_utilisation`, `downlink_utilisation` | use in it, 0 to 1 |
    | `infeasible` | whether the batch of the slot that has just ended was infeasible |
    | `slot` | index of the slot that the next action decides |
    | `episode_seed` | seed that `reset` drew everything from |

    Continuous nodes add `running`, the requests that run now, and totals since the episode's start: `first_tokens`
    and `ttft_s` (requests with their first token, and the sum of their times from arrival to its delivery), `finished`
    and `latency_s` (arrival to the last token's delivery), `decoded` and `tpot_s` (those finished with two tokens or
    more, and the sum of their times per token after the first). Requests that still run when the episode ends count as
    they will finish. `slot_latency_s` is then the growth of `latency_s`.

    ## Arguments
    | argument | default | meaning |
    | --- | --- | --- |
    | `scenario` | `"balanced"` | shipped name, path to a YAML file, mapping, or `Scenario` |
    | `trace` | `None` | path to a trace file, for scenarios that replay one (`azure-conv`) |
    | `overrides` | `None` | settings to replace, by dotted path: `{"workload.arrival_rate_rps": 10}` |
    | `render_mode` | `None` | what `render()` does: `"ansi"` (text), `"rgb_array"`, `"human"` (docs/rendering.md) |

    ```python
    import gymnasium as gym
    env = gym.make("edgellm_env:EdgeLLM/Batch-v0", scenario="light")
    observation, info = env.reset(seed=0)
    ```

    ## Version History: v0, the first version
    """

    interface = BatchInterface


class RankEnv(EdgeLLMEnv):
    """One edge node; every step ranks the waiting requests, and the node packs a batch by that ranking.

    ## Description
    The node is that of `EdgeLLM/Batch-v0`; only the action differs. Every action gives a feasible batch.

    ## Action Space
    `Box(-1, 1, (N,), float32)`: a score per place in the queue. The node goes through the waiting requests by
    descending score, ties in queue order, and admits each that still fits. Scores at empty places mean nothing. Scores
    outside [-1, 1], and NaN, are an error. Packing goes on to the last request, so that no request that would still fit
    is left out. A request is held back only if it ranks below requests that fill the slot.

    ## Observation Space: as `EdgeLLM/Batch-v0`
    ## Rewards: as `EdgeLLM/Batch-v0`, the number of requests served in the slot
    ## Starting State: as `EdgeLLM/Batch-v0`
    ## Episode End: as `EdgeLLM/Batch-v0`
    ## Information: as `EdgeLLM/Batch-v0`; `infeasible` is always False
    ## Arguments: as `EdgeLLM/Batch-v0`
    ## Version History: v0, the first version
    """

    interface = RankInterface


class PositiveRankEnv(EdgeLLMEnv):
    """One edge node; every step ranks the waiting requests, and the node packs a batch of those with positive scores.

    ## Description
    As `EdgeLLM/Rank-v0`, but that capacity can be held back: a request that would fit is left waiting by a score of 0
    or less. On continuous nodes refusing what would fit is what pays most.

    ## Action Space
    `Box(-1, 1, (N,), float32)`: a score per place in the queue. The node goes through the waiting requests with scores
    above 0 by descending score, ties in queue order, and admits each that still fits. Scores at empty places mean
    nothing. Scores outside [-1, 1], and NaN, are an error.

    ## Observation Space: as `EdgeLLM/Batch-v0`
    ## Rewards: as `EdgeLLM/Batch-v0`, the number of requests served in the slot
    ## Starting State: as `EdgeLLM/Batch-v0`
    ## Episode End: as `EdgeLLM/Batch-v0`
    ## Information: as `EdgeLLM/Batch-v0`; `infeasible` is always False
    ## Arguments: as `EdgeLLM/Batch-v0`
    ## Version History: v1, which holds back what has no positive score; v0 packs to the last request
    """

    interface = PositiveRankInterface


class SelectEnv(EdgeLLMEnv):
    """One edge node; a slot's batch is built one request a step, under exact action masks.

    ## Description
    The node is that of `EdgeLLM/Batch-v0`. A slot takes several steps: each adds a request to the batch, and the last
    one commits the batch.

    ## Action Space
    `Discrete(N + 1)`: i < N adds the request at place i to the batch, N commits the batch. Index i is legal if and only
    if a request waits there, is not in the batch yet, and the batch stays feasible with it; N is always legal. The mask
    is `info["action_mask"]` (N + 1,) int8, and `env.unwrapped.action_masks()` (N + 1,) bool for sb3-contrib. The
    scenario's `queue.infeasible` says what an illegal index does: `trim` adds nothing; `reject` ends the slot and
    serves none; `raise` raises `InfeasibleBatchError`. A slot ends after N + 1 steps at the latest.

    ## Observation Space
    As `EdgeLLM/Batch-v0`, and the batch so far:

    | key | shape, type | content |
    | --- | --- | --- |
    | `batch` | (N,) int8 | 1 where the request is in the batch |
    | `used` | (4,) float32 | shares that the batch uses of compute time, free memory, uplink, downlink |

    The compute share refers to the tighter of two limits: the slot's compute limit and the batch's least slack.

    ## Rewards
    0 for every step but a slot's last; then the number of requests served. The sum over a slot is the reward of
    `EdgeLLM/Batch-v0` for the same batch.

    ## Starting State: as `EdgeLLM/Batch-v0`, with an empty batch
    ## Episode End
    An episode is truncated when the last of its `timing.episode_slots` slots ends. It never terminates.

    ## Information
    As `EdgeLLM/Batch-v0`, and `action_mask`. Entries on the slot that has just ended keep their values until the next
    slot ends. `infeasible` says whether an illegal index was among the slot's steps so far; until the first of these,
    among those of the slot before.

    ## Arguments: as `EdgeLLM/Batch-v0`
    ## Version History: v0, the first version
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
    The node is that of `EdgeLLM/Batch-v0`, on scenarios with several quantization schemes (`quantized`). A scheme
    decides compute time (factor beta), the memory that the weights leave (factor alpha) and quality, hence which
    requests are admissible. A batch under another scheme than the loaded one first takes loading time, which shortens
    the slot's compute time and every request's slack and counts to the backlog. An episode begins with the first scheme
    loaded.

    ## Action Space
    `MultiDiscrete([S, 2, ..., 2])`, 1 + N entries: the scheme, then a bit per place in the queue as in
    `EdgeLLM/Batch-v0`. `queue.infeasible` says what happens to a batch that is infeasible under the chosen scheme.

    ## Observation Space
    As `EdgeLLM/Batch-v0`. `compute`, `kv` and `slack` are those under the loaded scheme; the last columns of `node` say
    which that is.

    ## Rewards: as `EdgeLLM/Batch-v0`, the number of requests served in the slot
    ## Starting State: as `EdgeLLM/Batch-v0`
    ## Episode End: as `EdgeLLM/Batch-v0`
    ## Information: as `EdgeLLM/Batch-v0`
    ## Arguments
    As `EdgeLLM/Batch-v0`; the default of `scenario` is `"quantized"`. `env.unwrapped.slot_problem(scheme=k)` returns
    the slot's problem under scheme k, and `env.unwrapped.to_action(selection, scheme=k)` the action for it.

    ## Version History: v0, the first version
    """

    interface = JointInterface
