"""Notes below the tables of studies."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ttt_bench.analysis.studies import StudyResults
from ttt_bench.report.notes.reading import ORACLE_STEP, interval_notes
from ttt_bench.report.notes.run import run_notes, seeds_note
from ttt_bench.report.tables import Note
from ttt_bench.results.published import for_pair

BOLD = Note(
    "Bold, ▼",
    "bold numbers are better than Base, and numbers with ▼ are worse: the 95 % interval of the "
    "paired difference excludes 0 after Holm's correction over the study's rows on this target. "
    "Other numbers are not shown to differ from Base. The rows are not tested against each other",
)


def study_notes(found: StudyResults, means: pd.DataFrame) -> list[Note]:
    """Return the notes on a study: its own, how to read it, and how its cells were run.

    Args:
        means: the estimates of its rows; may be empty.
    """
    return [
        *(Note("Study", text) for text in found.study.notes),
        *_missing(found),
        *_unpublished(found),
        *_numbers(found, means),
    ]


def _numbers(found: StudyResults, means: pd.DataFrame) -> Iterator[Note]:
    with_numbers = [one for one in found.comparisons if len(one.rows)]
    if not with_numbers or means.empty:
        return
    first, *others = with_numbers
    yield seeds_note(first)
    yield Note(
        "Delta_TTT",
        "mean over the row's tasks of the signed change relative to Base of the same seed, in "
        "percent",
    )
    yield ORACLE_STEP
    yield from interval_notes(first, means)
    yield BOLD
    known = dict.fromkeys(run_notes(first))
    yield from known
    for other in others:
        yield from (note for note in run_notes(other) if note.about == "Missing")


def _missing(found: StudyResults) -> Iterator[Note]:
    """Yield a note on the arms whose cells are not all stored."""
    lacking = [f"{arm.arm.label} ({arm.missing})" for arm in found.arms if arm.missing]
    if lacking:
        text = f"cells of {', '.join(lacking)}; the same `ttt-bench study` command computes them"
        yield Note("Not computed", text)


def _unpublished(found: StudyResults) -> Iterator[Note]:
    """Yield a note if the papers have no numbers for the pair."""
    pairs = {one.key.pair for one in found.comparisons}
    if found.study.answers and not any(for_pair(pair) for pair in pairs):
        answers = "; ".join(found.study.answers)
        yield Note("Published", f"{answers}: no numbers are published for this pair")
