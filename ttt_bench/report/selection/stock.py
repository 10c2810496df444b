"""The content of the results folders of a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

from ttt_bench.analysis.affinity import KIND as AFFINITY
from ttt_bench.analysis.results import Results, open_results
from ttt_bench.analysis.studies import without_study_cells
from ttt_bench.results.measurements import Measurement
from ttt_bench.results.measurements import read as read_measurements
from ttt_bench.results.study_files import StudyFile, joined_studies, read_studies
from ttt_bench.results.timings import KIND as TIMING
from ttt_bench.stats.comparison import method_rank
from ttt_bench.util.store import mirror


@dataclass(frozen=True, kw_only=True)
class Stock:
    """The content of results folders.

    Attributes:
        results: their cells; None for folders with measurements alone.
        studies: their studies.
        timings: their timings.
        affinities: their affinities of tasks.
        notes: notes on damaged cells, and on what differs between the folders.
        problems: a line per damaged measurement.
    """

    results: Results | None
    studies: tuple[StudyFile, ...] = ()
    timings: tuple[Measurement, ...] = ()
    affinities: tuple[Measurement, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @cached_property
    def compared(self) -> Results | None:
        """Return the cells that comparisons show, without those of studies alone."""
        if self.results is None:
            return None
        return without_study_cells(self.results, self.studies)

    @cached_property
    def methods(self) -> list[str]:
        """Return every method, in the order of tables."""
        found = {str(one.manifest["method"]) for one in (*self.timings, *self.affinities)}
        found |= set() if self.results is None else set(self.results.cells["method"])
        return sorted(found, key=method_rank)

    @cached_property
    def pairs(self) -> list[str]:
        """Return every pair."""
        measured = (*self.timings, *self.affinities)
        found = {str(one.manifest["pair"]) for one in measured if "pair" in one.manifest}
        found |= {study.pair for study in self.studies}
        return sorted(found | (set() if self.results is None else set(self.results.cells["pair"])))

    @cached_property
    def labels(self) -> frozenset[str]:
        """Return the label of every row of a comparison."""
        comparisons = () if self.results is None else self.results.comparisons
        return frozenset(label for one in comparisons for label in one.labels)


def read_stock(folders: Sequence[Path]) -> Stock:
    """Return the content of results folders, without what is damaged.

    A cell that several folders have is used once, and notes of the results state how the folders
    differ (`open_results`).

    Raises:
        BenchError: a folder does not exist or contains no whole results.
    """
    for folder in folders:
        mirror.fetch(folder)
    timings, timing_problems = _measured(folders, TIMING)
    affinities, affinity_problems = _measured(folders, AFFINITY)
    studies, study_problems = _studies(folders)
    problems = (*timing_problems, *affinity_problems)
    opened = [folder for folder in folders if _has_cells(folder) or not _is_measured(folder)]
    results = open_results(*opened) if opened else None
    notes = () if results is None else results.notes
    if results is not None:
        results = replace(results, notes=(*notes, *study_problems, *problems))
    return Stock(
        results=results,
        studies=studies,
        timings=timings,
        affinities=affinities,
        notes=notes,
        problems=problems,
    )


def _has_cells(folder: Path) -> bool:
    return any((folder / "cells").glob("*"))


def _is_measured(folder: Path) -> bool:
    """Return whether a folder has measurements."""
    return any(read_measurements(folder, kind)[0] for kind in (TIMING, AFFINITY))


def _measured(
    folders: Iterable[Path], kind: str
) -> tuple[tuple[Measurement, ...], tuple[str, ...]]:
    """Return the measurements of a kind, the oldest first, and a line per damaged one.

    Of equal measurements in several folders the newest is used.
    """
    read = [read_measurements(folder, kind) for folder in folders]
    every = list(chain.from_iterable(found for found, _ in read))
    if len(read) > 1:
        every.sort(key=lambda one: str(one.manifest.get("finished")))
    return tuple(every), tuple(chain.from_iterable(problems for _, problems in read))


def _studies(folders: Iterable[Path]) -> tuple[tuple[StudyFile, ...], tuple[str, ...]]:
    """Return the studies, with the cells of all folders, and a line per damaged file."""
    read = [read_studies(folder) for folder in folders]
    joined: dict[str, StudyFile] = {}
    for study in chain.from_iterable(found for found, _ in read):
        before = joined.get(study.slug)
        joined[study.slug] = study if before is None else joined_studies(before, study)
    return tuple(joined.values()), tuple(chain.from_iterable(problems for _, problems in read))
