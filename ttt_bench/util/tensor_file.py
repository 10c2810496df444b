"""Save and load files of named tensors with a JSON description (safetensors)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ttt_bench.errors import BenchError
from ttt_bench.util.atomic import atomic_file


def save(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors and their description to `path` atomically.

    Args:
        about: JSON-like values that describe the tensors.

    Raises:
        BenchError: the file cannot be written; the previous file stays.
    """
    flat = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"about": json.dumps(about, sort_keys=True)}
    hint = "choose another folder with --results"
    with atomic_file(path, hint, (SafetensorError,)) as temporary:
        save_file(flat, temporary, metadata=metadata)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the description in a file.

    Raises:
        BenchError: the file is missing or damaged.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, _about(file)  # noqa: SIM118


def description(path: Path) -> dict[str, Any]:
    """Return the description in a file without reading its tensors.

    Raises:
        BenchError: the file is missing or damaged.
    """
    with _opened(path) as file:
        return _about(file)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise BenchError(f"{path} is damaged ({error}); delete it and run again") from error


def _about(file: Any) -> dict[str, Any]:
    return json.loads((file.metadata() or {}).get("about", "{}"))


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimiser as tensors named `<parameter number>.<name>`."""
    state = optimiser.state_dict()["state"]
    return {
        f"{n}.{key}": torch.as_tensor(value)
        for n, entry in state.items()
        for key, value in entry.items()
        if value is not None
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load the tensors of `optimiser_tensors` into an optimiser.

    Args:
        optimiser: must have the same parameters in the same order.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = tensor
    optimiser.load_state_dict(
        {"state": state, "param_groups": optimiser.state_dict()["param_groups"]}
    )


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with `prefix` added to every name."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def below_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix`, which is removed from the names."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
