"""The whole report: from a results folder to a folder of tables, figures and one page.

The folder that `report` writes:

    index.html                      everything on one self-contained page
    <comparison>/ranking.{png,svg,pdf}  Delta_TTT and its difference to Norm, with intervals
    <comparison>/main.{md,tex,csv}  the main table: each task's primary metric
    <comparison>/attribution.{md,tex,csv,png,svg,pdf}  the parts of Delta_TTT: source training,
                                    normalisation and updates
    <comparison>/more.{md,tex,csv}  the other metrics, at the last step
    <comparison>/each_class.{md,tex,csv}  the metrics of each semantic class, at the last step
    <comparison>/step_rules.{md,tex,csv}  Delta_TTT, steps and regret under each step rule
    <comparison>/sync.{md,tex,csv}  step variance, DTW and cosine similarity, with intervals
    <comparison>/parameters.{md,tex,csv}  trainable parameters, if the cells state them
    <comparison>/hyperparameters.{md,tex,csv}  optimiser, steps and batch, with the published ones
    <comparison>/sync.{png,svg,pdf} each task's curve and peak over steps, a panel per method
    <comparison>/intervals.csv      every estimate and paired difference with interval and seeds
    <comparison>/classes.{md,tex,csv}  pixels of each semantic class in the target
    <comparison>/curves.{csv,png,svg,pdf}  every task's score and Delta_TTT over steps
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

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from ttt_bench.analysis.across.numbers import Numbers, numbers_of
from ttt_bench.analysis.evidence import Evidence
from ttt_bench.analysis.results import open_results
from ttt_bench.errors import BenchError
from ttt_bench.report.across.sections import across_sections
from ttt_bench.report.affinity.section import affinity_sections
from ttt_bench.report.formats.console import ConsoleTable
from ttt_bench.report.formats.sections import ReportSection
from ttt_bench.report.page import html, summary
from ttt_bench.report.parts.commands import report_command
from ttt_bench.report.parts.comparison import PARTS, Content, comparison_section, scores
from ttt_bench.report.records import records
from ttt_bench.report.selection.choices import FURTHER, Choices, Selection, select
from ttt_bench.report.selection.place import PAGE
from ttt_bench.report.selection.rows import ShownRows
from ttt_bench.report.selection.stock import Stock, read_stock
from ttt_bench.report.studies.sections import study_sections
from ttt_bench.report.timing.table import timing_sections
from ttt_bench.results.load import load
from ttt_bench.stats.step_rules import SECTIONS
from ttt_bench.util.atomic import atomic_file, require_writable
from ttt_bench.util.store.address import shown

HINT = "choose another report folder with --out"
MAIN = ("main",)
TABLES = (*PARTS, *FURTHER)
"""The names of the tables of a report, with their figures."""
EVERYTHING = Choices()


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """The files and tables of a report.

    Attributes:
        page: `index.html`.
        paths: every file, the page first.
        main: for a console, the main table of every comparison.
        tables: for a console, the tables of every comparison, in the order of the page.
        further: for a console, the tables over comparisons and those of the studies.
        answers: the answer of every comparison, with its title if there are several.
        summary: the numbers of sections and cells, in words, and what is shown of the results.
        notes: notes on damaged cells, and on what differs between the folders.
        problems: a line per damaged measurement, which the report leaves out.
    """

    page: Path
    paths: tuple[Path, ...]
    main: tuple[RenderableType, ...]
    tables: tuple[RenderableType, ...]
    further: tuple[RenderableType, ...]
    answers: tuple[str, ...]
    summary: str
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def report(results: Path | Sequence[Path], out: Path, choices: Choices = EVERYTHING) -> Rendered:
    """Write the report of a results folder, or of several together.

    Nothing is written before all tables and figures are made.

    Args:
        results: the folder or the folders. A cell that several have is shown once, and notes state
            how the folders differ.
        out: the folder of the report. Its files of the same names are replaced.
        choices: what is shown.

    Raises:
        BenchError: a folder does not exist or contains no whole results, a choice is not in the
            results, or `out` cannot be written. Damaged cells are left out with a note.
    """
    folders = (results,) if isinstance(results, Path) else tuple(results)
    stock = read_stock(folders)
    selection = select(choices, stock, TABLES)
    _require_apart(out, folders)
    require_writable(out, HINT)
    sections, numbers = _comparisons(stock, selection)
    further = list(_further(stock, selection, numbers))
    every = [*sections, *further]
    paths: list[Path] = []
    for one in every:
        paths += write_files(out / one.slug, one.files())
    where = ", ".join(map(shown, folders))
    command = report_command(folders, out, choices)
    text = html(every, where, command=command, shown=selection.note, notes=stock.notes)
    page = _write(out / PAGE, text.encode())
    return Rendered(
        page=page,
        paths=(page, *paths),
        main=_for_console(sections, MAIN),
        tables=_for_console(sections),
        further=_for_console(further),
        answers=_answers(sections),
        summary=summary(every, selection.note),
        notes=stock.notes,
        problems=stock.problems,
    )


def _comparisons(stock: Stock, selection: Selection) -> tuple[list[ReportSection], list[Numbers]]:
    """Return the section of each comparison that has parts, and the numbers of each."""
    sections: list[ReportSection] = []
    numbers: list[Numbers] = []
    if stock.compared is None:
        return sections, numbers
    rows = ShownRows(selection.controls, selection.rows_note)
    for comparison in selection.results(stock.compared).comparisons:
        # its replicates take much memory, and are released with it
        evidence = Evidence(comparison, sections=selection.rules)
        if selection.rules != SECTIONS and len(comparison.rows):
            _require_steps(evidence)
        own = numbers_of(evidence)
        numbers += [own] if own is not None else []
        sections.append(comparison_section(Content(evidence, own, rows), selection.tables))
    return [one for one in sections if one.parts], numbers


def _require_steps(evidence: Evidence) -> None:
    """Raise a BenchError if no row has a step under the rule that was chosen."""
    comparison, (rule,) = evidence.comparison, evidence.sections
    if not any(map(evidence.chosen[rule.name].rows, comparison.labels)):
        needs = f", which needs {rule.needs}" if rule.needs else ""
        raise BenchError(
            f"--rule {rule.name}: no row of {comparison.title} ({comparison.subtitle}) has a step "
            f"under this rule{needs}; choose another rule, or other pairs with --pairs"
        )


def _further(
    stock: Stock, selection: Selection, numbers: Sequence[Numbers]
) -> Iterator[ReportSection]:
    """Yield the sections that are not of one comparison."""
    names, timings = selection.names, selection.measurements(stock.timings)
    hidden = frozenset[str]().union(*(one.unranked for one in numbers))
    if "timing" in selection.tables:
        yield from timing_sections(timings, names)
    if "across" in selection.tables:
        yield from across_sections(numbers, names, () if selection.controls else hidden)
    if "studies" in selection.tables and stock.results is not None:
        found = replace(stock.results, names=names)
        yield from study_sections(found, selection.studies(stock), timings)
    if "affinity" in selection.tables:
        yield from affinity_sections(selection.measurements(stock.affinities), names)


def _for_console(
    sections: Sequence[ReportSection], names: Collection[str] = ()
) -> tuple[RenderableType, ...]:
    """Return the tables of some parts; of all without names."""
    parts = (part for section in sections for part in section.parts)
    return tuple(
        ConsoleTable(part.table)
        for part in parts
        if part.table is not None and (not names or part.name in names)
    )


def _require_apart(out: Path, folders: Sequence[Path]) -> None:
    """Raise a BenchError if a report would be among the cells of a results folder."""
    for folder in folders:
        if out.absolute() in (folder.absolute(), (folder / "cells").absolute()):
            raise BenchError(f"--out {shown(out)} is the results folder; {HINT}")


def _answers(sections: Sequence[ReportSection]) -> tuple[str, ...]:
    answered = [one for one in sections if one.summary]
    heads = [f"{one.title}, {one.subtitle}: " if len(answered) > 1 else "" for one in answered]
    return tuple(head + " ".join(one.summary) for head, one in zip(heads, answered, strict=True))


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


def report_rows(
    results: Path | Sequence[Path], choices: Choices = EVERYTHING
) -> list[dict[str, Any]]:
    """Return the numbers of the tables of scores in a report, as `summary_rows` does.

    Raises:
        BenchError: as `report`.
    """
    stock = read_stock((results,) if isinstance(results, Path) else tuple(results))
    selection = select(choices, stock, TABLES)
    found: list[dict[str, Any]] = []
    comparisons = () if stock.results is None else selection.results(stock.results).comparisons
    for comparison in comparisons:
        hidden = frozenset() if selection.controls else comparison.controls
        evidence = Evidence(comparison, selection.rules, selection.rules)
        found += [one for one in records(evidence) if one["label"] not in hidden]
    return found


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
