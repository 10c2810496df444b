"""The sections of the report over several comparisons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ttt_bench.analysis.across.groups import groups
from ttt_bench.analysis.across.numbers import Numbers
from ttt_bench.report.across.tables import GroupNumbers, delta_table, score_tables
from ttt_bench.report.formats.sections import FurtherSection, Part
from ttt_bench.results.method_names import PROPER_NAMES, MethodNames


def across_sections(
    numbers: Sequence[Numbers], names: MethodNames = PROPER_NAMES
) -> list[FurtherSection]:
    """Return a section per group of comparisons that differ in one choice.

    Args:
        numbers: the numbers of the comparisons.
        names: the printed names of rows.
    """
    return [_section(GroupNumbers(group, names)) for group in groups(numbers)]


def _section(found: GroupNumbers) -> FurtherSection:
    return FurtherSection(
        slug=found.slug,
        title=found.title,
        subtitle=found.group.shared,
        parts=tuple(_parts(found)),
    )


def _parts(found: GroupNumbers) -> Iterator[Part]:
    yield Part(name="delta", heading="Delta_TTT", table=delta_table(found))
    for place, table in enumerate(score_tables(found), start=1):
        name = "scores" if place == 1 else f"scores_{place}"
        yield Part(name=name, heading=table.title.partition(": ")[2].capitalize(), table=table)
