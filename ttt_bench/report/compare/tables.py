"""The tables of a comparison of rows: differences, and the images that differ most."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pandas as pd

from ttt_bench.analysis.comparing.matching import RowPair
from ttt_bench.metrics.base import metrics_of
from ttt_bench.report.columns import GAINS, metric_column, number, with_interval
from ttt_bench.report.compare.claims import claims, decimals_of, pair_name, pair_title
from ttt_bench.report.compare.content import Group, Shown, groups
from ttt_bench.report.formats.cells import rounded
from ttt_bench.report.frames import named_rows
from ttt_bench.report.notes.reading import interval_notes
from ttt_bench.report.tables import DASH, Cell, Column, Note, Number, Row, Section, Table
from ttt_bench.tasks import TASKS

MOST_SEEDS = 5
"""The largest number of seeds whose values have room in a table."""
SMALLEST_P = 0.001
"""Smaller p values are printed as smaller than this."""

COLUMNS = (
    Column(key="a", head=("A",)),
    Column(key="b", head=("B",)),
    Column(key="difference", head=("A − B",), intervals=True),
    Column(key="p_holm", head=("p",), decimals=3),
)
OF_EACH_SEED = Column(key="difference_of_each_seed", head=("A − B", "of each seed"), secondary=True)
CHANGE = Column(key="change_percent", head=("change", "%"), higher_is_better=True)

BOLD = Note(
    "Bold, ▼",
    "A is shown to be better than B where the difference is bold, and worse where it has ▼: p is "
    "below 0.05. Other differences are not shown to differ from 0",
    ("Bold: A is better than B, ▼: worse, at p below 0.05",),
)
IMAGES = (
    "mean over tasks of A − B on the image, in percent of B's score on all images, with the sign "
    "that makes a gain positive. Scores are means over seeds, of one image in the alignment of its "
    "evaluation batch; mIoU counts a class that the image does not have as 0. `image` is the "
    "position in the target's stream"
)


def tables(content: Shown) -> list[Table]:
    """Return a table of differences for each comparison, followed by one of images if any."""
    found: list[Table] = []
    for group in groups(content):
        # notes that concern all comparisons are below the first table
        found.append(_differences(content, group, first=not found))
        if any(len(top) for _, top in group.images):
            found.append(_images(group))
    return found


def _differences(content: Shown, group: Group, *, first: bool) -> Table:
    comparison = group.comparison
    words = [content.sides, f"step rule {content.rule}", comparison.subtitle]
    return Table(
        title=comparison.title,
        subtitle=", ".join(filter(None, words)),
        columns=(*COLUMNS, *([OF_EACH_SEED] if _few_seeds(group.rows) else [])),
        sections=_sections(group),
        notes=tuple(_notes(content, group, first=first)),
        corner="quantity" if group.one_pair else "row",
    )


def _sections(group: Group) -> tuple[Section, ...]:
    """Return one section of quantities for one pair of rows, else one per quantity."""
    if group.one_pair:
        rows = list(named_rows(group.rows))
        lines = tuple(_row(_head(row.quantity), row) for row in rows)
        heading = f"{pair_title(rows[0])}: A − B"
        return (Section(key="differences", heading=heading, rows=lines),)
    quantities = group.rows.groupby("quantity", sort=False)
    return tuple(_section(str(quantity), rows) for quantity, rows in quantities)


def _section(quantity: str, found: pd.DataFrame) -> Section:
    rows = tuple(
        replace(_row(pair_name(row), row), title=pair_title(row)) for row in named_rows(found)
    )
    return Section(key=quantity, heading=_head(quantity), rows=rows)


def _row(label: str, row: Any) -> Row:
    digits = decimals_of(row.quantity, row.mean_b)
    value = with_interval(number(row.mean, row.sd, row.verdict), row.low, row.high)
    cells: dict[str, Cell] = {
        "a": Number(mean=row.mean_a, decimals=digits),
        "b": Number(mean=row.mean_b, decimals=digits),
        "difference": replace(value, decimals=digits),
        "p_holm": _p(row.p_holm),
        OF_EACH_SEED.key: ", ".join(rounded(one, digits) for one in row.values.values()),
    }
    return Row(label=label, cells=cells)


def _p(value: float) -> Cell:
    if math.isnan(value):
        return DASH
    return f"<{SMALLEST_P}" if value < SMALLEST_P else Number(mean=value)


def _head(quantity: str) -> str:
    """Return the name of a quantity with its unit and direction."""
    if quantity in TASKS:
        return " ".join(metric_column(metrics_of(quantity).primary, 1.0).lines)
    name = " ".join(GAINS[quantity].lines)
    return name if name.startswith("Delta_TTT") else f"Delta_TTT {name}"


def _few_seeds(rows: pd.DataFrame) -> bool:
    return bool(1 < rows["seeds"].max() <= MOST_SEEDS)


def _notes(content: Shown, group: Group, *, first: bool) -> Iterator[Note]:
    for quantity, sentence in claims(group.rows, group.units).items():
        yield Note(_head(quantity), sentence)
    labelled = group.rows.assign(label=[pair_name(row) for row in named_rows(group.rows)])
    yield from interval_notes(group.comparison, labelled)
    count = len(content.compared.pairs)
    rows = (
        "one pair of rows, so uncorrected" if count == 1 else f"Holm's correction for {count} rows"
    )
    yield Note("p", f"two-sided, {rows}; quantities are not corrected for each other")
    yield BOLD
    if _few_seeds(group.rows):
        yield Note("Seeds", f"{_seeds(group.rows)}, in this order in the last column")
    if first:
        yield from (Note("Missing", gap.text) for gap in content.compared.gaps)
        yield from (Note("Differs", remark) for remark in content.compared.remarks)


def _seeds(rows: pd.DataFrame) -> str:
    seeds = set[int]().union(*rows["values"])
    return ", ".join(map(str, sorted(seeds)))


def _images(group: Group) -> Table:
    """Return the table of the images on which rows differ most."""
    tasks = group.comparison.tasks
    columns = [_score_column(task, side) for task, side in product(tasks, ("A", "B"))]
    return Table(
        title=f"{group.comparison.title}: images with the largest difference",
        subtitle=group.comparison.subtitle,
        columns=(CHANGE, *columns),
        sections=tuple(_image_section(pair, top) for pair, top in group.images if len(top)),
        notes=(Note("Change", IMAGES),),
        corner="image",
    )


def _score_column(task: str, side: str) -> Column:
    return Column(key=f"{task}_{side.lower()}", head=(task, side), secondary=True)


def _image_section(pair: RowPair, top: pd.DataFrame) -> Section:
    rows = []
    for (image, batch), scores in top.groupby(["image", "batch"], sort=False):
        cells: dict[str, Cell] = {CHANGE.key: Number(mean=scores["change"].iloc[0])}
        for one in named_rows(scores):
            digits = decimals_of(one.task, one.score_b)
            cells[f"{one.task}_a"] = Number(mean=one.score_a, decimals=digits)
            cells[f"{one.task}_b"] = Number(mean=one.score_b, decimals=digits)
        rows.append(Row(label=f"image {image}, batch {batch}", cells=cells))
    return Section(key=pair.a, heading=f"{pair_title(pair)}: A, B", rows=tuple(rows))
