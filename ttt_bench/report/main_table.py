"""The main table of a comparison: scores, Delta_TTT, both step rules, the best constant, the
published numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from ttt_bench.report.classes import absent_notes
from ttt_bench.report.notes import STATES, Note, published_notes, run_notes, seeds_note
from ttt_bench.report.tables import DASH, Cell, Column, Number, Row, Section, Table
from ttt_bench.results.published import PublishedTable, for_pair
from ttt_bench.stats import summary
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.summary import DELTA, DELTA_NO_EDGE, FIXED, ORACLE, OWN_GAIN, STEP
from ttt_bench.tasks import TASKS, Metric

PUBLISHED = "published_delta_ttt_percent"
RECOMPUTED = "published_delta_ttt_recomputed_percent"
BOLD_NOTE = (
    "Bold",
    "the best mean of a column, and those within sqrt(sd² + sd²), not told from it",
)
SATURATED = 0.02
"""A task whose Base lies within this share of the best constant says little."""

_KEYS = {
    DELTA: "delta_ttt_percent",
    DELTA_NO_EDGE: "delta_ttt_without_edge_percent",
    OWN_GAIN: "gain_over_own_source_percent",
}
_HEADINGS = {
    ORACLE: ("oracle step", "the best average Delta_TTT over steps, picked with labels"),
    FIXED: ("fixed step", "the last one"),
}


@dataclass(frozen=True)
class MainTable:
    """The table and the long frame behind it (`summary.summarise`)."""

    table: Table
    summary: pd.DataFrame


def build(
    comparison: Comparison,
    constants: Mapping[str, float],
    pixels: Mapping[str, float] | None = None,
) -> MainTable:
    """Lay out a comparison's main table.

    Args:
        constants: `summary.constant_predictor` of one of its cells; empty where there is none.
        pixels: class -> pixels of the target, where there is semantic segmentation.
    """
    if comparison.rows.empty:
        result, about = (Column("result", ("result",)),), tuple(run_notes(comparison))
        table = Table(
            comparison.title, comparison.subtitle, result, _without_numbers(comparison), about
        )
        return MainTable(
            table, pd.DataFrame(columns=["selection", "label", "quantity", "mean", "sd", "seeds"])
        )
    means = summary.main_table(comparison.rows, comparison.base, _own_sources(comparison))
    published = for_pair(comparison.key.pair)
    columns = _columns(comparison, means, published)
    still = _still(summary.score_frame(comparison.rows))
    sections = [
        _section(comparison, means[means["selection"] == rule], columns, published, still, rule)
        for rule in (ORACLE, FIXED)
        if (means["selection"] == rule).any()
    ]
    if constants:
        cells: dict[str, Cell] = {
            task_key(task): Number(value) for task, value in constants.items()
        }
        sections.append(Section("constant", "constant predictor", (Row("best constant", cells),)))
    sections += [_published_section(comparison, published)] if published else []
    notes = _reading_notes(comparison, means, constants, still)
    notes += [*absent_notes(pixels or {}), *run_notes(comparison)]
    if published:
        notes += published_notes(comparison, published, list(comparison.cells["method"]))
    return MainTable(
        Table(
            comparison.title,
            comparison.subtitle,
            columns,
            (*sections, *_without_numbers(comparison)),
            tuple(notes),
        ),
        means,
    )


def metric_key(metric: Metric) -> str:
    """A metric's column in CSV: task, metric and unit."""
    return "_".join(filter(None, (metric.task, metric.name, metric.unit)))


def task_key(task: str) -> str:
    """The column in CSV of a task's primary metric."""
    return metric_key(TASKS[task].primary)


def quantity_key(quantity: str) -> str:
    """The name in CSV of a task or of another quantity of `summary`, with its unit."""
    return task_key(quantity) if quantity in TASKS else _KEYS.get(quantity, quantity)


def metric_column(metric: Metric, largest: float) -> Column:
    """A metric's column; digits after the point: about four significant ones, as in the papers."""
    decimals = 2 if metric.unit else 3 if largest >= 1 else 4
    return Column(
        metric_key(metric), (metric.task, metric.printed), decimals, metric.higher_is_better
    )


