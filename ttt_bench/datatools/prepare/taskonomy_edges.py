"""Make Taskonomy's missing and damaged edge files from depth."""

from __future__ import annotations

from functools import partial as bound
from itertools import chain
from pathlib import Path

import numpy as np

from ttt_bench.data.listed.manifest import read_manifest, update_manifest
from ttt_bench.data.taskonomy import decode
from ttt_bench.data.taskonomy.edges import edges_from_depth
from ttt_bench.data.taskonomy.index import PARTS, Folders, Frames, find_folders, list_frames
from ttt_bench.datatools.check.edge_formula import compare_edges
from ttt_bench.datatools.check.frameset import Frameset
from ttt_bench.datatools.prepare.writing import RESUMES, require_space, save_array
from ttt_bench.errors import DataError
from ttt_bench.util.atomic import remove_leftovers
from ttt_bench.util.os_errors import explained
from ttt_bench.util.parallel import map_in_threads
from ttt_bench.util.progress import Progress

_BYTES = 200_000  # per file of 512x512
_LISTED = 5  # failures that are reported one by one


def make_edges(root: Path, progress: Progress) -> int:
    """Make the missing and unreadable edge files of a folder `taskonomy/` from its depth files.

    The manifest states that edges are derived before the first one is written. Each file is written
    atomically, so that the same call resumes after an interruption.

    Returns:
        The number of files made.

    Raises:
        DataError: no frame has both files, so that the formula cannot be verified; the existing
            edges do not follow from the formula; or there is too little space.
        BenchError: a file cannot be written.
    """
    folders = find_folders(root)
    manifest = read_manifest(folders.root)
    if manifest.resized is not None:
        raise DataError(
            f"{root} is a cache of smaller files, but the formula on depth needs the original "
            "ones; give the folder of the original files"
        )
    _remove_leftovers(folders)
    frames = list_frames(folders, folders.buildings, progress)
    agreement = _agreement(frames, progress)
    frames = frames.select(frames.has("depth"))
    wanted = _wanted(frames, progress)
    if not wanted:
        return 0
    require_space(folders.root, len(wanted) * _BYTES, f"making {len(wanted)} edge files")
    rule = (
        "files that were missing or damaged are made from depth by the annotator's formula "
        f"({agreement})"
    )
    update_manifest(folders.root, {"derived": {**manifest.derived, "edge": rule}})
    work = bound(_make, folders.root, frames)
    with explained(folders.root, note=RESUMES):
        problems = list(map_in_threads(work, wanted, "making edges from depth", progress))
    failed = [problem for problem in problems if problem]
    for problem in failed[:_LISTED]:
        progress.notice(f"no edges made: {problem}")
    return len(wanted) - len(failed)


def _remove_leftovers(folders: Folders) -> None:
    """Remove the temporary files that a killed process left in the folders of edges."""
    edges = (paths for (_, part), paths in folders.paths.items() if part == "edge")
    with explained(folders.root):
        for folder in set(chain(*edges)):
            remove_leftovers(folder)


def _wanted(frames: Frames, progress: Progress) -> list[int]:
    """Return the frames whose edge file is missing or cannot be read."""
    missing = ~frames.has("edge")
    present = [int(index) for index in np.flatnonzero(~missing)]
    damaged = map_in_threads(bound(_damaged, frames), present, "reading edges", progress)
    bad = [index for index, is_bad in zip(present, damaged, strict=True) if is_bad]
    return sorted([*map(int, np.flatnonzero(missing)), *bad])


def _damaged(frames: Frames, index: int) -> bool:
    try:
        decode.read(frames.path(index, "edge"), "edge")
    except DataError:
        return True
    return False


def _make(root: Path, frames: Frames, index: int) -> str | None:
    """Write the edge file of a frame; return the problem if its depth cannot be read."""
    try:
        counts = decode.read(frames.path(index, "depth"), "depth")
    except DataError as error:
        return str(error)
    path = _edge_path(root, frames, index)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_array(path, edges_from_depth(counts))
    return None


def _agreement(frames: Frames, progress: Progress) -> str:
    """Return how well the existing edges follow from the formula, in words.

    Raises:
        DataError: no frame allows a comparison, or the existing edges do not follow from depth.
    """
    both = frames.select(frames.has("edge") & frames.has("depth"))
    same = Frameset(
        name="all",
        frames=both,
        parts=("edge", "depth"),
        decode=decode.read,
        alike=lambda edge, depth: edge == depth,
    )
    fit = compare_edges([same], progress)
    if not fit.count:
        raise DataError(
            f"{fit.problem}, so the formula on depth cannot be verified; download edge_occlusion "
            "of one building"
        )
    if fit.problem is not None:
        raise DataError(
            f"no edges are made, because {fit.problem}; download depth_zbuffer and edge_occlusion "
            "again"
        )
    return f"correlation {fit.correlation:.4f} and slope {fit.slope:.3f} on the other files"


def _edge_path(root: Path, frames: Frames, index: int) -> Path:
    """Return the path of the edge file that belongs to a depth file, in any layout."""
    depth, edge = PARTS["depth"][0], PARTS["edge"][0]
    path = frames.path(index, "depth")
    default: Path = root / path.parent.relative_to(root).as_posix().replace(depth, edge)
    folders = frames.folders.get((frames.building_of(index), "edge"), ())
    places = (*map(Path, folders), default)
    paths = [folder / path.name.replace(depth, edge) for folder in places]
    with_file = (path for path in paths if path.is_file())
    return next(with_file, paths[-1] if str(default) in folders else paths[0])
