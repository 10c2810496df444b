"""Weights of backbones and of complete networks from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import timm
from safetensors import SafetensorError
from safetensors.torch import load_file

from ttt_bench.config.preset import ModelConfig
from ttt_bench.errors import BenchError
from ttt_bench.network import Network
from ttt_bench.util.hashing import hash_file


def initial_weights(config: ModelConfig) -> dict[str, str | None]:
    """Which weights a backbone starts from: the hash of a local file, timm's tag, or neither."""
    if config.weights:
        if not config.weights.is_file():
            raise BenchError(f"backbone weights {config.weights}: no such file")
        return {"weights": hash_file(config.weights)}
    tag = (
        timm.get_pretrained_cfg(config.backbone, allow_unregistered=True)
        if config.pretrained
        else None
    )
    return {"weights": f"timm {tag.tag}" if tag else None}


def load_weights(model: Network, path: Path) -> None:
    """Load a complete network (backbone and heads) from a safetensors file.

    Raises:
        BenchError: the file is missing, is no safetensors file, or does not fit the network; the
        message names keys.
    """
    if not path.is_file():
        raise BenchError(f"source weights {path}: no such file")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BenchError(
            f"source weights {path}: not a readable safetensors file ({error})"
        ) from error
    own = model.state_dict()
    missing = [name for name in own if name not in tensors and name not in ("mean", "std")]
    unexpected = [name for name in tensors if name not in own]
    shapes = [
        f"{n} is {tuple(t.shape)}, needs {tuple(own[n].shape)}"
        for n, t in tensors.items()
        if n in own and own[n].shape != t.shape
    ]
    problems = [f"missing {', '.join(missing[:3])}" + _more(missing)] if missing else []
    problems += (
        [f"unexpected {', '.join(unexpected[:3])}" + _more(unexpected)] if unexpected else []
    )
    problems += [f"wrong shape: {', '.join(shapes[:3])}" + _more(shapes)] if shapes else []
    if problems:
        raise BenchError(f"source weights {path} do not fit the network: {'; '.join(problems)}")
    model.load_state_dict(tensors, strict=False)


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 3} more" if len(names) > 3 else ""
