"""The attribution table: what source training, normalisation and updates add to Delta_TTT."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ttt_bench.analysis.attribution import attribution
from ttt_bench.analysis.evidence import Evidence
from ttt_bench.analysis.verdicts import change_verdicts
from ttt_bench.report.columns import GAINS, number, quantity_key, with_interval
from ttt_bench.report.frames import named_rows
from ttt_bench.report.notes.attribution import attribution_notes
from ttt_bench.report.tables import Cell, Column, Number, Row, Section, Table
from ttt_bench.stats.attribution import (
    ADAPTATION,
    NORMALISATION,
    PARTS,
    SOURCE,
    TOTAL,
    UPDATES,
    Part,
)
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import DELTA, FIXED

_HEADS = {
    SOURCE: ("source", "training %"),
    NORMALISATION: ("normalisation", "%"),
    UPDATES: ("updates", "%"),
    ADAPTATION: ("normalisation", "and updates %"),
    TOTAL: GAINS[DELTA].head,
}


def parts(evidence: Evidence) -> pd.DataFrame:
    """Return the parts at the fixed step with `verdict`, as `attribution` returns them."""
    found = attribution(evidence, FIXED.name)
    return found.assign(verdict=change_verdicts(found))


def build(evidence: Evidence, found: pd.DataFrame) -> Table | None:
    """Return a comparison's attribution table; None if no row has Delta_TTT.

    The parts of Delta_TTT are printed. The CSV file has those of each task too.

    Args:
        found: as `parts` returns them.
    """
    if not (found["quantity"] == DELTA).any():
        return None
    comparison = evidence.comparison
    quantities = dict.fromkeys([DELTA, *found["quantity"]])
    return Table(
        title=f"{comparison.title}: parts of Delta_TTT",
        subtitle=comparison.subtitle,
        columns=tuple(_column(part) for part in PARTS if part.name in set(found["part"])),
        sections=tuple(_section(comparison, found, quantity) for quantity in quantities),
        notes=tuple(attribution_notes(comparison, found)),
    )


def _column(part: Part) -> Column:
    key = f"{part.name}_percent"
    return Column(key=key, head=_HEADS[part], higher_is_better=True, intervals=True)


def _section(comparison: Comparison, found: pd.DataFrame, quantity: str) -> Section:
    own = found[found["quantity"] == quantity]
    rows = []
    for label, its in own.groupby("label", sort=False):
        cells: dict[str, Cell] = {f"{part.part}_percent": _number(part) for part in named_rows(its)}
        title = comparison.names.of(str(label))
        rows.append(Row(label=str(label), title=title, cells=cells))
    return Section(
        key=quantity_key(quantity),
        heading=FIXED.heading,
        rows=tuple(rows),
        detail=FIXED.detail,
        printed=quantity == DELTA,
    )


def _number(part: Any) -> Number:
    """Return a part of a row; one that is 0 by definition has neither spread nor interval."""
    if part.exact:
        return Number(mean=0.0, decimals=0)
    shown = number(part.mean, part.sd, part.verdict)
    return with_interval(shown, part.low, part.high)
