"""Deterministic kernels: the workspace that cuBLAS needs, and operations without such a kernel."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from ttt_bench.errors import BenchError

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
"""The environment variable that fixes the workspace of cuBLAS, which reads it when CUDA starts."""
WORKSPACE = ":4096:8"
WORKSPACES = (WORKSPACE, ":16:8")
"""The values with which cuBLAS is deterministic."""

_LACKING = re.compile(r"(\S+) does not have a deterministic implementation")

_fixed_at_start: set[str] = set()
"""Contains `CUBLAS` if CUDA was started in this process for a deterministic run."""


def require_workspace(*, started: bool) -> None:
    """Raise an error if the workspace of cuBLAS can no longer be fixed in this process.

    Args:
        started: whether CUDA had started before this run.

    Raises:
        BenchError: CUDA had started without a fixed workspace.
    """
    if not started:
        _fixed_at_start.add(CUBLAS)
    elif not _fixed_at_start and os.environ.get(CUBLAS) not in WORKSPACES:
        raise BenchError(
            "--deterministic: CUDA has already started in this process, and cuBLAS reads "
            f"{CUBLAS} only then; set it to {WORKSPACE} before, or run in a new process"
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
