"""Join several results folders into one.

What is copied does not depend on the order of the folders: every unit is decided on all of its
copies at once.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ttt_bench.errors import BenchError
from ttt_bench.results.maintenance.choosing import Choice, choose, damaged_history
from ttt_bench.results.maintenance.claiming import claim_name, claimed
from ttt_bench.results.maintenance.contents import Kind, Part, contents, require_results
from ttt_bench.results.maintenance.verify import findings
from ttt_bench.results.records import ATTEMPTS, MANIFEST
from ttt_bench.util.atomic import atomic_file, atomic_folder, require_writable
from ttt_bench.util.os_errors import explained_reading
from ttt_bench.util.progress import Progress
from ttt_bench.util.quarantine import set_aside

JOINED = (
    *(Kind.CHECKPOINT, Kind.TIME, Kind.DIVERGED, Kind.DATA),
    *(Kind.CELL, Kind.MEASUREMENT, Kind.STUDY, Kind.TUNED),
)
"""Kinds that are joined, in this order; unfinished work stays where it is."""
HINT = "choose another folder with --into"


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What became of the units of several results folders.

    Attributes:
        copied: kind -> number of units that are new in the joined folder, or replaced there.
        equal: kind -> number of units that the joined folder had already, or that two sources have.
        notes: lines about units of which one of several copies was chosen, and about what was set
            aside.
        conflicts: a line per unit whose copies contradict each other; nothing of it was written.
        left_out: a line per damaged, unreadable or claimed unit, and per entry that is not joined.
    """

    copied: dict[Kind, int]
    equal: dict[Kind, int]
    notes: tuple[str, ...]
    conflicts: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every unit of the sources is in the joined folder."""
        return not self.conflicts and not self.left_out


def merge(sources: Sequence[Path], into: Path, progress: Progress) -> Merged:
    """Copy the units of results folders into one; run again, it resumes.

    Cells of equal rows count as one. Of a cell that failed in one folder and finished in another,
    the finished one is taken.

    Args:
        sources: the folders.
        into: the joined folder, which is created if it is missing.
        progress: shows one bar.

    Raises:
        BenchError: a source is not a results folder, or the joined one cannot be written.
    """
    _check(sources, into)
    units, others = _units(sources, into)
    require_writable(into, HINT)
    record = _Record()
    with progress.bar("merging", len(units)) as bar:
        for relative, kind in units.items():
            record.add(kind, _merge_unit(kind, relative, sources, into))
            bar.advance()
    return record.merged(others)


class _Record:
    """Counts and lines about the units so far."""

    def __init__(self) -> None:
        self._copied: Counter[Kind] = Counter()
        self._equal: Counter[Kind] = Counter()
        self._lines: list[_Unit] = []

    def add(self, kind: Kind, unit: _Unit) -> None:
        self._copied[kind] += unit.copied
        self._equal[kind] += unit.equal
        self._lines.append(unit)

    def merged(self, others: Sequence[str]) -> Merged:
        return Merged(
            copied=dict(+self._copied),
            equal=dict(+self._equal),
            notes=tuple(line for unit in self._lines for line in unit.notes),
            conflicts=tuple(unit.conflict for unit in self._lines if unit.conflict),
            left_out=(*(line for unit in self._lines for line in unit.left_out), *others),
        )


@dataclass(frozen=True, kw_only=True)
class _Unit:
    """What became of one unit."""

    copied: bool = False
    equal: int = 0
    notes: tuple[str, ...] = ()
    conflict: str = ""
    left_out: tuple[str, ...] = ()


def _check(sources: Sequence[Path], into: Path) -> None:
    """Raise a BenchError if a folder is not a results folder, or the joined one is a source."""
    for source in sources:
        require_results(source)
        if source.resolve() == into.resolve():
            raise BenchError(
                f"{source} is both a source and the folder of --into; name another one"
            )
        if into.resolve().is_relative_to(source.resolve()):
            raise BenchError(f"{into} is inside the source {source}; name another folder")
    with explained_reading(into):
        # an interrupted merge may have left claims alone
        names = [path.name for path in into.iterdir()] if into.is_dir() else [into.name]
        used = into.exists() and any(not name.startswith(".") for name in names)
    if used:
        require_results(into)


def _units(sources: Sequence[Path], into: Path) -> tuple[dict[Path, Kind], list[str]]:
    """Return path below its folder -> kind of all units, and a line per entry that is not joined.

    Units that name others come last: a cell after its checkpoints, a study after its cells.
    """
    found: dict[Path, Kind] = {}
    others: list[str] = []
    for source in sources:
        parts = contents(source)
        found |= {part.path.relative_to(source): part.kind for part in parts if part.kind in JOINED}
        others += [
            f"{part.path} is not part of a results folder; copy it yourself"
            for part in parts
            if part.kind is Kind.OTHER
        ]
    ranked = sorted(found.items(), key=lambda item: (JOINED.index(item[1]), item[0]))
    return dict(ranked), others


def _merge_unit(kind: Kind, relative: Path, sources: Sequence[Path], into: Path) -> _Unit:
    """Decide on the copies of one unit, and write the chosen one."""
    with claimed(into, claim_name(relative)) as owner:
        if owner is not None:
            return _Unit(left_out=(f"{into / relative}: {owner} is writing it; merge again later",))
        notes = _set_aside_damaged(kind, into / relative, into)
        whole, left_out = _copies(kind, relative, [*sources, into])
        if not whole:
            return _Unit(notes=notes, left_out=left_out)
        choice = choose(kind, whole)
        if choice.conflict:
            return _Unit(notes=notes, conflict=choice.conflict, left_out=left_out)
        copied = _write(choice, into / relative)
        for finding in findings(Part(kind, into / relative)) if copied else ():
            raise BenchError(f"{finding.problem}. It changed while it was copied; merge again")
        notes = (*notes, *([choice.note] if choice.note else []), *_lost_history(choice.path))
        equal = len(whole) - 1 if not choice.note else 0
        return _Unit(copied=copied, equal=equal, notes=notes, left_out=left_out)


def _set_aside_damaged(kind: Kind, path: Path, into: Path) -> tuple[str, ...]:
    """Move a damaged unit of the joined folder to its quarantine."""
    if not path.exists():
        return ()
    found = [finding for finding in findings(Part(kind, path)) if finding.damaged]
    if not found:
        return ()
    return (f"{found[0].problem}. It is now {set_aside(found[0].unit, into)}",)


def _copies(
    kind: Kind, relative: Path, folders: Sequence[Path]
) -> tuple[list[Path], tuple[str, ...]]:
    """Return the whole copies of a unit, each folder's once, and a line per damaged one.

    A cell of which only the history is damaged is whole.
    """
    whole: list[Path] = []
    problems: list[str] = []
    for path in dict.fromkeys(folder / relative for folder in folders):
        if path.exists():
            found = [one for one in findings(Part(kind, path)) if not one.of_history]
            problems += [finding.problem for finding in found]
            whole += [] if found else [path]
    return whole, tuple(problems)


def _lost_history(cell: Path) -> tuple[str, ...]:
    """Return a note if the history of the chosen cell is damaged, so that it is not copied."""
    history = damaged_history(cell)
    return (f"{history}. The cell was copied without its history",) if history else ()


def _write(choice: Choice, target: Path) -> bool:
    """Write the chosen copy in place of the stored one; return whether anything was to be written.

    Raises:
        BenchError: it cannot be written, or changed while it was read.
    """
    if choice.content is not None:
        if target.exists() and target.read_bytes() == choice.content:
            return False
        with atomic_file(target, HINT) as temporary:
            temporary.write_bytes(choice.content)
    elif choice.path == target:
        return False
    elif choice.path.is_dir():
        with atomic_folder(target, HINT, commit=MANIFEST) as draft:
            for path in _files(choice.path):
                if path.name == ATTEMPTS and damaged_history(choice.path):
                    continue
                shutil.copyfile(path, draft / path.name)
    else:
        with atomic_file(target, HINT) as temporary:
            shutil.copyfile(choice.path, temporary)
    return True


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files of a cell or measurement; it has no folders."""
    yield from (path for path in sorted(folder.iterdir()) if path.is_file())
