"""Everything that is in a results folder, by kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ttt_bench.designs.rates import FILE as TUNED
from ttt_bench.errors import BenchError
from ttt_bench.results.checkpoints.diverged import SUFFIX as DIVERGED
from ttt_bench.results.checkpoints.trained_data import NAME as DATA
from ttt_bench.results.compacted.scan import CELLS, COMPACTED
from ttt_bench.results.leftovers import PARTIAL
from ttt_bench.results.measurements import ROWS
from ttt_bench.results.records import MANIFEST
from ttt_bench.results.study_files import FOLDER as STUDIES
from ttt_bench.results.timed_work import TIMES
from ttt_bench.util.atomic import TEMPORARY_MARK
from ttt_bench.util.claims import CLAIMS
from ttt_bench.util.os_errors import explained_reading
from ttt_bench.util.quarantine import FOLDER as QUARANTINE
from ttt_bench.util.store.mirror import IDENTITY

CHECKPOINTS = "checkpoints"
"""The folder of source models in a results folder."""
LAUNCHED = "launched"
"""The folder of work orders and logs of workers in a results folder."""
TENSORS = ".safetensors"


class Kind(StrEnum):
    """What an entry of a results folder is."""

    CELL = "cell"
    MEASUREMENT = "measurement"
    STUDY = "study"
    CHECKPOINT = "checkpoint"
    TIME = "time"
    DIVERGED = "diverged training"
    DATA = "data"
    TUNED = "tuned settings"
    COPY = "compacted copy"
    ORDER = "work order"
    UNFINISHED = "unfinished work"
    LOG = "log"
    LEFTOVER = "leftover"
    CLAIM = "claim"
    QUARANTINE = "quarantine"
    OTHER = "other"


STORED = (
    *(Kind.CELL, Kind.MEASUREMENT, Kind.STUDY, Kind.TUNED),
    *(Kind.CHECKPOINT, Kind.TIME, Kind.DIVERGED, Kind.DATA),
    *(Kind.COPY, Kind.ORDER, Kind.UNFINISHED),
)
"""Kinds with a digest."""


@dataclass(frozen=True)
class Part:
    """One entry of a results folder.

    Attributes:
        kind: what it is.
        path: a file, or the folder of a cell or measurement.
    """

    kind: Kind
    path: Path

    @property
    def size(self) -> int:
        """Return its bytes."""
        return size_of(self.path)


def require_results(root: Path) -> None:
    """Check that a folder is a results folder.

    Raises:
        BenchError: it does not exist or is something else, or cannot be read.
    """
    with explained_reading(root):
        exists = root.is_dir()
        names = {path.name for path in root.iterdir()} if exists else set()
    if not exists:
        what = "is not a folder" if root.exists() else "does not exist"
        raise BenchError(f"results folder {root} {what}; give the folder of a run")
    if names.isdisjoint({CELLS, CHECKPOINTS, STUDIES}) and not any(_measurements(root)):
        raise BenchError(
            f"{root} is not a results folder: it has no {CELLS}/, {CHECKPOINTS}/ or {STUDIES}/; "
            "give the folder of a run"
        )


def contents(root: Path) -> list[Part]:
    """Return the entries of a results folder in order of their paths.

    Raises:
        DataError: a folder cannot be read.
    """
    with explained_reading(root):
        return sorted(_parts(root), key=lambda part: part.path)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; links count as themselves."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(size_of(inner) for inner in path.iterdir())


def _parts(root: Path) -> Iterator[Part]:
    for path in root.iterdir():
        if path.name == CELLS and path.is_dir():
            yield from _cells(path)
        elif path.name == CHECKPOINTS and path.is_dir():
            yield from _checkpoints(path)
        elif path.name == STUDIES and path.is_dir():
            yield from (Part(_study(inner), inner) for inner in path.iterdir())
        elif path.name in (LAUNCHED, COMPACTED) and path.is_dir():
            files = [inner for inner in path.rglob("*") if not inner.is_dir()]
            yield from (Part(_made(inner), inner) for inner in files)
        elif path.name == TUNED and path.is_file():
            yield Part(Kind.TUNED, path)
        elif path.name == IDENTITY and path.is_file():
            continue  # the folder is a copy of a store, whose identity belongs to the store alone
        elif path.name == QUARANTINE:
            yield Part(Kind.QUARANTINE, path)
        else:
            yield from _top(path)


def _top(path: Path) -> Iterator[Part]:
    """Yield the parts of a folder of measurements, of claims, or of something else."""
    inner = [one for one in path.iterdir() if _is_measurement(one)] if path.is_dir() else []
    if path.name == CLAIMS and path.is_dir():
        yield from _claims(path)
    elif inner:
        for one in path.iterdir():
            yield Part(Kind.MEASUREMENT if one in inner else _odd(one), one)
    else:
        yield Part(_odd(path), path)


def _cells(folder: Path) -> Iterator[Part]:
    for pair in folder.iterdir():
        if not pair.is_dir() or pair.name.startswith("."):
            yield Part(_odd(pair), pair)
            continue
        for path in pair.iterdir():
            hidden = path.name.startswith(".")
            yield Part(Kind.CELL if path.is_dir() and not hidden else _odd(path), path)


def _checkpoints(folder: Path) -> Iterator[Part]:
    for path in folder.iterdir():
        if path.name == CLAIMS and path.is_dir():
            yield from _claims(path)
        elif _is_leftover(path) or not path.is_file():
            yield Part(_odd(path), path)
        elif path.name.endswith(TIMES):
            yield Part(Kind.TIME, path)
        elif path.name.endswith(DIVERGED):
            yield Part(Kind.DIVERGED, path)
        elif path.name == DATA:
            yield Part(Kind.DATA, path)
        elif path.name.endswith(TENSORS) and not path.name.endswith(PARTIAL):
            yield Part(Kind.CHECKPOINT, path)
        else:
            yield Part(_odd(path), path)


def _claims(folder: Path) -> Iterator[Part]:
    for path in folder.iterdir():
        yield Part(Kind.LEFTOVER if _is_leftover(path) else Kind.CLAIM, path)


def _study(path: Path) -> Kind:
    return Kind.STUDY if path.suffix == ".json" and not _is_leftover(path) else _odd(path)


def _made(path: Path) -> Kind:
    """Return the kind of a file of launchers, or of a compacted copy."""
    if _is_leftover(path):
        return Kind.LEFTOVER
    return {".json": Kind.ORDER, ".parquet": Kind.COPY}.get(path.suffix, Kind.LOG)


def _odd(path: Path) -> Kind:
    """Return the kind of what is none of the files that a folder is for."""
    if _is_leftover(path):
        return Kind.LEFTOVER
    return Kind.UNFINISHED if path.name.endswith(PARTIAL) else Kind.OTHER


def _is_leftover(path: Path) -> bool:
    return path.name.startswith(".") and TEMPORARY_MARK in path.name


def _measurements(root: Path) -> Iterator[Path]:
    for folder in root.iterdir():
        if folder.is_dir() and folder.name not in (CELLS, QUARANTINE):
            yield from (path for path in folder.iterdir() if _is_measurement(path))


def _is_measurement(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return not hidden and any((path / name).is_file() for name in (MANIFEST, ROWS))
