"""The synchronisation table: step variance, DTW and cosine similarity of each method's
trajectories over steps 1..N.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from ttt_bench import sync
from ttt_bench.report.notes import ONLINE_STEP_ZERO, Note, others_notes, seeds_note
from ttt_bench.report.tables import DASH, Cell, Column, Number, Row, Section, Table
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.summary import UNMOVED, base_scores, score_frame, unmoved
from ttt_bench.tasks import TASKS

MEASURES = ("step_variance", "dtw", "cosine_similarity", "cosine_similarity_per_step")


def sync_frame(rows: pd.DataFrame, base: str | None) -> pd.DataFrame:
    """The measures of every label and seed.

    Args:
        rows: stored rows with `label`.
        base: the label of Base; its seed's scores make the trajectories comparable. Without it
        there is no DTW.

    Returns:
        Columns `label, seed, steps`, `MEASURES`, `peak_<task>` (1-based step of the best score),
        `early` (tasks better at step 0 than at any later one) and `constant` (tasks that do not
        move over steps 1..N), both tuples. NaN where
        a measure does not exist: all of them where no task moves, as with a single step, or there
        is one task only.
    """
    scores = score_frame(rows)
    reference = base_scores(scores, base) if base is not None else scores.iloc[:0]
    base_of = dict(zip(reference.index, reference.to_numpy(), strict=True))
    flat = unmoved(scores)
    flat_of = dict(zip(flat.index, flat.to_numpy(), strict=True))
    records = []
    for (label, seed), cell in scores.groupby(level=["label", "seed"], sort=False):
        # a cell without steps has nothing that could move
        constant = flat_of.get((label, seed), np.ones(cell.shape[1], dtype=bool))
        own = (
            cell.notna().all().to_numpy()
        )  # a single-task variant has no scores of the other tasks
        trajectories = cell.loc[:, own].droplevel(["label", "seed"])
        about = {"label": label, "seed": seed, "steps": int(trajectories.index.max())}
        base_row = base_of[seed][own] if seed in base_of else None
        records.append(about | _measures(trajectories, constant[own], base_row))
    return pd.DataFrame(records)


def build(comparison: Comparison) -> Table:
    """Lay out a comparison's synchronisation table; Base, which does not adapt, has no row."""
    methods = dict(zip(comparison.cells["label"], comparison.cells["method"], strict=True))
    frame = sync_frame(comparison.rows, comparison.base)
    frame = frame[frame["label"].map(methods) != "base"]
    tasks = comparison.tasks
    # what earlier batches left is not the model before adapting
    at_zero = (
        ("best at step 0", "of the batch")
        if comparison.key.protocol == "online"
        else ("best before", "adapting")
    )
    columns = (
        Column("step_variance_steps", ("SV", "steps"), 2, higher_is_better=False),
        Column("dtw_relative_percent", ("DTW", "points"), 1, higher_is_better=False),
        Column("cosine_similarity_sum", ("CS", "sum"), 2, higher_is_better=True),
        Column("cosine_similarity_per_step", ("CS", "per step"), 3, higher_is_better=True),
        *(Column(f"peak_step_{task}", ("peak at", task), 1, secondary=True) for task in tasks),
        Column("best_at_step_0", at_zero, wraps=True),
    )
    rows = [
        Row(str(label), _cells(cells, columns, tasks))
        for label, cells in frame.groupby("label", sort=False)
    ]
    order = {label: position for position, label in enumerate(comparison.labels)}
    rows.sort(key=lambda row: order[row.label])
    title = f"{comparison.title}: synchronisation of the tasks"
    section = Section("steps 1..N", "steps 1..N", tuple(rows))
    return Table(title, comparison.subtitle, columns, (section,), tuple(_notes(comparison, frame)))


def _measures(
    cell: pd.DataFrame, constant: np.ndarray, base: np.ndarray | None
) -> dict[str, object]:
    tasks = [str(task) for task in cell.columns]
    lower = [TASKS[task].lower_is_better for task in tasks]
    before, after = cell.loc[cell.index == 0].to_numpy().T, cell.loc[cell.index >= 1].to_numpy().T
    result: dict[str, object] = {
        **dict.fromkeys((*MEASURES, *(f"peak_{task}" for task in tasks)), math.nan),
        "early": tuple(
            task for task, flag in zip(tasks, _early(before, after, lower), strict=True) if flag
        ),
        "constant": tuple(task for task, flat in zip(tasks, constant, strict=True) if flat),
    }
    if constant.all():
        return result
    peaks = sync.peak_steps(after, lower)
    result.update({f"peak_{task}": float(peak) for task, peak in zip(tasks, peaks, strict=True)})
    if len(tasks) < 2:
        return result
    oriented = sync.orient(after, lower)
    result["step_variance"] = sync.step_variance(after, lower)
    result["cosine_similarity"] = sync.cosine_similarity(oriented)
    result["cosine_similarity_per_step"] = sync.cosine_similarity(oriented, "mean")
    if base is not None and (base != 0).all():
        result["dtw"] = sync.mean_dtw(sync.orient(sync.normalize(after, "relative", base), lower))
    return result


