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
    <comparison>/classes.csv        pixels of each semantic class in the target
    <comparison>/curves.{csv,png,svg}  every task's score and Delta_TTT over steps
    <comparison>/pictures.png       example images, if the results contain any
    <comparison>/ranks.{md,tex,csv}  published and measured ranks, for pairs of the papers
    across-<choice>_<others>/*.{md,tex,csv}  tables over comparisons that differ in one choice
    affinity/*                      affinity of tasks, if it was measured; uses target labels
    study-<name>/*                  tables and figures of each study that was run

A comparison's folder is named after the choices that its cells share (`Comparison.slug`). A
comparison without numbers has the main table only, with the reasons. Each file is replaced
atomically.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import RenderableType

from ttt_bench.analysis.across.numbers import Numbers, numbers_of
from ttt_bench.analysis.affinity import KIND as AFFINITY
from ttt_bench.analysis.evidence import Evidence
from ttt_bench.analysis.results import Results, open_results
from ttt_bench.analysis.studies import without_study_cells
from ttt_bench.report import attribution_table, classes, main_table, more_table, sync_table
from ttt_bench.report.across.ranks import ranks_table
from ttt_bench.report.across.sections import across_sections
from ttt_bench.report.affinity.section import affinity_sections
from ttt_bench.report.columns import quantity_key
from ttt_bench.report.formats.console import ConsoleTable
from ttt_bench.report.formats.csv_text import to_csv
from ttt_bench.report.formats.sections import Drawn, table_files
from ttt_bench.report.intervals import intervals_csv
from ttt_bench.report.marks.conditions import with_conditions
from ttt_bench.report.marks.contract import marked
from ttt_bench.report.page import ExamplePicture, PageSection, html
from ttt_bench.report.records import records
from ttt_bench.report.rules.table import rules_table
from ttt_bench.report.settings import hyperparameters, parameters
from ttt_bench.report.studies.sections import study_sections
from ttt_bench.report.tables import Table
from ttt_bench.report.timing.table import timing_sections
from ttt_bench.report.truth import Truth, truth_of
from ttt_bench.results.load import load
from ttt_bench.results.measurements import read as read_measurements
from ttt_bench.results.study_files import read_studies
from ttt_bench.results.timings import KIND
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import SECTIONS
from ttt_bench.stats.summary import curve_frame
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
        tables: for a console, the tables of every comparison: main, attribution, other metrics,
            each class, step rules, synchronisation, parameters, hyperparameters, ranks.
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
    sections: list[PageSection] = []
    paths: list[Path] = []
    numbers: list[Numbers] = []
    for comparison in without_study_cells(found, studies).comparisons if found else ():
        # its replicates take much memory, and are released with it
        evidence = Evidence(comparison)
        own = numbers_of(evidence)
        numbers += [own] if own is not None else []
        section = _section(evidence, own)
        sections.append(section)
        paths += write_files(out / section.slug, _files(section, evidence))
    further = [
        *across_sections(numbers),
        *(study_sections(found, studies, timings) if found else ()),
    ]
    further += [*affinity_sections(affinities), *timing_sections(timings)]
    for one in further:
        paths += write_files(out / one.slug, one.files())
    page = _write(out / "index.html", html(sections, shown(results), further).encode())
    return Rendered(
        page=page,
        paths=(page, *paths),
        main=tuple(ConsoleTable(section.main) for section in sections),
        tables=tuple(ConsoleTable(t) for section in sections for t in section.tables.values()),
        further=tuple(ConsoleTable(p.table) for one in further for p in one.parts if p.table),
        problems=tuple(problems),
    )


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
    return [
        ConsoleTable(_main(Evidence(one, SECTIONS), truth_of(one))) for one in found.comparisons
    ]


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


def _main(evidence: Evidence, truth: Truth) -> Table:
    table = main_table.build(evidence, truth.constants, truth.pixels).table
    return _marked(table, evidence.comparison)


def _marked(table: Table, comparison: Comparison) -> Table:
    """Return the table with the marks and notes that all tables of a comparison have."""
    return marked(with_conditions(table, comparison), comparison)


def _marked_if_any(table: Table | None, comparison: Comparison) -> Table | None:
    return None if table is None else _marked(table, comparison)


def _section(evidence: Evidence, numbers: Numbers | None) -> PageSection:
    """Return the tables and figures of a comparison; `numbers` is None if it has no numbers."""
    comparison = evidence.comparison
    truth = truth_of(comparison)
    main = _main(evidence, truth)
    if numbers is None:
        return PageSection(comparison=comparison, main=main)
    parts = attribution_table.parts(evidence)
    attribution = _marked_if_any(attribution_table.build(evidence, parts), comparison)
    return PageSection(
        comparison=comparison,
        main=main,
        attribution=attribution,
        parts=None if attribution is None else _parts(comparison, parts),
        more=_marked_if_any(more_table.build(comparison), comparison),
        each_class=_marked_if_any(more_table.build_classes(comparison), comparison),
        step_rules=_marked_if_any(rules_table(evidence), comparison),
        ranks=_marked_if_any(ranks_table(comparison, numbers), comparison),
        sync=_marked(sync_table.build(evidence), comparison),
        parameters=_marked_if_any(parameters.build(comparison), comparison),
        hyperparameters=_marked_if_any(hyperparameters.build(comparison), comparison),
        classes=classes.build(comparison, truth.pixels),
        curves=_curves(comparison),
        sync_curves=_sync_curves(evidence),
        examples=_examples(comparison),
    )


def _curves(comparison: Comparison) -> Drawn:
    # matplotlib takes seconds to import: tables for a console do without it
    from ttt_bench.report.figures import curves
    from ttt_bench.report.figures.drawing import drawn

    return drawn(curves.figure(comparison))


def _sync_curves(evidence: Evidence) -> Drawn | None:
    """Return the figure of each task's curve and peak; None if no task of any method moves."""
    from ttt_bench.report.figures import synchronisation
    from ttt_bench.report.figures.drawing import drawn

    shown = synchronisation.figure(evidence.comparison, evidence.observed)
    return None if shown is None else drawn(shown)


def _parts(comparison: Comparison, parts: pd.DataFrame) -> Drawn:
    """Return the figure of the parts of Delta_TTT."""
    from ttt_bench.report.figures import attribution
    from ttt_bench.report.figures.drawing import drawn

    return drawn(attribution.figure(comparison, parts))


def _examples(comparison: Comparison) -> ExamplePicture | None:
    """Return the picture of example images; None if the results contain none."""
    from ttt_bench.report.figures import pictures

    stored = pictures.examples_of(comparison)
    if stored is None:
        return None
    seed, examples = stored
    picture = pictures.compose(examples, comparison.classes)
    return ExamplePicture(png=pictures.png(picture), seed=seed, caption=pictures.CAPTION)


def _files(section: PageSection, evidence: Evidence) -> dict[str, bytes]:
    """Map name to content for every file of a comparison."""
    texts: dict[str, str] = {}
    for name, table in section.tables.items():
        texts |= table_files(name, table, section.slug)
    if section.classes is not None:
        texts["classes.csv"] = to_csv(section.classes)
    contents = {name: text.encode() for name, text in texts.items()}
    if len(section.comparison.rows):
        contents["intervals.csv"] = intervals_csv(evidence).encode()
    if section.curves is not None:
        contents["curves.csv"] = _curves_csv(section.comparison).encode()
        contents |= {"curves.png": section.curves.png, "curves.svg": section.curves.svg}
    if section.sync_curves is not None:
        contents |= {"sync.png": section.sync_curves.png, "sync.svg": section.sync_curves.svg}
    if section.parts is not None:
        contents |= {"attribution.png": section.parts.png, "attribution.svg": section.parts.svg}
    if section.examples is not None:
        contents["pictures.png"] = section.examples.png
    return contents


def _curves_csv(comparison: Comparison) -> str:
    """Return the means of the curves, one per row, with the main table's names in CSV."""
    frame = curve_frame(comparison.scores, comparison.base).rename(columns={"label": "method"})
    return frame.assign(quantity=frame["quantity"].map(quantity_key)).to_csv(index=False)


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
