"""The tables of the page as the browser shows them, next to their CSV files."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ttt_bench.report.tables import DASH

TABLES = """() => [...document.querySelectorAll('table[data-table]')].map(table => ({
  name: table.dataset.table,
  columns: [...table.tHead.querySelectorAll('th[data-column]')].map(head => head.dataset.column),
  rows: [...table.querySelectorAll('tr[data-label]')].map(row => ({
    section: row.dataset.section,
    label: row.dataset.label,
    cells: [...row.querySelectorAll('td')].map(cell => ({
      ...cell.dataset,
      text: cell.textContent.trim(),
    })),
  })),
}))"""
"""Script that returns each table's columns, rows and cells, with the attributes of the cells."""

ORDER = """() => {
  const faults = [];
  const heads = [...document.querySelectorAll('table[data-table] thead th[data-column]')];
  for (const head of heads) {
    const table = head.closest('table'), name = `${table.dataset.table}, ${head.dataset.column}`;
    const shown = () => [...table.tBodies].map(body =>
      [...body.querySelectorAll('tr[data-label]')].map(row =>
        row.cells[head.cellIndex]?.dataset.value ?? ''));
    const before = JSON.stringify(shown()), directions = [];
    for (const click of [1, 2]) {
      head.querySelector('button').click();
      directions.push(head.ariaSort);
      const sign = head.ariaSort === 'descending' ? -1 : 1;
      for (const values of shown()) {
        const found = values.filter(value => value !== ''), numbers = found.map(Number);
        if (values.slice(0, found.length).includes(''))
          faults.push(`${name}: a cell without a value is not last`);
        if (!numbers.some(Number.isNaN) && numbers.some((n, i) => sign * numbers[i - 1] > sign * n))
          faults.push(`${name}: not ${head.ariaSort}`);
      }
    }
    if (directions.toSorted().join() !== 'ascending,descending')
      faults.push(`${name}: directions ${directions}`);
    if ((head.dataset.better === 'higher') !== (directions[0] === 'descending'))
      faults.push(`${name}: ${directions[0]} first`);
    head.querySelector('button').click();
    if (head.ariaSort || JSON.stringify(shown()) !== before)
      faults.push(`${name}: the third click does not restore the order`);
  }
  return {columns: heads.length, faults};
}"""
"""Script that sorts by every column in both directions and back; it returns what is not in order.

The first direction is the one with the best value at the top.
"""

ENDS = {"value": "", "sd": "_sd", "low": "_low", "high": "_high"}
"""Map an attribute of a cell to the end of the name of its column in the CSV file."""
NUMBER = re.compile(r"[−-]?\d+(?:\.(\d+))?(?:e([+-]?\d+))?")


def differences(table: dict[str, Any], folder: Path) -> list[str]:
    """Return what differs between a table of the page and its CSV file.

    Args:
        table: an entry of `TABLES`.
        folder: the folder of the page.
    """
    stored = _stored(folder / f"{table['name']}.csv", {row["section"] for row in table["rows"]})
    rows = table["rows"]
    if len(stored) != len(rows):
        return [f"{table['name']}: {len(rows)} rows, {len(stored)} in the file"]
    found = [
        text
        for row, record in zip(rows, stored, strict=True)
        for text in _of_row(row, record, table["columns"])
    ]
    return [f"{table['name']}: {text}" for text in found]


def _stored(file: Path, sections: set[str]) -> list[dict[str, str]]:
    """Return the records of a CSV file that belong to sections of the page."""
    with file.open(newline="", encoding="utf-8") as lines:
        return [record for record in csv.DictReader(lines) if record["selection"] in sections]


def _of_row(row: dict[str, Any], record: dict[str, str], columns: list[str]) -> Iterator[str]:
    corner, *others = columns
    if row["label"] != record[corner]:
        yield f"row {row['label']}, {record[corner]} in the file"
    expected = ["state"] if record["state"] else others
    if [cell["column"] for cell in row["cells"]] != expected:
        yield f"{row['label']}: cells of other columns than {expected}"
    for cell in row["cells"]:
        yield from (f"{row['label']}, {cell['column']}: {text}" for text in _of_cell(cell, record))


def _of_cell(cell: dict[str, str], record: dict[str, str]) -> Iterator[str]:
    """Yield what differs: the values from those of the file, and the print from the values."""
    for attribute, end in ENDS.items():
        stored = record.get(cell["column"] + end, "")
        if cell.get(attribute, "") != stored:
            yield f"{attribute} {cell.get(attribute)!r}, {stored!r} in the file"
    values = [float(cell[name]) for name in ENDS if _is_number(cell.get(name, ""))]
    if _is_number(cell["value"]):
        yield from _of_print(cell["text"], values)
    elif cell["value"] not in cell["text"] or (not cell["value"] and cell["text"] != DASH):
        yield f"text {cell['text']!r} in place of {cell['value']!r}"


def _of_print(text: str, values: list[float]) -> Iterator[str]:
    """Yield the printed numbers that are none of the values after rounding."""
    printed = list(NUMBER.finditer(text))
    if not printed:
        yield f"no number in {text!r}"
    for match in printed:
        number = float(match.group().replace("−", "-"))
        half = 0.5 * 10.0 ** (int(match[2] or 0) - len(match[1] or ""))
        if all(abs(number - value) > 1.001 * half for value in values):
            yield f"printed {match.group()}, the values are {values}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