def _early(before: np.ndarray, after: np.ndarray, lower: list[bool]) -> np.ndarray:
    """Which tasks score better at step 0, (n, 1), than at any step of (n, T), by more than
    rounding: (n,) of bool.
    """
    if after.shape[1] == 0:
        return np.zeros(len(lower), dtype=bool)
    gap = sync.orient(before, lower)[:, 0] - sync.orient(after, lower).max(axis=1)
    return gap > UNMOVED * np.abs(before[:, 0])


def _cells(
    cells: pd.DataFrame, columns: tuple[Column, ...], tasks: tuple[str, ...]
) -> dict[str, Cell]:
    sources = [*MEASURES, *(f"peak_{task}" for task in tasks)]
    found: dict[str, Cell] = {
        column.key: _number(cells[source]) for column, source in zip(columns, sources, strict=False)
    }
    counts = {task: sum(task in early for early in cells["early"]) for task in tasks}
    found["best_at_step_0"] = _in_words(counts, len(cells)) or DASH
    return found


def _in_words(counts: dict[str, int], seeds: int) -> str:
    """Which tasks, in how many of the seeds."""
    if len(counts) > 1 and len(set(counts.values())) == 1:
        counts = {"all tasks": next(iter(counts.values()))}
    return ", ".join(
        f"{task} ({n} of {seeds})" if seeds > 1 else task for task, n in counts.items() if n
    )


def _number(values: pd.Series) -> Cell:
    there = values.dropna()
    if there.empty:
        return DASH
    return Number(float(there.mean()), float(there.std()) if len(there) > 1 else None)


def _notes(comparison: Comparison, frame: pd.DataFrame) -> list[Note]:
    notes = [
        seeds_note(comparison),
        *others_notes(comparison),
        (
            "Measures",
            "S4T's supplement, eq. 1 to 4, over steps 1..N. SV: population standard deviation of the peak steps. "
            "DTW: mean over pairs of tasks, on changes relative to Base in percent, higher always better. CS: signs of "
            "the increments, summed over steps (which grows with N), and per step, between -1 and 1",
        ),
        (
            "Caution",
            "where curves are flat, peak steps measure noise: read SV with its spread over seeds",
        ),
    ]
    if comparison.base is None:
        notes.append(("No DTW", "Base was not run here, so changes relative to it do not exist"))
    if len(comparison.tasks) < 2:
        notes.append(("One task", "a single task has nothing to be in step with"))
    if comparison.key.protocol == "online":
        notes.append(
            (
                "Step 0",
                f"online: {ONLINE_STEP_ZERO}; where a task is best there, adapting on its own batch did not help it",
            )
        )
    return (
        notes + _step_notes(frame) + _still_notes(frame[frame["steps"] > 1], set(comparison.tasks))
    )


def _step_notes(frame: pd.DataFrame) -> list[Note]:
    """Rows of a single step, and rows whose measures differ in their number of steps."""
    labels: dict[int, list[str]] = {}
    for label, steps in frame.groupby("label", sort=False)["steps"].max().items():
        labels.setdefault(int(steps), []).append(str(label))
    notes = []
    if 1 in labels:
        notes.append(
            ("One step", f"{', '.join(labels[1])}: a single step makes no curve to measure")
        )
    if len(labels) > 1:
        counts = "; ".join(f"{steps}: {', '.join(labels[steps])}" for steps in sorted(labels))
        text = "SV, DTW and summed CS grow with it, and peaks may lie later: compare only rows that share it"
        notes.append(("Number of steps", f"{text} ({counts})"))
    return notes


def _still_notes(frame: pd.DataFrame, tasks: set[str]) -> list[Note]:
    """Rows of several steps in which all tasks, or some, do not move."""
    constant = {
        str(label): [set(own) for own in column]
        for label, column in frame.groupby("label", sort=False)["constant"]
    }
    still = [label for label, seeds in constant.items() if all(own == tasks for own in seeds)]
    notes = []
    if still:
        notes.append(
            (
                "Dash",
                f"{', '.join(still)}: the scores do not change over steps 1..N, so nothing can be in step",
            )
        )
    for label, seeds in constant.items():
        partly = sorted(set.union(*seeds)) if label not in still else []
        if partly:
            notes.append(
                (
                    "Unmoved",
                    f"{label}: {', '.join(partly)} does not move in every seed; its peak counts as step 1",
                )
            )
    return notes
