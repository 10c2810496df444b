"""Tables on consoles of different widths."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ttt_bench.report.formats.console import ConsoleTable
from ttt_bench.report.tables import Column, Number, Row, Section, Table

LABELS = ("S4T (masking=disjoint)", "TENT (frozen)", "Base")


def table() -> Table:
    """Return a table of four means with deviations and three with intervals, one secondary."""
    columns = [Column(key=name, head=(name, "RMSE")) for name in ("a", "b", "c", "d")]
    columns += [
        Column(key=name, head=("Delta_TTT", name), intervals=True, secondary=name == "three")
        for name in ("one", "two", "three")
    ]
    number = Number(mean=-11.09, sd=1.25, interval=(-14.97, -7.21))
    cells = {column.key: number for column in columns}
    rows = tuple(Row(label=label, title=label, cells=cells) for label in LABELS)
    section = Section(key="fixed", heading="a heading that is longer than each label", rows=rows)
    return Table(title="title", subtitle="", columns=tuple(columns), sections=(section,))


def text(width: int) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(ConsoleTable(table()), crop=False)
    return console.export_text()


@pytest.mark.parametrize(
    ("width", "means", "intervals", "omitted"),
    [
        (200, 7, 3, None),
        (120, 7, 3, None),
        (90, 6, 2, "Left out for width. Delta_TTT three"),
        (78, 6, 0, "Left out for width. Delta_TTT three, deviations and intervals"),
    ],
)
def test_labels_are_whole_and_omissions_are_named(
    width: int, means: int, intervals: int, omitted: str | None
) -> None:
    shown = text(width)
    assert max(map(len, shown.splitlines())) <= width
    lines = [line for line in shown.splitlines() if line.strip().startswith(LABELS)]
    assert [line for line in LABELS if line in shown] == list(LABELS)
    assert [line.count("−11.09") for line in lines] == [means] * 3
    assert shown.count("[−14.97, −7.21]") == 3 * intervals
    assert ("Left out" in shown) == (omitted is not None)
    assert omitted is None or omitted in " ".join(shown.split())


def test_a_console_that_is_too_narrow_has_whole_numbers() -> None:
    shown = text(40)
    assert shown.count("−11.09") == 6 * len(LABELS)
    assert "…" not in shown
