"""Networks on disk: safetensors, which hold numbers and nothing that could run."""

import json
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from agents.files import written_whole
from agents.models.queue_network import NODE_INPUTS, REQUEST_INPUTS, RequestScorer
from agents.policy import PolicyError

_ABOUT_KEY: Final = "about"  # one entry: the order of several is not defined, and equal networks shall be equal files


def save_scorer(network: RequestScorer, path: Path) -> None:
    """Write a network, with what is needed to build it again."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}
    about = {
        "width": network.encoder.width,
        "commits": network.commit is not None,
        "beams": network.beams,
        "inputs": [REQUEST_INPUTS, NODE_INPUTS],
    }
    # An interrupted run shall not leave half a network in place of a whole one.
    with written_whole(path) as temporary:
        save_file(tensors, temporary, metadata={_ABOUT_KEY: json.dumps(about)})


def load_scorer(path: Path) -> RequestScorer:
    """Read a network.

    Raises:
        PolicyError: no such file, or no network of this kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(_ABOUT_KEY, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if about.get("inputs") != [REQUEST_INPUTS, NODE_INPUTS]:
            raise ValueError(f"inputs {about.get('inputs')}; expected {[REQUEST_INPUTS, NODE_INPUTS]}")
        network = RequestScorer(int(about["width"]), bool(about["commits"]), int(about.get("beams", 1)))
        network.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise PolicyError(f"{path}: no network over the queue: {type(error).__name__}: {error}") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in network.parameters()):
        raise PolicyError(f"{path}: weights that are not finite")
    return network
