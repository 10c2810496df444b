"""One table in four formats: each is parsed and compared with the table."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
from rich.console import Console

from ttt_bench.report.formats.cells import Printed, printed
from ttt_bench.report.formats.console import ConsoleTable
from ttt_bench.report.formats.csv_text import to_csv
from ttt_bench.report.formats.html import to_html
from ttt_bench.report.formats.markdown import to_markdown
from ttt_bench.report.tables import DASH, Column, Note, Number, Row, Section, Table

SEMSEG = "semseg_miou_percent"
ORACLE = Section(
    key="oracle",
    heading="oracle step",
    detail="picked with labels",
    rows=(
        Row(
            label="base",
            cells={
                SEMSEG: Number(mean=1 / 3, sd=0.25),
                "depth_rmse": Number(mean=-0.5),
                "hidden": Number(mean=7.0),
            },
        ),
        Row(
            label="a|b & <c>_%",
            cells={SEMSEG: Number(mean=math.pi, sd=2.0, bold=True, mark="†"), "depth_rmse": DASH},
        ),
    ),
)
MISSING = Section(
    key="missing",
    heading="without numbers",
    rows=(Row(label="tipi", state="diverged", reason="loss was inf at 100 %"),),
)
TABLE = Table(
    title="a → b",
    subtitle="preset quick, x_y=1",
    columns=(
        Column(key=SEMSEG, head=("semseg", "mIoU %"), higher_is_better=True),
        Column(key="depth_rmse", head=("depth", "RMSE"), decimals=4, higher_is_better=False),
        Column(
            key="extra_percent",
            head=("a secondary column", "with a wide head"),
            decimals=1,
            secondary=True,
        ),
        Column(key="hidden", head=("hidden",), printed=False),
    ),
    sections=(ORACLE, MISSING),
    notes=(Note("Note", "50 % of x_y & more"),),
)


def test_numbers_as_printed() -> None:
    two, four = Column(key="two", head=("a",)), Column(key="four", head=("b",), decimals=4)
    assert printed(Number(mean=-1.234, sd=0.5), two) == Printed("−1.23", "±0.50")
    assert printed(Number(mean=-0.001), two) == Printed("0.00")
    assert printed(Number(mean=math.nan, sd=math.nan), two) == Printed(DASH)
    assert printed(Number(mean=3.0, decimals=0), two) == Printed("3")
    # a small spread is not printed as zero, unless it is rounding error
    assert printed(Number(mean=0.1443, sd=7e-6), four) == Printed("0.1443", "±7e-06")
    assert printed(Number(mean=20.0, sd=1e-14), two) == Printed("20.00", "±0.00")
    # a column of intervals prints them in place of standard deviations
    ranged = replace(two, intervals=True)
    shown = Number(mean=0.1, sd=0.5, interval=(-1.234, 1.5))
    assert printed(shown, ranged) == Printed("0.10", "[−1.23, 1.50]")
    assert printed(shown, two) == Printed("0.10", "±0.50")
    assert printed(Number(mean=0.1, sd=0.5), ranged) == Printed("0.10", "±0.50")


def test_csv_keeps_full_precision() -> None:
    frame = pd.read_csv(io.StringIO(to_csv(TABLE)))
    assert frame["selection"].tolist() == ["oracle", "oracle", "missing"]
    assert frame["method"].tolist() == ["base", "a|b & <c>_%", "tipi"]
    assert frame["semseg_miou_percent"].tolist()[:2] == [1 / 3, math.pi]
    assert frame["semseg_miou_percent_sd"].tolist()[:2] == [0.25, 2.0]
    assert frame["depth_rmse"].isna().tolist() == [False, True, True]
    assert "depth_rmse_sd" not in frame
    assert frame["hidden"][0] == 7.0
    assert frame["reason"][2] == "loss was inf at 100 %"


def test_markdown_has_equal_columns() -> None:
    lines = [line for line in to_markdown(TABLE).splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert {len(row) for row in cells} == {4}
    assert {len(line) for line in lines} == {len(lines[0])}
    assert cells[0][1].strip() == "semseg mIoU % ↑"
    assert set(cells[1][1].strip()) == {"-", ":"}
    assert cells[3][1].strip() == "0.33 ±0.25"
    assert cells[4][0].strip() == "a\\|b & <c>_%"
    assert cells[4][1].strip() == "**3.14†** ±2.00"
    assert cells[6][0].strip() == "tipi: diverged"
    assert "- **Note.** 50 % of x_y & more" in to_markdown(TABLE)


class Grid(HTMLParser):
    """A parser that keeps the width (with colspan) and the texts of every row."""

    def __init__(self) -> None:
        super().__init__()
        self.widths: list[int] = []
        self.texts: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.widths.append(0)
            self.texts.append([])
        if tag in ("td", "th"):
            self.widths[-1] += int(dict(attrs).get("colspan") or 1)
            self.texts[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.texts and self.texts[-1]:
            self.texts[-1][-1] += data


def test_html_is_a_full_grid() -> None:
    grid = Grid()
    grid.feed(str(to_html(TABLE, "a/b")))
    assert set(grid.widths) == {4}
    assert "a|b & <c>_%" in grid.texts[3]
    assert [text.strip() for text in grid.texts[2]] == ["base", "0.33 ±0.25", "−0.5000", DASH]
    assert [text.strip() for text in grid.texts[1]] == ["oracle step: picked with labels"]
    assert [text.strip() for text in grid.texts[-1]] == ["tipi", "diverged: loss was inf at 100 %"]


@pytest.mark.parametrize(
    ("width", "stacked", "secondary"), [(120, False, True), (58, True, True), (44, True, False)]
)
def test_console_fits_its_width(width: int, stacked: bool, secondary: bool) -> None:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(ConsoleTable(TABLE))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert ("0.33 ±0.25" not in text) == stacked
    assert "±0.25" in text
    assert ("with a wide head" in text.split("Note.")[0].split("Left out")[0]) == secondary
    assert ("Left out for width" in text) == (not secondary)
    assert "tipi: diverged" in text
    assert "hidden" not in text
