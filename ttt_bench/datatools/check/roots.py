"""Find the data sets below a folder and run the checks of each. Prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

from ttt_bench.data.listed.layout import find_root
from ttt_bench.data.listed.manifest import update_manifest
from ttt_bench.data.taskonomy.index import LAYOUTS, PARTS, find_folders
from ttt_bench.datatools.check import nyud, pascal
from ttt_bench.datatools.check.archives import check_archives
from ttt_bench.datatools.check.conventions import check_map
from ttt_bench.datatools.check.findings import Finding, Measured, Results, collect
from ttt_bench.datatools.check.listed import CheckedSet, check_listed
from ttt_bench.datatools.check.plugin import check_installed, declared_sets, installed_sets
from ttt_bench.datatools.check.taskonomy import check_taskonomy
from ttt_bench.errors import BenchError, DataError
from ttt_bench.util.os_errors import explained_reading
from ttt_bench.util.progress import Progress
from ttt_bench.util.text import listed


class _Check(Protocol):
    def __call__(self, root: Path, progress: Progress, *, full: bool, store: bool) -> Results: ...


@dataclass(frozen=True, kw_only=True)
class _Checker:
    """A data set that can be checked.

    Attributes:
        title: its name in messages.
        check: runs its checks.
        find: finds its folder; raises DataError if a folder is not the data set's.
        other_form: describes the problem if a folder holds another form of it, else returns None.
        names: names of the folders that it has.
        layout: description of its folders.
    """

    title: str
    check: _Check
    find: Callable[[Path], object]
    other_form: Callable[[Path], str | None]
    names: frozenset[str]
    layout: str

    def finds(self, root: Path) -> bool:
        """Return whether a folder holds the data set."""
        try:
            self.find(root)
        except DataError:
            return False
        return True


Checkers = dict[str, _Checker]


def check(
    root: Path, progress: Progress, *, full: bool = False, store: bool = False
) -> list[Finding]:
    """Check a data root, the folder of one data set, or a single normal map.

    All folders and names are read. A spread sample of 200 frames is decoded. Unusable data give a
    finding, not an exception.

    Args:
        full: decode every frame.
        store: write measurements to each data set's manifest: the normal axes, if they are
            decided, and the fingerprints of files without an error.
    """
    if root.is_file():
        return check_map(root)
    checkers = _checkers()
    folders = (root, *(root / name for name in checkers))
    archives = [finding for folder in folders for finding in check_archives(folder)]
    try:
        with explained_reading(root):
            found = _find_sets(root, checkers)
    except DataError as error:
        return [*archives, Finding.error("layout", str(error), root)]
    others = list(_check_installed(root, progress, full=full))
    if isinstance(found, Finding):
        return [*archives, *(others or [found])]
    own = _check_sets(found, checkers, progress, full=full, store=store)
    return [*archives, *own, *others]


def _check_installed(root: Path, progress: Progress, *, full: bool) -> Iterator[Finding]:
    """Yield the findings on data sets of other packages and declared ones, with their names."""
    for each in (*installed_sets(root), *declared_sets(root)):
        if isinstance(each, Finding):
            yield each
            continue
        result = collect(check_installed(each, progress, full=full), root)
        yield from (_prefixed(finding, f"{each.domain.name}: ") for finding in result.findings)


def _find_sets(root: Path, checkers: Checkers) -> dict[str, Path] | Finding:
    """Return the folder of every data set below a folder, or the error that it has none."""
    named = {name: root / name for name in checkers if (root / name).is_dir()}
    return named or _recognised(root, checkers) or _unrecognised(root, checkers)


def _check_sets(
    found: dict[str, Path], checkers: Checkers, progress: Progress, *, full: bool, store: bool
) -> list[Finding]:
    """Run the checks of each data set; a problem of one does not affect the others."""
    findings: list[Finding] = []
    for name, folder in found.items():
        result = collect(checkers[name].check(folder, progress, full=full, store=store), folder)
        stored = _stored(result.measured) if store else []
        prefix = f"{checkers[name].title}: " if len(found) > 1 else ""
        findings += [_prefixed(finding, prefix) for finding in [*result.findings, *stored]]
    return findings


def _checkers() -> Checkers:
    domains = frozenset(name for names in PARTS.values() for name in names)
    taskonomy = _Checker(
        title="Taskonomy",
        check=check_taskonomy,
        find=find_folders,
        other_form=lambda folder: None,
        names=domains,
        layout="; ".join(f"{key} {form}" for key, form in LAYOUTS.items()),
    )
    sets = {"nyud": nyud.CHECKED, "pascal": pascal.CHECKED}
    return {"taskonomy": taskonomy} | {name: _of_listed(checked) for name, checked in sets.items()}


def _of_listed(checked: CheckedSet) -> _Checker:
    layout = checked.dataset.layout

    def run(root: Path, progress: Progress, *, full: bool, store: bool) -> Results:
        return check_listed(checked, root, progress, full=full, store=store)

    places = [place.folder for part in layout.parts.values() for place in part]
    # of "pascal-context/trainval" both the first folder and the whole path
    names = {name for place in [*places, layout.lists] for name in (place.split("/")[0], place)}
    parts = "; ".join(f"{part} in {layout.places(part)}" for part in layout.parts)
    return _Checker(
        title=checked.title,
        check=run,
        find=lambda root: find_root(layout, root),
        other_form=layout.other_form,
        names=frozenset(names) | frozenset(layout.archives),
        layout=f"{layout.lists}/train.txt and val.txt; {parts}",
    )


def _recognised(root: Path, checkers: Checkers) -> dict[str, Path]:
    """Return the data sets that a folder itself holds.

    Another form of a listed data set may look like Taskonomy; then the result is empty.
    """
    found = {
        name: root
        for name, checker in checkers.items()
        if name != "taskonomy" and checker.finds(root)
    }
    if found or _other_form(root, checkers):
        return found
    return {"taskonomy": root} if checkers["taskonomy"].finds(root) else {}


def _other_form(root: Path, checkers: Checkers) -> str | None:
    """Return the problem of a folder that holds an unsupported form of a data set."""
    if not root.is_dir():
        return None
    for checker in checkers.values():
        for folder in (root, *_visible_folders(root)):
            problem = checker.other_form(folder)
            if problem:
                return problem
    return None


def _visible_folders(root: Path) -> Iterator[Path]:
    for path in sorted(root.iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            yield path


def _unrecognised(root: Path, checkers: Checkers) -> Finding:
    """Return the error for a folder without a known data set, with the most similar set first."""
    if not root.is_dir():
        wanted = ", ".join(f"{name}/" for name in checkers)
        message = f"{root} does not exist; give the folder that holds {wanted}"
        return Finding.error("layout", message, root)
    problem = _other_form(root, checkers)
    if problem:
        return Finding.error("layout", problem, root)
    names = sorted(path.name for path in root.iterdir())
    if not names:
        return Finding.error("layout", f"{root} is empty. {_EMPTY}", root)
    nearest = sorted(checkers.values(), key=lambda checker: -_similar(names, checker))
    known = ". ".join(f"{checker.title}: {checker.layout}" for checker in nearest)
    hints = _spelling_hints(names, nearest[0].names)
    message = (
        f"no known data set below {root}, which holds {listed(names, 8)}. {hints}Known: {known}"
    )
    return Finding.error("layout", message, root)


_EMPTY = (
    "Taskonomy's downloader ends at once without any file if the name of a domain is wrong (it is "
    "normal, not normals), if --split is not all, and without --name and --email; "
    "`ttt-bench data prepare taskonomy` prints a command that works"
)


def _spelling_hints(names: list[str], known: frozenset[str]) -> str:
    """Return "NAME: did you mean OTHER? " for each name that is almost a known one."""
    hints = ""
    for name in names:
        near = get_close_matches(name, known, n=1, cutoff=0.8)
        if near and name not in known:
            hints += f"{name}: did you mean {near[0]}? "
    return hints


def _similar(names: list[str], checker: _Checker) -> int:
    """Return the number of names that are, almost, those of a data set."""
    return sum(bool(get_close_matches(name, checker.names, n=1, cutoff=0.8)) for name in names)


def _prefixed(finding: Finding, prefix: str) -> Finding:
    if finding.message.startswith(prefix):
        return finding
    return replace(finding, message=f"{prefix}{finding.message}")


def _stored(measured: Sequence[Measured]) -> list[Finding]:
    """Write measured values to their manifests; return a warning per manifest if that fails."""
    entries: dict[Path, dict[str, Any]] = {}
    for each in measured:
        entries.setdefault(each.folder, {}).update(each.entries)
    problems = []
    for folder, values in entries.items():
        try:
            if values:
                update_manifest(folder, values)
        except BenchError as error:
            message = f"the measurements cannot be stored, so that loaders do not use them: {error}"
            problems.append(Finding.warning("conventions", message, folder))
    return problems
