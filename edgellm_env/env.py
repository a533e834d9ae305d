"""The Gymnasium environments: one node each, as views on an engine of one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from edgellm_env.actions import ActionInterface, BatchInterface
from edgellm_env.arrays import FloatArray, IntArray
from edgellm_env.dynamics import Dynamics
from edgellm_env.engine import Engine
from edgellm_env.observation import Observation
from edgellm_env.problem import SelectionLike, SlotProblem
from edgellm_env.scenario import Scenario, ScenarioLike, load_scenario
from edgellm_env.workload.source import MAXIMUM_SEED
from edgellm_env.workload.trace import RequestTrace


@dataclass(frozen=True, eq=False)
class SlotView:
    """What a scheduler may know when it decides: this slot, nothing of the future. Requests are oldest first.

    Args:
        problem: the slot's problem over n waiting requests.
        observation: the same as agents see it (arrays of one environment).
        prompt_tokens: (n,) before padding.
        output_tokens: (n,).
        waited_s: (n,) seconds since arrival.
        last_chance: (n,) bool, requests that can't be served any more if this slot does not.
        request: (n,) indices of the requests within the episode.
        slot: index of the slot within the episode.
    """

    problem: SlotProblem
    observation: Observation
    prompt_tokens: IntArray
    output_tokens: IntArray
    waited_s: FloatArray
    last_chance: NDArray[np.bool_]
    request: IntArray
    slot: int


class EdgeLLMEnv(gym.Env[Observation, Any]):
    """Base of the environments; each differs only in its way to act."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "render_fps": 2}
    interface: ClassVar[Callable[[Dynamics], ActionInterface]]

    def __init__(
        self,
        scenario: ScenarioLike = "balanced",
        trace: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode: {render_mode!r}; expected None or one of {self.metadata['render_modes']}")
        self.render_mode = render_mode
        settings = load_scenario(scenario)
        self._engine = Engine(settings.with_values(overrides) if overrides else settings, self.interface, 1, trace)
        self.observation_space = self._engine.observation_space()
        self.action_space = self._engine.interface.space()
        self._observation: Observation | None = None

    @property
    def scenario(self) -> Scenario:
        """The scenario in force, with trace file and overrides applied."""
        return self._engine.scenario

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode on the trace that ``seed`` stands for, or, without one, on the generator's next.

        Args:
            seed: 0 to 2**64 - 1; the same seed gives the very same requests.
            options: none are known.

        Returns:
            Observation and info, as from :meth:`step`.
        """
        if options:
            raise ValueError(f"options: {sorted(options)}; expected none")
        if seed is not None and not 0 <= seed <= MAXIMUM_SEED:
            raise ValueError(f"seed: {seed}; expected a whole number from 0 to 2**64 - 1")
        super().reset(seed=seed)
        episode_seed = seed if seed is not None else int(self.np_random.integers(2**63))
        self._engine.begin(np.zeros(1, dtype=np.int64), [episode_seed])
        self._observation = self._observe()
        return self._observation, self._info()

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Execute one action; see the class for what it means.

        Returns:
            Observation, reward, False (episodes never terminate), whether the episode is over, info.
        """
        self._require_episode()
        rewards, truncated = self._engine.execute(np.asarray(action)[None])
        self._observation = self._observe()
        return self._observation, float(rewards[0]), False, bool(truncated[0]), self._info()

    def slot_problem(self, scheme: int | None = None) -> SlotProblem:
        """Return the current slot's problem, under the loaded scheme or another."""
        self._require_episode()
        return self._engine.dynamics.slot_problem(0, scheme)

    def slot_view(self) -> SlotView:
        """Return what a scheduler may know now."""
        observation = self._require_episode()
        dynamics = self._engine.dynamics
        slot = int(dynamics.node["slot"][0])
        requests = dynamics.waiting_requests()
        waiting = dynamics.waiting[0, : requests.size]
        return SlotView(
            problem=dynamics.slot_problem(0),
            observation=observation,
            prompt_tokens=requests["prompt_tokens"].astype(np.int64),
            output_tokens=requests["output_tokens"].astype(np.int64),
            waited_s=slot * self.scenario.timing.slot_s - requests["arrival_s"],
            last_chance=waiting["last_chance"].copy(),
            request=waiting["request"].copy(),
            slot=slot,
        )

    def to_action(self, selection: SelectionLike) -> Any:
        """Return the action that executes ``selection`` of the current slot's requests (a mask or indices)."""
        return self._engine.interface.express(self.slot_problem().as_mask(selection), 0)

    def trace(self) -> RequestTrace:
        """Return the episode's trace. For analysis and bounds: a policy that reads it looks into the future."""
        self._require_episode()
        return self._engine.source.draw([int(self._engine.episode_seed[0])]).trace(0)

    def render(self) -> str | None:  # type: ignore[override]
        """Return the current slot as text under ``render_mode="ansi"``."""
        if self.render_mode is None:
            gym.logger.warn('render() was called without a render mode; pass render_mode="ansi" to gym.make')
            return None
        from edgellm_env.viewer import slot_as_text  # noqa: PLC0415 - drawing is not part of the environment's job

        return slot_as_text(self.slot_view(), self._info(), self.scenario)

    def _require_episode(self) -> Observation:
        if self._observation is None:
            raise gym.error.ResetNeeded("no episode under way; call reset() first")
        return self._observation

    def _observe(self) -> Observation:
        return {name: array[0] for name, array in self._engine.observe().items()}

    def _info(self) -> dict[str, Any]:
        return {
            name: array[0] if array.ndim > 1 else array[0].item() for name, array in self._engine.info().items()
        }


class BatchEnv(EdgeLLMEnv):
    """One edge node; every step decides one slot's whole batch.

    ## Description

    An edge node (a base station with a small server) hosts one quantized LLM. Time runs in slots. Requests arrive
    during a slot; at the next slot's start the agent sees all that wait and picks a batch. The batch's prompts go up the
    radio link, are computed (prefill, then autoregressive decode), and the answers go down. A batch is feasible if the
    node's compute time, every member's deadline, the KV memory and both links allow it, and the model is accurate enough
    for each member. Source of the problem: Zhang et al., arXiv 2405.07140.

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

    | column | content | unit |
    | --- | --- | --- |
    | 0 | compute time on the whole node, at this slot's availability | slots |
    | 1 | KV-cache size | share of the memory that the lightest scheme's weights leave |
    | 2, 3 | uplink and downlink share needed, at this slot's availability | 1 |
    | 4 | slack: compute time that the request can still afford | slots |
    | 5 | time waited since arrival | slots |
    | 6, 7 | prompt and output tokens | share of the service's limits |
    | 8 | accuracy requirement | 1 |
    | 9 | last chance: 1 if the request can't be served any more after this slot | 0 or 1 |

    Columns of `node`:

    | column | content | unit |
    | --- | --- | --- |
    | 0 | phase: slot index | share of the episode |
    | 1 | requests waiting | share of N |
    | 2 | requests that arrived during the slot before | share of N (may pass 1) |
    | 3 | backlog: compute that still runs | slots |
    | 4 | compute limit of this slot's batch | slots |
    | 5 | free KV memory | share of the memory that the lightest scheme's weights leave |
    | 6, 7, 8 | availability of compute, uplink, downlink | 1 |
    | 9 ... | which scheme is loaded (one-hot), only if the scenario has several | 0 or 1 |

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
