"""The sections of the report over several comparisons."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from ttt_bench.analysis.across.groups import groups
from ttt_bench.analysis.across.numbers import Numbers
from ttt_bench.report.across.tables import GroupNumbers, delta_table, score_tables
from ttt_bench.report.formats.sections import Kind, Part, ReportSection
from ttt_bench.report.selection.rows import without_rows
from ttt_bench.results.method_names import PROPER_NAMES, MethodNames


def across_sections(
    numbers: Sequence[Numbers],
    names: MethodNames = PROPER_NAMES,
    hidden: Collection[str] = (),
) -> list[ReportSection]:
    """Return a section per group of comparisons that differ in one choice.

    Args:
        numbers: the numbers of the comparisons.
        names: the printed names of rows.
        hidden: the labels of rows that are not shown.
    """
    return [_section(GroupNumbers(group, names), hidden) for group in groups(numbers)]


def _section(found: GroupNumbers, hidden: Collection[str]) -> ReportSection:
    return ReportSection(
        kind=Kind.ACROSS,
        slug=found.slug,
        title=found.title,
        subtitle=found.group.shared,
        parts=tuple(_without(part, hidden) for part in _parts(found)),
    )


def _without(part: Part, labels: Collection[str]) -> Part:
    assert part.table is not None  # all of these parts have one
    return replace(part, table=without_rows(part.table, labels))


def _parts(found: GroupNumbers) -> Iterator[Part]:
    yield Part(
        name="delta",
        heading="Delta_TTT",
        definition="Delta_TTT of every method in each comparison, a column per comparison.",
        table=delta_table(found),
    )
    for place, table in enumerate(score_tables(found), start=1):
        yield Part(
            name="scores" if place == 1 else f"scores_{place}",
            heading=table.title.partition(": ")[2].capitalize(),
            definition="The primary metric of every task and Delta_TTT, comparisons side by side.",
            table=table,
        )
