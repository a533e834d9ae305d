"""The state of an engine's environments as bytes: an episode goes on from there later, elsewhere, or many times over.

A line of JSON says what the state belongs to. A checksum and the arrays that an episode changes follow. What an
episode's seed determines (requests, background load) is drawn anew, unless it is there already.
"""

import functools
import json
import struct
import sys
import zlib
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from edgellm_env.env.engine import EngineEnv
from edgellm_env.node.records import FATE
from edgellm_env.settings import shorten

_CHECKSUM_BYTES = 4
_NARROW = struct.Struct("<II")

OWN = np.dtype(
    [
        ("seed", np.uint64),  # of the episode
        ("requests", np.int64),  # that this seed brings
        ("steps", np.int64),  # since the episode began, where that is counted
        ("over", np.bool_),
        ("generator", "V40"),  # which draws the seeds of later episodes
    ]
)
"""What an environment knows of its episode beside the node's state."""


class StateError(ValueError):
    """A state that is damaged or belongs to something else."""


class StatefulEnv(EngineEnv):
    """An engine's environments whose state can be saved and loaded."""

    _begun = False  # whether the environments have episodes

    def get_state(self) -> bytes:
        """Return all that the episodes under way depend on: nodes, queues, batches half chosen, random generators.

        An environment that loads it goes on exactly as this one would. What belongs to no single episode is not in it:
        rendering, what wrappers count.

        Raises:
            ResetNeeded: no episode is under way.
        """
        if not self._begun:
            raise gym.error.ResetNeeded("no episode under way; call reset() first")
        nodes, own = self._engine.dynamics.nodes, np.zeros(self._engine.dynamics.num_envs, dtype=OWN)
        own["seed"], own["requests"] = self._engine.episode_seed, nodes.request_count
        self._describe(own)
        log = nodes.log.view(np.uint8)[:, : FATE.itemsize * int(nodes.node["next_request"].max())]
        payload = b"".join([own.tobytes(), *(part.tobytes() for part in self._parts().values()), log.tobytes()])
        return self._header + zlib.crc32(payload).to_bytes(_CHECKSUM_BYTES, "little") + payload

    def set_state(self, state: bytes) -> None:
        """Go on from a state of :meth:`get_state`, of this environment or another of the same id, scenario and size.

        The next step's observation is the first. Requests are drawn again only if the state is of another episode.

        Raises:
            StateError: it is damaged, or of another version, scenario, id or number of environments; the environments
                are as they were.
        """
        engine, payload = self._engine, self._payload(state)
        own, at, found = np.zeros(engine.dynamics.num_envs, dtype=OWN), 0, {}
        for name, array in {"own": own, **self._parts()}.items():
            found[name] = _read(payload, array, at)
            at += array.nbytes
        own = found.pop("own")
        fates, left = divmod(len(payload) - at, own.size * FATE.itemsize)
        if left or fates != int(found["node"]["next_request"].max()):
            raise StateError(f"state: {len(payload) - at} bytes of request logs; expected others")
        self._check_indices(own, found)

        others = np.flatnonzero((engine.episode_seed != own["seed"]) | (not self._begun))
        if others.size:
            engine.begin(others, own["seed"][others].tolist())
        if not np.array_equal(engine.dynamics.nodes.request_count, own["requests"]):
            raise StateError("state: its seeds bring other requests here; expected a state from get_state()")
        for name, array in self._parts().items():
            _as_bytes(array)[...] = _as_bytes(found[name])
        log = engine.dynamics.nodes.log.view(np.uint8)
        log[:, : fates * FATE.itemsize] = np.frombuffer(payload, np.uint8, offset=at).reshape(own.size, -1)
        log[:, fates * FATE.itemsize :] = 0
        self._renderer.forget()
        self._adopt(own)

    def _describe(self, own: NDArray[np.void]) -> None:
        """Fill in what the environments themselves know, (E,) records of :data:`OWN`."""
        raise NotImplementedError

    def _adopt(self, own: NDArray[np.void]) -> None:
        """Take over what :meth:`_describe` filled in."""
        raise NotImplementedError

    @functools.cached_property
    def _header(self) -> bytes:
        from edgellm_env import __version__  # noqa: PLC0415 - the package imports its environments

        layout = [(name, part.dtype.descr, part.shape[1:]) for name, part in self._parts().items()]
        belongs = {
            "edgellm_env": __version__,
            "scenario": self.scenario.name,
            "settings": self.scenario.without_trace().checksum,
            "recording": self._engine.source.recording_checksum,
            "interface": self.interface.__name__,
            "environments": self._engine.dynamics.num_envs,
            "layout": zlib.crc32(f"{OWN} {layout} {FATE} {sys.byteorder}".encode()),
        }
        return json.dumps(belongs).encode() + b"\n"

    def _parts(self) -> dict[str, NDArray[Any]]:
        """Return every array that an episode changes, but for the request log."""
        nodes = self._engine.dynamics.nodes
        parts = {name: getattr(nodes, name) for name in ("node", "waiting", "held", "running")}
        return {name: part for name, part in parts.items() if part is not None} | self._engine.interface.under_way()

    def _check_indices(self, own: NDArray[np.void], found: dict[str, NDArray[Any]]) -> None:
        """Refuse what would let compiled code reach beyond its arrays."""
        slots, room = self.scenario.timing.episode_slots, self.scenario.serving.max_running or 0
        capacity, schemes = self._engine.dynamics.capacity, self._engine.dynamics.schemes.size
        for row, (node, mine) in enumerate(zip(found["node"], own, strict=True)):
            arrived, waiting, running = node["next_request"], node["waiting"], node["running"]
            _require("slot", node["slot"], slots - 1 + mine["over"])
            _require("next_request", arrived, mine["requests"])
            _require("scheme", node["scheme"], schemes - 1)
            _require("generator", _NARROW.unpack(mine["generator"].tobytes()[32:])[0], 1)
            _require("waiting", waiting, capacity)
            _require("running", running, room)
            _require_arrived("waiting", found["waiting"][row, :waiting], arrived)
            if "running" in found:
                _require_arrived("running", found["running"][row, :running], arrived)
            if "picks" in found:
                _require("picks", found["picks"][row], capacity)
            if "taken" in found:
                taken, nearest = found["taken"][row]
                _require("taken", taken, room)
                _require("taken[1]", nearest, room - 1)
                _require_arrived("members", found["members"][row, :taken], arrived)

    def _payload(self, state: bytes) -> bytes:
        if not isinstance(state, bytes):
            raise StateError(f"state: {type(state).__name__}; expected bytes from get_state()")
        if not state.startswith(self._header):
            raise StateError(_what_differs(state.partition(b"\n")[0], json.loads(self._header)))
        start = len(self._header)
        payload = state[start + _CHECKSUM_BYTES :]
        if zlib.crc32(payload).to_bytes(_CHECKSUM_BYTES, "little") != state[start : start + _CHECKSUM_BYTES]:
            raise StateError("state: damaged, its checksum does not match; expected bytes from get_state()")
        return payload


