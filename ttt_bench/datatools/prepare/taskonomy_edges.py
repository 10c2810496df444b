"""Taskonomy's missing and damaged edge files, made from depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ttt_bench.data.listed.manifest import read_manifest, update_manifest
from ttt_bench.data.taskonomy import decode
from ttt_bench.data.taskonomy.edges import edges_from_depth
from ttt_bench.data.taskonomy.index import PARTS, Frames, find_folders, list_frames
from ttt_bench.datatools.check.edge_formula import LEAST, edge_correlation
from ttt_bench.datatools.check.frameset import Frameset
from ttt_bench.datatools.prepare.writing import HINT, require_space
from ttt_bench.errors import DataError
from ttt_bench.util.atomic import explained, replacing
from ttt_bench.util.parallel import map_in_threads
from ttt_bench.util.progress import Progress

_BYTES = 200_000  # of a file of 512x512
_LISTED = 5


def make_edges(root: Path, progress: Progress) -> int:
    """Make the edge files that are missing or cannot be read, in a folder `taskonomy/`, where depth
    is there.

    The manifest says that edges are derived before the first is written. Every file is replaced
    whole, so that the same call goes on after an interruption.

    Returns:
        How many were made.

    Raises:
        DataError: no frame has both, so that the formula cannot be compared; the edges that are
            there are not those of the formula; no room; or a folder cannot be written.
    """
    folders = find_folders(root)
    manifest = read_manifest(folders.root)
    if manifest.resized is not None:
        raise DataError(
            f"{root} is a cache of smaller files; the formula on depth holds for the original files alone"
        )
    frames = list_frames(folders, folders.buildings, progress)
    correlation = _correlation(frames, progress)
    frames = frames.select(frames.has("depth"))
    missing = ~frames.has("edge")

    def damaged(index: int) -> bool:
        try:
            decode.read(frames.path(index, "edge"), "edge")
        except DataError:
            return True
        return False

    there = [int(index) for index in np.flatnonzero(~missing)]
    bad = [
        index
        for index, yes in zip(
            there, map_in_threads(damaged, there, "looking at edges", progress), strict=True
        )
        if yes
    ]
    wanted = sorted([*map(int, np.flatnonzero(missing)), *bad])
    if not wanted:
        return 0
    require_space(folders.root, len(wanted) * _BYTES, f"making {len(wanted)} edge files")
    how = f"files that were missing or damaged are made from depth by the annotator's formula ({correlation})"
    update_manifest(folders.root, {"derived": {**manifest.derived, "edge": how}})

    def make(index: int) -> str | None:
        try:
            counts = decode.read(frames.path(index, "depth"), "depth")
        except DataError as error:
            return str(error)
        path = _edge_path(folders.root, frames, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            Image.fromarray(edges_from_depth(counts)).save(temporary, format="PNG")
        return None

    with explained(folders.root, HINT):
        failed = [
            why for why in map_in_threads(make, wanted, "making edges from depth", progress) if why
        ]
    for why in failed[:_LISTED]:
        progress.notice(f"no edges made: {why}")
    return len(wanted) - len(failed)


def _correlation(frames: Frames, progress: Progress) -> str:
    both = frames.select(frames.has("edge") & frames.has("depth"))
    same = Frameset(
        name="all",
        frames=both,
        parts=("edge", "depth"),
        decode=decode.read,
        alike=lambda edge, depth: edge == depth,
    )
    correlation, count = edge_correlation([same], progress)
    if not count:
        raise DataError(
            "no frame has both an edge and a depth file that can be compared, so nothing shows that the formula on "
            "depth holds for these files; download edge_occlusion of one building"
        )
    if correlation < LEAST:
        raise DataError(
            f"the edge files that are there do not follow from depth (correlation {correlation:.4f}, at least {LEAST} "
            "is needed), so none are made; download edge_occlusion again"
        )
    return f"correlation {correlation:.4f} on others"


def _edge_path(root: Path, frames: Frames, index: int) -> Path:
    """Where the edges belong that go with a depth file, in any layout."""
    depth, edge = PARTS["depth"][0], PARTS["edge"][0]
    path = frames.path(index, "depth")
    beside = root / path.parent.relative_to(root).as_posix().replace(depth, edge)
    folder = frames.folders.get((frames.building_of(index), "edge"), str(beside))
    return Path(folder, path.name.replace(depth, edge))
