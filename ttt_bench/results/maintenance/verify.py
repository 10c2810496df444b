"""Verify the digest of every file of a results folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import file_digest
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ttt_bench.errors import BenchError, DamagedError
from ttt_bench.results import measurements, store
from ttt_bench.results.checkpoints.diverged import read_diverged
from ttt_bench.results.checkpoints.trained_data import read_trained_data
from ttt_bench.results.integrity import damages
from ttt_bench.results.leftovers import PARTIAL
from ttt_bench.results.maintenance.claiming import claim_name, claimed
from ttt_bench.results.maintenance.contents import STORED, Kind, Part, contents, require_results
from ttt_bench.results.records import ATTEMPTS, MISPLACED
from ttt_bench.results.study_files import read_study
from ttt_bench.results.timed_work import read_time
from ttt_bench.util.hashing import hash_of
from ttt_bench.util.os_errors import explained_reading, file_bytes
from ttt_bench.util.parallel import map_in_threads
from ttt_bench.util.progress import Progress
from ttt_bench.util.quarantine import set_aside
from ttt_bench.util.stored import sealed, tensors


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A file that is damaged or cannot be read.

    Attributes:
        kind: the kind of its unit.
        path: the file.
        unit: the folder or file that is set aside.
        problem: one line that names the file, the reason, and what to do.
        damaged: whether it is damaged; otherwise it cannot be read.
    """

    kind: Kind
    path: Path
    unit: Path
    problem: str
    damaged: bool = True

    @property
    def of_history(self) -> bool:
        """Whether it is the history of a cell, on which no number depends."""
        return self.damaged and self.unit.name == ATTEMPTS


@dataclass(frozen=True, kw_only=True)
class Verified:
    """The state of a results folder.

    Attributes:
        checked: kind -> number of units whose digests were compared.
        findings: the files that are damaged or cannot be read.
        leftovers: what ended processes left; `results gc` removes it.
        quarantined: the folder of damaged files that were set aside; None without one.
        others: what is not part of a results folder.
    """

    checked: dict[Kind, int]
    findings: tuple[Finding, ...]
    leftovers: tuple[Path, ...]
    quarantined: Path | None
    others: tuple[Path, ...]


def verify(root: Path, progress: Progress) -> Verified:
    """Check every file of a results folder; nothing is written.

    Raises:
        BenchError: it is not a results folder, or cannot be read.
    """
    require_results(root)
    parts = contents(root)
    stored = [part for part in parts if part.kind in STORED]
    found = map_in_threads(findings, stored, "verifying", progress)
    return Verified(
        checked=dict(Counter(part.kind for part in stored)),
        findings=tuple(finding for own in found for finding in own),
        leftovers=_paths(parts, Kind.LEFTOVER),
        quarantined=next(iter(_paths(parts, Kind.QUARANTINE)), None),
        others=_paths(parts, Kind.OTHER),
    )


def findings(part: Part) -> list[Finding]:
    """Return the damaged and unreadable files of a unit; empty if it is whole."""
    try:
        found = CHECKS[part.kind](part.path)
    except DamagedError as error:
        found = [error]
    except BenchError as error:
        return [
            Finding(
                kind=part.kind, path=part.path, unit=part.path, problem=str(error), damaged=False
            )
        ]
    return [
        Finding(
            kind=part.kind,
            path=error.path,
            # the history of a cell is no reason to set its numbers aside
            unit=error.path if error.path.name == ATTEMPTS else part.path,
            problem=str(error),
        )
        for error in found
    ]


def set_findings_aside(root: Path, found: Sequence[Finding]) -> tuple[list[str], list[str]]:
    """Move damaged units to the quarantine, unless a running process has claimed them.

    Returns:
        A line per moved unit, and a line per unit that stays.

    Raises:
        BenchError: a unit cannot be moved.
    """
    moved: list[str] = []
    kept: list[str] = []
    units = {finding.unit: finding.kind for finding in found if finding.damaged}
    for unit, kind in units.items():
        with claimed(root, claim_name(unit)) as owner:
            if owner is not None:
                kept.append(f"{unit} stays: {owner} is writing it")
            elif unit.exists() and findings(Part(kind, _whole_unit(unit))):
                moved.append(f"{unit} is now {set_aside(unit, root)}")
    return moved, kept


def _whole_unit(unit: Path) -> Path:
    return unit.parent if unit.name == ATTEMPTS else unit


def _paths(parts: Sequence[Part], kind: Kind) -> tuple[Path, ...]:
    return tuple(part.path for part in parts if part.kind is kind)


def _cell(folder: Path) -> list[DamagedError]:
    found: list[DamagedError] = []
    try:
        found += damages(folder, store.read_placed(folder))
    except DamagedError as error:
        found.append(error)
    try:
        store.read_attempts(folder)
    except DamagedError as error:
        found.append(error)
    return found


def _checkpoint(path: Path) -> list[DamagedError]:
    about = tensors.verify(path)
    if not path.stem.endswith(hash_of(about, 16)):
        raise DamagedError(path, "it holds something else than its name says", MISPLACED)
    return []


def _unfinished(path: Path) -> list[DamagedError]:
    """Check the save of a cell or shard, which states its name, or that of a training."""
    about = tensors.verify(path)
    name = about.get("name", f"{about.get('stage')}{PARTIAL}")
    if path.name != name:
        raise DamagedError(path, f"it belongs to {name}", MISPLACED)
    return []


def _copy(path: Path) -> list[DamagedError]:
    """Check a file whose name ends with the hash of its content."""
    file_bytes(path)  # to open a pipe could block
    digest = path.stem.rpartition("-")[2]
    with explained_reading(path), path.open("rb") as file:
        found = file_digest(file, "sha256").hexdigest()
    if not digest or not found.startswith(digest):
        remedy = "the next command that reads the cells makes another one"
        raise DamagedError(path, "its content differs from its name", remedy)
    return []


class _Order(BaseModel):
    """A work order, of which only the digest is checked here."""


def _order(path: Path) -> Any:
    return sealed.read(path, _Order, "the next run with workers writes another one")


def _read(read: Callable[[Path], Any], path: Path) -> list[DamagedError]:
    read(path)
    return []


CHECKS: dict[Kind, Callable[[Path], list[DamagedError]]] = {
    Kind.CELL: _cell,
    Kind.MEASUREMENT: partial(_read, measurements.check),
    Kind.STUDY: partial(_read, read_study),
    Kind.CHECKPOINT: _checkpoint,
    Kind.TIME: partial(_read, read_time),
    Kind.DIVERGED: partial(_read, read_diverged),
    Kind.DATA: partial(_read, lambda path: read_trained_data(path.parent)),
    Kind.TUNED: partial(_read, partial(sealed.check_toml, remedy="run `ttt-bench tune` again")),
    Kind.COPY: _copy,
    Kind.ORDER: partial(_read, _order),
    Kind.UNFINISHED: _unfinished,
}
"""Kind -> function that returns or raises the damages of a unit."""
