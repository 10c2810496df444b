"""Write a cache of Taskonomy at a smaller size, which the loader reads instead of the originals.

Invalid pixels are masked at full size, before anything is resized. Targets are therefore those of
the original files up to the rounding of the stored values: 0.5 counts of depth and edges, and
0.5 / 127.5 in the components of a normal.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ttt_bench.data.images.files import Size, spread
from ttt_bench.data.listed.manifest import Manifest, read_manifest, update_manifest
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
        f"0, counts >= {targets.INVALID_DEPTH} and {targets.DEPTH_MARGIN} pixels around them "
        f"masked at full size, then bilinear over the valid ones; {NO_DEPTH} if fewer than half "
        "are valid"
    ),
    "normals": (
        "middle grey, black and white masked at full size, then bilinear over the valid vectors, "
        "to unit length; 128 elsewhere"
    ),
    "edge": f"bilinear, then blurred like targets: {targets.EDGE_SIGMA:g} pixels at 256",
}
"""The resizing of each part, for the manifest."""

_ESTIMATED = 8  # frames from which the size of the cache is estimated
_CLUSTER = 4096  # bytes that a file system allocates at once
_LISTED = 5  # unreadable frames that are reported one by one


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """The content of a cache.

    Attributes:
        size: rows and columns of the files.
        jpeg: store images as JPEG of quality 95, which is smaller and read faster, but changes the
            pixels.
        split: train or test, to use only its buildings; None uses all.
    """

    size: int
    jpeg: bool = False
    split: str | None = None

    @property
    def shape(self) -> Size:
        """(H, W) of the files."""
        return self.size, self.size

    @property
    def image_format(self) -> str:
        """The format of the images, in words."""
        return f"JPEG {JPEG_QUALITY}" if self.jpeg else "PNG"


def write_cache(source: Path, target: Path, options: CacheOptions, progress: Progress) -> int:
    """Write a cache of a folder `taskonomy/` as another folder.

    The folder appears when it is complete. After an interruption, the same call resumes. Frames
    that cannot be read are omitted, reported, and listed in the manifest.

    Args:
        source: the original files, in any layout.
        target: the folder `taskonomy/` of another data root.

    Returns:
        The number of frames in the cache.

    Raises:
        DataError: there are no frames, the source is a cache itself, the files are smaller than the
            cache, or there is too little space.
        BenchError: the split is unknown, or a file cannot be written.
    """
    folders = find_folders(source)
    manifest = read_manifest(folders.root)
    if manifest.resized is not None:
        raise DataError(f"{source} is a cache already; give the folder of the original files")
    buildings = _buildings(folders, options.split)
    frames, notices = complete(list_frames(folders, buildings, progress))
    for notice in notices:
        progress.notice(notice)
    _require_larger(frames, options.size)
    recipe = {
        "source": str(source.resolve()),
        "size": list(options.shape),
        "rgb": options.image_format,
        "buildings": list(buildings),
    }
    with draft(target, recipe) as partial:
        writer = _Writer(frames, partial, options)
        unread = _write_frames(writer, partial, progress)
        _report_unread(unread, progress)
        if len(unread) == len(frames):
            raise DataError(f"not one of {len(frames)} frames can be read; {unread[0].problem}")
        entries = _manifest_entries(manifest, options, writer.parts)
        left_out = [frame.name for frame in unread]
        update_manifest(partial, {**entries, "left_out": left_out})
    return len(frames) - len(unread)


class _Unread(NamedTuple):
    """A frame that cannot be read."""

    name: str
    problem: str


class _Writer:
    """Writes the files of single frames into a folder."""

    def __init__(self, frames: Frames, folder: Path, options: CacheOptions) -> None:
        self._frames, self._folder, self.options = frames, folder, options
        self.parts = (IMAGE, *frames.tasks)

    def missing(self) -> list[int]:
        """Return the frames that have not been written."""
        return [index for index in range(len(self._frames)) if not self._is_written(index)]

    def make_folders(self) -> None:
        """Make the folder of each part of each building."""
        for building in self._frames.buildings:
            for part in self.parts:
                (self._folder / PARTS[part][0] / building).mkdir(parents=True, exist_ok=True)

    def write(self, index: int) -> _Unread | None:
        """Write a frame; return its name and the problem if it cannot be read."""
        try:
            native = decode.read_frame(self._frames, index, self._frames.tasks)
        except DataError as error:
            return _Unread(self._frames.name(index), str(error))
        for part in self.parts:
            with replacing(self._path(index, part)) as path:
                path.write_bytes(self._encoded(part, native[part]))
        return None

    def estimate(self, indices: list[int]) -> int:
        """Return an estimate of the bytes of these frames on the disk, from a few of them."""
        sizes: list[int] = []
        for at in spread(len(indices), _ESTIMATED):
            try:
                native = decode.read_frame(self._frames, indices[at], self._frames.tasks)
            except DataError:
                continue  # reported when the frame is written
            files = (len(self._encoded(part, native[part])) for part in self.parts)
            sizes.append(sum(-(-length // _CLUSTER) * _CLUSTER for length in files))
        return int(np.mean(sizes) * len(indices)) if sizes else 0

    def _is_written(self, index: int) -> bool:
        return all(self._path(index, part).is_file() for part in self.parts)

    def _path(self, index: int, part: str) -> Path:
        name = self._frames.path(index, part).name
        if part == IMAGE and self.options.jpeg:
            name = name.removesuffix(".png") + ".jpg"
        return self._folder / PARTS[part][0] / self._frames.building_of(index) / name

    def _encoded(self, part: str, native: NDArray[Any]) -> bytes:
        content = BytesIO()
        picture = Image.fromarray(resized(part, native, self.options.shape))
        if part == IMAGE and self.options.jpeg:
            picture.save(content, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
        else:
            picture.save(content, format="PNG")
        return content.getvalue()


def resized(part: str, native: NDArray[Any], size: Size) -> NDArray[Any]:
    """Return the native array of a part at another size, in its native encoding, by `RULES`."""
    wide_high = (size[1], size[0])
    if part == IMAGE:
        return np.asarray(Image.fromarray(native).resize(wide_high, Image.Resampling.BILINEAR))
    if part == "semseg":
        labels = Image.fromarray(np.ascontiguousarray(native))
        return np.asarray(labels.resize(wide_high, Image.Resampling.NEAREST))
    if part == "depth":
        counts, kept = targets.resized_depth(native, size)
        valid = np.minimum(np.rint(counts[0]), targets.INVALID_DEPTH - 1)
        return np.where(kept, valid, NO_DEPTH).astype(np.uint16)
    if part == "normals":
        vectors = targets.normals(native, size).transpose(1, 2, 0)  # (3, H, W) -> (H, W, 3)
        return np.where(vectors == IGNORE, 128, np.rint(127.5 + 127.5 * vectors)).astype(np.uint8)
    return np.rint(targets.blurred_edge(native, size)).astype(np.uint16)


def _write_frames(writer: _Writer, folder: Path, progress: Progress) -> list[_Unread]:
    """Write the frames that are missing; return those that cannot be read."""
    writer.make_folders()
    left, size = writer.missing(), writer.options.size
    require_space(folder, writer.estimate(left), f"a cache of {len(left)} frames")
    title = f"resizing Taskonomy to {size}x{size}"
    threads = os.cpu_count() or 1
    results = list(map_in_threads(writer.write, left, title, progress, threads))
    return [result for result in results if result is not None]


def _require_larger(frames: Frames, size: int) -> None:
    height, width = decode.size_of(frames.path(0, IMAGE), IMAGE)
    if size > min(height, width):
        raise DataError(
            f"the cache would have {size}x{size} pixels, more than the files' {width}x{height}; "
            "choose a smaller size"
        )


def _manifest_entries(
    manifest: Manifest, options: CacheOptions, parts: Sequence[str]
) -> dict[str, Any]:
    """Return the entries that describe the cache and that its files share with the originals."""
    rules = {part: RULES[part] for part in parts}
    cache = {"size": list(options.shape), "rgb": options.image_format, "rules": rules}
    entries: dict[str, Any] = {"cache": cache, "derived": dict(manifest.derived)}
    if manifest.normal_axes:
        entries["normal_axes"] = manifest.normal_axes
    return entries


def _buildings(folders: Folders, split: str | None) -> tuple[str, ...]:
    """Return the buildings of a split, or all that are not excluded."""
    if split is not None and split not in ("train", "test"):
        raise unknown("split", split, ("train", "test"))
    if split is None or not set(folders.buildings) & KNOWN:
        return tuple(name for name in folders.buildings if name not in EXCLUDED)
    found = tuple(name for name in wanted(split) if name in folders.buildings)
    if not found:
        raise DataError(
            f"Taskonomy: {folders.root} contains no building of split {split}; "
            "download one, or omit --split"
        )
    return found


def _report_unread(unread: Sequence[_Unread], progress: Progress) -> None:
    for frame in unread[:_LISTED]:
        progress.notice(f"left out of the cache: {frame.problem}")
    rest = len(unread) - _LISTED
    if rest > 0:
        progress.notice(f"left out of the cache: {rest} more, listed in its manifest")
