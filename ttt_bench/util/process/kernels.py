"""Deterministic kernels: the workspace that cuBLAS needs, and operations without such a kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ttt_bench.errors import BenchError

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
"""The environment variable that fixes the workspace of cuBLAS, which reads it when CUDA starts."""
WORKSPACE = ":4096:8"

_LACKING = re.compile(r"(\S+) does not have a deterministic implementation")

_fixed_at_start: set[str] = set()
"""Contains `CUBLAS` if CUDA started in this process while the workspace was fixed."""


def note_start() -> None:
    """Remember, at the end of a deterministic run, that CUDA has started with a fixed workspace."""
    if torch.cuda.is_initialized():
        _fixed_at_start.add(CUBLAS)


def require_workspace(*, started: bool) -> None:
    """Raise an error if the workspace of cuBLAS can no longer be fixed in this process.

    Args:
        started: whether CUDA had started before this run.

    Raises:
        BenchError: CUDA had started without a fixed workspace.
    """
    if started and not _fixed_at_start:
        raise BenchError(
            "--deterministic: CUDA has already started in this process, and cuBLAS reads "
            f"{CUBLAS} only then; run it in a new process"
        )


@contextmanager
def named_operation(who: str) -> Iterator[None]:
    """Turn the error of an operation without a deterministic kernel into one line.

    Args:
        who: what uses the operation, such as "method tent".

    Raises:
        BenchError: the block used such an operation; names the operation and `who`.
    """
    try:
        yield
    except RuntimeError as error:
        lacking = _LACKING.search(str(error))
        if lacking is None:
            raise
        raise BenchError(
            f"{who} uses {lacking[1]}, which has no deterministic kernel on this device; run it "
            "without --deterministic, or on another device (--device cpu)"
        ) from error
