"""The deep pass: files are decoded, what cannot be used is listed, and what can is measured."""

from __future__ import annotations

from collections.abc import Sequence

from ttt_bench.data.images.files import Problem
from ttt_bench.datatools.check.findings import Finding
from ttt_bench.datatools.check.frameset import Frameset, Native, sampled
from ttt_bench.datatools.check.values import Values
from ttt_bench.errors import DataError
from ttt_bench.util.parallel import map_in_threads
from ttt_bench.util.progress import Progress

SAMPLE = 200
"""Frames that are decoded, unless all are."""

_LISTED = 10  # damaged files that get a line of their own


def check_contents(
    sets: Sequence[Frameset], values: Values, remedy: str, full: bool, progress: Progress
) -> list[Finding]:
    """Decode a spread sample of frames, or all, and measure `values` on those that can be used.

    Args:
        remedy: what to do with a file that cannot be used.
    """
    total = sum(len(part) for part in sets)
    sample = sampled(sets, total if full else SAMPLE)
    damaged: list[Problem] = []

    def look(place: tuple[Frameset, int]) -> Native | list[Problem]:
        part, index = place
        try:
            return part.read(index, part.parts)
        except DataError:
            return part.problems(index)

    for found in map_in_threads(
        look, sample, "decoding all frames" if full else "decoding a sample", progress
    ):
        if isinstance(found, list):
            damaged += found
        else:
            values.add(found)
    findings = [
        Finding("error", "files", f"{problem.message}. {remedy}", problem.path, 1)
        for problem in damaged[:_LISTED]
    ]
    if len(damaged) > _LISTED:
        findings.append(
            Finding(
                "error", "files", f"and {len(damaged) - _LISTED} more", count=len(damaged) - _LISTED
            )
        )
    if not damaged:
        message = (
            f"{len(sample)} of {total} frames decoded: mode, bit depth and size as they should be"
        )
        findings.append(Finding("ok", "files", message, count=len(sample)))
    return [*findings, *values.findings(sets[0])]
