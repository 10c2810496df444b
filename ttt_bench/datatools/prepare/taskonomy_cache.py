"""A cache of Taskonomy at a smaller size, which the loader reads in the place of the original
files.

What is masked is masked at full size, before anything is resized, so that targets come out as from
the original files,
up to the rounding of what is stored: 0.5 of depth's and edges' counts, 0.5 of 127.5 in a normal's
components.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ttt_bench.data.images.files import Size, spread
from ttt_bench.data.listed.manifest import read_manifest, update_manifest
from ttt_bench.data.taskonomy import decode, targets
from ttt_bench.data.taskonomy.index import IMAGE, PARTS, Folders, Frames, find_folders, list_frames
from ttt_bench.data.taskonomy.selection import complete
from ttt_bench.data.taskonomy.splits import EXCLUDED, KNOWN, wanted
from ttt_bench.datatools.prepare.writing import draft, require_space
from ttt_bench.errors import DataError, unknown
from ttt_bench.tasks import IGNORE
from ttt_bench.util.atomic import replacing
from ttt_bench.util.parallel import map_in_threads
from ttt_bench.util.progress import Progress

JPEG_QUALITY = 95
NO_DEPTH = 65_535
RULES = {
    "rgb": "Pillow's bilinear filter",
    "semseg": "nearest",
    "depth": (
        f"counts >= {targets.INVALID_DEPTH} and {targets.DEPTH_MARGIN} pixels around them masked at full size, then "
        f"bilinear over the valid ones; {NO_DEPTH} where fewer than half are"
    ),
    "normals": "middle grey masked at full size, then bilinear over the valid vectors, to unit length; 128 elsewhere",
    "edge": f"bilinear, then blurred as targets are: {targets.EDGE_SIGMA:g} pixels at 256",
}
"""How each part is resized; kept in the manifest."""

_ESTIMATED = 8  # frames that the room is estimated from
_CLUSTER = 4096  # bytes that a file system hands out at once
_LISTED = 5


def write_cache(
    source: Path,
    target: Path,
    size: int,
    progress: Progress,
    *,
    jpeg: bool = False,
    split: str | None = None,
) -> int:
    """Write the cache of a folder `taskonomy/` as another one.

    It appears when it is finished; until then the same call goes on after an interruption. Frames
    that cannot be read are left out, said, and listed in the manifest.

    Args:
        source: the original files, in any layout.
        target: the folder `taskonomy/` of another data root.
        size: rows and columns.
        jpeg: keep images as JPEG of quality 95, which is smaller and read faster, but not what the
        original files give.
        split: train or test, to take only its buildings; None takes all.

    Returns:
        How many frames it has.

    Raises:
        DataError: there is nothing to take, the source is such a cache itself, no room, or a folder
        cannot be written.
        BenchError: no such split.
    """
    folders = find_folders(source)
    manifest = read_manifest(folders.root)
    if manifest.resized is not None:
        raise DataError(f"{source} is a cache already; make one from the original files")
    buildings = _buildings(folders, split)
    frames = complete(list_frames(folders, buildings, progress), progress)
    large = decode.size_of(frames.path(0, IMAGE), IMAGE)
    if size > min(large):
        raise DataError(
            f"the cache would have {size}x{size} pixels, more than the files' {large[1]}x{large[0]}"
        )
    form = f"JPEG {JPEG_QUALITY}" if jpeg else "PNG"
    recipe = {
        "source": str(source.resolve()),
        "size": [size, size],
        "rgb": form,
        "buildings": list(buildings),
    }
    with draft(target, recipe) as partial:
        writer = _Writer(frames, partial, (size, size), jpeg)
        left = [index for index in range(len(frames)) if not writer.has(index)]
        require_space(partial, writer.estimate(left), f"a cache of {len(left)} frames")
        title = f"resizing Taskonomy to {size}x{size}"
        unread = [
            why
            for why in map_in_threads(
                writer.write, left, title, progress, threads=os.cpu_count() or 1
            )
            if why
        ]
        _say_unread(unread, progress)
        if len(unread) == len(frames):
            raise DataError(f"not one of {len(frames)} frames can be read; {unread[0][1]}")
        update_manifest(
            partial,
            {
                "cache": {
                    "size": [size, size],
                    "rgb": form,
                    "rules": {part: RULES[part] for part in writer.parts},
                },
                "derived": dict(manifest.derived),
                "left_out": [name for name, _ in unread],
                **({"normal_axes": manifest.normal_axes} if manifest.normal_axes else {}),
            },
        )
    return len(frames) - len(unread)


class _Writer:
    def __init__(self, frames: Frames, folder: Path, size: Size, jpeg: bool) -> None:
        self._frames, self._folder, self._size, self._jpeg = frames, folder, size, jpeg
        self.parts = (IMAGE, *frames.tasks)
        for building in frames.buildings:
            for part in self.parts:
                (folder / PARTS[part][0] / building).mkdir(parents=True, exist_ok=True)

    def has(self, index: int) -> bool:
        return all(self._path(index, part).is_file() for part in self.parts)

    def write(self, index: int) -> tuple[str, str] | None:
        """Write a frame; its name and what is wrong where it cannot be read."""
        try:
            native = decode.read_frame(self._frames, index, self._frames.tasks)
        except DataError as error:
            return self._frames.name(index), str(error)
        for part in self.parts:
            with replacing(self._path(index, part)) as path:
                path.write_bytes(self._encoded(part, native[part]))
        return None

    def estimate(self, indices: list[int]) -> int:
        """About how many bytes these frames will take."""
        sizes: list[int] = []
        for at in spread(len(indices), _ESTIMATED):
            try:
                native = decode.read_frame(self._frames, indices[at], self._frames.tasks)
            except DataError:
                continue  # said when its turn comes
            files = (len(self._encoded(part, native[part])) for part in self.parts)
            sizes.append(sum(-(-length // _CLUSTER) * _CLUSTER for length in files))
        return int(np.mean(sizes) * len(indices)) if sizes else 0

    def _path(self, index: int, part: str) -> Path:
        name = self._frames.path(index, part).name
        if part == IMAGE and self._jpeg:
            name = name.removesuffix(".png") + ".jpg"
        return self._folder / PARTS[part][0] / self._frames.building_of(index) / name

    def _encoded(self, part: str, native: NDArray[Any]) -> bytes:
        content = BytesIO()
        picture = Image.fromarray(resized(part, native, self._size))
        if part == IMAGE and self._jpeg:
            picture.save(content, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
        else:
            picture.save(content, format="PNG")
        return content.getvalue()


def resized(part: str, native: NDArray[Any], size: Size) -> NDArray[Any]:
    """A part's native array at another size, in its native encoding, by `RULES`."""
    wide_high = (size[1], size[0])
    if part == IMAGE:
        return np.asarray(Image.fromarray(native).resize(wide_high, Image.Resampling.BILINEAR))
    if part == "semseg":
        return np.asarray(
            Image.fromarray(np.ascontiguousarray(native)).resize(
                wide_high, Image.Resampling.NEAREST
            )
        )
    if part == "depth":
        counts, kept = targets.resized_depth(native, size)
        valid = np.minimum(np.rint(counts[0]), targets.INVALID_DEPTH - 1)
        return np.where(kept, valid, NO_DEPTH).astype(np.uint16)
    if part == "normals":
        vectors = targets.normals(native, size).transpose(1, 2, 0)
        return np.where(vectors == IGNORE, 128, np.rint(127.5 + 127.5 * vectors)).astype(np.uint8)
    return np.rint(targets.blurred_edge(native, size)).astype(np.uint16)


def _buildings(folders: Folders, split: str | None) -> tuple[str, ...]:
    if split is not None and split not in ("train", "test"):
        raise unknown("split", split, ("train", "test"))
    if split is None or not set(folders.buildings) & KNOWN:
        return tuple(name for name in folders.buildings if name not in EXCLUDED)
    found = tuple(name for name in wanted(split) if name in folders.buildings)
    if not found:
        raise DataError(f"Taskonomy: {folders.root} holds none of the buildings of split {split}")
    return found


def _say_unread(unread: list[tuple[str, str]], progress: Progress) -> None:
    for _, why in unread[:_LISTED]:
        progress.notice(f"left out of the cache: {why}")
    if len(unread) > _LISTED:
        progress.notice(
            f"left out of the cache: {len(unread) - _LISTED} more, listed in its manifest"
        )
