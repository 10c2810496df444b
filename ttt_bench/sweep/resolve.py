"""What a request names, from methods to data folders, checked at once and without loading
PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ttt_bench.config.preset import SECTIONS
from ttt_bench.config.request import Request
from ttt_bench.data.label_spaces import LABEL_SPACES, LabelSpace, label_space_from
from ttt_bench.data.open import folder_of
from ttt_bench.data.pair import Pair, find_pair
from ttt_bench.data.shifts.streams import parse_stream
from ttt_bench.errors import BenchError, unknown
from ttt_bench.protocols import protocol_of
from ttt_bench.registry import METHODS


def check_names(request: Request) -> None:
    """Refuse methods, pairs, data and settings that nobody knows.

    Raises:
        BenchError: one line a problem; of names that are not known with the nearest.
    """
    problems = list(dict.fromkeys(_problems(request)))
    if problems:
        raise BenchError("\n".join(problems))


def _problems(request: Request) -> Iterator[str]:
    methods = METHODS.names()
    for name in request.methods:
        if name == "all" and len(request.methods) > 1:
            yield "--methods all stands alone: it means every registered method"
        elif name != "all" and name not in methods:
            yield str(unknown("method", name, [*methods, "all"]))
    pairs = []
    for name in request.pair:
        try:
            pairs.append(find_pair(name))
        except BenchError as error:
            yield str(error)
    yield from _stream_problems(request)
    yield from _label_problems(request, pairs)
    for domain in (
        domain for pair in pairs for domain in (pair.source, pair.target) if not domain.embedded
    ):
        try:
            folder_of(domain, request.data_root)
        except BenchError as error:
            yield str(error)
    known = [*SECTIONS, *methods, "batch"]
    for key in request.set:
        if key.partition(".")[0] not in known:
            yield str(unknown("setting", key.partition(".")[0], known))


def _stream_problems(request: Request) -> Iterator[str]:
    try:
        stream = parse_stream(request.stream)
    except BenchError as error:
        yield str(error)
        return
    fixed = [name for name in request.protocol if not protocol_of(name).any_order]
    if stream.kind != "fixed" and fixed:
        yield (
            f"--stream {stream} does not go with --protocol {', '.join(fixed)}, which takes the "
            "images in file order; use --protocol online"
        )


def _label_problems(request: Request, pairs: Sequence[Pair]) -> Iterator[str]:
    own: dict[str, LabelSpace] = {}
    for name, table in request.label_spaces.items():
        try:
            own[name] = label_space_from(name, table)
        except BenchError as error:
            yield str(error)
    wanted = request.label_space
    if wanted is not None and wanted not in {*LABEL_SPACES, *request.label_spaces}:
        yield str(unknown("label space", wanted, [*LABEL_SPACES, *request.label_spaces]))
    elif wanted is None or wanted in {*LABEL_SPACES, *own}:
        for pair in pairs:
            try:
                pair.label_space(wanted, own)
            except BenchError as error:
                yield str(error)
