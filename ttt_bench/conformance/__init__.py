"""Checks that a method keeps the contract of `ttt_bench.adapter` (`ttt-bench methods check`).

They run a method on small networks and random images, in seconds. Each of `CHECKS` tests one rule:
a reset restores everything, only declared parameters move, labels are never read, and so on. In
your own tests:

    from ttt_bench.conformance import assert_conforms

    def test_my_method():
        assert_conforms(MyMethod)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from ttt_bench.adapter import Adapter
from ttt_bench.conformance.checks import CHECKS, NEEDS
from ttt_bench.conformance.expect import ViolationError
from ttt_bench.conformance.subject import Subject
from ttt_bench.errors import BenchError, ProcessError
from ttt_bench.util.code.error_place import describe, where
from ttt_bench.util.process import fixed_process, watched

__all__ = ["BACKBONE", "CHECKS", "Result", "assert_conforms", "check_method", "run_check"]

BACKBONE = "test_resnet"
"""The default network: a small ResNet of timm."""


_SEE_PROCESS = "not run: the method changes the process; see the check `process`"


class Result(NamedTuple):
    """The result of one check.

    Attributes:
        check: the check's name.
        problem: the rule that is broken, and how; or why the check did not run; empty if the check
            passed.
        ran: whether the check ran to its end or found the problem itself.
        error: the error that stopped it, with its traceback; None if it passed or did not run.
    """

    check: str
    problem: str
    ran: bool = True
    error: Exception | None = None

    @property
    def passed(self) -> bool:
        """Return whether the check ran and found no problem."""
        return not self.problem


@fixed_process()
def check_method(
    method: type[Adapter],
    settings: Mapping[str, Any] | None = None,
    backbone: str = BACKBONE,
    device: str | torch.device = "cpu",
) -> list[Result]:
    """Run every check on a method and return the results.

    A cause is reported once: a check that the same error stops, or that needs another check which
    failed, counts as not run.

    Args:
        method: the class.
        settings: options to check it with, `option` -> value; and `model.key` -> value for the
            network.
        backbone: a timm model that supports `features_only`.
        device: the device to run on.

    Raises:
        BenchError: an option is invalid, the network cannot be built, or it lacks layers that the
            method needs.
    """
    subject = Subject.create(method, settings or {}, backbone, torch.device(device))
    subject.require_fit()
    results: list[Result] = []
    for name in CHECKS:
        results.append(_next_result(name, subject, results))
    return results


def _next_result(name: str, subject: Subject, earlier: Sequence[Result]) -> Result:
    """Run a check, unless a failed one makes it pointless, and return its result."""
    failed = {result.check: result for result in earlier if not result.passed}
    needed = NEEDS.get(name)
    if needed in failed:
        return Result(name, f"not run: it needs the check {needed!r}, which failed", ran=False)
    result = run_check(name, subject)
    for check, one in failed.items():
        if one.ran and _same_cause(one, result, subject):
            return Result(name, f"not run: the error of the check {check!r} stops it", ran=False)
    return result


def _same_cause(one: Result, other: Result, subject: Subject) -> bool:
    """Return whether the same error of the method or of the harness stopped two checks."""
    first, second = one.error, other.error
    if isinstance(first, ViolationError) or type(first) is not type(second) or first is None:
        return False
    assert second is not None
    if isinstance(first, BenchError):
        return str(first) == str(second)
    return where(first, subject.method) == where(second, subject.method)


def assert_conforms(
    method: type[Adapter],
    settings: Mapping[str, Any] | None = None,
    backbone: str = BACKBONE,
    device: str | torch.device = "cpu",
) -> None:
    """Raise an error that lists every broken rule of a method; arguments as of `check_method`.

    Raises:
        AssertionError: at least one check failed; its cause is the error that stopped the first
            one, with the traceback.
    """
    results = check_method(method, settings, backbone, device)
    broken = [result for result in results if not result.passed and result.ran]
    if broken:
        lines = [f"{method.name}, {result.check}: {result.problem}" for result in broken]
        raise AssertionError("\n".join(lines)) from broken[0].error


def run_check(name: str, subject: Subject) -> Result:
    """Run one of `CHECKS` and return its result."""
    try:
        with fixed_process():
            # a GPU is not fully deterministic even so; the checks tolerate the rest
            torch.backends.cudnn.deterministic = True
            with watched(f"method {subject.method.name}"):
                CHECKS[name](subject)
    except ProcessError as error:
        own = name == "process"
        return Result(name, str(error) if own else _SEE_PROCESS, ran=own, error=error)
    except (ViolationError, BenchError) as error:
        return Result(name, str(error), error=error)
    except Exception as error:  # a plugin can fail in any way; the other checks still run
        return Result(name, describe(error, subject.method), error=error)
    return Result(name, "")
