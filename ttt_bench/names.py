"""The names in a request, checked at once and without loading PyTorch."""

from __future__ import annotations

from collections.abc import Iterator

from ttt_bench.config import SECTIONS, Request
from ttt_bench.data.domains import find_pair
from ttt_bench.errors import BenchError, unknown
from ttt_bench.registry import registered


def check_names(request: Request) -> None:
    """Refuse methods, pairs and settings that nobody knows.

    Raises:
        BenchError: one line a name, each with the nearest names.
    """
    problems = list(_problems(request))
    if problems:
        raise BenchError("\n".join(problems))


def _problems(request: Request) -> Iterator[str]:
    methods = registered()
    for name in request.methods:
        if name == "all" and len(request.methods) > 1:
            yield "--methods all stands alone: it means every registered method"
        elif name != "all" and name not in methods:
            yield str(unknown("method", name, [*methods, "all"]))
    for name in request.pair:
        try:
            find_pair(name)
        except BenchError as error:
            yield str(error)
    known = [*SECTIONS, *methods, "batch"]
    for key in request.set:
        if key.partition(".")[0] not in known:
            yield str(unknown("setting", key.partition(".")[0], known))
