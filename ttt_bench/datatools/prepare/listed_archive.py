"""The multi-task archives of NYUD-v2 and PASCAL-Context, unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ttt_bench.data.listed.layout import Layout, find_listing
from ttt_bench.datatools.prepare.archives import announced, below, list_members, unpack
from ttt_bench.datatools.prepare.writing import draft, require_space
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Progress


def unpack_listed(
    layout: Layout, parts: Sequence[str], archive: Path, folder: Path, progress: Progress
) -> Path:
    """Unpack what loaders read of an archive into a folder `nyud/` or `pascal/`; what the archive
    lacks is said.

    The data set's folder appears when it is whole; until then the same call goes on after an
    interruption.

    Args:
        parts: which parts of the layout are taken.

    Returns:
        The data set's folder.

    Raises:
        DataError: the archive is incomplete, harmful or another one; no room; the folder exists or
        cannot be written.
    """
    members = list_members(archive, progress)
    place = below(layout.lists, *(where.folder for part in parts for where in layout.parts[part]))
    names = [member.name for member in members]
    if not any(f"{layout.lists}/" in name for name in names):
        raise DataError(
            f"{archive}: holds no {layout.lists}/train.txt, so it is none of {' or '.join(layout.archives)}; it holds "
            f"{', '.join(names[:3]) or 'nothing'}"
        )
    name = next(
        (name for name in layout.archives if any(f"{name}/" in each for each in names)),
        layout.archives[0],
    )
    require_space(folder, announced(members, place), f"unpacking {archive.name}")
    with draft(
        folder / name, {"archive": archive.name, "bytes": archive.stat().st_size}
    ) as partial:
        unpack(archive, members, place, partial, progress)
        say_lacking(layout, parts, partial, progress)
    return folder / name


def say_lacking(layout: Layout, parts: Sequence[str], folder: Path, progress: Progress) -> None:
    """Say how the lists differ from the published ones, and which files are missing.

    Raises:
        DataError: a list is missing or empty.
    """
    for split in ("train", "test"):
        listing = find_listing(layout, folder, split)
        listed, expected = (
            f"{layout.lists}/{listing.list_name}.txt",
            layout.published[listing.list_name],
        )
        if len(listing) != expected:
            progress.notice(
                f"{layout.title}: {listed} lists {len(listing)} images, the published list {expected}"
            )
        for part in parts:
            absent = listing.lacking(part)
            if len(absent) == len(listing) and part in layout.absent:
                progress.notice(f"{layout.title}: {listed}: {layout.absent[part]}")
            elif absent:
                progress.notice(
                    f"{layout.title}: {listed}: {len(absent)} images have no {part}, such as {absent[0]}"
                )
