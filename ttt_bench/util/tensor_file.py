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

from ttt_bench.errors import DamagedError
from ttt_bench.util.atomic import atomic_file
from ttt_bench.util.hashing import hash_of
from ttt_bench.util.os_errors import explained_reading, file_bytes
from ttt_bench.util.store import mirror
from ttt_bench.util.stored import tensors as stored
from ttt_bench.util.stored.tensors import ABOUT, DIGEST
from ttt_bench.util.stored.tensors import REMEDY as REMEDY


def save(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors and their description to `path` atomically.

    Args:
        about: JSON-like values that describe the tensors.

    Raises:
        BenchError: the file cannot be written; the previous file stays.
    """
    flat = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    about = json.loads(json.dumps(about))  # as it is read
    # one entry only: safetensors writes several in an order that differs between processes
    metadata = {ABOUT: json.dumps({**about, DIGEST: _digest(flat, about)}, sort_keys=True)}
    hint = "choose another folder with --results"
    with atomic_file(path, hint, (SafetensorError,)) as temporary:
        save_file(flat, temporary, metadata=metadata)
    mirror.publish(path)


def load(
    path: Path, expected: Mapping[str, Any] | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the description in a file.

    Args:
        path: the file.
        expected: the description that the file must have; None to accept any.

    Raises:
        DamagedError: the file has no digest, its content differs from it, or the description from
            `expected`.
        DataError: the file does not exist or cannot be read.
    """
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = _about(file)
    written = about.pop(DIGEST, None)
    stored.check(path, written, _digest(tensors, about))
    if expected is not None and hash_of(about) != hash_of(expected):
        raise DamagedError(path, "it holds something else than its name says", REMEDY)
    return tensors, about


def description(path: Path) -> dict[str, Any]:
    """Return the description in a file without reading its tensors.

    Raises:
        DamagedError: the file is damaged.
        DataError: the file does not exist or cannot be read.
    """
    with _opened(path) as file:
        about = _about(file)
    about.pop(DIGEST, None)
    return about


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    file_bytes(path)  # to open a pipe could block
    with explained_reading(path):
        path.open("rb").close()  # safetensors calls a file missing that it may not read
        try:
            with safe_open(path, framework="pt") as file:
                yield file
        except (SafetensorError, ValueError, RecursionError) as error:
            raise DamagedError(path, " ".join(str(error).split()), REMEDY) from error


def _about(file: Any) -> dict[str, Any]:
    return stored.description_in({"__metadata__": file.metadata()})


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    """Return the digest of named tensors on the CPU and their description."""
    return stored.digest(about, [_content(name, tensors[name]) for name in sorted(tensors)])


def _content(name: str, tensor: Tensor) -> stored.Content:
    content = tensor.reshape(-1).view(torch.uint8).numpy().data
    return stored.Content(name, str(tensor.dtype), tuple(tensor.shape), [content])


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
