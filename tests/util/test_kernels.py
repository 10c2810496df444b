"""The deterministic level of the process, and the errors of operations without such a kernel."""

from __future__ import annotations

import os

import pytest
import torch

from ttt_bench.errors import BenchError
from ttt_bench.util.process import fixed_process, kernels, named_operation
from ttt_bench.util.process.kernels import CUBLAS, WORKSPACE, require_workspace


def level() -> tuple[bool, bool, bool, str | None]:
    cudnn = torch.backends.cudnn
    enabled = torch.are_deterministic_algorithms_enabled()
    return enabled, cudnn.deterministic, cudnn.benchmark, os.environ.get(CUBLAS)


def test_the_level_holds_within_the_block_and_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CUBLAS, raising=False)
    with fixed_process(deterministic=True):
        assert level() == (True, True, False, WORKSPACE)
    assert level() == (False, False, False, None)
    monkeypatch.setenv(CUBLAS, "own")
    with pytest.raises(ZeroDivisionError), fixed_process(deterministic=True):
        raise ZeroDivisionError
    assert level() == (False, False, False, "own")


def test_an_operation_without_a_deterministic_kernel_is_named() -> None:
    values, places = torch.zeros(3), torch.tensor([0, 1])
    with (
        pytest.raises(BenchError, match=r"^method puts uses put_, which has no deterministic"),
        fixed_process(deterministic=True),
        named_operation("method puts"),
    ):
        values.put_(places, torch.ones(2))


def test_other_errors_keep_their_type() -> None:
    with pytest.raises(RuntimeError, match="size"), named_operation("method tent"):
        torch.zeros(2) + torch.zeros(3)


def test_a_workspace_that_comes_too_late_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_fixed_at_start", set())
    monkeypatch.delenv(CUBLAS, raising=False)
    with pytest.raises(BenchError, match="run in a new process"):
        require_workspace(started=True)
    with monkeypatch.context() as patch:
        patch.setenv(CUBLAS, ":16:8")  # the user did so before
        require_workspace(started=True)
    require_workspace(started=False)
    require_workspace(started=True)  # the run before was deterministic, too
