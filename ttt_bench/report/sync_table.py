"""The synchronisation table: step variance, DTW and cosine similarity over steps 1..N."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain

import pandas as pd

from ttt_bench.report.notes.sync import sync_notes
from ttt_bench.report.tables import DASH, Cell, Column, Number, Row, Section, Table
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.synchronisation import peak, sync_frame
from ttt_bench.stats.trajectories import trajectories

STEPS = "steps 1..N"
EARLY = "best_at_step_0"

MEASURED = {
    "step_variance": Column(
        key="step_variance_steps", head=("SV", "steps"), higher_is_better=False
    ),
    "dtw": Column(
        key="dtw_relative_percent", head=("DTW", "points"), decimals=1, higher_is_better=False
    ),
    "cosine_similarity": Column(
        key="cosine_similarity_sum", head=("CS", "sum"), higher_is_better=True
    ),
    "cosine_similarity_per_step": Column(
        key="cosine_similarity_per_step",
        head=("CS", "per step"),
        decimals=3,
        higher_is_better=True,
    ),
}
"""The column of each measure of `stats.synchronisation`."""


def build(comparison: Comparison) -> Table:
    """Return a comparison's synchronisation table; Base, which does not adapt, has no row."""
    frame = sync_frame(trajectories(comparison.scores, comparison.base))
    frame = frame[frame["label"].map(comparison.methods) != "base"]
    numbers = _number_columns(comparison)
    seeds = {str(label): rows for label, rows in frame.groupby("label")}
    labels = [label for label in comparison.labels if label in seeds]
    rows = tuple(_row(label, seeds[label], numbers, comparison.tasks) for label in labels)
    return Table(
        title=f"{comparison.title}: synchronisation of the tasks",
        subtitle=comparison.subtitle,
        columns=(*numbers.values(), _early_column(comparison)),
        sections=(Section(key=STEPS, heading=STEPS, rows=rows),),
        notes=tuple(sync_notes(comparison, frame)),
    )


def _number_columns(comparison: Comparison) -> dict[str, Column]:
    """Map each measure, and each task's peak step, to its column."""
    return MEASURED | {peak(task): _peak_column(task) for task in comparison.tasks}


def _peak_column(task: str) -> Column:
    return Column(key=f"peak_step_{task}", head=("peak at", task), decimals=1, secondary=True)


def _early_column(comparison: Comparison) -> Column:
    """Return the column of the tasks that are best at step 0."""
    # what previous batches left is not the model before adapting
    before = comparison.protocol.starts_from_source
    head = ("best before", "adapting") if before else ("best at step 0", "of the batch")
    return Column(key=EARLY, head=head, wraps=True)


def _row(label: str, seeds: pd.DataFrame, columns: dict[str, Column], tasks: Sequence[str]) -> Row:
    """Return the row of a label from its measures, one line per seed."""
    cells = {column.key: _number(seeds[measure]) for measure, column in columns.items()}
    early = Counter(chain.from_iterable(seeds["early"]))
    counts = {task: early[task] for task in tasks}
    cells[EARLY] = _in_words(counts, len(seeds)) or DASH
    return Row(label=label, cells=cells)


def _in_words(counts: dict[str, int], seeds: int) -> str:
    """Return the tasks with the number of seeds, of `seeds`, in which they are counted."""
    if len(counts) > 1 and len(set(counts.values())) == 1:
        counts = {"all tasks": next(iter(counts.values()))}
    counted = {task: count for task, count in counts.items() if count}
    if seeds == 1:
        return ", ".join(counted)
    return ", ".join(f"{task} ({count} of {seeds})" for task, count in counted.items())


def _number(values: pd.Series) -> Cell:
    """Return mean and standard deviation over seeds, without those that are undefined."""
    defined = values.dropna()
    if defined.empty:
        return DASH
    sd = float(defined.std()) if len(defined) > 1 else None
    return Number(mean=float(defined.mean()), sd=sd)
