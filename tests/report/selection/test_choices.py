"""What a report shows, chosen from the content of results folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.paths import DOCS

from ttt_bench.errors import BenchError
from ttt_bench.report.render import TABLES as ALL_TABLES
from ttt_bench.report.selection.choices import Choices, Selection, names_of, parts_of, select
from ttt_bench.report.selection.stock import Stock, read_stock

TABLES = ("main", "sync", "timing", "across", "studies", "affinity")


@pytest.fixture(scope="module")
def stock(results: Path) -> Stock:
    """Return the content of a folder with base, norm, tent, tipi and s4t."""
    return read_stock([results])


def chosen(stock: Stock, **choices: object) -> Selection:
    return select(Choices(**choices), stock, TABLES)  # type: ignore[arg-type]


def test_everything_is_shown_by_default_without_a_note(stock: Stock) -> None:
    selection = chosen(stock)
    assert stock.methods == ["base", "norm", "tent", "tipi", "s4t"]
    assert selection.methods == set(stock.methods)
    assert selection.tables == set(TABLES)
    assert [rule.name for rule in selection.rules] == ["fixed", "oracle"]
    assert (selection.note, selection.rows_note) == ("", "")


def test_chosen_methods_keep_their_references_and_a_note_counts_them(stock: Stock) -> None:
    selection = chosen(stock, methods=("s4t",))
    assert selection.methods == {"base", "norm", "s4t"}
    assert selection.rows_note.startswith("3 of 5 methods (Base, Norm, S4T), with Holm's")
    assert stock.results is not None
    assert set(selection.results(stock.results).cells["method"]) == selection.methods


def test_groups_are_those_of_run(stock: Stock) -> None:
    assert chosen(stock, methods=("all",)).note == ""
    with pytest.raises(BenchError, match="the results have base, norm, tent, tipi, s4t only"):
        chosen(stock, methods=("more",))


def test_all_unknown_names_are_refused_at_once(stock: Stock) -> None:
    with pytest.raises(BenchError) as wrong:
        chosen(
            stock,
            methods=("tnet", "tent"),
            pairs=("rooms:rooms-mx",),
            rule="fixd",
            tables=("mian",),
            names=names_of("s4tt=Ours"),
        )
    lines = str(wrong.value).splitlines()
    assert [line.split(";")[0] for line in lines] == [
        "unknown method 'tnet'",
        "unknown pair 'rooms:rooms-mx'",
        "unknown step rule 'fixd'",
        "unknown table 'mian'",
        "unknown row 's4tt'",
    ]
    assert "did you mean tent? (available: base, norm, s4t, tent, tipi)" in lines[0]
    assert "did you mean rooms:rooms-mix" in lines[1]
    with pytest.raises(BenchError, match="unknown method 'TENT'; did you mean tent"):
        chosen(stock, methods=("TENT",))
    with pytest.raises(BenchError, match="--rule fixed,oracle: name one rule"):
        chosen(stock, rule="fixed,oracle")


def test_the_notes_tell_what_is_left_out(stock: Stock) -> None:
    selection = chosen(stock, controls=False, rule="oracle", tables=("main", "sync"))
    assert "no rows of frozen controls" in selection.rows_note
    assert "step rule oracle" in selection.rows_note
    assert selection.note == f"{selection.rows_note}; tables: main, sync"


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        ("proper", {"tent": "TENT", "tent (frozen)": "TENT (frozen)", "mine": "mine"}),
        ("short", {"tent": "tent", "base": "base"}),
        ("short, mine=Ours", {"tent": "tent", "mine (lr=0.1)": "Ours (lr=0.1)"}),
        ("tent=Tent, 2021", None),
        ("s4t (a=1, b=2)=S4T small,tent=Tent", {"s4t (a=1, b=2)": "S4T small", "tent": "Tent"}),
        ("tent=", None),
        ("long", None),
    ],
)
def test_names_are_a_style_or_texts_of_rows(given: str, printed: dict[str, str] | None) -> None:
    if printed is None:
        with pytest.raises(BenchError, match="is neither proper nor short nor LABEL=TEXT"):
            names_of(given)
        return
    names = names_of(given)
    assert {label: names.of(label) for label in printed} == printed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("tent=tipi", "'tipi' is already the name of tipi"),
        ("tent=Norm", "'Norm' is already the name of norm"),
        ("tent=Ours,tipi=Ours", "'Ours' is already the name of tipi"),
        ("tent=TENT (frozen)", r"'TENT \(frozen\)' looks like a frozen control"),
    ],
)
def test_names_of_other_rows_are_refused(stock: Stock, given: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        chosen(stock, names=names_of(given))


def test_a_row_has_one_name() -> None:
    with pytest.raises(BenchError, match="tent is named twice"):
        names_of("tent=A,tent=B")


def test_names_that_cannot_be_shown_are_refused(stock: Stock) -> None:
    with pytest.raises(BenchError, match=r"^--names: 'Ou\\x01rs' has characters that cannot be"):
        chosen(stock, names=names_of({"tent": "Ou\x01rs", "tipi": "TIPI Ä"}))


def test_entries_are_joined_by_commas_outside_of_brackets() -> None:
    assert parts_of("a, b (c, d),, e [f,g]") == ("a", "b (c, d)", "e [f,g]")
    assert parts_of(None) == ()


def test_the_page_on_reports_names_every_table() -> None:
    text = (DOCS / "reports.md").read_text(encoding="utf-8")
    assert [name for name in ALL_TABLES if f"`{name}`" not in text] == []
