"""Captions of tables: the notes that a reader of a paper needs, in short sentences."""

from __future__ import annotations

from itertools import chain

from ttt_bench.report.formats.cells import printed_row
from ttt_bench.report.tables import Table

SIGNS = "±▼†"
"""Signs whose explanation is omitted from the caption of a table without them."""


def caption_of(table: Table) -> str:
    """Return the title, the subtitle, and the short form of the notes, as plain text."""
    shown = _shown(table)
    absent = [sign for sign in SIGNS if sign not in shown]
    notes = dict.fromkeys(sentence for note in table.notes for sentence in note.caption)
    kept = [text for text in notes if set(text).isdisjoint(absent)]
    return ". ".join([f"{table.title}: {table.subtitle}", *kept]) + "."


def _shown(table: Table) -> str:
    """Return the texts of all printed cells and labels."""
    rows = [row for section in table.printed_sections for row in section.rows]
    cells = chain.from_iterable(printed_row(row, table.printed) for row in rows)
    return "".join([*(row.head for row in rows), *(cell.text + cell.spread for cell in cells)])
