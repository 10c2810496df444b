"""The device of a run and its arithmetic precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ttt_bench.errors import BenchError


def find_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is a GPU if one is available.

    Raises:
        BenchError: the device is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("only cpu and cuda have the double precision that scoring needs")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BenchError(
            f"device {name!r} cannot be used here; try --device cpu ({str(error).splitlines()[0]})"
        ) from error
    return device


def device_name(device: torch.device) -> str:
    """Return the name of a device for manifests."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute in full single precision within the block, as the manifests state.

    By default cuDNN rounds the inputs of convolutions to 10 bits (TF32). The flags apply to the
    whole process; the previous values are restored afterwards.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before
