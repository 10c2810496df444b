"""Tables in LaTeX: escaped texts, columns, rows and marks of the floats, and their sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from support.made_tables import LABELS, METHODS, long_table, main_table, sync_table, wide_table

from ttt_bench.report.formats.latex.captions import caption_of
from ttt_bench.report.formats.latex.files import latex_files
from ttt_bench.report.formats.latex.layout import COLUMN, PAGE, Layout, Space, layouts
from ttt_bench.report.formats.latex.packing import even, packed
from ttt_bench.report.formats.latex.pages import pages
from ttt_bench.report.formats.latex.table import notes_latex, to_latex
from ttt_bench.report.formats.latex.text import clean_label, latex, prose
from ttt_bench.report.formats.latex.widths import width
from ttt_bench.report.tables import Column, Note, Number, Row, Section, Table

MADE = {
    "main": main_table(),
    "sync": sync_table(),
    "each_class": wide_table(40),
    "long": long_table(120),
}
ONE = Table(
    title="a → b",
    subtitle="preset quick, x_y=1",
    columns=(
        Column(key="semseg", head=("semseg", "mIoU %"), higher_is_better=True),
        Column(key="depth", head=("depth", "RMSE"), decimals=4, higher_is_better=False),
        Column(key="hidden", head=("hidden",), printed=False),
    ),
    sections=(
        Section(
            key="oracle",
            heading="oracle step",
            detail="picked with labels",
            rows=(
                Row(label="base", cells={"semseg": Number(mean=1 / 3, sd=0.25)}, mark="§"),
                Row(
                    label="a|b & <c>_%",
                    cells={
                        "semseg": Number(mean=-3.14, sd=2.0, bold=True, mark="▼"),
                        "depth": Number(mean=0.5),
                        "hidden": Number(mean=7.0),
                    },
                ),
                Row(label="tipi", state="diverged", reason="loss was inf at 100 %"),
                Row(label="[x]", state="failed", reason="a long reason " * 30),
            ),
        ),
    ),
    notes=(
        Note("Seeds", "0, 1", ("Means over seeds 0, 1", "±: standard deviation")),
        Note("†", "unused", ("†: doubtful",)),
        Note("Missing", "50 % of x_y & `s4t --set a_b=1`, in *every* case of tent *"),
    ),
)


def floats(text: str) -> list[str]:
    return re.findall(r"\\begin\{table\*?\}.*?\\end\{table\*?\}", text, re.DOTALL)


def columns_of(text: str) -> int:
    """Return the number of columns that a float's `tabular` declares."""
    (specification,) = re.findall(r"\\begin\{tabular\}\{((?:[^{}]|\{[^{}]*\})*)\}\n", text)
    return len(re.sub(r"@\{[^{}]*\}", "", specification))


def lines_of(text: str) -> Iterator[str]:
    """Yield the lines of a float's table."""
    body = text[text.index("\\toprule") : text.index("\\bottomrule")]
    for line in body.splitlines():
        if re.search(r"\\\\(\[[^]]*\])?$", line):
            yield line


def cells_of(line: str) -> int:
    """Return the number of columns that a line fills."""
    spans = re.findall(r"\\multicolumn\{(\d+)\}", line)
    return len(re.findall(r"(?<!\\)&", line)) + 1 + sum(int(span) - 1 for span in spans)


def test_every_sign_is_escaped() -> None:
    assert latex("#$%&_{}") == "\\#\\$\\%\\&\\_\\{\\}"
    assert latex("~^\\") == "\\textasciitilde{}\\textasciicircum{}\\textbackslash{}"
    assert latex("Delta_TTT − norm") == "$\\Delta_{\\mathrm{TTT}}$ $-$ norm"
    assert latex("--set ---x a-b") == "-{}-set -{}-{}-x a-b"
    assert latex("Müller, Čech, naïve") == 'M\\"{u}ller, \\v{C}ech, na\\"{i}ve'
    # a sign that fonts lack must not stop LaTeX
    assert latex("a\u4e2d\u2603") == "a??"
    assert latex('±−→×≤≥↑↓▼†‡§²°–—“”’`"').isascii()


def test_code_and_emphasis_of_notes() -> None:
    text = prose("`run --control none` of *every* row; tent * is `x_y`")
    assert text == (
        "\\texttt{run -{}-control none} of \\emph{every} row; tent $^*$ is \\texttt{x\\_y}"
    )


def test_long_words_may_be_divided_after_commas() -> None:
    text = prose(f"`--methods {','.join(METHODS)}` of a, b")
    assert text.count("\\allowbreak{}") == len(METHODS) - 1
    assert text.endswith("} of a, b")


