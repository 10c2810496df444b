"""The synchronisation table: step variance, DTW and cosine similarity, scale-free and raw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain

import pandas as pd

from ttt_bench.analysis.evidence import FROZEN, Evidence
from ttt_bench.analysis.synchronisation import synchronisation
from ttt_bench.report.columns import number, with_interval
from ttt_bench.report.frames import named_rows
from ttt_bench.report.notes.sync import sync_notes
from ttt_bench.report.tables import DASH, Cell, Column, Row, Section, Table
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.synchronisation import SCALE_FREE, peak, sync_frame

STEPS = "steps 0..N"
EARLY = "best_at_step_0"

MEASURED = {
    "peak_spread": Column(
        key="sv_scale_free", head=("SV",), decimals=3, higher_is_better=False, intervals=True
    ),
    "curve_distance": Column(
        key="dtw_scale_free", head=("DTW",), decimals=3, higher_is_better=False, intervals=True
    ),
    "direction_agreement": Column(
        key="cs_scale_free", head=("CS",), decimals=3, higher_is_better=True, intervals=True
    ),
    "step_variance": Column(
        key="step_variance_steps", head=("raw SV", "steps"), higher_is_better=False, secondary=True
    ),
    # raw DTW rises with the gain, so neither direction is better
    "dtw": Column(
        key="dtw_relative_percent", head=("raw DTW", "points"), decimals=1, secondary=True
    ),
    "cosine_similarity": Column(
        key="cosine_similarity_sum",
        head=("raw CS", "sum"),
        higher_is_better=True,
        printed=False,
    ),
    "cosine_similarity_per_step": Column(
        key="cosine_similarity_per_step",
        head=("raw CS", "per step"),
        decimals=3,
        higher_is_better=True,
        secondary=True,
    ),
}
"""The column of each measure of `stats.synchronisation`."""


def build(evidence: Evidence) -> Table:
    """Return a comparison's synchronisation table; Base, which does not adapt, has no row."""
    comparison = evidence.comparison
    observed = sync_frame(evidence.observed)
    observed = observed[observed["label"].map(comparison.methods) != "base"]
    found = synchronisation(evidence)
    with_numbers = set(observed["label"])
    rows = [
        _row(comparison, found[found["label"] == label], observed[observed["label"] == label])
        for label in comparison.labels
        if label in with_numbers
    ]
    return Table(
        title=f"{comparison.title}: synchronisation of the tasks",
        subtitle=comparison.subtitle,
        columns=_columns(comparison, found),
        sections=(Section(key=STEPS, heading=STEPS, rows=tuple(rows)),),
        notes=tuple(sync_notes(comparison, found, observed)),
    )


def _columns(comparison: Comparison, found: pd.DataFrame) -> tuple[Column, ...]:
    """Return the measures, each with its difference if any, the peaks, and the early tasks."""
    compared = bool((found["reference"] == FROZEN).any())
    columns = []
    for measure, column in MEASURED.items():
        columns += [column, difference_column(measure)] if compared else [column]
    peaks = [
        Column(
            key=_peak_key(task), head=("peak at", task), decimals=1, secondary=True, per_task=True
        )
        for task in comparison.tasks
    ]
    return (*columns, *peaks, _early_column(comparison))


def difference_column(measure: str) -> Column:
    """Return the column of a measure's difference to the frozen control."""
    column = MEASURED[measure]
    return Column(
        key=_difference_key(measure),
        head=(column.head[0], "− frozen"),
        decimals=column.decimals,
        higher_is_better=column.higher_is_better,
        printed=measure in SCALE_FREE,
        intervals=True,
    )


def _difference_key(measure: str) -> str:
    return f"{MEASURED[measure].key}_minus_frozen"


def _peak_key(task: str) -> str:
    return f"peak_step_{task}"


def _early_column(comparison: Comparison) -> Column:
    """Return the column of the tasks that are best at step 0."""
    # what previous batches left is not the model before adapting
    before = comparison.protocol.starts_from_source
    head = ("best before", "adapting") if before else ("best at step 0", "of the batch")
    return Column(key=EARLY, head=head, wraps=True)


def _row(comparison: Comparison, found: pd.DataFrame, seeds: pd.DataFrame) -> Row:
    """Return the row of a label from its estimates and its measures of each seed."""
    tasks = comparison.tasks
    cells: dict[str, Cell] = {_peak_key(task): _mean(seeds[peak(task)]) for task in tasks}
    for one in named_rows(found):
        key = _difference_key(one.quantity) if one.reference else MEASURED[one.quantity].key
        shown = number(one.mean, one.sd, one.verdict if one.quantity in SCALE_FREE else 0)
        cells[key] = with_interval(shown, one.low, one.high)
    early = Counter(chain.from_iterable(seeds["early"]))
    cells[EARLY] = _in_words(tasks, early, len(seeds)) or DASH
    label = str(seeds["label"].iloc[0])
    return Row(label=label, title=comparison.names.of(label), cells=cells)


def _in_words(tasks: Sequence[str], early: Counter[str], seeds: int) -> str:
    """Return the tasks with the number of seeds, of `seeds`, in which they are counted."""
    counts = {task: early[task] for task in tasks}
    if len(counts) > 1 and len(set(counts.values())) == 1:
        counts = {"all tasks": next(iter(counts.values()))}
    counted = {task: count for task, count in counts.items() if count}
    if seeds == 1:
        return ", ".join(counted)
    return ", ".join(f"{task} ({count} of {seeds})" for task, count in counted.items())


def _mean(values: pd.Series) -> Cell:
    """Return mean and standard deviation over seeds, without those that are undefined."""
    defined = values.dropna()
    return DASH if defined.empty else number(defined.mean(), defined.std())
