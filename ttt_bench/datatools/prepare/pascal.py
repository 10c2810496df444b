"""`data prepare pascal`: unpack an archive or convert raw sources, and derive files from labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttt_bench.data.images.sample import IMAGE
from ttt_bench.data.listed.layout import Listing, find_listing, find_root, require_disjoint
from ttt_bench.data.pascal import decode, edges
from ttt_bench.data.pascal.ids import voc_table
from ttt_bench.data.pascal.index import CONTEXT, LAYOUT
from ttt_bench.datatools.prepare import sources
from ttt_bench.datatools.prepare.listed_archive import unpack_listed
from ttt_bench.datatools.prepare.pascal_sources import Found, Wanted, find_files
from ttt_bench.datatools.prepare.writing import RESUMES, draft, require_space, save_array
from ttt_bench.errors import DataError
from ttt_bench.util.atomic import remove_leftovers, replacing
from ttt_bench.util.hashing import hash_of
from ttt_bench.util.os_errors import explained
from ttt_bench.util.parallel import map_in_threads
from ttt_bench.util.progress import Progress
from ttt_bench.util.text import listed

NAME = LAYOUT.archives[0]
"""The folder in `pascal/` that is made from raw sources."""

NO_NORMALS = (
    "PASCAL-Context: normals are predictions of another network and cannot be made, so the task "
    "normals is unavailable. semseg and edge run; the multi-task archives have normals_distill"
)

_PUBLISHED = tuple(part for part in LAYOUT.parts if part != "edge")
_VOC12, _OWN_CLASSES = LAYOUT.parts["semseg"]
_LABEL_BYTES, _EDGE_BYTES = 8_000, 12_000  # estimates for the two derived files of an image
_IMAGES = Wanted(
    inside="JPEGImages",
    suffix=".jpg",
    target=LAYOUT.parts[IMAGE][0].folder,
    words=sources.PASCAL_VOC,
)
_LABELS = Wanted(
    inside="",
    suffix=".mat",
    target=LAYOUT.parts[CONTEXT][0].folder,
    words=sources.PASCAL_CONTEXT,
)
_MASKS = Wanted(
    inside="SegmentationClass",
    suffix=".png",
    target=_VOC12.folder,
    words="SegmentationClass/ID.png of PASCAL VOC 2012",
)


@dataclass(frozen=True, kw_only=True)
class PascalSources:
    """The raw sources of PASCAL-Context; each one is an archive or a folder.

    Attributes:
        images: PASCAL VOC 2010, with JPEGImages/ID.jpg.
        context: the Context annotations, ID.mat.
        lists: a folder with train.txt and val.txt.
        masks: PASCAL VOC 2012, with SegmentationClass/ID.png. Images without a mask get classes
            from the Context labels.
    """

    images: Path
    context: Path
    lists: Path
    masks: Path | None = None


def prepare_archive(archive: Path, folder: Path, progress: Progress) -> Path:
    """Unpack PASCALContext.tar.gz or PASCAL_MT.tgz into a folder `pascal/` and complete it.

    Raises the errors of `unpack_listed` and `complete`.
    """
    return complete(unpack_listed(LAYOUT, _PUBLISHED, archive, folder, progress), progress)


def prepare_raw(raw: PascalSources, folder: Path, progress: Progress) -> Path:
    """Convert raw sources to PASCAL-Context without normals, in a folder `pascal/`.

    The folder appears when it is complete. After an interruption, the same call resumes.

    Returns:
        The data set's folder.

    Raises:
        DataError: a source is missing, damaged or another one; there is too little space; or the
            folder exists.
        BenchError: a file cannot be written.
    """
    lists = _read_lists(raw.lists, progress)
    ids = {name for listed in lists.values() for name in listed}
    found = _find_sources(raw, ids, progress)
    needed = sum(files.size for files in found) + len(ids) * (_LABEL_BYTES + _EDGE_BYTES)
    require_space(folder, needed, f"PASCAL-Context of {len(ids)} images")
    progress.notice(NO_NORMALS)
    with draft(folder / NAME, _recipe(raw, lists, found)) as made:
        (made / LAYOUT.lists).mkdir(parents=True, exist_ok=True)
        for name, listed in lists.items():
            with replacing(made / LAYOUT.lists / f"{name}.txt") as path:
                path.write_text("\n".join(listed) + "\n", encoding="utf-8")
        for files in found:
            files.write(made, progress)
        _derive_files(made, progress)
    return folder / NAME


def _recipe(
    raw: PascalSources, lists: Mapping[str, list[str]], found: Sequence[Found]
) -> dict[str, Any]:
    """Return everything that determines the files: the sources, their sizes, and the lists."""
    paths = {name: str(path) for name, path in vars(raw).items()}
    sizes = {files.wanted.target: files.size for files in found}
    return {**paths, "bytes": sizes, "listed": hash_of(lists)}


def complete(folder: Path, progress: Progress) -> Path:
    """Derive missing files from the Context labels: classes of images without a map, and edges.

    Each file is written atomically, so that the same call resumes after an interruption.

    Args:
        folder: `pascal/`, or the data set's folder in it.

    Returns:
        The data set's folder.

    Raises:
        DataError: the data set is missing, its lists share images, a label file is damaged, or
            there is too little space.
        BenchError: a file cannot be written.
    """
    root = find_root(LAYOUT, folder)
    require_disjoint(LAYOUT, root)
    listings = _listings(root)
    if all(len(listing.lacking("normals")) == len(listing) for listing in listings):
        progress.notice(NO_NORMALS)
    classes = sum(len(listing.lacking("semseg")) for listing in listings)
    outlines = sum(len(listing.lacking("edge")) for listing in listings)
    needed = classes * _LABEL_BYTES + outlines * _EDGE_BYTES
    require_space(root, needed, f"making classes of {classes} images and edges of {outlines}")
    with explained(root, note=RESUMES):
        _derive_files(root, progress)
    return root


def _find_sources(raw: PascalSources, ids: set[str], progress: Progress) -> list[Found]:
    """Return the files of the listed images; each image must have a picture and labels."""
    found = [
        find_files(raw.images, _IMAGES, ids, progress),
        find_files(raw.context, _LABELS, ids, progress),
    ]
    for files in found:
        files.require(ids)
    if raw.masks is not None:
        found.append(find_files(raw.masks, _MASKS, ids, progress))
    return found


def _derive_files(root: Path, progress: Progress) -> None:
    for place in (*LAYOUT.parts["semseg"], *LAYOUT.parts["edge"]):
        remove_leftovers(root / place.folder)
    for listing in _listings(root):
        _make_classes(listing, progress)
        edges.keep(listing, progress)


def _make_classes(listing: Listing, progress: Progress) -> None:
    """Write the class maps of the images that have labels but no map."""
    folder, table = listing.root / _OWN_CLASSES.folder, voc_table()
    folder.mkdir(parents=True, exist_ok=True)

    def make(name: str) -> None:
        labels = decode.read(listing.files[CONTEXT][name], CONTEXT)
        save_array(folder / f"{name}{_OWN_CLASSES.suffixes[0]}", table[labels])

    wanted = [name for name in listing.lacking("semseg") if name in listing.files[CONTEXT]]
    for _ in map_in_threads(make, wanted, "making PASCAL-Context's classes from labels", progress):
        pass


def _listings(root: Path) -> list[Listing]:
    return [find_listing(LAYOUT, root, split) for split in ("train", "test")]


def _read_lists(folder: Path, progress: Progress) -> dict[str, list[str]]:
    """Return the ids of the published lists by their names.

    Raises:
        DataError: a list cannot be read, or the lists share ids.
    """
    lists = {name: _read_list(folder / f"{name}.txt", progress) for name in LAYOUT.published}
    shared = sorted(set.intersection(*map(set, lists.values())))
    if shared:
        raise DataError(
            f"{folder}: {' and '.join(f'{name}.txt' for name in lists)} share {len(shared)} ids "
            f"({listed(shared)}), so that a model would be tested on images it was trained on. "
            f"Wanted: {sources.PASCAL_LISTS}"
        )
    return lists


def _read_list(path: Path, progress: Progress) -> list[str]:
    """Return the distinct ids of a list, in order; give a notice if their number is unusual."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as a list of ids ({error}). Wanted: {sources.PASCAL_LISTS}"
        ) from error
    ids = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    expected = LAYOUT.published[path.stem]
    if len(ids) != expected:
        progress.notice(
            f"PASCAL-Context: {path} lists {len(ids)} images, the published list {expected}"
        )
    return ids
