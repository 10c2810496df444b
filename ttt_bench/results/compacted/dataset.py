"""Read the cells of a results folder through its compacted copy, and keep the copy up to date."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ttt_bench.errors import BenchError, DamagedError
from ttt_bench.results.compacted.cells import read_part
from ttt_bench.results.compacted.parts import (
    Part,
    joined,
    remove,
    stored_part,
    stored_parts,
    write_part,
)
from ttt_bench.results.compacted.scan import Stamp, cell_stamps, scan
from ttt_bench.results.rows import ALL

FEWEST = 200
"""Cells from which on a part is written."""
CHUNK = 5_000
"""Cells whose manifests are in memory as records at the same time."""
SETTLED = 2.0
"""Age in seconds from which on a change of a file also changes its modification time."""


@dataclass(frozen=True)
class Dataset:
    """The whole cells of a results folder.

    Attributes:
        part: cells and rows, in order of the cells' folders.
        problems: the damaged files.
    """

    part: Part
    problems: tuple[DamagedError, ...]


def read_dataset(root: Path, columns: tuple[str, ...] = ALL) -> Dataset:
    """Return the cells of a results folder and columns of their rows.

    Cells that have changed since they were compacted are read from their own files, and written to
    a new part if there are at least `FEWEST` of them and the folder can be written.

    Raises:
        BenchError: the folder does not exist or has no cell, a file cannot be read, or a manifest
            has an unknown schema version.
    """
    stamps = cell_stamps(root)
    known = _unchanged(list(stored_parts(root, columns)), stamps)
    names = {name for part in known for name in part.column("name")}
    changed = [name for name in stamps if name not in names]
    compact = len(changed) >= FEWEST
    parts: list[Part] = []
    problems: list[DamagedError] = []
    for some in _chunks(changed):
        part, damaged = read_part(
            root, {name: stamps[name] for name in some}, ALL if compact else columns
        )
        parts.append(part)
        problems += damaged
    if compact:
        _store(root, parts, known, stamps)
        parts = [_with_columns(part, columns) for part in parts]
    return Dataset(_in_order([*known, *parts], stamps), tuple(problems))


def known_states(root: Path) -> dict[str, str]:
    """Return name -> state of the cells that have not changed since they were compacted.

    Raises:
        DataError: a folder cannot be read.
    """
    found: dict[str, str] = {}
    parts = list(stored_parts(root, None))
    for part in _unchanged(parts, scan(root)) if parts else ():
        found |= zip(part.column("name"), part.column("state"), strict=True)
    return found


def _unchanged(parts: Sequence[Part], stamps: Mapping[str, Stamp]) -> list[Part]:
    """Return the parts with those of their cells that have not changed, each cell once."""
    found: list[Part] = []
    seen: set[str] = set()
    for part in parts:
        names = part.column("name")
        mask = np.array(
            [
                name not in seen and name in stamps and stamps[name].text == stamp
                for name, stamp in zip(names, part.column("stamp"), strict=True)
            ],
            dtype=np.bool_,
        )
        found.append(part.kept(mask))
        seen |= {name for name, is_kept in zip(names, mask, strict=True) if is_kept}
    return found


def _chunks(names: Sequence[str]) -> list[Sequence[str]]:
    """Return the names in chunks; one without names if there are none."""
    return [names[start : start + CHUNK] for start in range(0, max(len(names), 1), CHUNK)]


def _store(
    root: Path, parts: Sequence[Part], known: Sequence[Part], stamps: Mapping[str, Stamp]
) -> None:
    """Write a part with new cells, joined with stored parts that are not much larger."""
    latest = (time.time() - SETTLED) * 1e9
    settled = [_settled(part, stamps, latest) for part in parts]
    count = sum(len(part.cells) for part in settled)
    if count < FEWEST:
        return
    small: list[Path] = []
    for part in sorted(known, key=lambda one: len(one.cells)):
        if len(part.cells) <= 2 * count:
            small.append(part.files[0])
            count += len(part.cells)
    reread = [stored_part(path, ALL) for path in small]
    absorbed = [part for part in reread if part is not None]
    try:
        new = write_part(root, _in_order([*_unchanged(absorbed, stamps), *settled], stamps))
    except BenchError:
        return  # the folder may be read-only or full; the copy only saves time
    remove([path for part in absorbed for path in part.files if path not in new])


def _settled(part: Part, stamps: Mapping[str, Stamp], latest: float) -> Part:
    """Return the part without cells that could change without another stamp."""
    names, texts = part.column("name"), part.column("stamp")
    mask = [
        bool(text) and stamps[name].newest < latest for name, text in zip(names, texts, strict=True)
    ]
    return part.kept(np.array(mask, dtype=np.bool_))


def _with_columns(part: Part, columns: Sequence[str]) -> Part:
    assert part.rows is not None
    return Part(cells=part.cells, rows=part.rows.select(list(columns)))


def _in_order(parts: Sequence[Part], stamps: Mapping[str, Stamp]) -> Part:
    """Return parts as one, in order of the cells' folders."""
    place = {name: number for number, name in enumerate(stamps)}
    places = [place[name] for part in parts for name in part.column("name")]
    return joined(parts, np.argsort(np.array(places, dtype=np.int64), kind="stable"))