def _columns(
    comparison: Comparison, means: pd.DataFrame, published: PublishedTable | None
) -> tuple[Column, ...]:
    largest = means.groupby("quantity")["mean"].max()
    columns = [metric_column(TASKS[task].primary, largest[task]) for task in comparison.tasks]
    heads = {
        DELTA: ("Delta_TTT", "%"),
        DELTA_NO_EDGE: ("without", "edge %"),
        OWN_GAIN: ("over own", "source %"),
    }
    columns += [
        Column(_KEYS[quantity], head, 2, higher_is_better=True, secondary=quantity != DELTA)
        for quantity, head in heads.items()
        if quantity in largest.index
    ]
    steps = means[means["quantity"] == STEP]
    whole = bool((steps["mean"] % 1 == 0).all()) and bool((steps["sd"].fillna(0) == 0).all())
    columns.append(Column("step", ("step",), 0 if whole else 1))
    if published and DELTA in largest.index:
        columns.append(Column(PUBLISHED, ("published", "Delta_TTT %"), 2, higher_is_better=True))
        columns.append(Column(RECOMPUTED, ("recomputed",), 2, printed=False))
    per_row = means.groupby("label")["seeds"].max()
    columns.append(Column("seeds", ("seeds",), 0, printed=per_row.nunique() > 1))
    return tuple(columns)


def _section(
    comparison: Comparison,
    means: pd.DataFrame,
    columns: tuple[Column, ...],
    published: PublishedTable | None,
    still: set[str],
    rule: str,
) -> Section:
    methods = dict(zip(comparison.cells["label"], comparison.cells["method"], strict=True))
    marked = _mark_best(means)
    rows = []
    for label in comparison.labels:
        own = marked[marked["label"] == label].set_index("quantity")
        if own.empty:
            continue
        cells: dict[str, Cell] = {
            quantity_key(quantity): number(mean, sd, best)
            for quantity, mean, sd, best in zip(
                own.index, own["mean"], own["sd"], own["best"], strict=True
            )
        }
        if label == comparison.base:
            # nothing that was measured: Base against itself
            cells.update(
                {key: Number(0.0) for key in (_KEYS[DELTA], _KEYS[DELTA_NO_EDGE]) if key in cells}
            )
        # Base does not adapt, and where nothing moves every step is the best one
        if methods[label] == "base" or (rule == ORACLE and label in still):
            cells[STEP] = DASH
        elif rule == FIXED:
            cells[STEP] = Number(float(own["mean"][STEP]), decimals=0)
        cells["seeds"] = Number(int(own["seeds"].max()))
        printed = (
            published.row(methods[label])
            if published and rule == ORACLE and label == methods[label]
            else None
        )
        if printed:
            cells[PUBLISHED] = Number(*printed.delta, mark="†" if printed.flag else "")
            cells[RECOMPUTED] = Number(printed.recomputed)
        shown = {column.key for column in columns}
        rows.append(Row(label, {key: cell for key, cell in cells.items() if key in shown}))
    heading, detail = _HEADINGS[rule]
    return Section(rule, heading, tuple(rows), detail)


def _mark_best(means: pd.DataFrame) -> pd.DataFrame:
    """`means` with `best`: whether a number is the best of its column or not told from it."""
    best: dict[object, bool] = {}
    for quantity, column in means.groupby("quantity"):
        if quantity in TASKS or quantity in (DELTA, DELTA_NO_EDGE):
            higher = TASKS[str(quantity)].higher_is_better if quantity in TASKS else True
            flags = summary.indistinguishable_best(
                column["mean"].tolist(), column["sd"].tolist(), higher
            )
            best.update(zip(column.index, flags, strict=True))
    return means.assign(best=[best.get(index, False) for index in means.index])


def _published_section(comparison: Comparison, published: PublishedTable) -> Section:
    methods = set(comparison.cells["method"])
    rows = []
    for row in published.rows:
        if row.method in methods:
            cells: dict[str, Cell] = {
                task_key(task): Number(*value) for task, value in row.scores.items()
            }
            cells[_KEYS[DELTA]] = Number(*row.delta, mark="†" if row.flag else "")
            cells[RECOMPUTED] = Number(row.recomputed)
            rows.append(Row(row.method, cells))
    return Section("published", "published", tuple(rows), published.name)


