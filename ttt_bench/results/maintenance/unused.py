"""Find and remove what no result of a results folder needs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ttt_bench.errors import BenchError
from ttt_bench.results.checkpoints.named import named_checkpoints
from ttt_bench.results.compacted.parts import unreferenced
from ttt_bench.results.compacted.scan import COMPACTED
from ttt_bench.results.leftovers import is_finished
from ttt_bench.results.maintenance.claiming import claim_name, claimed
from ttt_bench.results.maintenance.contents import Kind, Part, contents, require_results
from ttt_bench.results.records import read_manifest
from ttt_bench.util.atomic import age, is_left_over
from ttt_bench.util.claims import CLAIM, STALE_SECONDS, Claims
from ttt_bench.util.os_errors import explained

MODELS = (Kind.CHECKPOINT, Kind.TIME, Kind.DIVERGED)


class Why(StrEnum):
    """Why an entry is not needed."""

    UNUSED = "no cell or measurement of this folder names this checkpoint"
    FINISHED = "a save of work that was finished since"
    LEFTOVER = "temporary content of an ended process"
    STALE = "the claim of an ended process"
    UNREFERENCED = "rows that no file of the compacted copy names"
    QUARANTINE = "damaged files that were set aside"


@dataclass(frozen=True, kw_only=True)
class Item:
    """An entry that is not needed.

    Attributes:
        why: why it is not needed.
        path: the file or folder.
        size: its bytes.
    """

    why: Why
    path: Path
    size: int


@dataclass(frozen=True, kw_only=True)
class Unused:
    """What no result of a folder needs.

    Attributes:
        items: the entries.
        kept: a line per group of entries that are kept for now, and why.
    """

    items: tuple[Item, ...]
    kept: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Return the bytes of all entries."""
        return sum(item.size for item in self.items)


def unused(root: Path, *, quarantine: bool = False) -> Unused:
    """Return what no result of a folder needs; nothing is removed.

    Args:
        root: the results folder.
        quarantine: whether the damaged files that were set aside are named too.

    Raises:
        BenchError: it is not a results folder, or cannot be read.
    """
    require_results(root)
    parts = contents(root)
    kept: list[str] = []
    named, unreadable = _named(parts)
    live = [part.path for part in parts if part.kind is Kind.CLAIM and not _is_stale(part.path)]
    models = [part for part in parts if part.kind in MODELS]
    spare = [part for part in models if claim_name(part.path) not in named]
    if spare and (live or unreadable):
        why = f"{len(live)} units are claimed by running processes" if live else unreadable
        kept.append(f"{len(spare)} files of checkpoints that no cell names are kept: {why}")
        spare = []
    items = [_item(Why.UNUSED, part) for part in spare]
    items += [item for part in parts if (item := _small(part)) is not None]
    items += _unreferenced(root, parts)
    if quarantine:
        items += [_item(Why.QUARANTINE, part) for part in parts if part.kind is Kind.QUARANTINE]
    return Unused(items=tuple(items), kept=tuple(kept))


def remove(root: Path, items: Sequence[Item]) -> tuple[list[Item], list[str]]:
    """Remove entries, unless a process has claimed them meanwhile.

    Returns:
        The removed entries, and a line per entry that stays.

    Raises:
        BenchError: an entry cannot be removed.
    """
    removed: list[Item] = []
    kept: list[str] = []
    for item in items:
        owner = _remove(root, item)
        if owner:
            kept.append(f"{item.path} stays: {owner} has claimed it")
        else:
            removed.append(item)
    return removed, kept


def _remove(root: Path, item: Item) -> str:
    """Remove an entry; return the owner of its claim if it stays, else an empty text."""
    path = item.path
    with explained(path):
        if item.why is Why.STALE and path.suffix == CLAIM:
            # a claim that is taken over is removed at the end of the block
            with Claims(path.parent).attempt(path.stem) as owner:
                return str(owner or "")
        if item.why in (Why.UNUSED, Why.FINISHED):
            with claimed(root, claim_name(path)) as owner:
                if owner is None:
                    path.unlink(missing_ok=True)
                return str(owner or "")
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return ""


def _named(parts: Sequence[Part]) -> tuple[set[str], str]:
    """Return the names of the checkpoints that are used, and why they may be incomplete."""
    named: set[str] = set()
    for part in parts:
        if part.kind in (Kind.CELL, Kind.MEASUREMENT):
            try:
                named |= named_checkpoints(read_manifest(part.path))
            except BenchError as error:
                return named, f"{error}; it may name one"
    return named, ""


def _small(part: Part) -> Item | None:
    """Return an entry that ended processes left; None for any other."""
    path = part.path
    if part.kind is Kind.LEFTOVER and is_left_over(path):
        return _item(Why.LEFTOVER, part)
    if part.kind is Kind.UNFINISHED and is_finished(path):
        return _item(Why.FINISHED, part)
    if part.kind is Kind.CLAIM and _is_stale(path):
        return _item(Why.STALE, part)
    return None


def _unreferenced(root: Path, parts: Sequence[Part]) -> list[Item]:
    """Return the rows of the compacted copy that nothing names; a writer may name new ones soon."""
    paths = {path for path in unreferenced(root / COMPACTED) if age(path) > STALE_SECONDS}
    return [_item(Why.UNREFERENCED, part) for part in parts if part.path in paths]


def _item(why: Why, part: Part) -> Item:
    return Item(why=why, path=part.path, size=part.size)


def _is_stale(path: Path) -> bool:
    """Return whether the owner of a claim has ended, or has not touched it for too long."""
    owner = Claims(path.parent).owner(path.name)
    return (owner is not None and owner.is_gone) or age(path) > STALE_SECONDS
