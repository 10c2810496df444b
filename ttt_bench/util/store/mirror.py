"""Bring files of a mirror up to date, publish them, and remove them, one path at a time.

Every function does nothing for a path outside a mirror, so callers do not ask where results are.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ttt_bench.util.atomic import atomic_file, temporary_path
from ttt_bench.util.os_errors import explained
from ttt_bench.util.store.address import mirror_of, url_of
from ttt_bench.util.store.remote import CONDITIONAL, Object, StoreError, remote
from ttt_bench.util.store.sync import (
    RECORDS,
    Action,
    Stamp,
    Synced,
    action,
    change_records,
    read_records,
    stamp,
)

LAST = "manifest.json"
"""The file that makes the others of its folder valid: it is written last and removed first."""
ON_DEMAND = ("checkpoints", "quarantine")
"""Folders of results whose files are fetched one by one, when they are needed."""
SMALL = ".json"
"""End of the names of small files in these folders, which are fetched with the others."""
IDENTITY = ".ttt-bench-store"
"""A file of the store, and of its mirror, that identifies the store."""
ROUNDS = 3
"""Most listings of a store until nothing has changed in it."""


def require_claims(results: Path) -> None:
    """Check that a store can be written, and that claims in it have one owner.

    Raises:
        StoreError: the store cannot be written, ignores the condition of conditional writes, or is
            another one than that of the mirror.
    """
    mirror = _mirror(results)
    if mirror is not None:
        mirror.require_conditional_writes()


def synchronise(results: Path) -> None:
    """Bring a results folder up to date, and upload what earlier runs could not upload.

    Raises:
        StoreError: the store cannot be read, or lacks files and cannot be written.
    """
    mirror = _mirror(results)
    if mirror is not None:
        mirror.fetch("")
        mirror.upload_missing()


def fetch(path: Path) -> None:
    """Bring a file or folder up to date with its store; only what has changed is transferred.

    With a whole results folder, files of `ON_DEMAND` are not fetched.

    Raises:
        StoreError: the store cannot be read, or is another one than that of the mirror.
    """
    mirror = _mirror(path)
    if mirror is not None:
        mirror.fetch(mirror.name(path))


def publish(path: Path) -> None:
    """Upload a file, or the files of a folder, that have changed, each folder's manifest last.

    Raises:
        StoreError: the store cannot be written. The files stay in the mirror, and the next run
            uploads them.
    """
    mirror = _mirror(path)
    if mirror is not None:
        with _kept(path):
            mirror.publish(mirror.name(path))


def remove(path: Path) -> None:
    """Remove a file or folder from the mirror, which may lack it, and from the store.

    Outside a mirror, remove the file.

    Raises:
        StoreError: the store cannot be written.
    """
    mirror = _mirror(path)
    path.unlink(missing_ok=True)
    if mirror is not None:
        mirror.withdraw(mirror.name(path))


def moved(old: Path, new: Path) -> None:
    """Repeat in the store that a file or folder of a mirror was moved.

    Raises:
        StoreError: the store cannot be written.
    """
    mirror = _mirror(old)
    if mirror is not None:
        mirror.withdraw(mirror.name(old))
        publish(new)


def _mirror(path: Path) -> Mirror | None:
    root = mirror_of(path)
    return None if root is None else Mirror(root)


@contextmanager
def _kept(path: Path) -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise StoreError(f"{error}. The files are kept in {path}; the next run uploads them") from (
            error
        )


class Mirror:
    """A mirror and its store."""

    def __init__(self, root: Path) -> None:
        self.root, self.remote = root, remote(str(url_of(root)))

    def name(self, path: Path) -> str:
        """Return the name of a path in the store; empty for the mirror itself."""
        name = path.absolute().relative_to(self.root).as_posix()
        return "" if name == "." else name

    def fetch(self, name: str) -> None:
        """Download what has changed in the store, and remove what was removed there.

        The store is listed again after a download, because a writer may have replaced a file.
        """
        for _ in range(ROUNDS):
            stored = self.remote.listing(name)
            self._check_identity(stored)
            wanted = {n: a for n, a in self._actions(name, stored).items() if _is_fetched(n, name)}
            self._remove_here([n for n, a in wanted.items() if a is Action.REMOVE])
            changed = [n for n, a in wanted.items() if a is Action.DOWNLOAD]
            if not changed:
                return
            for batch in _in_order(changed):
                self._download(batch, stored)

    def publish(self, name: str) -> None:
        """Upload the changed files, and remove from the store what a folder has lost."""
        here, synced = self._here(name), self._synced(name)
        changed = [n for n, at in here.items() if n not in synced or synced[n].local != at]
        for batch in _in_order(changed):
            self._upload(batch)
        self._remove_there([n for n in synced if n not in here])

    def upload_missing(self) -> None:
        """Upload the files that earlier runs could not upload."""
        stored = self.remote.listing()
        found = self._actions("", stored)
        missing = [n for n, a in found.items() if a is Action.UPLOAD]
        for batch in _in_order(missing):
            self._upload(batch)

    def withdraw(self, name: str) -> None:
        """Remove a file, or the files of a folder, from the store."""
        self._remove_there(sorted(self.remote.listing(name), key=_is_last, reverse=True))

    def require_conditional_writes(self) -> None:
        """Create the store's identity twice: one attempt has to fail, unless both do."""
        if self.remote.protocol not in CONDITIONAL:
            names = ", ".join(f"{name}://" for name in CONDITIONAL[:-1])
            raise StoreError(
                f"{self.remote.url}: several runs could compute the same cell, because "
                f"{self.remote.protocol}:// has no known conditional writes; use {names} or a "
                "local folder"
            )
        created = [self.remote.create(IDENTITY, f"{secrets.token_hex(16)}\n") for _ in range(2)]
        if all(created):
            raise StoreError(
                f"{self.remote.url}: the store ignores the condition of conditional writes "
                "(If-None-Match), so several runs could compute the same cell; update the server, "
                "use another store, or a local folder"
            )
        self._check_identity(self.remote.listing(IDENTITY))

    def _check_identity(self, stored: Mapping[str, Object]) -> None:
        """Require that the mirror is one of this store; a new mirror becomes one."""
        if IDENTITY not in stored:
            return
        path = self.root / IDENTITY
        synced = self._synced(IDENTITY).get(IDENTITY)
        if synced is not None and synced.version == stored[IDENTITY].version:
            return
        there = self.remote.read(IDENTITY)
        if path.exists() and path.read_text(encoding="utf-8") != there:
            raise StoreError(
                f"{self.root} is the copy of another store than {self.remote.url} is now; move "
                "this folder away, or set TTT_BENCH_CACHE to another folder"
            )
        with atomic_file(path) as temporary:
            temporary.write_text(there or "", encoding="utf-8")
        self._record({IDENTITY: stored[IDENTITY]}, self._here(IDENTITY))

    def _actions(self, name: str, stored: Mapping[str, Object]) -> dict[str, Action]:
        here, synced = self._here(name), self._synced(name)
        names = sorted(n for n in {*here, *stored, *synced} if _is_visible(n, name))
        return {n: action(here.get(n), stored.get(n), synced.get(n)) for n in names}

    def _here(self, name: str) -> dict[str, Stamp]:
        """Return the stamps of a file, or of the files below a folder, without hidden ones."""
        place = self.root / name
        paths = (p for p in place.rglob("*") if p.is_file()) if place.is_dir() else iter([place])
        stamps = {n: stamp(self.root / n) for n in map(self.name, paths) if _is_visible(n, name)}
        return {n: found for n, found in stamps.items() if found is not None}

    def _synced(self, name: str) -> dict[str, Synced]:
        """Return the records of a file, or of the files below a folder."""
        top = self.root / RECORDS / name
        below = (p.parent.relative_to(self.root / RECORDS) for p in top.rglob("files.json"))
        folders = {*(path.as_posix() for path in below), _folder(name)}
        return {
            path: synced
            for folder in folders
            for file, synced in read_records(self.root, folder).items()
            if _is_below(path := _joined(folder, file), name)
        }

    def _download(self, names: Sequence[str], stored: Mapping[str, Object]) -> None:
        """Replace local files by those of the store; leave them if one has vanished meanwhile."""
        drafts = {name: temporary_path(self.root / name) for name in names}
        try:
            with explained(self.root, "set TTT_BENCH_CACHE to another folder"):
                if not self.remote.get(names, list(drafts.values())):
                    return
                stamps = {name: stamp(draft) for name, draft in drafts.items()}
                for name, draft in drafts.items():
                    draft.replace(self.root / name)
            self._record({name: stored[name] for name in names}, stamps)
        finally:
            for draft in drafts.values():
                draft.unlink(missing_ok=True)

    def _upload(self, names: Sequence[str]) -> None:
        stamps = {name: stamp(self.root / name) for name in names}
        self.remote.put([self.root / name for name in names], names)
        uploaded: dict[str, Object] = {}
        for folder, below in _by_folder(names).items():
            uploaded |= self.remote.listing(below[0] if len(below) == 1 else folder)
        self._record({name: uploaded[name] for name in names if name in uploaded}, stamps)

    def _record(self, objects: Mapping[str, Object], stamps: Mapping[str, Stamp | None]) -> None:
        """Record that local files equal these objects; those of another size are left out."""
        for folder, names in _by_folder(objects).items():
            equal = {
                PurePosixPath(name).name: Synced(at, objects[name].version)
                for name in names
                if (at := stamps[name]) is not None and at.size == objects[name].size
            }
            change_records(self.root, folder, equal)

    def _remove_here(self, names: Sequence[str]) -> None:
        for name in sorted(names, key=_is_last, reverse=True):
            (self.root / name).unlink(missing_ok=True)
        self._forget(names)

    def _remove_there(self, names: Sequence[str]) -> None:
        for name in sorted(names, key=_is_last, reverse=True):
            self.remote.remove(name)
        self._forget(names)

    def _forget(self, names: Sequence[str]) -> None:
        for folder, below in _by_folder(names).items():
            change_records(
                self.root, folder, dict.fromkeys(PurePosixPath(name).name for name in below)
            )


def _folder(name: str) -> str:
    """Return the folder of a name; empty for the top."""
    return _joined(PurePosixPath(name).parent.as_posix(), "")


def _joined(folder: str, file: str) -> str:
    return "/".join(part for part in (folder, file) if part not in ("", "."))


def _by_folder(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(_folder(name), []).append(name)
    return found


def _is_below(path: str, name: str) -> bool:
    return name in ("", path) or path.startswith(f"{name}/")


def _is_visible(path: str, name: str) -> bool:
    """Return whether a path below a name, or the name, has no hidden part below the name."""
    rest = path[len(name) :]
    return not any(part.startswith(".") for part in rest.split("/"))


def _is_fetched(path: str, name: str) -> bool:
    """Return whether a path is fetched with this name."""
    on_demand = not name and path.partition("/")[0] in ON_DEMAND
    return not on_demand or path.endswith(SMALL)


def _is_last(name: str) -> bool:
    return PurePosixPath(name).name == LAST


def _in_order(names: Iterable[str]) -> Iterator[list[str]]:
    """Yield the names of data files, then those of manifests."""
    ordered = sorted(names, key=lambda name: (_is_last(name), name))
    for last in (False, True):
        if batch := [name for name in ordered if _is_last(name) is last]:
            yield batch
