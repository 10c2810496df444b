"""Weights of backbones and of complete networks from files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import timm
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ttt_bench.config.preset import ModelConfig
from ttt_bench.errors import BenchError
from ttt_bench.network import Network
from ttt_bench.util.hashing import hash_file
from ttt_bench.util.os_errors import file_bytes
from ttt_bench.util.text import listed

OPTIONAL = ("mean", "std")
"""Buffers that a file may lack: the statistics that images are normalised with."""


def initial_weights(config: ModelConfig) -> dict[str, str | None]:
    """Return what identifies a backbone's initial weights.

    This is the hash of a local file, the tag of timm's weights, or None for random weights.

    Raises:
        BenchError: the file does not exist.
    """
    if config.weights:
        return {"weights": hash_file(existing_weights(config.weights))}
    tag = pretrained_tag(config)
    return {"weights": f"timm {tag}" if tag else None}


def pretrained_tag(config: ModelConfig) -> str | None:
    """Return the tag of timm's weights that a backbone starts from; None without such weights."""
    if not config.pretrained or config.weights:
        return None
    found = timm.get_pretrained_cfg(config.backbone, allow_unregistered=True)
    return str(found.tag) if found else None


def existing_weights(path: Path) -> Path:
    """Return the path of a file of backbone weights.

    Raises:
        BenchError: the file does not exist.
    """
    file_bytes(path, "model.weights")
    return path


def load_weights(model: Network, path: Path) -> None:
    """Load a complete network (backbone and heads) from a safetensors file.

    Raises:
        BenchError: the file does not exist, is not a safetensors file, does not fit the network, or
            contains values that are not finite.
    """
    tensors = _read(path)
    problems = _misfits(tensors, model.state_dict())
    if problems:
        raise BenchError(
            f"source weights {path} do not fit the network: {'; '.join(problems)}; use a file "
            "saved from the same network"
        )
    infinite = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if infinite:
        raise BenchError(
            f"source weights {path} have values that are not finite in {listed(infinite)}; use a "
            "file of a training that has not diverged"
        )
    model.load_state_dict(tensors, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    file_bytes(path, "--source-weights")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise BenchError(
            f"source weights {path}: not a readable safetensors file ({error}); convert or "
            "download it again"
        ) from error


def _misfits(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Return one sentence per kind of difference between a file's tensors and a network's."""
    found = {
        "missing ": [name for name in own if name not in tensors and name not in OPTIONAL],
        "unexpected ": [name for name in tensors if name not in own],
        "wrong shape: ": [
            f"{name} is {tuple(tensor.shape)}, needs {tuple(own[name].shape)}"
            for name, tensor in tensors.items()
            if name in own and own[name].shape != tensor.shape
        ],
        # loading would convert the values without a word, for instance to 0 and 1
        "wrong type: ": [
            f"{name} is {_type(tensor)}, needs {_type(own[name])}"
            for name, tensor in tensors.items()
            if name in own and tensor.is_floating_point() != own[name].is_floating_point()
        ],
        "names begin with another module: ": _common_prefix(tensors, own),
    }
    return [f"{kind}{listed(names)}" for kind, names in found.items() if names]


def _common_prefix(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    """Return the prefix, such as `module.`, without which a file's names are the network's."""
    prefixes = {name.partition(".")[0] + "." for name in tensors}
    if len(prefixes) != 1:
        return []
    (prefix,) = prefixes
    fits = all(name.removeprefix(prefix) in own for name in tensors)
    return [f"{prefix} (remove it from every name)"] if fits else []


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