def pack_generator(generator: np.random.Generator) -> bytes:
    """Return the state of a generator, as :data:`OWN` keeps it.

    Raises:
        StateError: not one of those that Gymnasium makes.
    """
    whole: Any = generator.bit_generator.state
    if whole["bit_generator"] != "PCG64":
        raise StateError(f"np_random: {whole['bit_generator']}; expected PCG64, as Gymnasium makes it")
    wide: bytes = (whole["state"]["state"] << 128 | whole["state"]["inc"]).to_bytes(32, "little")
    return wide + _NARROW.pack(whole["has_uint32"], whole["uinteger"])


def unpack_generator(packed: bytes, into: np.random.Generator) -> None:
    """Set a generator to a state from :func:`pack_generator`."""
    wide = int.from_bytes(packed[:32], "little")
    has_uint32, uinteger = _NARROW.unpack(packed[32:])
    state = {"state": wide >> 128, "inc": wide & (1 << 128) - 1}
    whole = {"bit_generator": "PCG64", "state": state, "has_uint32": has_uint32, "uinteger": uinteger}
    into.bit_generator.state = whole


def _what_differs(line: bytes, expected: dict[str, Any]) -> str:
    try:
        found = json.loads(line)
        name = next(name for name in expected if found.get(name) != expected[name])
    except (ValueError, AttributeError, RecursionError, StopIteration):
        return f"state: begins {shorten(line)}; expected bytes from get_state()"
    return f"state: its {name} is {shorten(found.get(name))}; expected {expected[name]!r}, as of this environment"


def _read(payload: bytes, like: NDArray[Any], at: int) -> NDArray[Any]:
    if at + like.nbytes > len(payload):
        raise StateError(f"state: {len(payload)} bytes after its header; expected more")
    return np.frombuffer(payload, like.dtype, like.size, at).reshape(like.shape)


def _require(name: str, value: Any, most: Any) -> None:
    if not 0 <= value <= most:
        raise StateError(f"state: {name} is {value}; expected 0 to {most}")


def _require_arrived(name: str, records: NDArray[np.void], arrived: Any) -> None:
    if records.size:
        requests = records["request"]
        _require(f"the greatest request that is {name}", requests.max(), arrived - 1)
        _require(f"the least request that is {name}", requests.min(), arrived - 1)


def _as_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
