"""Notes on the synchronisation table: its measures, and the rows where they say little."""

from __future__ import annotations

import pandas as pd

from ttt_bench.report.notes.reading import interval_notes
from ttt_bench.report.notes.run import others_notes, seeds_note
from ttt_bench.report.tables import Note
from ttt_bench.stats.comparison import Comparison
from ttt_bench.sync import FLAT, NEAR

MEASURES = Note(
    "Measures",
    "on curves over steps 0..N that are scaled per task from 0, the worst score, to 1, the best. "
    "SV: standard deviation of the times at which the tasks first come within "
    f"{NEAR:g} of their best score, as a share of N (0 to 0.5). DTW: mean distance per step of two "
    "curves in the unit square (0 to 1). CS: agreement of the directions of two curves, weighted "
    "by the smaller change (-1 to 1). docs/synchronisation.md compares them with known lags",
    (
        "On curves scaled per task to 0..1: spread of the tasks' peaks (SV), distance of their "
        "curves (DTW), and agreement of their directions (CS)",
    ),
)
RAW = Note(
    "Raw",
    "S4T's supplement, eq. 1 to 4 as published, over steps 1..N, with ± over seeds: SV of the peak "
    "steps, DTW of the changes relative to Base in percent, CS of the signs of increments. Raw DTW "
    "measures how far apart the gains of the tasks are, not synchrony, so it has no direction. Raw "
    "SV and CS also count noise: a plateau's best step, and increments near 0",
)
CONTROL = Note(
    "− frozen",
    "the paired difference to the frozen control, which runs the method with learning rate 0: what "
    "the updates of the weights do to synchrony. Where a measure equals that of the frozen control "
    "it describes how normalisation statistics settle on a batch, not the method. A dash: the "
    "control is too flat, so what is measured comes from the updates. Bold differences are more "
    "synchronous, those with ▼ less: the interval excludes 0 after Holm's correction over the "
    "methods. Other differences are not shown to differ from 0",
    ("Bold: more synchronous than the frozen control, ▼: less, after Holm's correction",),
)
NO_CONTROL = Note(
    "No frozen control",
    "without it (`run --control none,frozen`) these numbers mix what the updates of the weights do "
    "with how normalisation statistics settle on a batch",
)
AGAIN = "the measures are computed again in each replicate"
NO_DTW = Note("No raw DTW", "it needs changes relative to Base, which was not run here")
ONE_TASK = Note("One task", "synchronisation needs at least two tasks")


def sync_notes(comparison: Comparison, found: pd.DataFrame, observed: pd.DataFrame) -> list[Note]:
    """Return the notes on a synchronisation table.

    Args:
        found: as `analysis.synchronisation.synchronisation` returns it.
        observed: as `stats.synchronisation.sync_frame` returns it, without Base.
    """
    compared = bool((found["reference"] != "").any())
    notes = [
        seeds_note(comparison),
        *others_notes(comparison),
        MEASURES,
        CONTROL if compared else NO_CONTROL,
        *interval_notes(comparison, found[found["reference"] == ""], again=AGAIN),
        RAW,
    ]
    if comparison.base is None:
        notes.append(NO_DTW)
    if len(comparison.tasks) < 2:
        notes.append(ONE_TASK)
    if not comparison.protocol.starts_from_source:
        notes.append(_step_zero(comparison))
    several = observed[observed["steps"] > 1]
    return notes + _step_notes(comparison, observed) + _flat_notes(comparison, several)


def _step_zero(comparison: Comparison) -> Note:
    protocol = comparison.protocol
    text = (
        f"{protocol.name}: {protocol.step_zero}. If a task is best there, adapting on the "
        "batch did not improve it"
    )
    return Note("Step 0", text)


def _step_notes(comparison: Comparison, observed: pd.DataFrame) -> list[Note]:
    """Return notes on rows of one step, and on rows that differ in their number of steps."""
    labels: dict[int, list[str]] = {}
    for label, steps in observed.groupby("label", sort=False)["steps"].max().items():
        labels.setdefault(int(steps), []).append(comparison.names.of(str(label)))
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
        "raw SV, DTW and summed CS grow with it, and peaks may be later. Compare only rows with "
        f"the same number ({counts})"
    )
    return Note("Number of steps", text)


def _flat_notes(comparison: Comparison, observed: pd.DataFrame) -> list[Note]:
    """Return notes on rows in which all tasks, or some, are flat."""
    tasks, names = set(comparison.tasks), comparison.names
    still: list[str] = []
    partly: dict[tuple[str, ...], list[str]] = {}
    for label, seeds in observed.groupby("label", sort=False)["flat"]:
        flat = [set(own) for own in seeds]
        if all(own == tasks for own in flat):
            still.append(str(label))
        elif some := tuple(sorted(set.union(*flat))):
            partly.setdefault(some, []).append(str(label))
    notes = []
    if still:
        text = f"{names.listed(still)}: no task changes by more than {_percent()}"
        notes.append(Note("Dash", text))
    if partly:
        rows = "; ".join(f"{', '.join(some)} of {names.listed(partly[some])}" for some in partly)
        text = (
            f"{rows}: changes by at most {_percent()} in at least one seed. SV, DTW and CS leave "
            "it out there"
        )
        notes.append(Note("Flat", text))
    return notes


def _percent() -> str:
    return f"{100 * FLAT:g} % of its score"
