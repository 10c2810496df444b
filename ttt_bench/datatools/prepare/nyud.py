"""`data prepare nyud`: from an archive, from the raw labelled frames, or from the release of
whole frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial as bound
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ttt_bench.data.images.files import GREY, LABELS, PHOTO, RGB, read_npy, read_picture
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
from ttt_bench.datatools.prepare.writing import draft, require_space
from ttt_bench.errors import DataError
from ttt_bench.util.atomic import replacing
from ttt_bench.util.parallel import map_in_threads
from ttt_bench.util.progress import Progress

NAME = LAYOUT.archives[0]
"""The folder, in `nyud/`, that is made; loaders prefer it to others."""

_FRAME_BYTES = (
    10 * CROPPED[0] * CROPPED[1]
)  # picture 3 a pixel, depth 4, labels, normals and edges 3 when compressed
_PICTURES = {IMAGE: PHOTO, "semseg": LABELS, "normals": RGB, "edge": GREY}
_THREADS = 4


def prepare_archive(archive: Path, folder: Path, progress: Progress) -> Path:
    """Unpack NYUDv2.tar.gz or NYUD_MT.tgz into a folder `nyud/`; raises as `unpack_listed`."""
    return unpack_listed(LAYOUT, tuple(LAYOUT.parts), archive, folder, progress)


def prepare_raw(
    mat: Path,
    splits: Path,
    classes: Path,
    folder: Path,
    progress: Progress,
    raw_depth: bool = False,
) -> Path:
    """Make the multi-task form from the raw labelled frames, cropped to 425x560, in a folder
    `nyud/`.

    Labels are mapped to 40 classes; edges are derived from labels and instances, normals from
    in-filled depth, and the manifest says so. The folder appears when it is whole; until then the
    same call goes on after an interruption.

    Args:
        mat: nyu_depth_v2_labeled.mat.
        splits: splits.mat, the frame numbers of training and test.
        classes: classMapping40.mat, the class of each raw label.
        folder: where `NYUDv2` is made.
        raw_depth: keep the sensor's own depth, with holes, instead of the in-filled one.

    Returns:
        The data set's folder.

    Raises:
        DataError: a source is missing, damaged or another file; no room; or the folder exists or
        cannot be written.
    """
    table = read_classes(classes)
    with opened(mat) as file:
        count = len(file["images"])
        lists = read_splits(splits, count)
        numbers = [number for listed in lists.values() for number in listed]
        for name, listed in lists.items():
            if len(listed) != LAYOUT.published[name]:
                progress.notice(
                    f"NYUD-v2: {name} has {len(listed)} frames, the published list {LAYOUT.published[name]}"
                )
        require_space(folder, len(numbers) * _FRAME_BYTES, f"{len(numbers)} frames")
        recipe = {
            "mat": mat.name,
            "bytes": mat.stat().st_size,
            "lists": lists,
            "raw_depth": raw_depth,
        }
        with draft(folder / NAME, recipe) as made:
            _write_lists(
                made,
                {name: [f"{number:04d}" for number in listed] for name, listed in lists.items()},
            )
            work = bound(_write_raw, made, file, table, raw_depth)
            for _ in map_in_threads(
                work, numbers, "making NYUD-v2 from raw frames", progress, _THREADS
            ):
                pass
            derived = {"edge": EDGES_RULE, "normals": NORMALS_RULE}
            if raw_depth:
                derived["depth"] = "the sensor's own depth with its holes, not the in-filled one"
            update_manifest(
                made, {"normal_axes": NYUD_AXES, "derived": derived, "source": mat.name}
            )
    return folder / NAME


def prepare_cropped(folder: Path, progress: Progress) -> Path:
    """Make the 425x560 form beside the release of whole frames (NYUD_MT, 480x640), in a folder
    `nyud/`.

    Returns:
        The data set's folder.

    Raises:
        DataError: the whole frames lie where the cropped ones cannot be beside them, or are of
            another size, or damaged; no room; or the folder exists or cannot be written.
    """
    root = find_root(LAYOUT, folder)
    if root == folder:
        raise DataError(
            f"{folder} itself holds {LAYOUT.lists}; move its contents into {folder / LAYOUT.archives[1]}, and the "
            f"cropped ones are made beside it, in {folder / NAME}"
        )
    listings = [find_listing(LAYOUT, root, split) for split in ("train", "test")]
    jobs = [(listing, name) for listing in listings for name in listing.ids]
    size = sum(
        path.stat().st_size for part in LAYOUT.parts for path in listings[0].files[part].values()
    )
    require_space(
        folder, size + 3 * CROPPED[0] * CROPPED[1] * len(jobs), f"cropping {len(jobs)} frames"
    )
    with draft(folder / NAME, {"cropped": root.name}) as made:
        _write_lists(made, {listing.list_name: listing.ids for listing in listings})
        for _ in map_in_threads(
            bound(_write_cropped, made), jobs, "cropping NYUD-v2", progress, _THREADS
        ):
            pass
        if (root / MANIFEST).exists():
            (made / MANIFEST).write_bytes((root / MANIFEST).read_bytes())
        rows, columns = CROP
        crop = f"rows {rows.start}..{rows.stop - 1}, columns {columns.start}..{columns.stop - 1} of {root.name}"
        update_manifest(made, {"cropped": crop, "checked": []})
    return folder / NAME


def _write_lists(folder: Path, lists: Mapping[str, Any]) -> None:
    (folder / LAYOUT.lists).mkdir(exist_ok=True)
    for places in LAYOUT.parts.values():
        (folder / places[0].folder).mkdir(exist_ok=True)
    for name, ids in lists.items():
        with replacing(folder / LAYOUT.lists / f"{name}.txt") as path:
            path.write_text("\n".join(ids) + "\n", encoding="utf-8")


def _write_raw(
    folder: Path, file: Any, table: NDArray[np.uint8], raw_depth: bool, number: int
) -> None:
    paths = {part: _path(folder, part, f"{number:04d}") for part in LAYOUT.parts}
    if all(path.is_file() for path in paths.values()):
        return
    frame = read_frame(file, number)
    if frame.labels.max() >= len(table):
        raise DataError(
            f"{file.filename}: frame {number} has the label {frame.labels.max()}, of {len(table) - 1}"
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
        _save(paths[part], array[CROP])


def _write_cropped(folder: Path, job: tuple[Listing, str]) -> None:
    listing, name = job
    for part in LAYOUT.parts:
        source = listing.files[part].get(name)
        if source is None:
            continue
        # a photograph is not compressed a second time
        target = _path(folder, part, name, ".png" if source.suffix == ".jpg" else source.suffix)
        if not target.is_file():
            array = (
                read_npy(source)
                if source.suffix == ".npy"
                else read_picture(source, _PICTURES[part])
            )
            if array.shape[:2] != WHOLE:
                raise DataError(
                    f"{source}: {array.shape[0]} rows and {array.shape[1]} columns, expected 480x640; only whole "
                    "frames are cropped"
                )
            _save(target, array[CROP])


def _path(folder: Path, part: str, name: str, suffix: str | None = None) -> Path:
    place = LAYOUT.parts[part][0]
    return folder / place.folder / f"{name}{suffix or place.suffixes[0]}"


def _save(path: Path, array: NDArray[Any]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        if path.suffix == ".npy":
            np.save(file, np.ascontiguousarray(array))
        else:
            Image.fromarray(np.ascontiguousarray(array)).save(file, format="PNG")
