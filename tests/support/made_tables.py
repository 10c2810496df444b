"""Tables of the largest size that reports have, with made numbers, for the checks of LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from ttt_bench.metrics.base import metrics_of
from ttt_bench.report import columns as named
from ttt_bench.report.columns import DIFFERENCES, GAINS, SEEDS_KEY, metric_column
from ttt_bench.report.sync_table import MEASURED, difference_column
from ttt_bench.report.tables import Cell, Column, Note, Number, Row, Section, Table
from ttt_bench.results.method_names import MethodNames
from ttt_bench.stats.synchronisation import SCALE_FREE
from ttt_bench.tasks import TASKS

METHODS = ("norm", "TENT", "TIPI", "TTT", "TTT++", "TTTFlow", "ClusT3", "ActMAD", "NC-TTT", "S4T")
LABELS = ("Base", *(label for name in METHODS for label in (name, f"{name} (frozen)")))
LONG = "S4T (target=reconstruction, mask_ratio=0.75, projection=False) (frozen)"
SEEDS = Note("Seeds", "0, 1, 2; ± is the standard deviation", ("±: standard deviation over seeds",))


def main_table(labels: Sequence[str] = LABELS) -> Table:
    """Return a table with the columns of a main table, and with published rows."""
    columns = (
        *(metric_column(metrics_of(task).primary, 40.0) for task in TASKS),
        *GAINS.values(),
        *(named.difference_column(reference, MethodNames()) for reference in DIFFERENCES),
        Column(key=SEEDS_KEY, head=("Delta_TTT", "of each seed"), secondary=True),
        Column(key="step", head=("step",), decimals=1),
        Column(key="published", head=("published", "Delta_TTT %"), higher_is_better=True),
    )
    published = [f"{label} [TR-TTT, Table 1]" for label in METHODS]
    sections = (
        _section("fixed", "fixed step", labels, columns, "the last one"),
        _section("oracle", "oracle step", labels, columns, "the best one, chosen with labels " * 3),
        _section("published", "published", published, columns[:5], "TR-TTT, Table 1"),
        Section(
            key="missing",
            heading="without numbers",
            rows=(Row(label="TIPI", state="diverged", reason="the loss was inf " * 20),),
        ),
    )
    return _table("nyud → taskonomy", columns, sections)


def sync_table() -> Table:
    """Return a table with the columns of a synchronisation table."""
    measures = [
        column
        for measure in SCALE_FREE
        for column in (MEASURED[measure], difference_column(measure))
    ]
    columns = (*measures, Column(key="early", head=("best before", "adapting"), wraps=True))
    return _table("synchronisation", columns, (_section("all", "steps 0..N", LABELS, columns),))


def wide_table(classes: int) -> Table:
    """Return a table with a column per class, in groups of three."""
    columns = tuple(
        Column(
            key=f"c{index}",
            head=(f"class {index}", "IoU %"),
            group=f"group {index // 3} with a name",
            higher_is_better=True,
            secondary=True,
        )
        for index in range(classes)
    )
    return _table("each class", columns, (_section("all", "all", LABELS, columns),))


def long_table(rows: int) -> Table:
    """Return a table with many rows, some of them with long labels and long texts."""
    columns = (
        Column(key="step", head=("step",), decimals=0),
        Column(key="words", head=("a long text", "without a limit"), wraps=True),
        Column(key="text", head=("text",)),
    )
    labels = [LONG if index % 9 == 4 else f"TENT (steps={index})" for index in range(rows)]
    return _table("many rows", columns, (_section("all", "all", labels, columns),))


def _table(title: str, columns: Sequence[Column], sections: Sequence[Section]) -> Table:
    return Table(
        title=title,
        subtitle="preset paper, online, hparams paper, data variant corrected",
        columns=tuple(columns),
        sections=tuple(sections),
        notes=(
            SEEDS,
            Note("Missing", "`s4t --set a_b=1` on 50 % & *more*; see x_y, #1 ~ {a} \\ ^"),
        ),
    )


def _section(
    key: str, heading: str, labels: Sequence[str], columns: Sequence[Column], detail: str = ""
) -> Section:
    rows = (
        Row(
            label=label,
            cells={column.key: _cell(column, index) for column in columns},
            mark="§‡" if index % 7 == 3 else "",
        )
        for index, label in enumerate(labels)
    )
    return Section(key=key, heading=heading, rows=tuple(rows), detail=detail)


def _cell(column: Column, index: int) -> Cell:
    """Return a wide number, or a text in a column of texts."""
    if column.key == SEEDS_KEY:
        return "−12.46, −18.99, −11.81"
    if column.wraps or column.key == "text":
        return "depth (2 of 3), normals (1 of 3), edge (3 of 3)" * (1 + index % 2)
    low = -15.0 - index if column.decimals < 3 else -0.25
    return Number(
        mean=low / 2,
        sd=abs(low) / 3,
        interval=(low, -low),
        bold=index % 3 == 1,
        mark="▼" if index % 3 == 2 else "",
    )
