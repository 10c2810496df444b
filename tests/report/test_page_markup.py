"""The markup of the page: exact values in cells, notes, links, and order. All on made tables."""

from __future__ import annotations

import csv
import io
from html.parser import HTMLParser

import pytest

from ttt_bench.report.formats.csv_text import to_csv
from ttt_bench.report.formats.html import to_html
from ttt_bench.report.formats.sections import Drawn, Kind, Part, ReportSection
from ttt_bench.report.page import html, split_notes
from ttt_bench.report.tables import DASH, Column, Note, Number, Row, Section, Table
from ttt_bench.stats.comparison import is_control

COLUMNS = (
    Column(key="depth_rmse", head=("depth", "RMSE"), higher_is_better=False, per_task=True),
    Column(key="delta", head=("Delta_TTT", "%"), higher_is_better=True, intervals=True),
    Column(key="best", head=("best",), wraps=True),
    Column(key="seeds", head=("seeds",), printed=False),
)
ROWS = (
    Row(
        label="tent",
        title="TENT",
        cells={
            "depth_rmse": Number(mean=1 / 3, sd=0.1234567891),
            "delta": Number(mean=-0.005, interval=(-1e-9, 2 / 3), mark="▼", bold=True),
            "best": 'a "quoted" <word> & more',
        },
    ),
    Row(label="tent (frozen)", cells={"delta": Number(mean=float("nan")), "best": DASH}),
    Row(label="s4t", state="diverged", reason="loss <b>inf</b>"),
)
TABLE = Table(
    title="P → Q: main",
    subtitle="",
    columns=COLUMNS,
    sections=(
        Section(key="fixed", heading="fixed step", rows=ROWS),
        Section(key="oracle", heading="oracle step", rows=ROWS[:1]),
        Section(key="hidden", heading="in CSV alone", rows=ROWS[:1], printed=False),
    ),
    notes=(Note("Bold, ▼", "bold is better"), Note("Seeds", "0"), Note("Scoring", "words " * 90)),
)


class Tags(HTMLParser):
    """A parser that keeps each tag with its attributes, and the text that follows it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self.texts:
            self.texts[-1] += data

    def attributes(self, name: str) -> list[dict[str, str | None]]:
        """Return the attributes of the tags of a name."""
        return [attributes for tag, attributes in self.found if tag == name]


def rows_of(text: str) -> list[dict[str, str]]:
    """Return the rows of a table in HTML with the names and values of CSV."""
    rows: list[dict[str, str]] = []
    for tag, has in Tags(text).found:
        if tag == "tr" and "data-label" in has:
            rows.append({"selection": has["data-section"], "method": has["data-label"]})
        elif tag == "td" and "data-column" in has:
            key = has["data-column"]
            values = {key: has["data-value"]}
            values |= {f"{key}_{end}": has[f"data-{end}"] for end in ENDS if f"data-{end}" in has}
            rows[-1] |= {"reason": has["data-reason"]} if "data-reason" in has else {}
            rows[-1] |= values
    return rows


ENDS = ("sd", "low", "high")


def test_every_cell_has_the_values_of_csv() -> None:
    expected = list(csv.DictReader(io.StringIO(to_csv(TABLE))))
    shown = [row for row in expected if row["selection"] != "hidden"]
    found = rows_of(to_html(TABLE, "p/main"))
    assert len(found) == len(shown) == 4
    for own, row in zip(found, shown, strict=True):
        assert own.items() <= row.items()
        # what the page leaves out is empty in CSV, or is not printed at all
        left_out = row.keys() - own.keys()
        assert {row[key] for key in left_out if not key.startswith("seeds")} <= {""}
    assert found[0]["depth_rmse"] == repr(1 / 3)
    assert found[2]["state"] == "diverged"


def test_heads_rows_and_the_table_say_what_they_are() -> None:
    tags = Tags(to_html(TABLE, "p/main"))
    (table,) = tags.attributes("table")
    assert table["data-table"] == "p/main"
    heads = {one["data-column"]: one for one in tags.attributes("th") if "data-column" in one}
    assert list(heads) == ["method", "depth_rmse", "delta", "best"]
    assert [one.get("data-better") for one in heads.values()] == [None, "lower", "higher", None]
    assert heads["depth_rmse"]["class"] == "task"
    controls = [one["data-label"] for one in tags.attributes("tr") if "data-control" in one]
    assert controls == ["tent (frozen)"]
    printed = dict(zip((tag for tag, _ in tags.found), tags.texts, strict=True))
    assert printed["caption"].strip() == "P → Q: main"
    assert 'data-label="tent"><th scope="row">TENT</th>' in to_html(TABLE, "p/main")


@pytest.mark.parametrize(
    ("label", "control"),
    [
        ("tent", False),
        ("tent (frozen)", True),
        ("s4t (frozen, mask_ratio=0.5)", True),
        ("s4t (mask_ratio=0.5)", False),
        ("s4t (target=frozen)", False),
    ],
)
def test_labels_of_controls(label: str, *, control: bool) -> None:
    assert is_control(label) is control


def test_long_notes_are_folded_and_those_on_marks_are_not() -> None:
    bold, seeds, scoring = TABLE.notes
    assert split_notes(TABLE.notes) == ((bold,), (seeds, scoring))
    assert split_notes((bold, seeds)) == ((bold, seeds), ())
    assert split_notes(()) == ((), ())


def test_a_part_ends_with_its_definition_command_and_files() -> None:
    figure = Drawn(png=b"png", svg=b"<svg/>", pdf=b"pdf")
    part = Part(
        name="main",
        heading="Scores",
        definition="What it shows.",
        command="ttt-bench time",
        table=TABLE,
        figure=figure,
        attached={"intervals.csv": "a,b\n"},
    )
    section = ReportSection(
        kind=Kind.COMPARISON,
        slug="p+q",
        title="P → Q",
        subtitle="",
        parts=(part,),
        summary=("The answer.",),
    )
    page = html([section], "results/run", command="ttt-bench report")
    tags = Tags(page)
    links = {one["href"] for one in tags.attributes("a")}
    files = {f"p+q/{name}" for name in section.files()}
    assert links == files | {"#p+q", "#p+q/main"}
    assert "p+q/intervals.csv" in files
    endings = ("md", "tex", "csv", "png", "svg", "pdf")
    assert {f"p+q/main.{ending}" for ending in endings} <= files
    order = ["The answer.", "data:image/svg", "<table", "What it shows.", "ttt-bench time"]
    places = [page.index(words) for words in (*order, 'href="p+q/main.csv"')]
    assert places == sorted(places)


def test_a_figure_is_shown_as_markup_if_it_has_any() -> None:
    drawn = Drawn(png=b"png", svg=b"<svg/>", inline='<svg role="img"><path/></svg>')
    part = Part(name="curves", figure=drawn, alt="curves over steps")
    page = html(
        [ReportSection(kind=Kind.COMPARISON, slug="p", title="P", subtitle="", parts=(part,))],
        "results/run",
        command="ttt-bench report",
    )
    assert '<svg role="img"><path/></svg>' in page
    assert "data:image" not in page
    assert Drawn(png=b"png").uri.startswith("data:image/png")
