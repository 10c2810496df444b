"""Registries of plugins: methods, data sets and other kinds, found by name through entry points.

Listing a registry imports no plugin; loading a name imports that plugin only.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from ttt_bench.errors import BenchError, ProcessError, unknown
from ttt_bench.util.code.error_place import describe

Guard = Callable[[str], AbstractContextManager[Any]]
"""Returns a context in which a plugin is imported, given words that describe the import."""

LoadedT = TypeVar("LoadedT")
_NAME = re.compile(r"[a-z0-9_-]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One registration of a name.

    Attributes:
        package: Name of the distribution that registers it; empty for `Registry.extended`.
        version: Version of that distribution; empty if unknown.
        location: The entry point's value, `module:object`, or how else it was registered.
        point: The entry point; None for objects that are already loaded.
    """

    name: str
    package: str
    version: str = ""
    location: str
    point: EntryPoint | None = None

    @property
    def origin(self) -> str:
        """Package and version."""
        return f"{self.package} {self.version}".strip()

    @property
    def where(self) -> str:
        """Package and location, for error messages."""
        return f"package {self.package} ({self.location})" if self.package else self.location


class Registry(Generic[LoadedT]):
    """Plugins of one kind by name.

    Args:
        kind: Singular noun for error messages, such as "method".
        group: Entry-point group that packages register plugins in.
        problems: Called with an object that an entry point loaded and with the registered name.
            Yields the reasons why the object is not a valid plugin; each completes a sentence that
            begins with the plugin ("has no `card`").
        built_in: Objects that are registered without an entry point.
        order: Names that come first, in this order; the others follow sorted by name.
        reserved: Names that a plugin may not have, since they have another meaning.
        guard: Context in which plugins are imported, such as one that raises a `ProcessError` if
            the import changes the process.
    """

    def __init__(
        self,
        kind: str,
        *,
        group: str,
        problems: Callable[[Any, str], Iterator[str]],
        built_in: Mapping[str, LoadedT] | None = None,
        order: Sequence[str] = (),
        reserved: Collection[str] = (),
        guard: Guard = nullcontext,
    ) -> None:
        self.kind = kind
        self.group = group
        self._problems = problems
        self._built_in: Mapping[str, LoadedT] = built_in or {}
        self._added: Mapping[str, LoadedT] = {}
        self._order = order
        self._reserved = reserved
        self._guard = guard

    def entries(self) -> list[Entry]:
        """Return every registration in listing order. A name that clashes has several."""
        found = {(entry.name, entry.location): entry for entry in self._unsorted()}
        rank = {name: number for number, name in enumerate(self._order)}
        return sorted(found.values(), key=lambda e: (rank.get(e.name, len(rank)), e.name))

    def names(self) -> tuple[str, ...]:
        """Return every registered name once, in listing order."""
        return tuple(dict.fromkeys(entry.name for entry in self.entries()))

    def entry(self, name: str) -> Entry:
        """Return the registration of a name.

        Raises:
            BenchError: The name is unknown, or is registered more than once.
        """
        claims = [entry for entry in self.entries() if entry.name == name]
        if not claims:
            raise unknown(self.kind, name, self.names())
        if len(claims) > 1:
            raise BenchError(
                f"{len(claims)} {self.kind}s are called {name!r}: "
                f"{' and '.join(claim.where for claim in claims)}; "
                "uninstall one of them or rename its entry point"
            )
        return claims[0]

    def load(self, name: str) -> LoadedT:
        """Return the object of that name; import its module if an entry point registers it.

        Raises:
            BenchError: The name is unknown or registered more than once, its module does not
                import, or the object is not valid.
        """
        entry = self.entry(name)
        where = f"{self.kind} {name!r} of {entry.where}"
        if problem := self._name_problem(name):
            raise BenchError(f"{where} {problem}")
        if entry.point is None:
            return {**self._built_in, **self._added}[name]
        loaded = _imported(entry.point, where, self._guard)
        if problems := self.problems(loaded, name):
            raise BenchError(f"{where} {'; '.join(problems)}")
        found: LoadedT = loaded
        return found

    def problems(self, loaded: Any, name: str) -> list[str]:
        """Return the reasons why an object is not a valid plugin; each completes a sentence."""
        return list(self._problems(loaded, name))

    @contextmanager
    def extended(self, objects: Mapping[str, LoadedT]) -> Iterator[None]:
        """Register further objects in this process while a `with` block runs.

        Meant for tests and notebooks; packages use entry points.

            with METHODS.extended({"mine": Mine}):
                ttt_bench.run(methods=("base", "mine"))
        """
        before = self._added
        self._added = {**before, **objects}
        try:
            yield
        finally:
            self._added = before

    def _name_problem(self, name: str) -> str:
        """Return the reason why a plugin may not have this name, or an empty text.

        Names are part of file names, of lists with commas and of settings.
        """
        if not _NAME.fullmatch(name):
            return (
                "has a name with other signs than a-z, 0-9, _ and -, or with more than 64; "
                "rename its entry point"
            )
        if name in self._reserved:
            return f"has a reserved name ({', '.join(self._reserved)}); rename its entry point"
        return ""

    def _unsorted(self) -> Iterator[Entry]:
        for name in self._built_in:
            yield Entry(name=name, package="ttt-bench", location="built in")
        for name in self._added:
            yield Entry(name=name, package="", location="registered in this process")
        yield from _installed(self.group, _search_path())


_Folders = tuple[tuple[str, int], ...]
"""Folders that packages are installed in, with the time of the last change of each."""


def _search_path() -> _Folders:
    return tuple((folder, changed) for folder in sys.path if (changed := _changed(folder)))


def _changed(folder: str) -> int:
    """Return when an entry of a folder was added or removed, in ns; 0 if it does not exist."""
    try:
        return os.stat(folder or ".").st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=32)
def _installed(group: str, folders: _Folders) -> tuple[Entry, ...]:
    """Return the entry points of a group.

    Reading the metadata of all installed packages takes 10 ms, and a sweep asks for every cell.

    Args:
        group: the group.
        folders: the search path; installing a package changes one of its folders.
    """
    points = entry_points(group=group)
    # parsing a distribution's metadata takes milliseconds, and one may have many entry points
    used = {point.dist for point in points}
    packages = {package: _name_and_version(package) for package in used}
    return tuple(_entry(point, *packages[point.dist]) for point in points)


def _entry(point: EntryPoint, package: str, version: str) -> Entry:
    return Entry(
        name=point.name, package=package, version=version, location=point.value, point=point
    )


def _name_and_version(package: Distribution | None) -> tuple[str, str]:
    if package is None:
        return "unknown", ""
    metadata = package.metadata
    return metadata["Name"], metadata["Version"]


def _imported(point: EntryPoint, where: str, guard: Guard) -> Any:
    """Return the object of an entry point.

    A module that changes the process is unloaded, so that it is found again by the next import. One
    that is imported already runs no code, and so needs no guard.

    Raises:
        BenchError: the module does not import, or importing it changes the state of the process.
    """
    before = set(sys.modules)
    watch = nullcontext() if point.module in before else guard(f"importing {where}")
    try:
        with watch:
            return point.load()
    except ProcessError:
        package = point.module.partition(".")[0]
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == package:
                del sys.modules[name]
        raise
    except Exception as error:  # a plugin may raise anything, and must not stop the others
        reason = describe(error, point.module)
        raise BenchError(
            f"{where} does not import: {reason}; repair or uninstall the package"
        ) from error
