"""`data prepare nyud`: unpack an archive, convert raw labelled frames, or crop whole frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial as bound
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.files import GREY, LABELS, PHOTO, RGB, read_image, read_npy
from ttt_bench.data.images.normals import NYUD_AXES
from ttt_bench.data.images.sample import IMAGE
from ttt_bench.data.listed.layout import Listing, find_listing, find_root
from ttt_bench.data.listed.manifest import NAME as MANIFEST
from ttt_bench.data.listed.manifest import update_manifest
from ttt_bench.data.nyud.camera import CROP
from ttt_bench.data.nyud.index import CROPPED, LAYOUT, WHOLE
from ttt_bench.datatools.prepare.listed_archive import unpack_listed
from ttt_bench.datatools.prepare.nyud_mat import opened, read_classes, read_frame, read_splits
from ttt_bench.datatools.prepare.nyud_targets import (
    EDGES_RULE,
    NORMALS_RULE,
    depth_normals,
    label_boundaries,
)
from ttt_bench.datatools.prepare.writing import draft, require_space, save_array
from ttt_bench.errors import DataError
from ttt_bench.util.atomic import replacing
from ttt_bench.util.parallel import map_in_threads
from ttt_bench.util.progress import Progress

NAME = LAYOUT.archives[0]
"""The folder in `nyud/` that is made; loaders prefer it to others."""

_FRAME_BYTES = 10 * CROPPED[0] * CROPPED[1]
"""Per pixel: 3 for the picture, 4 for depth, 3 for labels, normals and edges when compressed."""

_PICTURES = {IMAGE: PHOTO, "semseg": LABELS, "normals": RGB, "edge": GREY}
_THREADS = 4


@dataclass(frozen=True, kw_only=True)
class NyudSources:
    """The raw files from which NYUD-v2 is made.

    Attributes:
        mat: nyu_depth_v2_labeled.mat.
        splits: splits.mat, the frame numbers of training and test.
        classes: classMapping40.mat, the class of each raw label.
        raw_depth: use the depth of the sensor, with holes, instead of the in-filled one.
    """

    mat: Path
    splits: Path
    classes: Path
    raw_depth: bool = False


def prepare_archive(archive: Path, folder: Path, progress: Progress) -> Path:
    """Unpack NYUDv2.tar.gz or NYUD_MT.tgz into a folder `nyud/`; raises as `unpack_listed`."""
    return unpack_listed(LAYOUT, tuple(LAYOUT.parts), archive, folder, progress)


def prepare_raw(raw: NyudSources, folder: Path, progress: Progress) -> Path:
    """Convert the raw labelled frames, cropped to 425x560, in a folder `nyud/`.

    Labels are mapped to 40 classes. Edges are derived from labels and instances, normals from
    in-filled depth; the manifest says so. The folder appears when it is complete. After an
    interruption, the same call resumes.

    Args:
        folder: the folder in which `NYUDv2` is made.

    Returns:
        The data set's folder.

    Raises:
        DataError: a source is missing, damaged or another file; there is too little space; or the
            folder exists.
        BenchError: a file cannot be written.
    """
    table = read_classes(raw.classes)
    with opened(raw.mat) as file:
        lists = read_splits(raw.splits, len(file["images"]))
        _report_lengths(lists, progress)
        numbers = [number for listed in lists.values() for number in listed]
        require_space(folder, len(numbers) * _FRAME_BYTES, f"{len(numbers)} frames")
        with draft(folder / NAME, _recipe(raw, lists)) as made:
            ids = {name: _ids(numbers) for name, numbers in lists.items()}
            _write_lists(made, ids)
            work = bound(_write_raw, made, file, table, raw.raw_depth)
            title = "making NYUD-v2 from raw frames"
            for _ in map_in_threads(work, numbers, title, progress, _THREADS):
                pass
            update_manifest(made, _raw_entries(raw))
    return folder / NAME


def prepare_cropped(folder: Path, progress: Progress) -> Path:
    """Crop the release of whole frames (NYUD_MT, 480x640) to 425x560 in a folder `nyud/`.

    Returns:
        The folder of the cropped frames, next to that of the whole ones.

    Raises:
        DataError: `nyud/` itself contains the whole frames; a frame has another size or is damaged;
            there is too little space; or the folder exists.
        BenchError: a file cannot be written.
    """
    root = find_root(LAYOUT, folder)
    if root == folder:
        raise DataError(
            f"{folder} itself contains {LAYOUT.lists}; move its contents into "
            f"{folder / LAYOUT.archives[1]}; the cropped frames are made next to it in "
            f"{folder / NAME}"
        )
    listings = [find_listing(LAYOUT, root, split) for split in ("train", "test")]
    frames = [(listing, name) for listing in listings for name in listing.ids]
    require_space(folder, _cropped_size(listings, len(frames)), f"cropping {len(frames)} frames")
    with draft(folder / NAME, {"cropped": root.name}) as made:
        _write_lists(made, {listing.list_name: listing.ids for listing in listings})
        work = bound(_write_cropped, made)
        for _ in map_in_threads(work, frames, "cropping NYUD-v2", progress, _THREADS):
            pass
        if (root / MANIFEST).exists():
            (made / MANIFEST).write_bytes((root / MANIFEST).read_bytes())
        rows, columns = CROP
        crop = (
            f"rows {rows.start}..{rows.stop - 1}, columns {columns.start}..{columns.stop - 1} of "
            f"{root.name}"
        )
        update_manifest(made, {"cropped": crop, "checked": []})
    return folder / NAME


def _report_lengths(lists: Mapping[str, list[int]], progress: Progress) -> None:
    for name, numbers in lists.items():
        expected = LAYOUT.published[name]
        if len(numbers) != expected:
            progress.notice(
                f"NYUD-v2: {name} has {len(numbers)} frames, the published list {expected}"
            )


def _recipe(raw: NyudSources, lists: Mapping[str, list[int]]) -> dict[str, Any]:
    return {
        "mat": raw.mat.name,
        "bytes": raw.mat.stat().st_size,
        "lists": lists,
        "raw_depth": raw.raw_depth,
    }


def _raw_entries(raw: NyudSources) -> dict[str, Any]:
    """Return the entries of the manifest."""
    derived = {"edge": EDGES_RULE, "normals": NORMALS_RULE}
    if raw.raw_depth:
        derived["depth"] = "the depth of the sensor with its holes, not the in-filled one"
    return {"normal_axes": NYUD_AXES, "derived": derived, "source": raw.mat.name}


def _cropped_size(listings: list[Listing], frames: int) -> int:
    """Return an upper estimate of the bytes of the cropped frames."""
    files = [path for part in LAYOUT.parts for path in listings[0].files[part].values()]
    return sum(path.stat().st_size for path in files) + 3 * CROPPED[0] * CROPPED[1] * frames


def _write_lists(folder: Path, lists: Mapping[str, Any]) -> None:
    """Make the folders of all parts and write the lists of ids."""
    (folder / LAYOUT.lists).mkdir(exist_ok=True)
    for places in LAYOUT.parts.values():
        (folder / places[0].folder).mkdir(exist_ok=True)
    for name, ids in lists.items():
        with replacing(folder / LAYOUT.lists / f"{name}.txt") as path:
            path.write_text("\n".join(ids) + "\n", encoding="utf-8")


def _write_raw(
    folder: Path, file: Any, table: NDArray[np.uint8], raw_depth: bool, number: int
) -> None:
    """Write the files of a raw frame, unless they exist."""
    paths = {part: _path(folder, part, f"{number:04d}") for part in LAYOUT.parts}
    if all(path.is_file() for path in paths.values()):
        return
    frame = read_frame(file, number)
    if frame.labels.max() >= len(table):
        raise DataError(
            f"{file.filename}: frame {number} has the label {frame.labels.max()}, but the class "
            f"mapping ends at {len(table) - 1}; download both files again"
        )
    edges = label_boundaries(frame.labels, frame.instances)
    made: dict[str, NDArray[Any]] = {
        IMAGE: frame.rgb,
        "semseg": table[frame.labels],
        "depth": frame.raw_metres if raw_depth else frame.metres,
        "normals": depth_normals(frame.metres),
        "edge": edges.astype(np.uint8) * np.uint8(255),
    }
    for part, array in made.items():
        save_array(paths[part], array[CROP])


def _write_cropped(folder: Path, frame: tuple[Listing, str]) -> None:
    """Write the cropped files of a frame, unless they exist."""
    listing, name = frame
    for part in LAYOUT.parts:
        original = listing.files[part].get(name)
        if original is None:
            continue
        # a photograph is not compressed a second time
        target = _path(folder, part, name, ".png" if original.suffix == ".jpg" else original.suffix)
        if not target.is_file():
            save_array(target, _read_whole(original, part)[CROP])


def _read_whole(original: Path, part: str) -> NDArray[Any]:
    """Return the array of a whole frame's file."""
    npy = original.suffix == ".npy"
    array: NDArray[Any] = read_npy(original) if npy else read_image(original, _PICTURES[part])
    if array.shape[:2] != WHOLE:
        raise DataError(
            f"{original}: {array.shape[0]} rows and {array.shape[1]} columns, expected 480x640; "
            "only whole frames can be cropped"
        )
    return array


def _path(folder: Path, part: str, name: str, suffix: str | None = None) -> Path:
    place = LAYOUT.parts[part][0]
    return folder / place.folder / f"{name}{suffix or place.suffixes[0]}"


def _ids(numbers: Sequence[int]) -> list[str]:
    return [f"{number:04d}" for number in numbers]
