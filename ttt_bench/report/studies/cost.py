"""The cost of a study's arms: parameters, and times that `ttt-bench time` measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ttt_bench.analysis.studies import ArmResults, StudyResults
from ttt_bench.report.frames import named_rows
from ttt_bench.report.settings.parameters import Counted, parameter_table, published_total
from ttt_bench.report.tables import Cell, Column, Note, Number, Row, Table
from ttt_bench.report.timing.table import HEADS, mark_notes, phase_cells
from ttt_bench.results.measurements import Measurement
from ttt_bench.results.published import ARCHITECTURE, TIMING_DEVICE, published_seconds
from ttt_bench.results.timings import NSTEPS, PREDICT, STEP

SHOWN = (PREDICT, STEP, NSTEPS)
"""The phases whose times are shown."""
SHARED = ("device", "processor", "threads", "precision", "preset", "batch", "image")
"""Entries of the manifests of timings that a table may compare."""
PUBLISHED = "published_seconds"


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """A row of the table: a method of an arm.

    Attributes:
        name: the row's name in CSV.
        title: the row's name in print.
        cell: a cell of the method, with the columns of a comparison's cells.
    """

    name: str
    title: str
    cell: Any

    @property
    def network(self) -> Mapping[str, Any]:
        """Return the settings of the network."""
        return (self.cell.manifest.get("configuration") or {}).get("model") or {}

    @property
    def architecture(self) -> str:
        """Return the name of the network."""
        return str(self.network.get("architecture", ARCHITECTURE))

    def timed_by(self, one: Measurement) -> bool:
        """Return whether a timing is of the method, with its options, on the network."""
        about, network = one.manifest, one.manifest["model"]
        return (
            about["method"] == self.cell.method
            and about["options"] == self.cell.manifest.get("options")
            and str(about.get("architecture", ARCHITECTURE)) == self.architecture
            and all(
                network.get(key) == self.network.get(key) for key in ("backbone", "backbone_args")
            )
        )


def cost_table(found: StudyResults, timings: Sequence[Measurement]) -> Table:
    """Return the table of parameters and times, one row per arm and method.

    The times are those of one device and size, that with most of the rows.

    Args:
        found: the study.
        timings: the timings of the results folder.
    """
    subjects = [one for arm in found.arms for one in _subjects(arm)]
    counted = [
        Counted(
            label=one.name,
            title=one.title,
            counts=one.cell.manifest.get("parameters"),
            published=published_total(one.cell),
        )
        for one in subjects
    ]
    subtitle = found.file.pair.replace(":", " → ")
    table = parameter_table("Parameters and times", subtitle, counted)
    times = _times(subjects, timings)
    printed = _printed(subjects)
    (section,) = table.sections
    return replace(
        table,
        corner="arm",
        columns=(*table.columns, *_columns(times, printed)),
        sections=(replace(section, rows=_with_times(section.rows, times, printed)),),
        notes=(*table.notes, *_notes(times, printed)),
    )


def _subjects(arm: ArmResults) -> Iterator[_Subject]:
    if arm.evidence is None:
        return
    cells = arm.evidence.comparison.cells
    for label in arm.labels:
        first = next(iter(named_rows(cells[cells["label"] == label])))
        yield _Subject(name=arm.row_name(label), title=arm.row_title(label), cell=first)


def _times(subjects: Sequence[_Subject], timings: Sequence[Measurement]) -> dict[str, Measurement]:
    """Map the name of a row to its timing; the timings share their device and size."""
    groups: dict[tuple[str, ...], dict[str, Measurement]] = {}
    for timing in timings:
        shared = tuple(str(timing.manifest.get(name)) for name in SHARED)
        own = groups.setdefault(shared, {})
        own |= {one.name: timing for one in subjects if one.timed_by(timing)}
    return max(groups.values(), key=len, default={})


def _printed(subjects: Sequence[_Subject]) -> dict[str, float]:
    """Map the name of a row to the published seconds, where parameters are published too."""
    return {
        one.name: published_seconds(one.architecture)[one.cell.method]
        for one in subjects
        if published_total(one.cell) is not None
    }


def _columns(times: Mapping[str, Measurement], printed: Mapping[str, float]) -> Iterator[Column]:
    if times:
        for phase in SHOWN:
            yield Column(key=f"{phase}_seconds", head=HEADS[phase], decimals=3, intervals=True)
    if printed:
        yield Column(key=PUBLISHED, head=("published", "s"), decimals=4)


def _with_times(
    rows: Sequence[Row], times: Mapping[str, Measurement], printed: Mapping[str, float]
) -> tuple[Row, ...]:
    """Return the rows with their times added."""
    found = []
    for row in rows:
        cells: dict[str, Cell] = dict(row.cells)
        if row.label in times:
            measured = phase_cells(times[row.label])
            cells |= {f"{phase}_seconds": measured[phase] for phase in SHOWN if phase in measured}
        if row.label in printed:
            cells[PUBLISHED] = Number(mean=printed[row.label])
        found.append(replace(row, cells=cells))
    return tuple(found)


def _notes(times: Mapping[str, Measurement], printed: Mapping[str, float]) -> Iterator[Note]:
    if not times:
        yield Note(
            "Times",
            "`ttt-bench time` with the methods and settings of the arms and the same results "
            "folder measures them",
        )
    else:
        about = next(iter(times.values())).manifest
        height, width = about["image"]
        yield Note(
            "Times",
            f"`ttt-bench time` on {about['processor'] or about['device']}, {about['threads']} "
            f"threads, batches of {about['batch']} images of {height}x{width}. Median over "
            "repetitions, in brackets the quartiles",
        )
        yield from mark_notes(list(times.values()))
    if printed:
        yield Note(
            "Published times",
            f"S4T's supplement, seconds on an {TIMING_DEVICE} in batches of 8; the paper does not "
            "define them",
        )
