"""The checks of Taskonomy: layout, buildings, completeness, then the content of the files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.normals import HARNESS_AXES, Mask
from ttt_bench.data.listed.manifest import Manifest, read_manifest
from ttt_bench.data.taskonomy import decode, targets
from ttt_bench.data.taskonomy.depth import COUNTS_PER_METRE
from ttt_bench.data.taskonomy.index import (
    IMAGE,
    LAYOUTS,
    PARTS,
    Folders,
    Frames,
    find_folders,
    list_frames,
)
from ttt_bench.data.taskonomy.selection import SUBSETS, published_damage, select
from ttt_bench.data.taskonomy.splits import EXCLUDED, FRAMES, KNOWN, TINY
from ttt_bench.datatools.check.agreement import check_agreement
from ttt_bench.datatools.check.agreement.colours import Colours
from ttt_bench.datatools.check.agreement.contours import (
    depth_contours,
    label_contours,
    normal_contours,
)
from ttt_bench.datatools.check.contents import check_contents
from ttt_bench.datatools.check.conventions import (
    DepthRule,
    Measurement,
    axes_entry,
    check_axes,
    free_camera,
    measure_with_depth,
)
from ttt_bench.datatools.check.edge_formula import check_edges
from ttt_bench.datatools.check.findings import Finding, Measured, Results, doubted, has_error
from ttt_bench.datatools.check.fingerprints import (
    SplitFiles,
    check_digests,
    check_fingerprints,
    checked_entry,
    fingerprints,
)
from ttt_bench.datatools.check.frameset import Frameset, Native
from ttt_bench.datatools.check.labels.classes import LabelMaps, check_classes
from ttt_bench.datatools.check.labels.steps import LabelSteps
from ttt_bench.datatools.check.values import DepthValues, NormalValues
from ttt_bench.errors import BenchError, DataError
from ttt_bench.tasks import PAPER_TASKS
from ttt_bench.util.progress import Progress, Silent

_HINT = "Download the file again, or delete it; its frame is then omitted"


def _trusted_depth(counts: NDArray[Any]) -> Mask:
    return np.asarray(~targets.invalid_depth(counts))


_DEPTH_RULE = DepthRule(_trusted_depth, free_camera, radius=1, bend=0.01)
"""A small window, because this depth comes from a mesh and has no noise."""

_CONTOURS = {
    "semseg": label_contours,
    "depth": lambda counts: depth_contours(counts, _trusted_depth(counts)),
    "normals": normal_contours,
}
"""The contour maps of the parts; edges are compared with depth by their formula instead."""


def check_taskonomy(root: Path, progress: Progress, *, full: bool, store: bool) -> Results:
    """Check the folder of Taskonomy.

    Args:
        full: decode every frame, and hash every file if `store` is set.
        store: whether measurements are stored afterwards.

    Raises:
        DataError: a file that the later checks need cannot be read.
    """
    try:
        folders = find_folders(root)
        manifest = read_manifest(folders.root)
        used = [name for name in folders.buildings if name not in EXCLUDED]
        frames = list_frames(folders, used, progress)
    except DataError as error:
        yield Finding.error("layout", str(error), root)
        return
    damaged = published_damage(frames)
    names = [*_check_layout(folders, frames, manifest), *_check_buildings(folders, frames)]
    names += [*_check_frames(frames), *(_unreadable(frames.name(index)) for index in damaged)]
    yield from names
    if damaged:
        yield Measured(folders.root, {"unreadable": [frames.name(index) for index in damaged]})
    usable = _usable(frames, damaged)
    if not len(usable):
        yield _none_usable(frames, folders.root)
        return
    everything = _frameset(usable)
    contents = check_contents([everything], _TaskonomyValues(), _HINT, progress, full=full)
    contents += _check_edges(everything, manifest, progress)
    contents += check_agreement([everything], _CONTOURS, progress)
    yield from contents
    if "normals" in everything.parts:
        trusted = not doubted(contents, "depth", "normals")
        verdict = _measure_axes(everything, progress)
        used_axes, example = manifest.normal_axes or HARNESS_AXES, everything.example("normals")
        yield from check_axes(verdict, used_axes, example, stored=store, trusted=trusted)
        yield Measured(folders.root, axes_entry(verdict, trusted=trusted))
    splits = _selections(folders)
    yield from _check_classes(_label_splits(folders, usable, splits), progress, full=full)
    if has_error([*names, *contents]):
        return
    files = [SplitFiles(name, chosen, (IMAGE, *chosen.tasks)) for name, chosen in splits.items()]
    if full and store:
        yield from check_digests(folders.root, files, progress)
    found = fingerprints(folders.root, files, "Taskonomy", progress)
    yield from check_fingerprints(found, folders.root)
    yield Measured(folders.root, checked_entry(found))


def _usable(frames: Frames, damaged: Sequence[int]) -> Frames:
    """Return the frames with a file for every part, without those damaged upstream."""
    keep = np.logical_and.reduce([frames.has(part) for part in (IMAGE, *frames.tasks)])
    keep[list(damaged)] = False
    return frames.select(keep)


def _unreadable(name: str) -> Finding:
    message = (
        f"{name}: 1 frame unreadable upstream; excluded in every domain (about 0.05 % of the "
        "frames are affected). Nothing to do."
    )
    return Finding.ok("files", message, count=1)


def _none_usable(frames: Frames, root: Path) -> Finding:
    parts = ", ".join((IMAGE, *frames.tasks))
    message = f"not one of {len(frames)} frames has all of {parts}; complete the download"
    return Finding.error("frames", message, root, len(frames))


def _frameset(frames: Frames) -> Frameset:
    return Frameset(
        name="all",
        frames=frames,
        parts=(IMAGE, *frames.tasks),
        decode=decode.read,
        alike=lambda target, image: target == image,
    )


def _selections(folders: Folders) -> dict[str, Frames]:
    """Return the frames of every split that has some; the test set in each subset."""
    wanted = [("train", SUBSETS[0]), ("val", SUBSETS[0])]
    wanted += [(split, subset) for subset in SUBSETS for split in ("test", "tune")]
    found: dict[str, Frames] = {}
    for split, subset in wanted:
        name = split if subset == SUBSETS[0] else f"{split} ({subset})"
        try:
            found[name] = select(folders, split, subset, Silent()).frames
        except BenchError:
            continue  # a split without frames is reported where buildings are compared
    return found


def _measure_axes(frames: Frameset, progress: Progress) -> Measurement | None:
    """Measure the normal axes with depth; return None without depth."""
    if "depth" not in frames.parts:
        return None
    return measure_with_depth([frames], _DEPTH_RULE, progress)


def _check_edges(frames: Frameset, manifest: Manifest, progress: Progress) -> Iterator[Finding]:
    if not {"depth", "edge"} <= set(frames.parts):
        return
    if manifest.resized is None:
        yield from check_edges([frames], progress)
    else:
        message = "edges: from a cache of smaller files; the formula on depth needs the originals"
        yield Finding.ok("edges", message, frames.example("edge"))


def _label_splits(folders: Folders, usable: Frames, splits: dict[str, Frames]) -> dict[str, Frames]:
    """Return the splits whose classes are counted; without known buildings all are the same."""
    if "semseg" not in usable.tasks:
        return {}
    if not set(folders.buildings) & KNOWN:
        return {"all": usable}
    return {name: splits[name] for name in ("train", "test") if name in splits}


def _check_classes(
    splits: dict[str, Frames], progress: Progress, *, full: bool
) -> Iterator[Finding]:
    for split, frames in splits.items():
        maps = LabelMaps(
            split=split, frames=frames, parts={"taskonomy": "semseg"}, decode=decode.read
        )
        yield from check_classes(maps, progress, full=full)


def _check_layout(folders: Folders, frames: Frames, manifest: Manifest) -> Iterator[Finding]:
    for name in folders.layouts:
        yield Finding.ok("layout", f"layout {name}: {LAYOUTS[name]}", folders.root)
    if manifest.resized is not None:
        size = "x".join(map(str, manifest.resized))
        message = f"a cache of {size} files, already masked and resized"
        yield Finding.ok("layout", message, folders.root)
    for notice in folders.notices:
        yield Finding.warning("layout", notice, next(iter(folders.leftovers), folders.root))
    count, example = frames.strays
    if count:
        message = f"ignored {count} files that do not belong to a frame"
        yield Finding.ok("layout", message, Path(example), count)


def _check_buildings(folders: Folders, frames: Frames) -> Iterator[Finding]:
    """Compare the buildings with the published splits, and their frames with the published ones."""
    present = set(folders.buildings)
    if not present & KNOWN:
        message = (
            "none of the known buildings is present, so there are no splits: every split uses all "
            f"frames ({', '.join(sorted(present))})"
        )
        yield Finding.warning("splits", message, folders.root, len(present))
        return
    for split, names in TINY.items():
        yield _check_split(split, names, folders)
    for message in EXCLUDED.values():
        yield Finding.ok("splits", message)
    unknown = sorted(present - KNOWN)
    if unknown:
        message = f"not in the tiny split, so in no split: {', '.join(unknown)}"
        yield Finding.warning("splits", message, folders.root, len(unknown))
    for name, count in frames.counts().items():
        expected = FRAMES.get(name, count)
        if count != expected:
            message = (
                f"{name}: {count} frames, the complete building has {expected}; "
                "complete its download"
            )
            yield Finding.warning("splits", message, folders.root, abs(count - expected))


def _check_split(split: str, names: Sequence[str], folders: Folders) -> Finding:
    needed = [name for name in names if name not in EXCLUDED]
    missing = [name for name in needed if name not in folders.buildings]
    message = f"split {split}: {len(needed) - len(missing)} of {len(needed)} buildings"
    if missing:
        message += f"; missing: {', '.join(missing)}. Download them for the published split"
    return Finding.ok_if(not missing, "splits", message, folders.root, count=len(missing))


def _check_frames(frames: Frames) -> Iterator[Finding]:
    """Yield the domains without any file, then the buildings with incomplete frames."""
    if not frames.has(IMAGE).any():
        message = "no rgb image was found; download the domain rgb"
        yield Finding.error("frames", message, count=len(frames))
        return
    yield from _absent_domains(frames)
    incomplete = list(_incomplete_frames(frames))
    yield from incomplete
    if not incomplete:
        parts = ", ".join((IMAGE, *frames.tasks))
        yield Finding.ok("frames", f"{len(frames)} frames, each with {parts}")
    if "depth" in frames.tasks:
        message = "mask_valid is not published and not needed: validity is derived from depth"
        yield Finding.ok("frames", message)


def _absent_domains(frames: Frames) -> Iterator[Finding]:
    absent = [task for task in PAPER_TASKS if task not in frames.tasks]
    for task in absent:
        message = (
            f"no {PARTS[task][0]} files, so the task {task} cannot run; download that domain to "
            "run it"
        )
        if len(absent) == len(PAPER_TASKS):
            yield Finding.error("frames", message)
        else:
            yield Finding.warning("frames", message)


def _incomplete_frames(frames: Frames) -> Iterator[Finding]:
    for part in (IMAGE, *frames.tasks):
        lacking = ~frames.has(part)
        for number, building in enumerate(frames.buildings):
            at = np.flatnonzero(lacking & (frames.building == number))
            if not len(at):
                continue
            message = (
                f"{building}: {len(at)} frames have no {PARTS[part][0]}, such as "
                f"{frames.stem(int(at[0]))}; they are omitted in every domain. "
                "Complete the download to use them"
            )
            folders = frames.folders.get((building, part))
            folder = Path(folders[0]) if folders else None
            yield Finding.warning("frames", message, folder, len(at))


class _TaskonomyValues:
    """The values of the decoded frames."""

    def __init__(self) -> None:
        self._depth, self._normals = DepthValues(), NormalValues()
        self._edges: list[float] = []
        self._labelled = np.zeros(decode.MAX_LABEL + 1, dtype=np.int64)
        self._zeros: list[float] = []
        self._colours, self._steps = Colours(), LabelSteps("semseg")

    def add(self, native: Native) -> None:
        """Add the arrays of a frame."""
        self._colours.add(native[IMAGE])
        if "depth" in native:
            counts = native["depth"]
            self._zeros.append(float((counts == 0).mean()))
            self._depth.add(counts / COUNTS_PER_METRE, _trusted_depth(counts))
        if "normals" in native:
            self._normals.add(native["normals"])
        if "edge" in native:
            self._edges.append(float(native["edge"].max()))
        if "semseg" in native:
            self._steps.add(native["semseg"])
            self._labelled += np.bincount(native["semseg"].ravel(), minlength=len(self._labelled))

    def findings(self, frames: Frameset) -> Iterator[Finding]:
        """Yield the results."""
        if any(self._zeros):
            message = (
                f"depth: {np.mean(self._zeros):.1%} of the pixels are 0, which published files "
                "never hold (invalid depth is 65535 there), and are read as invalid; download the "
                "domain depth_zbuffer again"
            )
            yield Finding.warning("values", message, frames.example("depth"), about="depth")
        yield from self._depth.findings(
            frames,
            f">= {targets.INVALID_DEPTH} counts",
            "the depth unit is not 1/512 m, so metres and scores cannot be compared with "
            "published ones; download the domain depth_zbuffer again",
        )
        yield from self._normals.findings(
            frames,
            "these are not 8-bit vectors (v - 127.5) / 127.5; download the domain normal again",
        )
        if self._edges:
            most = max(self._edges)
            text = f"up to {most:.0f} counts" if most > 0 else "0 in every decoded frame"
            path = frames.example("edge")
            yield Finding.ok_if(most > 0, "values", f"edges: {text}", path)
        yield from self._colours.findings(frames.example(IMAGE))
        if self._labelled.any():
            yield from self._labels(frames.example("semseg"))
            yield from self._steps.findings(frames.example("semseg"))

    def _labels(self, path: Path) -> Iterator[Finding]:
        """Yield the share of object pixels; ids 0 and 1 are uncertain and background."""
        objects = self._labelled[2:].sum() / self._labelled.sum()
        seen = int((self._labelled[2:] > 0).sum())
        message = (
            f"semseg: {objects:.1%} of the pixels show an object, {seen} of 16 object ids seen"
        )
        yield Finding.ok_if(bool(objects > 0), "values", message, path)
        if self._labelled[0] > self._labelled[1]:
            message = (
                f"semseg: {self._labelled[0]} pixels are 0 (uncertain), only {self._labelled[1]} "
                "are 1 (background): the ids may have been lowered by one; ids are 0..17 with "
                "1 for background. Take the published label maps"
            )
            yield Finding.warning("values", message, path)
        elif self._labelled[0]:
            message = (
                "semseg: 18 values where 17 classes are expected: 0 is uncertain "
                f"({self._labelled[0]} pixels); handled, it is ignored"
            )
            yield Finding.ok("values", message, path)
