"""The table of published and measured ranks of a comparison."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ttt_bench.analysis.across.numbers import Numbers
from ttt_bench.analysis.across.published_ranks import published_ranks, rank_correlations
from ttt_bench.analysis.evidence import NORM
from ttt_bench.report.across.notes import RECOMPUTED
from ttt_bench.report.columns import GAINS, number, with_interval
from ttt_bench.report.frames import named_rows
from ttt_bench.report.tables import Cell, Column, Note, Number, Row, Section, Table
from ttt_bench.results.published import for_pair
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import DELTA, SECTIONS

PUBLISHED = Column(
    key="published_delta_ttt_percent", head=("published", "Delta_TTT %"), higher_is_better=True
)
PUBLISHED_RANK = Column(key="published_rank", head=("published", "rank"), decimals=0)
MEASURED_RANK = Column(key="rank", head=("measured", "rank"), decimals=0, intervals=True)
CORRELATION = Column(key="correlation", head=("rank", "correlation"), intervals=True)
COLUMNS = (PUBLISHED, GAINS[DELTA], PUBLISHED_RANK, MEASURED_RANK, CORRELATION)

MARK = "†"
"""The mark of a published Delta_TTT that is recomputed."""


def ranks_table(comparison: Comparison, numbers: Numbers) -> Table | None:
    """Return the table; None if fewer than three methods have published numbers."""
    sections = tuple(_sections(comparison, numbers))
    if not sections:
        return None
    return Table(
        title=f"{comparison.title}: published and measured ranks",
        subtitle=comparison.subtitle,
        columns=COLUMNS,
        sections=sections,
        notes=tuple(_notes(comparison, numbers)),
    )


def _sections(comparison: Comparison, numbers: Numbers) -> Iterator[Section]:
    for rule in SECTIONS:
        found = published_ranks(numbers, rule.name)
        if len(found):
            rows = [_row(comparison, row) for row in named_rows(found)]
            rows += _correlations(rank_correlations(numbers, rule.name))
            yield Section(key=rule.name, heading=rule.heading, rows=tuple(rows), detail=rule.detail)


def _row(comparison: Comparison, row: Any) -> Row:
    return Row(label=row.label, title=comparison.names.of(row.label), cells=_cells(row))


def _correlations(found: pd.DataFrame) -> Iterator[Row]:
    for row in named_rows(found):
        yield Row(label=row.measure, cells={CORRELATION.key: _number(row)})


def _cells(row: Any) -> dict[str, Cell]:
    measured_rank = with_interval(_rank(row.rank), row.rank_low, row.rank_high)
    return {
        PUBLISHED.key: Number(mean=row.published, mark=MARK if row.recomputed else ""),
        GAINS[DELTA].key: _number(row),
        PUBLISHED_RANK.key: _rank(row.published_rank),
        MEASURED_RANK.key: measured_rank,
    }


def _number(row: Any) -> Number:
    return with_interval(number(row.mean, float("nan")), row.low, row.high)


def _rank(value: float) -> Number:
    """Return a rank, with one digit after the point for ties."""
    return Number(mean=value, decimals=0 if value == round(value) else 1)


def _notes(comparison: Comparison, numbers: Numbers) -> Iterator[Note]:
    found, names = published_ranks(numbers, SECTIONS[0].name), comparison.names
    table = for_pair(numbers.key.pair, numbers.key.architecture)
    assert table is not None  # it has the published numbers
    yield Note(
        "Ranks",
        f"of Delta_TTT among the {len(found)} methods that were run and are in {table.name}; 1 is "
        "the best, ties have the average of their ranks. Methods without a published number, such "
        f"as {names.of(NORM)}, are left out",
    )
    yield Note(
        "Intervals",
        "95 %. Those of ranks and correlations are the central 95 % if images and seeds are drawn "
        "again. The published numbers and the methods are fixed in them: the uncertainty of the "
        "first is not included, and with few methods a correlation can be high by chance",
    )
    if found["recomputed"].any():
        again = names.listed(found.loc[found["recomputed"], "label"])
        yield Note(MARK, f"{again}: {RECOMPUTED}")
