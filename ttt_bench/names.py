"""The names in a request, checked at once and without loading PyTorch."""

from __future__ import annotations

from collections.abc import Iterator

from ttt_bench.config import SECTIONS, Request
from ttt_bench.data.domains import find_pair
from ttt_bench.data.label_spaces import LABEL_SPACES, label_space_from
from ttt_bench.data.streams import parse_stream
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


def _data_problems(request: Request) -> Iterator[str]:
    try:
        stream = parse_stream(request.stream)
        if stream.kind != "fixed" and request.protocol != ("online",):
            yield f"--stream {stream} goes with --protocol online alone: the others take the images in file order"
    except BenchError as error:
        yield str(error)
    for name, table in request.label_spaces.items():
        try:
            label_space_from(name, table)
        except BenchError as error:
            yield str(error)
    spaces = [*LABEL_SPACES, *request.label_spaces]
    if request.label_space is not None and request.label_space not in spaces:
        yield str(unknown("label space", request.label_space, spaces))


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
    yield from _data_problems(request)
    known = [*SECTIONS, *methods, "batch"]
    for key in request.set:
        if key.partition(".")[0] not in known:
            yield str(unknown("setting", key.partition(".")[0], known))
