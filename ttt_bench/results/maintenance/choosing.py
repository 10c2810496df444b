"""Decide which of several copies of a unit is kept, whatever their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttt_bench.errors import DamagedError
from ttt_bench.results import measurements, store
from ttt_bench.results.checkpoints.trained_data import read_trained_data, trained_data_content
from ttt_bench.results.maintenance.contents import Kind
from ttt_bench.results.maintenance.differences import difference
from ttt_bench.results.records import ATTEMPTS, MANIFEST
from ttt_bench.results.schema import FINISHED
from ttt_bench.results.study_files import joined_studies, read_study, study_content
from ttt_bench.results.timed_work import read_time
from ttt_bench.util.hashing import hash_file
from ttt_bench.util.stored import tensors


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is kept of several copies of a unit.

    Attributes:
        path: the copy that is kept.
        content: what is written in its place if the copies are joined; None to keep the copy.
        conflict: a line that says how copies contradict each other; empty if they do not.
        note: a line that says why this copy was chosen; empty if all are equal.
    """

    path: Path
    content: bytes | None = None
    conflict: str = ""
    note: str = ""


def choose(kind: Kind, copies: Sequence[Path]) -> Choice:
    """Return what is kept of whole copies of a unit; of equal ones the last."""
    return _CHOICES[kind](copies)


def damaged_history(cell: Path) -> str:
    """Return why the history of a cell is damaged; empty if it is whole or missing."""
    try:
        store.read_attempts(cell)
    except DamagedError as error:
        return str(error)
    return ""


def _cell(copies: Sequence[Path]) -> Choice:
    """Keep a finished cell: that with most files, and of these the newest."""
    states = {path: str(store.read_placed(path)["state"]) for path in copies}
    finished = [path for path in copies if states[path] in FINISHED]
    kept = _last(finished or copies, _cell_rank)
    for other in finished:
        if states[other] != states[kept]:
            words = f"{kept} is {states[kept]}, but {other} is {states[other]}"
            return Choice(path=kept, conflict=words)
        first, second = sorted([kept, other])
        differing = difference(first, second)
        if differing:
            return Choice(path=kept, conflict=f"{first} and {second} differ: {differing}")
    failed = [path for path in copies if states[path] not in FINISHED]
    note = f"{kept} was taken, because {failed[0]} failed" if finished and failed else ""
    return Choice(path=kept, note=note)


def _cell_rank(folder: Path) -> tuple[int, str, str]:
    """Rank cells by their number of whole files, then by the end of the last attempt."""
    if damaged_history(folder):
        return len(list(folder.iterdir())) - 1, "", _identity(folder)
    finished = store.read_attempts(folder).get("finished") or ""
    return len(list(folder.iterdir())), finished, _identity(folder)


def _measurement(copies: Sequence[Path]) -> Choice:
    """Keep the newest measurement: times differ between two runs."""
    kept = _last(copies, lambda path: (_measured_at(path), _identity(path)))
    rows = {hash_file(path / measurements.ROWS) for path in copies}
    note = f"{kept} was taken, the newest of {len(copies)} measurements" if len(rows) > 1 else ""
    return Choice(path=kept, note=note)


def _measured_at(folder: Path) -> str:
    return str(measurements.check(folder).get("finished") or "")


def _checkpoint(copies: Sequence[Path]) -> Choice:
    """Keep a checkpoint if all copies hold the same tensors."""
    digests = {path: tensors.written_digest(path) for path in copies}
    kept = copies[-1]
    others = sorted(path for path in copies if digests[path] != digests[kept])
    if not others:
        return Choice(path=kept)
    return Choice(path=kept, conflict=f"{kept} and {others[0]} hold different tensors")


def _tuned(copies: Sequence[Path]) -> Choice:
    """Keep tuned settings if all copies are equal: each belongs to its own trials."""
    others = sorted(path for path in copies if hash_file(path) != hash_file(copies[-1]))
    words = f"{copies[-1]} and {others[0]} hold different settings" if others else ""
    return Choice(path=copies[-1], conflict=words)


def _time(copies: Sequence[Path]) -> Choice:
    return Choice(path=_last(copies, lambda path: (read_time(path).finished, hash_file(path))))


def _diverged(copies: Sequence[Path]) -> Choice:
    return Choice(path=_last(copies, hash_file))


def _data(copies: Sequence[Path]) -> Choice:
    """Join the fingerprints of the data of all source models."""
    known: dict[str, tuple[str, Path]] = {}
    for path in copies:
        for label, fingerprint in read_trained_data(path.parent).items():
            before, place = known.setdefault(label, (fingerprint, path))
            if before != fingerprint:
                words = f"{place} and {path} name different data of {label}"
                return Choice(path=path, conflict=words)
    joined = {label: fingerprint for label, (fingerprint, _) in known.items()}
    return Choice(path=copies[-1], content=trained_data_content(joined))


def _study(copies: Sequence[Path]) -> Choice:
    """Join the cells of a study."""
    studies = [read_study(path) for path in copies]
    joined = studies[0]
    for path, other in zip(copies, studies, strict=True):
        if (other.study, other.pair) != (joined.study, joined.pair):
            return Choice(path=path, conflict=f"{copies[0]} and {path} declare different studies")
        joined = joined_studies(joined, other)
    if joined == studies[-1]:
        return Choice(path=copies[-1])
    arms = [arm.model_copy(update={"cells": tuple(sorted(arm.cells))}) for arm in joined.arms]
    joined = joined.model_copy(update={"arms": tuple(arms)})
    return Choice(path=copies[-1], content=study_content(joined))


def _last(copies: Sequence[Path], rank: Callable[[Path], Any]) -> Path:
    """Return the copy of the highest rank; of equal ones the last, that of the joined folder."""
    return max(reversed(copies), key=rank)


def _identity(folder: Path) -> str:
    """Return a text that is equal for equal folders."""
    names = [name for name in (MANIFEST, ATTEMPTS) if (folder / name).is_file()]
    return "".join(hash_file(folder / name) for name in names)


_CHOICES: dict[Kind, Callable[[Sequence[Path]], Choice]] = {
    Kind.CELL: _cell,
    Kind.MEASUREMENT: _measurement,
    Kind.STUDY: _study,
    Kind.CHECKPOINT: _checkpoint,
    Kind.TIME: _time,
    Kind.DIVERGED: _diverged,
    Kind.TUNED: _tuned,
    Kind.DATA: _data,
}
