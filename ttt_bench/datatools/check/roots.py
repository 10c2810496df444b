"""Which data sets lie below a folder, and the checks of each. Prints nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from ttt_bench.data.listed.layout import find_root
from ttt_bench.data.listed.manifest import update_manifest
from ttt_bench.data.taskonomy.index import LAYOUTS, PARTS, find_folders
from ttt_bench.datatools.check.archives import check_archives
from ttt_bench.datatools.check.conventions import check_map
from ttt_bench.datatools.check.findings import Finding, Outcome
from ttt_bench.datatools.check.listed import Subject, check_listed
from ttt_bench.datatools.check.taskonomy import check_taskonomy
from ttt_bench.errors import BenchError, DataError
from ttt_bench.util.progress import Progress


@dataclass(frozen=True)
class _Kind:
    """A data set that can be checked.

    Attributes:
        find: raises DataError where a folder is not the data set's.
        stranger: what is wrong with a folder that holds another form of it.
        names: folders that it has.
        layout: how it lies on the disk, in words.
    """

    title: str
    check: Callable[[Path, Progress, bool, bool], Outcome]
    find: Callable[[Path], object]
    stranger: Callable[[Path], str | None]
    names: frozenset[str]
    layout: str


def check(
    root: Path, progress: Progress, *, full: bool = False, store: bool = False
) -> list[Finding]:
    """Look over a data root, one data set's folder, or a single normal map.

    Folders and names are read in full; a spread sample of 200 frames is decoded. What is unusable
    is a finding, never an exception.

    Args:
        full: decode every frame instead.
        store: keep what was measured (normal axes, if they are decided; the fingerprints of files
            without an error) in each data set's manifest.
    """
    if root.is_file():
        return check_map(root)
    kinds = _kinds()
    archives = [
        finding
        for folder in (root, *(root / name for name in kinds))
        for finding in check_archives(folder)
    ]
    try:
        named = {name: root / name for name in kinds if (root / name).is_dir()}
        found = named or _recognised(root, kinds)
        if not found:
            return [*archives, _unrecognised(root, kinds)]
        findings = list(archives)
        for name, folder in found.items():
            outcome = kinds[name].check(folder, progress, full, store)
            several = f"{kinds[name].title}: " if len(found) > 1 else ""
            findings += [_prefixed(finding, several) for finding in outcome.findings]
            if store:
                findings += _stored(outcome)
    except OSError as error:
        message = f"cannot read {error.filename}: {error.strerror}; check its permissions"
        return [*archives, Finding("error", "layout", message, root)]
    return findings


def _kinds() -> dict[str, _Kind]:
    from ttt_bench.datatools.check import nyud, pascal

    domains = frozenset(name for names in PARTS.values() for name in names)
    known = "; ".join(f"{key} {form}" for key, form in LAYOUTS.items())
    taskonomy = _Kind(
        "Taskonomy", check_taskonomy, find_folders, lambda folder: None, domains, known
    )
    return {
        "taskonomy": taskonomy,
        "nyud": _listed(nyud.SUBJECT),
        "pascal": _listed(pascal.SUBJECT),
    }


def _listed(subject: Subject) -> _Kind:
    layout = subject.dataset.layout
    places = [place.folder for part in layout.parts.values() for place in part]
    names = frozenset(
        piece for place in [*places, layout.lists] for piece in (place.split("/")[0], place)
    )
    return _Kind(
        subject.title,
        lambda root, progress, full, store: check_listed(subject, root, progress, full, store),
        lambda root: find_root(layout, root),
        layout.stranger,
        names | frozenset(layout.archives),
        f"{layout.lists}/train.txt and val.txt; "
        + "; ".join(f"{part} in {layout.places(part)}" for part in layout.parts),
    )


def _recognised(root: Path, kinds: dict[str, _Kind]) -> dict[str, Path]:
    """The data sets that a folder is; none where it is another form of one, though it may look
    like Taskonomy then.
    """
    listed = {name: root for name, kind in kinds.items() if name != "taskonomy" and _is(kind, root)}
    if listed or _strange(root, kinds):
        return listed
    return {"taskonomy": root} if _is(kinds["taskonomy"], root) else {}


def _is(kind: _Kind, root: Path) -> bool:
    try:
        kind.find(root)
    except DataError:
        return False
    return True


def _strange(root: Path, kinds: dict[str, _Kind]) -> str | None:
    """What is wrong with a folder that is another form of a data set."""
    if not root.is_dir():
        return None
    folders = [
        root,
        *(
            path
            for path in sorted(root.iterdir())
            if path.is_dir() and not path.name.startswith(".")
        ),
    ]
    said = (kind.stranger(folder) for kind in kinds.values() for folder in folders)
    return next((message for message in said if message), None)


def _unrecognised(root: Path, kinds: dict[str, _Kind]) -> Finding:
    """What there is instead of a known data set, and what is known, the nearest first."""
    if not root.is_dir():
        message = f"{root} does not exist; give the folder that holds {', '.join(f'{name}/' for name in kinds)}"
        return Finding("error", "layout", message, root)
    strange = _strange(root, kinds)
    if strange:
        return Finding("error", "layout", strange, root)
    names = sorted(path.name for path in root.iterdir())
    if not names:
        return Finding("error", "layout", f"{root} is empty. {_NOTHING}", root)
    nearest = sorted(kinds.values(), key=lambda kind: -_alike(names, kind))
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    hints = "".join(
        f"{name}: did you mean {near[0]}? "
        for name in names
        if name not in nearest[0].names
        and (near := get_close_matches(name, nearest[0].names, n=1, cutoff=0.8))
    )
    known = ". ".join(f"{kind.title}: {kind.layout}" for kind in nearest)
    return Finding(
        "error",
        "layout",
        f"no known data set below {root}, which holds {listed}. {hints}Known: {known}",
        root,
    )


_NOTHING = (
    "Taskonomy's downloader ends at once with nothing where a domain's name is wrong (it is normal, not normals), "
    "where --split is not all, and without --name and --email; `ttt-bench data prepare taskonomy` prints one that works"
)


def _alike(names: list[str], kind: _Kind) -> int:
    return sum(bool(get_close_matches(name, kind.names, n=1, cutoff=0.8)) for name in names)


def _prefixed(finding: Finding, prefix: str) -> Finding:
    if finding.message.startswith(prefix):
        return finding
    return replace(finding, message=f"{prefix}{finding.message}")


def _stored(outcome: Outcome) -> list[Finding]:
    if not outcome.entries:
        return []
    try:
        update_manifest(outcome.folder, outcome.entries)
    except BenchError as error:
        return [
            Finding(
                "warning",
                "conventions",
                f"what was measured cannot be kept: {error}",
                outcome.folder,
            )
        ]
    return []
