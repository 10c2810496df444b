"""The line at the top of the page with what the report contains."""

from __future__ import annotations

from pathlib import Path

from support.made_studies import Made

from ttt_bench import write_report
from ttt_bench.designs.declared_studies import find_study
from ttt_bench.report.formats.sections import Kind, ReportSection
from ttt_bench.report.page import summary
from ttt_bench.results.study_files import write_study


def _section(kind: Kind, cells: str = "", done: str = "") -> ReportSection:
    return ReportSection(
        kind=kind,
        slug="",
        title="",
        subtitle="",
        parts=(),
        cells=frozenset(cells),
        done=frozenset(done),
    )


def test_a_report_of_a_study_alone_counts_its_cells(tmp_path: Path) -> None:
    made, arms = Made(tmp_path / "results"), {}
    for place, arm in enumerate(find_study("masking").all_arms):
        own = made.cells("s4t", 0, 2 + place, settings=f"s4t.mask_ratio=0.{place + 1}")
        arms[arm.label] = (*made.cells("base"), *own)
    arms[arm.label] += ("missing",)
    write_study(made.root, made.file("masking", arms), print)
    cells = 2 * (len(arms) + 1)
    line = f"1 study, {cells} of {cells + 1} cells with numbers"
    rendered = write_report(made.root, tmp_path / "report", tables=["studies"])
    assert rendered.summary == f"{line}. Shown: tables: studies"
    assert line in rendered.page.read_text(encoding="utf-8")


def test_only_what_the_report_contains_is_counted() -> None:
    times = _section(Kind.TIMES)
    assert summary([times]) == "1 table of times"
    assert summary([_section(Kind.AFFINITY)]) == "1 measurement of affinity"
    study = _section(Kind.STUDY, "abc", "ab")
    # a cell that two studies share is counted once
    several = [times, times, study, _section(Kind.STUDY, "bcd", "b")]
    assert summary(several) == "2 tables of times; 2 studies, 2 of 4 cells with numbers"
    both = [_section(Kind.COMPARISON, "a", "a"), study]
    assert summary(both) == (
        "1 comparison, 1 of 1 cells with numbers; 1 study, 2 of 3 cells with numbers"
    )


def test_a_report_without_sections_says_so() -> None:
    assert summary([], "tables: timing") == "nothing to show. Shown: tables: timing"
