"""Decode files, list those that cannot be used, and measure the values of the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ttt_bench.data.images.files import Problem
from ttt_bench.datatools.check.findings import Finding
from ttt_bench.datatools.check.frameset import Frameset, Native, sample_frames
from ttt_bench.datatools.check.values import Values
from ttt_bench.errors import DataError
from ttt_bench.util.parallel import map_in_threads
from ttt_bench.util.progress import Progress

SAMPLE = 200
"""Number of frames that are decoded, unless all are requested."""

_LISTED = 10
"""Number of damaged files that are listed one by one."""


def check_contents(
    sets: Sequence[Frameset], values: Values, hint: str, progress: Progress, *, full: bool
) -> list[Finding]:
    """Decode an evenly spread sample of frames and return the findings.

    Args:
        values: collects the frames that can be used, and reports on them.
        hint: what to do with a file that cannot be used.
        full: decode all frames.
    """
    total = sum(len(part) for part in sets)
    sample = sample_frames(sets, total if full else SAMPLE)
    title = "decoding all frames" if full else "decoding a sample"
    damaged: list[Problem] = []
    for decoded in map_in_threads(_decode, sample, title, progress):
        if isinstance(decoded, list):
            damaged += decoded
        else:
            values.add(decoded)
    findings = list(_damaged_files(damaged, hint))
    if not damaged:
        message = f"{len(sample)} of {total} frames decoded: mode, bit depth and size are correct"
        findings.append(Finding.ok("files", message, count=len(sample)))
    return [*findings, *values.findings(sets[0])]


def _decode(place: tuple[Frameset, int]) -> Native | list[Problem]:
    """Return a frame's arrays, or the problems of its files."""
    frames, index = place
    try:
        return frames.read(index, frames.parts)
    except DataError:
        return frames.problems(index)


def _damaged_files(damaged: Sequence[Problem], hint: str) -> Iterator[Finding]:
    for problem in damaged[:_LISTED]:
        yield Finding.error("files", f"{problem.message}. {hint}", problem.path, 1)
    rest = len(damaged) - _LISTED
    if rest > 0:
        yield Finding.error("files", f"and {rest} more damaged files", count=rest)
