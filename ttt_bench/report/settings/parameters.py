"""The table of trainable parameters: in total, in parts, updated, and published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ttt_bench.report.frames import named_rows
from ttt_bench.report.tables import DASH, Cell, Column, Note, Number, Row, Section, Table
from ttt_bench.results.published import ARCHITECTURE, published_parameters
from ttt_bench.stats.comparison import Comparison

MILLION = 1e6
PARTS = ("backbone", "heads", "added", "moved")
TITLE = "trainable parameters"


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The numbers of parameters of one row.

    Attributes:
        label: name of the row in CSV.
        title: name of the row in print.
        counts: `adapt.parameters.parameter_counts`; None if they are not known.
        published: the published total in millions, if there is one.
    """

    label: str
    title: str
    counts: Mapping[str, Any] | None
    published: float | None = None


def build(comparison: Comparison) -> Table | None:
    """Return the table of a comparison; None if no cell states its numbers."""
    rows = _counted(comparison)
    if not any(row.counts for row in rows):
        return None
    return parameter_table(f"{comparison.title}: {TITLE}", comparison.subtitle, rows)


def parameter_table(
    title: str, subtitle: str, rows: Sequence[Counted], further: Sequence[Note] = ()
) -> Table:
    """Return a table of numbers of parameters in millions.

    Args:
        title: its title.
        subtitle: one line on the network.
        rows: its rows.
        further: notes that follow those on the columns.
    """
    published = any(row.published is not None for row in rows)
    return Table(
        title=title,
        subtitle=subtitle,
        columns=_columns(published=published),
        sections=(Section(key="counted", heading="millions", rows=tuple(map(_row, rows))),),
        notes=(*_notes(rows, published=published), *further),
    )


def _counted(comparison: Comparison) -> list[Counted]:
    """Return one row per method and numbers: controls, seeds and most settings share them."""
    found: dict[tuple[str, tuple[Any, ...]], Counted] = {}
    cells = list(named_rows(comparison.cells))
    known = {cell.method for cell in cells if cell.manifest.get("parameters")}
    for cell in cells:
        counts = cell.manifest.get("parameters")
        if counts or cell.method not in known:
            key = (cell.method, tuple((counts or {}).values()))
            own = Counted(
                label=cell.label,
                title=comparison.names.of(cell.label),
                counts=counts,
                published=published_total(cell),
            )
            found.setdefault(key, own)
    return list(found.values())


def published_total(cell: Any) -> float | None:
    """Return the published total in millions of a cell with default settings; None without one."""
    configuration = cell.manifest.get("configuration") or {}
    model = configuration.get("model") or {}
    network = model.get("architecture", ARCHITECTURE), model.get("backbone", "")
    published = published_parameters(*network, configuration.get("tasks") or ())
    return None if cell.own else published.get(cell.method)


def _columns(*, published: bool) -> tuple[Column, ...]:
    return (
        Column(key="total_millions", head=("total",), decimals=3),
        Column(key="published_millions", head=("published",), printed=published),
        Column(key="difference_percent", head=("difference", "%"), printed=published),
        *(Column(key=f"{part}_millions", head=(part,), decimals=3) for part in PARTS),
    )


def _row(counted: Counted) -> Row:
    counts, published = counted.counts or {}, counted.published
    cells = {f"{part}_millions": _millions(counts.get(part)) for part in ("total", *PARTS)}
    if published is not None:
        cells["published_millions"] = Number(mean=published)
    if published is not None and counts:
        share = counts["total"] / (published * MILLION) - 1
        cells["difference_percent"] = Number(mean=100 * share)
    return Row(label=counted.label, title=counted.title, cells=cells)


def _millions(count: int | None) -> Cell:
    return DASH if count is None else Number(mean=count / MILLION)


def _notes(rows: Sequence[Counted], *, published: bool) -> list[Note]:
    text = (
        "parameters that source training updates, as S4T counts them: backbone, heads and the "
        "method's own modules (added). Buffers, frozen parameters and the uncertainties that "
        "weight the tasks are left out"
    )
    notes = [
        Note("Counted", text),
        Note("Moved", "parameters that the method updates at test time"),
    ]
    if published:
        text = (
            "S4T's supplement: Table 6 for ResNet-50, rounded to 0.01 million, and Table 3 for "
            "NC-TTT on MTI-Net, rounded to 0.1 million, whose backbone HRNet-W48 is inferred; four "
            "tasks. The difference is that of the total to it"
        )
        notes.append(Note("Published", text))
    unknown = [row.title for row in rows if not row.counts]
    if unknown:
        text = (
            f"{', '.join(unknown)}: the cells do not state the numbers, because an earlier version "
            "made them or the network cannot be built"
        )
        notes.append(Note("Not counted", text))
    return notes
