"""Notes on the synchronisation table: its measures, and the rows where they say little."""

from __future__ import annotations

import pandas as pd

from ttt_bench.report.notes.run import others_notes, seeds_note
from ttt_bench.report.tables import Note
from ttt_bench.stats.comparison import Comparison

MEASURES = Note(
    "Measures",
    "S4T's supplement, eq. 1 to 4, over steps 1..N. SV: population standard deviation of the peak "
    "steps. DTW: mean over pairs of tasks, on changes relative to Base in percent, oriented so "
    "that higher is better. CS: +1 for increments of equal sign, -1 for opposite signs, summed "
    "over steps (it grows with N), and per step (between -1 and 1)",
)
CAUTION = Note(
    "Caution",
    "on flat curves, peak steps measure noise: read SV together with its spread over seeds",
)
NO_DTW = Note("No DTW", "DTW needs changes relative to Base, which was not run here")
ONE_TASK = Note("One task", "synchronisation needs at least two tasks")


def sync_notes(comparison: Comparison, frame: pd.DataFrame) -> list[Note]:
    """Return the notes on a synchronisation table.

    Args:
        frame: as `stats.synchronisation.sync_frame` returns it.
    """
    notes = [seeds_note(comparison), *others_notes(comparison), MEASURES, CAUTION]
    if comparison.base is None:
        notes.append(NO_DTW)
    if len(comparison.tasks) < 2:
        notes.append(ONE_TASK)
    if not comparison.protocol.starts_from_source:
        notes.append(_step_zero(comparison))
    several = frame[frame["steps"] > 1]
    return notes + _step_notes(frame) + _still_notes(several, set(comparison.tasks))


def _step_zero(comparison: Comparison) -> Note:
    protocol = comparison.protocol
    text = (
        f"{protocol.name}: {protocol.step_zero}. If a task is best there, adapting on the "
        "batch did not improve it"
    )
    return Note("Step 0", text)


def _step_notes(frame: pd.DataFrame) -> list[Note]:
    """Return notes on rows of one step, and on rows that differ in their number of steps."""
    labels: dict[int, list[str]] = {}
    for label, steps in frame.groupby("label", sort=False)["steps"].max().items():
        labels.setdefault(int(steps), []).append(str(label))
    notes = []
    if 1 in labels:
        text = f"{', '.join(labels[1])}: a single step is not a curve to measure"
        notes.append(Note("One step", text))
    if len(labels) > 1:
        notes.append(_different_steps(labels))
    return notes


def _different_steps(labels: dict[int, list[str]]) -> Note:
    """Return the note on different numbers of steps; `labels` maps a number to its rows."""
    counts = "; ".join(f"{steps}: {', '.join(labels[steps])}" for steps in sorted(labels))
    text = (
        "SV, DTW and summed CS grow with it, and peaks may be later. Compare only rows with the "
        f"same number ({counts})"
    )
    return Note("Number of steps", text)


def _still_notes(frame: pd.DataFrame, tasks: set[str]) -> list[Note]:
    """Return notes on rows in which all tasks, or some, are constant."""
    still, notes = [], []
    for label, seeds in frame.groupby("label", sort=False)["constant"]:
        constant = [set(own) for own in seeds]
        if all(own == tasks for own in constant):
            still.append(str(label))
        else:
            notes += _partly_still(str(label), set.union(*constant))
    if not still:
        return notes
    text = f"{', '.join(still)}: the scores do not change over steps 1..N, so nothing is measured"
    return [Note("Dash", text), *notes]


def _partly_still(label: str, constant: set[str]) -> list[Note]:
    if not constant:
        return []
    names = ", ".join(sorted(constant))
    text = f"{label}: {names} does not change in at least one seed; its peak counts as step 1"
    return [Note("Unmoved", text)]
