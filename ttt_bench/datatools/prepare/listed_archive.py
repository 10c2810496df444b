"""Unpack the multi-task archives of NYUD-v2 and PASCAL-Context."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ttt_bench.data.images.sample import IMAGE
from ttt_bench.data.listed.layout import (
    ListedLayout,
    PartFolder,
    find_listing,
    require_disjoint,
)
from ttt_bench.datatools.prepare.archives import (
    Member,
    below,
    declared_size,
    list_members,
    unpack,
)
from ttt_bench.datatools.prepare.writing import draft, require_space
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Progress
from ttt_bench.util.text import listed


def unpack_listed(
    layout: ListedLayout, parts: Sequence[str], archive: Path, folder: Path, progress: Progress
) -> Path:
    """Unpack the files that loaders read into a folder `nyud/` or `pascal/`.

    The data set's folder appears when it is complete. After an interruption, the same call resumes.
    Missing files are reported as notices.

    Args:
        parts: the parts of the layout that are unpacked.

    Returns:
        The data set's folder.

    Raises:
        DataError: the archive is incomplete, harmful or another one; there is too little space;
            or the folder exists.
        BenchError: a file cannot be written.
    """
    members = list_members(archive, progress)
    folders = [place.folder for part in parts for place in layout.parts[part]]
    destination = below(layout.lists, *folders)
    name = _folder_name(layout, archive, members)
    for part in parts:
        _check_case(layout, part, archive, members)
    size = declared_size(members, destination)
    require_space(folder, size, f"unpacking {archive.name}")
    recipe = {"archive": archive.name, "bytes": archive.stat().st_size}
    with draft(folder / name, recipe) as partial:
        unpack(archive, members, destination, partial, progress)
        report_missing(layout, parts, partial, progress)
    return folder / name


def report_missing(
    layout: ListedLayout, parts: Sequence[str], folder: Path, progress: Progress
) -> None:
    """Give a notice per list that differs from the published one, and per part that lacks files.

    Raises:
        DataError: a list is missing or empty, not one of its images has a file, or the lists share
            images.
    """
    require_disjoint(layout, folder)
    for split in ("train", "test"):
        listing = find_listing(layout, folder, split)
        path = f"{layout.lists}/{listing.list_name}.txt"
        where, expected = f"{layout.title}: {path}", layout.published[listing.list_name]
        if len(listing) != expected:
            progress.notice(f"{where} lists {len(listing)} images, the published list {expected}")
        for part in parts:
            absent = listing.lacking(part)
            if len(absent) == len(listing) and part in layout.extra:
                continue
            if part == IMAGE and len(absent) == len(listing):
                listing.require(part)
            if len(absent) == len(listing) and part in layout.missing_notes:
                progress.notice(f"{where}: {layout.missing_notes[part]}")
            elif absent:
                progress.notice(
                    f"{where}: {len(absent)} images have no {part}, such as {absent[0]!r}"
                )


def _check_case(layout: ListedLayout, part: str, archive: Path, members: Sequence[Member]) -> None:
    """Raise an error if there is no image, or names of a part differ in case from the layout."""
    names = [member.name for member in members]
    places = layout.parts[part]
    if any(_is_of(place, name) for place in places for name in names):
        return
    near = [name for place in places for name in names if _is_of(place, name, any_case=True)]
    if near:
        raise DataError(
            f"{archive}: contains {listed(near)}, but no {layout.places(part)}; upper and lower "
            "case count: extract it, rename its folders and files, and pack it again"
        )
    if part == IMAGE:
        raise DataError(
            f"{archive}: contains no {layout.places(part)}, but {listed(names)}; give "
            f"{' or '.join(layout.archives)}"
        )


def _is_of(place: PartFolder, name: str, *, any_case: bool = False) -> bool:
    """Return whether a member has the folder and a suffix of a part."""
    fold = str.casefold if any_case else str
    inside = below(place.folder, any_case=any_case)(name)
    return inside is not None and fold(name).endswith(place.suffixes)


def _folder_name(layout: ListedLayout, archive: Path, members: Sequence[Member]) -> str:
    """Return the top folder of a known archive, the default one if the archive has another.

    Raises:
        DataError: the archive does not contain the lists.
    """
    names = [member.name for member in members]
    if not any(f"{layout.lists}/" in name for name in names):
        raise DataError(
            f"{archive}: contains no {layout.lists}/train.txt, but {listed(names) or 'nothing'}; "
            f"give {' or '.join(layout.archives)}"
        )
    for known in layout.archives:
        if any(f"{known}/" in name for name in names):
            return known
    return layout.archives[0]
