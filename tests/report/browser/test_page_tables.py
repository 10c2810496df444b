"""The tables of the page in Chromium: equal to the CSV files, sorted, filtered, hidden, in view."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.browser import Opened
from support.browser_fixtures import Open
from support.page_tables import ORDER, TABLES, differences

pytestmark = pytest.mark.browser
MAIN = "table[data-table$='/main']"


def test_every_cell_equals_the_csv_file(open_page: Open, shown_report: Path) -> None:
    tables = open_page().run(TABLES)
    assert len({table["name"] for table in tables}) == len(tables) > 5
    assert sum(len(row["cells"]) for table in tables for row in table["rows"]) > 200
    faults = [fault for table in tables for fault in differences(table, shown_report.parent)]
    assert faults == []


def test_every_table_of_the_page_has_a_csv_file(open_page: Open) -> None:
    assert open_page().run("document.querySelectorAll('table:not([data-table])').length") == 0


def test_without_scripts_the_tables_are_complete_and_plain(open_page: Open) -> None:
    scripted, plain = open_page(), open_page(scripts=False)
    assert plain.run(TABLES) == scripted.run(TABLES)
    hidden = "[...document.querySelectorAll('tr, th, td')].filter(e => !e.checkVisibility()).length"
    assert plain.run(hidden) == 0
    assert plain.run("document.querySelectorAll('button, input').length") == 0


def test_every_column_sorts_in_both_directions_and_back(open_page: Open) -> None:
    found = open_page().run(ORDER)
    assert found["columns"] > 30
    assert found["faults"] == []


def test_the_keyboard_sorts(open_page: Open) -> None:
    tab = open_page()
    head = f"document.querySelector(`{MAIN} th[data-column=delta_ttt_percent]`)"
    tab.run(f"{head}.querySelector('button').focus()")
    tab.page.keyboard.press("Enter")
    assert tab.run(f"{head}.ariaSort") == "descending"
    tab.page.keyboard.press("Space")
    assert tab.run(f"{head}.ariaSort") == "ascending"


def shown_rows(tab: Opened) -> list[str]:
    """Return the labels of the rows of the main table that are shown."""
    return tab.run(
        f"""[...document.querySelectorAll(`{MAIN} tr[data-label]`)]
        .filter(row => row.checkVisibility()).map(row => row.dataset.label)"""
    )


def test_the_filter_shows_the_methods_that_it_names(open_page: Open) -> None:
    tab = open_page()
    before = shown_rows(tab)
    wanted = [label for label in before if "tent" in label or "norm" in label]
    assert 2 <= len(wanted) < len(before)
    field = tab.page.get_by_label("Filter by method").first
    field.fill("TENT, norm")
    assert shown_rows(tab) == wanted
    assert (
        f"{len(wanted)} of {len(before)} rows" in tab.page.locator(".controls").first.inner_text()
    )
    field.fill("")
    assert shown_rows(tab) == before


def test_frozen_controls_can_be_hidden(open_page: Open) -> None:
    tab = open_page()
    before = shown_rows(tab)
    assert any(label.endswith("(frozen)") for label in before)
    tab.page.get_by_label("frozen controls").first.uncheck()
    adapting = [label for label in before if not label.endswith("(frozen)")]
    assert shown_rows(tab) == adapting
    count = f"{len(adapting)} of {len(before)} rows"
    assert count in tab.page.locator(".controls").first.inner_text()
    tab.page.get_by_label("frozen controls").first.check()
    assert shown_rows(tab) == before


COLUMNS = f"""() => {{
  const table = document.querySelector(`{MAIN}`);
  const shown = row => [...row.cells].filter(cell => cell.checkVisibility());
  const width = row => shown(row).reduce((sum, cell) => sum + cell.colSpan, 0);
  const rows = [...table.querySelectorAll('tr[data-label]')].filter(row => row.cells.length > 2);
  return {{
    columns: shown([...table.tHead.rows].at(-1)).map(head => head.dataset.column),
    widths: [...new Set([...table.tHead.rows, ...rows].map(width))],
  }};
}}"""
"""Script that returns the columns that the main table shows, and the widths of its rows."""


def test_columns_of_single_tasks_can_be_hidden(open_page: Open) -> None:
    tab = open_page()
    before = tab.run(COLUMNS)
    tab.page.get_by_label("columns of single tasks").first.uncheck()
    after = tab.run(COLUMNS)
    assert {"semseg_miou_percent", "depth_rmse"} <= set(before["columns"]) - set(after["columns"])
    assert {"method", "delta_ttt_percent", "delta_ttt_minus_norm"} <= set(after["columns"])
    for shown in (before, after):
        assert shown["widths"] == [len(shown["columns"])]
    tab.page.get_by_label("columns of single tasks").first.check()
    assert tab.run(COLUMNS) == before


IN_VIEW = f"""() => {{
  const table = document.querySelector(`{MAIN}`), box = table.parentElement;
  box.scrollIntoView();
  box.scrollTo(9999, 9999);
  const edge = box.getBoundingClientRect(), head = [...table.tHead.rows].at(-1).cells[0];
  const row = [...table.querySelectorAll('tr[data-label]')].at(-1).cells[0];
  const at = (cell, x, y) => cell.contains(document.elementFromPoint(x, y));
  const place = cell => cell.getBoundingClientRect();
  return {{
    scrolled: [box.scrollLeft, box.scrollTop],
    head: [place(head).left - edge.left, place(table.tHead).top - edge.top],
    row: place(row).left - edge.left,
    covered: [
      !at(head, place(head).left + 3, place(head).bottom - 5),
      !at(row, place(row).left + 3, place(row).top + 5),
    ],
  }};
}}"""
"""Script that scrolls the main table to its end and returns where its heads are."""


@pytest.mark.parametrize("width", [380, 800])
def test_heads_and_methods_stay_in_view_while_a_table_scrolls(open_page: Open, width: int) -> None:
    found = open_page(width=width, height=320).run(IN_VIEW)
    assert min(found["scrolled"]) > 50
    assert found["head"] == pytest.approx([0, 0], abs=2)
    assert found["row"] == pytest.approx(0, abs=2)
    assert found["covered"] == [False, False]
