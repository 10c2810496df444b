"""Notes on how to read the main table: its quantities, bold numbers, and their limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pandas as pd

from ttt_bench.metrics.base import joined_words, metrics_of
from ttt_bench.report.notes.run import seeds_note
from ttt_bench.report.tables import Note
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import FIXED
from ttt_bench.stats.summary import OWN_GAIN

BOLD = Note(
    "Bold", "the best mean of its column, and every mean within sqrt(sd² + sd²) of the best one"
)
NO_BOLD = Note(
    "No bold", "bold needs a spread over seeds in every row of a column; no column has one"
)
OWN_SOURCE = Note(
    "Over own source",
    "the same measure against the method's own source model before adapting. It favours a method "
    "whose source training lowered its scores: read it together with Delta_TTT",
)
ORACLE_STEP = Note(
    "Oracle step",
    "for each seed, the step from 1 on with the best Delta_TTT. It is chosen with labels: read it "
    "as an upper bound",
)


def reading_notes(
    comparison: Comparison,
    means: pd.DataFrame,
    constants: Mapping[str, float],
    still: Collection[str],
) -> list[Note]:
    """Return the notes on the numbers of a main table.

    Args:
        means: as `summary.main_table` returns them, with the column `best`.
        constants: map task to the score of the best constant prediction.
        still: labels whose scores are equal at every step from 1 on.
    """
    return [
        seeds_note(comparison),
        *_delta_notes(comparison),
        *([OWN_SOURCE] if (means["quantity"] == OWN_GAIN).any() else []),
        *_bold_notes(means),
        *_unmoved_notes(comparison, still),
        *_constant_notes(comparison, means, constants),
    ]


def _delta_notes(comparison: Comparison) -> list[Note]:
    if comparison.base is None:
        return []
    tasks = ", ".join(comparison.tasks)
    text = f"mean over {tasks} of the signed change relative to Base of the same seed, in percent"
    return [Note("Delta_TTT", text), ORACLE_STEP, *_seeds_without_base(comparison)]


def _seeds_without_base(comparison: Comparison) -> list[Note]:
    rows = comparison.rows
    with_base = set(rows.loc[rows["label"] == comparison.base, "seed"])
    notes = []
    for label, seeds in rows.groupby("label", sort=False)["seed"]:
        missing = sorted(set(seeds) - with_base)
        if missing:
            names = ", ".join(map(str, missing))
            text = f"{label}: seeds without Base are omitted from Delta_TTT ({names})"
            notes.append(Note("Without Base", text))
    return notes


def _bold_notes(means: pd.DataFrame) -> list[Note]:
    if means["best"].any():
        return [BOLD]
    return [NO_BOLD] if means["sd"].notna().any() else []


def _unmoved_notes(comparison: Comparison, still: Collection[str]) -> list[Note]:
    labels = [label for label in comparison.labels if label in still and label != comparison.base]
    if not labels:
        return []
    text = f"{', '.join(labels)}: the scores are equal from step 1 on, so there is no best step"
    return [Note("Unmoved", text)]


def _constant_notes(
    comparison: Comparison, means: pd.DataFrame, constants: Mapping[str, float]
) -> list[Note]:
    """Return the definition of the best constant, and a warning per task that is close to it."""
    if not constants:
        return []
    words = {task: metrics_of(task).constant_words for task in comparison.tasks}
    last = means[(means["label"] == comparison.base) & (means["selection"] == FIXED.name)]
    base = last.set_index("quantity")["mean"]
    notes = [Note("Best constant", joined_words(words))]
    for task, constant in constants.items():
        if task in base.index:
            warning = metrics_of(task).constant_warning(base[task], constant)
            notes += [] if warning is None else [Note(*warning)]
    return notes
