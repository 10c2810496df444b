"""`data prepare pascal`: from an archive or from raw sources, and what can be made of the
labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ttt_bench.data.images.sample import IMAGE
from ttt_bench.data.listed.layout import Listing, find_listing, find_root
from ttt_bench.data.pascal import decode, edges
from ttt_bench.data.pascal.ids import voc_table
from ttt_bench.data.pascal.index import CONTEXT, LAYOUT
from ttt_bench.datatools.prepare import sources
from ttt_bench.datatools.prepare.listed_archive import unpack_listed
from ttt_bench.datatools.prepare.pascal_sources import Wanted, find_files
from ttt_bench.datatools.prepare.writing import HINT, draft, require_space
from ttt_bench.errors import DataError
from ttt_bench.util.atomic import explained, replacing
from ttt_bench.util.parallel import map_in_threads
from ttt_bench.util.progress import Progress

NAME = LAYOUT.archives[0]
"""The folder, in `pascal/`, that is made of raw sources."""

NO_NORMALS = (
    "PASCAL-Context: normals are another network's predictions and cannot be made: the task normals is unavailable. "
    "semseg and edge run; the multi-task archives have normals_distill"
)

_PUBLISHED = tuple(part for part in LAYOUT.parts if part != "edge")
_VOC12, _OWN_CLASSES = LAYOUT.parts["semseg"]
_LABEL_BYTES, _EDGE_BYTES = 8_000, 12_000  # about, of an image's semantic map and of its edges
_IMAGES = Wanted("JPEGImages", ".jpg", LAYOUT.parts[IMAGE][0].folder, sources.PASCAL_VOC)
_LABELS = Wanted("", ".mat", LAYOUT.parts[CONTEXT][0].folder, sources.PASCAL_CONTEXT)
_MASKS = Wanted(
    "SegmentationClass", ".png", _VOC12.folder, "SegmentationClass/ID.png of PASCAL VOC 2012"
)


@dataclass(frozen=True)
class RawSources:
    """What PASCAL-Context can be made of; archives or folders.

    Attributes:
        images: PASCAL VOC 2010, with JPEGImages/ID.jpg.
        context: the Context annotations, ID.mat.
        lists: a folder with train.txt and val.txt.
        masks: PASCAL VOC 2012, with SegmentationClass/ID.png; without, and for images that it
            lacks, classes come from the labels.
    """

    images: Path
    context: Path
    lists: Path
    masks: Path | None = None


def prepare_archive(archive: Path, folder: Path, progress: Progress) -> Path:
    """Unpack PASCALContext.tar.gz or PASCAL_MT.tgz into a folder `pascal/`, and complete it.

    Raises:
        DataError: as `unpack_listed` and `complete`.
    """
    return complete(unpack_listed(LAYOUT, _PUBLISHED, archive, folder, progress), progress)


def prepare_raw(raw: RawSources, folder: Path, progress: Progress) -> Path:
    """Make PASCAL-Context without normals from raw sources, in a folder `pascal/`.

    The folder appears when it is whole; until then the same call goes on after an interruption.

    Returns:
        The data set's folder.

    Raises:
        DataError: a source is missing, damaged or another one; no room; or the folder exists or
        cannot be written.
    """
    lists = {name: _read_list(raw.lists / f"{name}.txt", progress) for name in LAYOUT.published}
    ids = {name for listed in lists.values() for name in listed}
    found = [
        find_files(raw.images, _IMAGES, ids, progress),
        find_files(raw.context, _LABELS, ids, progress),
    ]
    for each_found in found:
        each_found.require(ids)
    if raw.masks is not None:
        found.append(find_files(raw.masks, _MASKS, ids, progress))
    needed = sum(files.size for files in found) + len(ids) * (_LABEL_BYTES + _EDGE_BYTES)
    require_space(folder, needed, f"PASCAL-Context of {len(ids)} images")
    progress.notice(NO_NORMALS)
    recipe = {name: str(path) for name, path in vars(raw).items()} | {"listed": len(ids)}
    with draft(folder / NAME, recipe) as made:
        (made / LAYOUT.lists).mkdir(parents=True, exist_ok=True)
        for name, listed in lists.items():
            with replacing(made / LAYOUT.lists / f"{name}.txt") as path:
                path.write_text("\n".join(listed) + "\n", encoding="utf-8")
        for files in found:
            files.write(made, progress)
        _make_the_rest(made, progress)
    return folder / NAME


def complete(folder: Path, progress: Progress) -> Path:
    """Make what is missing and follows from the Context labels: classes of images without a map,
    and all edges.

    Each file is replaced whole, so that the same call goes on after an interruption.

    Args:
        folder: `pascal/`, or the data set's own folder.

    Returns:
        The data set's folder.

    Raises:
        DataError: no data set there, a label file is damaged, no room, or a folder cannot be
        written.
    """
    root = find_root(LAYOUT, folder)
    listings = _listings(root)
    if all(len(listing.lacking("normals")) == len(listing) for listing in listings):
        progress.notice(NO_NORMALS)
    classes, outlines = (
        sum(len(listing.lacking(part)) for listing in listings) for part in ("semseg", "edge")
    )
    needed = classes * _LABEL_BYTES + outlines * _EDGE_BYTES
    require_space(root, needed, f"making classes of {classes} images and edges of {outlines}")
    with explained(root, HINT):
        _make_the_rest(root, progress)
    return root


def _make_the_rest(root: Path, progress: Progress) -> None:
    for listing in _listings(root):
        _make_classes(listing, progress)
        edges.keep(listing, progress)


def _make_classes(listing: Listing, progress: Progress) -> None:
    folder, table = listing.root / _OWN_CLASSES.folder, voc_table()
    folder.mkdir(parents=True, exist_ok=True)

    def make(name: str) -> None:
        labels = decode.read(listing.files[CONTEXT][name], CONTEXT)
        with replacing(folder / f"{name}{_OWN_CLASSES.suffixes[0]}") as path:
            Image.fromarray(table[labels]).save(path, format="PNG")

    wanted = [name for name in listing.lacking("semseg") if name in listing.files[CONTEXT]]
    for _ in map_in_threads(make, wanted, "making PASCAL-Context's classes from labels", progress):
        pass


def _listings(root: Path) -> list[Listing]:
    return [find_listing(LAYOUT, root, split) for split in ("train", "test")]


def _read_list(path: Path, progress: Progress) -> list[str]:
    """The ids of a list, each once, in order; how their number differs from the published one is
    said.
    """
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
