"""Checks that a network keeps the contract of `ttt_bench.network` (`ttt-bench networks check`).

They build it on a small backbone and run it on random images, in seconds. In your own tests:

    from ttt_bench.conformance.networks import assert_network_conforms

    def test_my_network():
        assert_network_conforms(MyNetwork)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ttt_bench.conformance import Result
from ttt_bench.conformance.expect import ViolationError
from ttt_bench.conformance.networks.checks import CHECKS
from ttt_bench.conformance.networks.subject import NetworkSubject
from ttt_bench.errors import BenchError
from ttt_bench.network import Network
from ttt_bench.util.code.error_place import describe
from ttt_bench.util.process import fixed_process, watched

__all__ = ["CHECKS", "NetworkSubject", "assert_network_conforms", "check_network"]


@fixed_process()
def check_network(
    kind: type[Network],
    settings: Mapping[str, Any] | None = None,
    device: str | torch.device = "cpu",
) -> list[Result]:
    """Run every check on a network and return the results.

    If it cannot be built, the other checks are not run.

    Args:
        kind: the class.
        settings: `model.key` -> value; they replace the entries of `check_model`.
        device: the device to run on.

    Raises:
        BenchError: a setting is invalid.
    """
    subject = NetworkSubject.create(kind, settings or {}, torch.device(device))
    built, *others = CHECKS
    first = _run(built, subject)
    if not first.passed:
        reason = f"not run: it needs the check {built!r}, which failed"
        return [first, *(Result(name, reason, ran=False) for name in others)]
    return [first, *(_run(name, subject) for name in others)]


def assert_network_conforms(
    kind: type[Network],
    settings: Mapping[str, Any] | None = None,
    device: str | torch.device = "cpu",
) -> None:
    """Raise an error that lists every broken rule of a network; arguments as of `check_network`.

    Raises:
        AssertionError: at least one check failed; its cause is the error that stopped the first
            one, with the traceback.
    """
    results = check_network(kind, settings, device)
    broken = [result for result in results if not result.passed and result.ran]
    if broken:
        lines = [f"{kind.name}, {result.check}: {result.problem}" for result in broken]
        raise AssertionError("\n".join(lines)) from broken[0].error


def _run(name: str, subject: NetworkSubject) -> Result:
    """Run one of `CHECKS` and return its result."""
    try:
        with fixed_process(), watched(f"network {subject.kind.name}"):
            CHECKS[name](subject)
    except (ViolationError, BenchError) as error:
        return Result(name, str(error), error=error)
    except Exception as error:  # a plugin can fail in any way; the other checks still run
        return Result(name, describe(error, subject.kind), error=error)
    return Result(name, "")