def _without_numbers(comparison: Comparison) -> tuple[Section, ...]:
    rows = []
    for label, cells in comparison.cells.groupby("label", sort=False):
        if not (cells["state"] == "done").any():
            states = [STATES.get(state, state) for state in dict.fromkeys(cells["state"])]
            reasons = dict.fromkeys(filter(None, cells["reason"]))
            rows.append(Row(str(label), state=" / ".join(states), reason="; ".join(reasons)))
    return (Section("missing", "without numbers", tuple(rows)),) if rows else ()


def _reading_notes(
    comparison: Comparison, means: pd.DataFrame, constants: Mapping[str, float], still: set[str]
) -> list[Note]:
    notes = [seeds_note(comparison)]
    if comparison.base is not None:
        tasks = ", ".join(comparison.tasks)
        notes += [
            (
                "Delta_TTT",
                f"mean over {tasks} of the signed change relative to Base of the same seed, in percent",
            ),
            (
                "Oracle step",
                "of each seed, the step from 1 on with the best Delta_TTT: picked with labels, an upper bound",
            ),
        ]
        notes += _seeds_without_base(comparison)
    if (means["quantity"] == OWN_GAIN).any():
        notes.append(
            (
                "Over own source",
                "the same measure against the method's own source model before adapting; it rewards a method that "
                "harmed its source, so read it beside Delta_TTT only",
            )
        )
    if any(_mark_best(rows)["best"].any() for _, rows in means.groupby("selection")):
        notes.append(BOLD_NOTE)
    elif means["sd"].notna().any():
        notes.append(
            ("No bold", "no column has a spread over seeds in every row, so none has a best number")
        )
    unmoved = [label for label in comparison.labels if label in still and label != comparison.base]
    if unmoved:
        notes.append(
            (
                "Unmoved",
                f"{', '.join(unmoved)}: equal at every step from 1 on, so no step is the best one",
            )
        )
    return notes + _constant_notes(comparison, means, constants)


def _constant_notes(
    comparison: Comparison, means: pd.DataFrame, constants: Mapping[str, float]
) -> list[Note]:
    if not constants:
        return []
    texts = {
        "semseg": "semseg: every pixel in the best class",
        "depth": "depth and edge: the best constant of each evaluation batch; no aligned prediction is worse",
        "normals": "normals: not known, the stored angles do not tell it",
    }
    texts["edge"] = texts["depth"]
    notes = [("Best constant", "; ".join(dict.fromkeys(texts[task] for task in comparison.tasks)))]
    base = means[(means["label"] == comparison.base) & (means["selection"] == FIXED)].set_index(
        "quantity"
    )["mean"]
    if "semseg" in constants and "semseg" in base.index and base["semseg"] <= constants["semseg"]:
        notes.append(("Below a constant", "semseg: Base is no better than one class everywhere"))
    for task in ("depth", "edge"):
        if (
            task in constants
            and task in base.index
            and base[task] >= (1 - SATURATED) * constants[task]
        ):
            share = 100 * (1 - base[task] / constants[task])
            text = f"{task}: Base is only {share:.1f} % better than the best constant, so this column says little"
            notes.append(("Saturated", text))
    return notes


def _seeds_without_base(comparison: Comparison) -> list[Note]:
    rows = comparison.rows
    have = set(rows.loc[rows["label"] == comparison.base, "seed"])
    lacking = {
        str(label): sorted(set(seeds) - have)
        for label, seeds in rows.groupby("label", sort=False)["seed"]
        if set(seeds) - have
    }
    return [
        (
            "Without Base",
            f"{label}: seeds {', '.join(map(str, seeds))} have no Base and are left out of Delta_TTT",
        )
        for label, seeds in lacking.items()
    ]


def _own_sources(comparison: Comparison) -> dict[tuple[str, int], dict[str, float]]:
    cells = comparison.cells[comparison.cells["state"] == "done"]
    return {
        (label, seed): dict(manifest["own_source_scores"])
        for label, seed, manifest in zip(
            cells["label"], cells["seed"], cells["manifest"], strict=True
        )
        if manifest.get("own_source_scores")
    }


def _still(scores: pd.DataFrame) -> set[str]:
    """Labels whose scores are equal at every step from 1 on, in all tasks and seeds."""
    still = summary.unmoved(scores).all(axis=1).groupby(level="label").all()
    return {str(label) for label in still.index[still]}


def number(mean: float, sd: float, bold: bool) -> Number:
    """A number of a table; `sd` is NaN where there is none."""
    return Number(float(mean), None if math.isnan(sd) else float(sd), bool(bold))
