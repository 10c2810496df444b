"""Notes below the tables of studies."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ttt_bench.analysis.studies import StudyResults
from ttt_bench.report.notes.reading import ORACLE_STEP, interval_notes
from ttt_bench.report.notes.run import run_notes, seeds_note
from ttt_bench.report.published_rows import PublishedRows
from ttt_bench.report.tables import Note
from ttt_bench.results.published.numbers import printed

BOLD = Note(
    "Bold, ▼",
    "bold numbers are better than Base, and numbers with ▼ are worse: the 95 % interval of the "
    "paired difference excludes 0 after Holm's correction over the study's rows on this target. "
    "Other numbers are not shown to differ from Base. The rows are not tested against each other",
    ("Bold: better than Base, ▼: worse, after Holm's correction",),
)

DELTA_NOTE = Note(
    "Delta_TTT",
    "mean over the row's tasks of the signed change relative to Base of the same seed, in percent. "
    "Rows with other tasks are means over other tasks",
)


def study_notes(found: StudyResults) -> list[Note]:
    """Return the notes that all tables and figures of a study have."""
    return [
        *(Note("Study", text) for text in found.study.notes),
        *_missing(found),
        *_unpublished(found),
    ]


def cell_notes(found: StudyResults) -> list[Note]:
    """Return the notes on how the cells of a study were run, each once."""
    notes = [note for one in found.comparisons for note in run_notes(one)]
    return list(dict.fromkeys(notes))


def number_notes(found: StudyResults, means: pd.DataFrame) -> list[Note]:
    """Return the notes on the numbers of a study's table: what they are, and those published.

    Args:
        means: the estimates of its rows; may be empty.
    """
    with_numbers = [one for one in found.comparisons if len(one.rows)]
    if not with_numbers or means.empty:
        return []
    published = [note for one in with_numbers for note in PublishedRows.of(one).notes]
    return [
        seeds_note(with_numbers[0]),
        DELTA_NOTE,
        ORACLE_STEP,
        *interval_notes(with_numbers[0], means),
        BOLD,
        *cell_notes(found),
        *dict.fromkeys(published),
    ]


def _missing(found: StudyResults) -> Iterator[Note]:
    """Yield a note on the arms whose cells are not all stored."""
    lacking = [f"{arm.arm.label} ({arm.missing})" for arm in found.arms if arm.missing]
    if lacking:
        text = f"cells of {', '.join(lacking)}; the same `ttt-bench study` command computes them"
        yield Note("Not computed", text)


def _unpublished(found: StudyResults) -> Iterator[Note]:
    """Yield a note on the published tables that have no numbers for the pair, and on figures."""
    pairs = {answer: published_pairs(answer) for answer in found.study.answers}
    for answer, known in pairs.items():
        if not known:
            yield Note("Published", f"{answer} prints no numbers")
    tables = {answer: known for answer, known in pairs.items() if known}
    if tables and not any(found.file.pair in known for known in tables.values()):
        words = "; ".join(f"{answer}: {', '.join(known)}" for answer, known in tables.items())
        yield Note("Published", f"the papers print numbers for other pairs only ({words})")


def published_pairs(answer: str) -> tuple[str, ...]:
    """Return the pairs of a published table, such as `S4T, Table 2`; empty for figures."""
    frame = printed()
    known = frame[frame["paper"] + ", " + frame["table"] == answer]
    return tuple(dict.fromkeys(known["pair"]))
