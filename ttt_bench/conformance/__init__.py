"""Checks that a method keeps the contract of `ttt_bench.adapter` (`ttt-bench methods check`).

They run a method on small networks and random images, in seconds. Each of `CHECKS` tests one rule:
a reset restores everything, only declared parameters move, labels are never read, and so on. In
your own tests:

    from ttt_bench.conformance import assert_conforms

    def test_my_method():
        assert_conforms(MyMethod)
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from ttt_bench.adapter import Adapter
from ttt_bench.conformance.checks import CHECKS
from ttt_bench.conformance.expect import ViolationError
from ttt_bench.conformance.subject import Subject
from ttt_bench.errors import BenchError, ProcessError
from ttt_bench.util.process import fixed_process, watched

__all__ = ["BACKBONE", "CHECKS", "Result", "assert_conforms", "check_method", "run_check"]

BACKBONE = "test_resnet"
"""The default network: a small ResNet of timm."""


_SEE_PROCESS = "not completed: the method changes the process; see the check `process`"


class Result(NamedTuple):
    """The result of one check.

    Attributes:
        check: the check's name.
        problem: the rule that is broken, and how; empty if the check passed.
    """

    check: str
    problem: str

    @property
    def passed(self) -> bool:
        """Return whether the check found no problem."""
        return not self.problem


@fixed_process()
def check_method(
    method: type[Adapter],
    settings: Mapping[str, Any] | None = None,
    backbone: str = BACKBONE,
    device: str | torch.device = "cpu",
) -> list[Result]:
    """Run every check on a method and return the results.

    Args:
        method: the class.
        settings: options to check it with, `option` -> value.
        backbone: a timm model that supports `features_only`.
        device: the device to run on.

    Raises:
        BenchError: an option is invalid, or the backbone is unknown.
    """
    subject = Subject.create(method, settings or {}, backbone, torch.device(device))
    return [run_check(name, subject) for name in CHECKS]


def assert_conforms(
    method: type[Adapter],
    settings: Mapping[str, Any] | None = None,
    backbone: str = BACKBONE,
    device: str | torch.device = "cpu",
) -> None:
    """Raise an error that lists every broken rule of a method; arguments as of `check_method`.

    Raises:
        AssertionError: at least one check failed.
    """
    broken = [
        result for result in check_method(method, settings, backbone, device) if not result.passed
    ]
    if broken:
        raise AssertionError(
            "\n".join(f"{method.name}, {result.check}: {result.problem}" for result in broken)
        )


def run_check(name: str, subject: Subject) -> Result:
    """Run one of `CHECKS` and return its result."""
    try:
        with fixed_process():
            # a GPU is not fully deterministic even so; the checks tolerate the rest
            torch.backends.cudnn.deterministic = True
            with watched(f"method {subject.method.name}"):
                CHECKS[name](subject)
    except ProcessError as error:
        return Result(name, str(error) if name == "process" else _SEE_PROCESS)
    except (ViolationError, BenchError) as error:
        return Result(name, str(error))
    except Exception as error:  # a plugin can fail in any way; the other checks still run
        place = traceback.extract_tb(error.__traceback__)[-1]
        return Result(
            name, f"{type(error).__name__}: {error} ({place.name}, {place.filename}:{place.lineno})"
        )
    return Result(name, "")
