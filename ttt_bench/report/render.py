"""The whole report: from a results folder to a folder of tables, figures and one page.

The folder that `report` writes:

    index.html                      everything on one self-contained page
    <comparison>/main.{md,tex,csv}  the main table: each task's primary metric
    <comparison>/attribution.{md,tex,csv,png,svg}  the parts of Delta_TTT: source training,
                                    normalisation and updates
    <comparison>/more.{md,tex,csv}  the other metrics, at the last step
    <comparison>/each_class.{md,tex,csv}  the metrics of each semantic class, at the last step
    <comparison>/step_rules.{md,tex,csv}  Delta_TTT, steps and regret under each step rule
    <comparison>/sync.{md,tex,csv}  step variance, DTW and cosine similarity, with intervals
    <comparison>/parameters.{md,tex,csv}  trainable parameters, if the cells state them
    <comparison>/hyperparameters.{md,tex,csv}  optimiser, steps and batch, with the published ones
    <comparison>/sync.{png,svg}     each task's curve and peak over steps, a panel per method
    <comparison>/intervals.csv      every estimate and paired difference with interval and seeds
    <comparison>/classes.{md,tex,csv}  pixels of each semantic class in the target
    <comparison>/curves.{csv,png,svg}  every task's score and Delta_TTT over steps
    <comparison>/pictures*.png      example images at the last step, and of each task over steps,
                                    if the results contain any
    <comparison>/ranks.{md,tex,csv}  published and measured ranks, for pairs of the papers
    across-<choice>_<others>/*.{md,tex,csv}  tables over comparisons that differ in one choice
    affinity/*                      affinity of tasks, if it was measured; uses target labels
    study-<name>/*                  tables and figures of each study that was run

Each table `<name>.tex` has its notes in `<name>_notes.tex`; `main_compact.tex` and
`sync_compact.tex` fit one column of a paper.

A comparison's folder is named after the choices that its cells share (`Comparison.slug`). A
comparison without numbers has the main table only, with the reasons. Each file is replaced
atomically.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from ttt_bench.analysis.across.numbers import Numbers, numbers_of
from ttt_bench.analysis.affinity import KIND as AFFINITY
from ttt_bench.analysis.evidence import Evidence
from ttt_bench.analysis.results import Results, open_results
from ttt_bench.analysis.studies import without_study_cells
from ttt_bench.report.across.sections import across_sections
from ttt_bench.report.affinity.section import affinity_sections
from ttt_bench.report.formats.console import ConsoleTable
from ttt_bench.report.formats.sections import ReportSection
from ttt_bench.report.page import html
from ttt_bench.report.parts.comparison import Content, comparison_section, scores
from ttt_bench.report.records import records
from ttt_bench.report.studies.sections import study_sections
from ttt_bench.report.timing.table import timing_sections
from ttt_bench.results.load import load
from ttt_bench.results.measurements import read as read_measurements
from ttt_bench.results.study_files import read_studies
from ttt_bench.results.timings import KIND
from ttt_bench.stats.step_rules import SECTIONS
from ttt_bench.util.atomic import atomic_file, require_writable
from ttt_bench.util.store import mirror
from ttt_bench.util.store.address import shown

HINT = "choose another report folder with --out"


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """The files and tables of a report.

    Attributes:
        page: `index.html`.
        paths: every file, the page first.
        main: for a console, the main table of every comparison.
        tables: for a console, the tables of every comparison, in the order of the page.
        further: for a console, the tables over comparisons and those of the studies.
        problems: a line per damaged measurement, which the report leaves out.
    """

    page: Path
    paths: tuple[Path, ...]
    main: tuple[RenderableType, ...]
    tables: tuple[RenderableType, ...]
    further: tuple[RenderableType, ...]
    problems: tuple[str, ...]


def report(results: Path, out: Path) -> Rendered:
    """Write the report of a results folder.

    Raises:
        BenchError: the folder does not exist or contains no whole results, or `out` cannot be
            written. Damaged cells are left out with a note.
    """
    mirror.fetch(results)
    timings, problems = read_measurements(results, KIND)
    affinities, damaged = read_measurements(results, AFFINITY)
    problems = [*problems, *damaged]
    alone = (timings or affinities) and not any((results / "cells").glob("*"))
    found = None if alone else _opened(results, problems)
    out = Path(out)
    require_writable(out, HINT)
    studies, _ = read_studies(results)
    sections: list[ReportSection] = []
    paths: list[Path] = []
    numbers: list[Numbers] = []
    for comparison in without_study_cells(found, studies).comparisons if found else ():
        # its replicates take much memory, and are released with it
        evidence = Evidence(comparison)
        own = numbers_of(evidence)
        numbers += [own] if own is not None else []
        sections.append(comparison_section(Content(evidence, own)))
        paths += write_files(out / comparison.slug, sections[-1].files())
    further = [
        *timing_sections(timings),
        *across_sections(numbers),
        *(study_sections(found, studies, timings) if found else ()),
        *affinity_sections(affinities),
    ]
    for one in further:
        paths += write_files(out / one.slug, one.files())
    page = _write(out / "index.html", html([*sections, *further], shown(results)).encode())
    return Rendered(
        page=page,
        paths=(page, *paths),
        main=tuple(ConsoleTable(section.main) for section in sections),
        tables=_for_console(sections),
        further=_for_console(further),
        problems=tuple(problems),
    )


def _for_console(sections: Sequence[ReportSection]) -> tuple[RenderableType, ...]:
    return tuple(ConsoleTable(table) for section in sections for table in section.tables)


def _opened(results: Path, problems: Sequence[str]) -> Results:
    """Return the results of a folder, with notes on damaged files.

    Args:
        problems: damaged measurements.
    """
    found = open_results(results)
    _, damaged = read_studies(results)
    return replace(found, notes=(*found.notes, *damaged, *problems))


def summary_tables(results: Path, wanted: Collection[str] = ()) -> list[RenderableType]:
    """Return the main table of every comparison of a results folder, for a console.

    Args:
        wanted: configurations that are shown in place of newer ones of the same name.

    Raises:
        BenchError: the folder does not exist or contains no whole results.
    """
    found = replace(open_results(results), wanted=frozenset(wanted))
    contents = [Content(Evidence(one, SECTIONS), None) for one in found.comparisons]
    return [ConsoleTable(scores(one)) for one in contents]


def summary_rows(results: Path, wanted: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return the numbers of the tables of scores: one record per number, in full precision.

    Keys, with None for a value that does not apply:

    - the choices that the cells of the comparison share;
    - `selection`: oracle, fixed, constant, published or missing;
    - `label`: the name of the row;
    - `quantity`: a task for its primary metric, the name of any other metric, or a derived
      quantity such as `delta_ttt`;
    - `reference`, `reference_label`: the record is a difference to this row;
    - `task`, `metric`, `class`, `mean`, `sd`, `low`, `high`, `p`, `p_holm`, `seeds`, `units`,
      `values`: see `analysis.evidence`;
    - `verdict`: 1 if the row is shown to be better than its reference, -1 if worse, else 0;
    - `seed`, `state`, `reason`: for cells without numbers;
    - `contract`: the verdict on a method of another package that failed the checks of the contract
      or was not checked;
    - `source`: the paper and table of a published number.

    Metrics that are not primary have records for the fixed step only. `wanted` is that of
    `summary_tables`.

    Raises:
        BenchError: the folder does not exist or contains no whole results.
    """
    found: list[dict[str, Any]] = []
    for comparison in replace(open_results(results), wanted=frozenset(wanted)).comparisons:
        found += records(Evidence(comparison, SECTIONS))
    return found


def damaged_files(results: Path) -> tuple[str, ...]:
    """Return a line per damaged file of a results folder, whose cell the tables leave out.

    Raises:
        BenchError: the folder does not exist or contains no whole results.
    """
    return load(results).problems


def write_files(folder: Path, contents: dict[str, bytes]) -> list[Path]:
    """Write files by name to a folder, each one atomically, and return their paths.

    Raises:
        BenchError: one cannot be written.
    """
    return [_write(folder / name, content) for name, content in contents.items()]


def _write(path: Path, content: bytes) -> Path:
    """Write a file atomically.

    Raises:
        BenchError: it cannot be written.
    """
    with atomic_file(path, HINT) as temporary:
        temporary.write_bytes(content)
    return path