def test_a_label_has_neither_plus_nor_underscore() -> None:
    label = clean_label("tab:a+b_c@0.1-each_class")
    assert label == "tab:a-b-c-0.1-each-class"
    assert "\\label{tab:a-b-c-main}" in to_latex(ONE, "tab:a+b_c-main")


def test_numbers_marks_and_spreads_are_in_columns() -> None:
    text = to_latex(ONE, "tab:x")
    assert "\\begin{tabular}{@{}lr@{}l@{\\,}lr@{}}" in text
    assert "base$^\\S$ & 0.33 &  & \\spread $\\pm$0.25 & -- \\\\" in text
    bold = "\\textbf{$-$3.14} & $^\\blacktriangledown$ & \\spread $\\pm$2.00 & 0.5000 \\\\"
    assert f"a$|$b \\& $<$c$>$\\_\\% & {bold}" in text
    assert "7.0" not in text.partition("\\toprule")[2]
    assert text.startswith("% needs \\usepackage{booktabs,amssymb}")
    assert text.isascii()
    # a reason that is too long is omitted
    assert "\\emph{failed}" in text
    assert "long reason" not in text
    # TeX would read a bracket after the end of a line as an argument
    assert "{}[x] &" in text


def test_a_caption_explains_what_the_table_shows() -> None:
    caption = caption_of(ONE)
    assert caption == ("a → b: preset quick, x_y=1. Means over seeds 0, 1. ±: standard deviation.")
    assert "\\texttt{s4t -{}-set a\\_b=1}" in notes_latex(ONE)
    assert "\\textbf{Missing.} 50 \\% of x\\_y \\&" in notes_latex(ONE)


@pytest.mark.parametrize("name", MADE)
def test_every_line_fills_the_columns(name: str) -> None:
    for text in latex_files(name, MADE[name], "tab:x").values():
        assert text.isascii()
        assert text.count("\\begin{") == text.count("\\end{")
        assert text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")
        for one in floats(text):
            assert {cells_of(line) for line in lines_of(one)} == {columns_of(one)}


@pytest.mark.parametrize("name", MADE)
def test_parts_have_every_row_and_column_once(name: str) -> None:
    table = MADE[name]
    parts = layouts(table, PAGE)
    shown = [track.column for part in parts for track in part.tracks]
    assert shown == list(table.printed)
    for part in parts:
        sections = [section for page in pages(part, "") for section in page.table.sections]
        rows = [(section.key, row) for section in sections for row in section.rows]
        assert rows == [(one.key, row) for one in table.sections for row in one.rows]


@pytest.mark.parametrize(
    ("name", "space"), [("main", PAGE), ("sync", PAGE), ("main", COLUMN), ("sync", COLUMN)]
)
def test_the_layout_is_within_the_space(name: str, space: Space) -> None:
    for part in layouts(MADE[name], space, shortens=True):
        assert part.width <= space.width
        assert 7 <= part.style.size <= 8
        assert part.style.small >= 6
        assert part.gap >= 5


def test_only_secondary_columns_are_omitted() -> None:
    table = MADE["main"]
    (only,) = layouts(table, PAGE, shortens=True)
    omitted = set(table.printed) - {track.column for track in only.tracks}
    assert omitted
    assert all(column.secondary for column in omitted)


def test_the_compact_form_has_one_section_and_the_intervals_of_delta() -> None:
    text = latex_files("main", MADE["main"], "tab:x")["main_compact.tex"]
    assert "\\begin{table}" in text
    assert "oracle step" not in text
    assert all(latex(label) in text for label in LABELS)
    assert "[$-$15.00, 15.00]" in text
    assert "$\\pm$" not in text
    assert set(latex_files("more", ONE, "tab:x")) == {"more.tex", "more_notes.tex"}


def test_long_sections_are_divided_and_short_ones_are_not() -> None:
    (whole,) = layouts(MADE["long"], PAGE)
    found: list[Layout] = pages(whole, "a caption")
    assert len(found) > 1
    assert len(pages(layouts(ONE, PAGE)[0], "a caption")) == 1


def test_items_are_packed_in_order() -> None:
    assert packed([3, 3, 3, 9, 1], float, 6) == [[3, 3], [3], [9], [1]]
    assert packed([], float, 6) == []
    assert even([2] * 5, float, 8) == [[2, 2, 2], [2, 2]]


def test_widths_grow_with_text_and_size() -> None:
    assert width("12.46", 8) == pytest.approx(2 * width("12.46", 4))
    # the shapes of symbols are wider in small sizes
    assert width("−", 6) > 0.75 * width("−", 8)
    assert width("0.5", 10) == pytest.approx(10 * (0.51 + 0.25 + 0.51))
    assert width("Delta_TTT", 10) < width("Delta-TTT", 10)
    assert width("m", 8, bold=True) > width("m", 8) > width("i", 8)
