"""Taskonomy's checks: layout, buildings, completeness, then what the files hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ttt_bench.data.images.normals import HARNESS_AXES
from ttt_bench.data.listed.manifest import Manifest, read_manifest
from ttt_bench.data.taskonomy import decode, targets
from ttt_bench.data.taskonomy.index import (
    IMAGE,
    LAYOUTS,
    PARTS,
    Folders,
    Frames,
    find_folders,
    list_frames,
)
from ttt_bench.data.taskonomy.selection import SUBSETS, fingerprint, published_damage, select
from ttt_bench.data.taskonomy.splits import EXCLUDED, FRAMES, KNOWN, TINY
from ttt_bench.datatools.check.classes import check_classes
from ttt_bench.datatools.check.contents import check_contents
from ttt_bench.datatools.check.conventions import check_axes, free_camera, measured_by_depth
from ttt_bench.datatools.check.edge_formula import check_edges
from ttt_bench.datatools.check.findings import Finding, Outcome
from ttt_bench.datatools.check.frameset import Frameset, Native
from ttt_bench.datatools.check.marks import check_marks
from ttt_bench.datatools.check.values import Depths, Vectors
from ttt_bench.errors import BenchError, DataError
from ttt_bench.tasks import TASKS
from ttt_bench.util.progress import Progress, Silent

_COUNTS_A_METRE = 512.0
_WINDOW = (1, 0.01)  # radius and bend; this depth is that of a mesh, without noise
_REMEDY = "Download the file again, or delete it, which leaves its frame out"


def check_taskonomy(root: Path, progress: Progress, full: bool, store: bool) -> Outcome:
    """Look over Taskonomy's folder."""
    try:
        folders = find_folders(root)
        manifest = read_manifest(folders.root)
        used = [name for name in folders.buildings if name not in EXCLUDED]
        frames = list_frames(folders, used, progress)
    except DataError as error:
        return Outcome([Finding("error", "layout", str(error), root)], root)
    findings = [*_layout(folders, frames, manifest), *_splits(folders, frames), *_frames(frames)]
    damaged = published_damage(frames)
    for index in damaged:
        message = (
            f"{frames.name(index)}: 1 frame unreadable upstream; excluded in every domain (about 0.05 % of frames are "
            "affected). Nothing to do."
        )
        findings.append(Finding("ok", "files", message, count=1))
    keep = np.logical_and.reduce([frames.has(part) for part in (IMAGE, *frames.tasks)])
    keep[damaged] = False
    whole = frames.select(keep)
    entries: dict[str, Any] = (
        {"unreadable": [frames.name(index) for index in damaged]} if damaged else {}
    )
    if not len(whole):
        message = f"not one of {len(frames)} frames has all of {', '.join((IMAGE, *frames.tasks))}; complete the download"
        return Outcome(
            [*findings, Finding("error", "frames", message, folders.root, len(frames))],
            folders.root,
        )
    everything = _frameset("all", whole)
    findings += check_contents([everything], _Values(), _REMEDY, full, progress)
    findings += _conventions(everything, manifest, store, entries, progress)
    if {"depth", "edge"} <= set(whole.tasks):
        findings += _edges(everything, manifest, progress)
    splits = _selections(folders)
    if "semseg" in whole.tasks:
        # the splits of a root without known buildings are all the same
        named = {"all": whole} if not set(folders.buildings) & KNOWN else splits
        for split in [name for name in named if name in ("all", "train", "test")]:
            findings += check_classes(
                split, named[split], {"taskonomy": "semseg"}, decode.read, full, progress
            )
    if any(finding.level == "error" for finding in findings):
        return Outcome(findings, folders.root, entries)
    marks = [
        (name, fingerprint(chosen, chosen.tasks, progress), len(chosen))
        for name, chosen in splits.items()
    ]
    entries["checked"] = sorted({mark for _, mark, _ in marks})
    return Outcome([*findings, *check_marks(marks, folders.root)], folders.root, entries)


def _frameset(name: str, frames: Frames) -> Frameset:
    return Frameset(
        name, frames, (IMAGE, *frames.tasks), decode.read, lambda target, image: target == image
    )


def _selections(folders: Folders) -> dict[str, Frames]:
    """Every split that there are frames for, the test set in each subset."""
    found: dict[str, Frames] = {}
    wanted = [("train", SUBSETS[0]), ("val", SUBSETS[0])]
    wanted += [(split, subset) for subset in SUBSETS for split in ("test", "tune")]
    for split, subset in wanted:
        name = split if subset == SUBSETS[0] else f"{split} ({subset})"
        try:
            found[name] = select(folders, split, subset, Silent())
        except BenchError:
            continue  # a split without frames is said where buildings are compared
    return found


def _conventions(
    frames: Frameset, manifest: Manifest, store: bool, entries: dict[str, Any], progress: Progress
) -> Iterator[Finding]:
    if "normals" not in frames.parts:
        return
    verdict = None
    if "depth" in frames.parts:
        verdict = measured_by_depth(
            [frames],
            lambda counts: (counts > 0) & (counts < targets.INVALID_DEPTH),
            free_camera,
            _WINDOW,
            progress,
        )
    if verdict is not None and verdict.axes is not None:
        entries["normal_axes"] = verdict.axes
    yield from check_axes(
        verdict, manifest.normal_axes or HARNESS_AXES, store, frames.example("normals")
    )


def _edges(frames: Frameset, manifest: Manifest, progress: Progress) -> Iterator[Finding]:
    if manifest.resized is None:
        yield check_edges([frames], progress)
    else:
        message = "edges: of a cache of smaller files; the formula on depth holds for the original files alone"
        yield Finding("ok", "edges", message, frames.example("edge"))


def _layout(folders: Folders, frames: Frames, manifest: Manifest) -> Iterator[Finding]:
    for name in folders.layouts:
        yield Finding("ok", "layout", f"layout {name}: {LAYOUTS[name]}", folders.root)
    if manifest.resized is not None:
        size = "x".join(map(str, manifest.resized))
        yield Finding(
            "ok", "layout", f"a cache of {size} files, masked and resized already", folders.root
        )
    for notice in folders.notices:
        yield Finding("warning", "layout", notice, next(iter(folders.leftovers), folders.root))
    count, example = frames.strays
    if count:
        yield Finding(
            "ok", "layout", f"ignored {count} files that are no frame's", Path(example), count
        )


def _splits(folders: Folders, frames: Frames) -> Iterator[Finding]:
    present = set(folders.buildings)
    if not present & KNOWN:
        message = "none of the known buildings is there, so there are no splits: all frames are used for every split"
        yield Finding(
            "warning",
            "splits",
            f"{message} ({', '.join(sorted(present))})",
            folders.root,
            len(present),
        )
        return
    for split, names in TINY.items():
        needed = [name for name in names if name not in EXCLUDED]
        missing = [name for name in needed if name not in present]
        message = f"split {split}: {len(needed) - len(missing)} of {len(needed)} buildings"
        if missing:
            message += f"; missing: {', '.join(missing)}. Download them to have the published split"
        yield Finding("warning" if missing else "ok", "splits", message, folders.root, len(missing))
    for message in EXCLUDED.values():
        yield Finding("ok", "splits", message)
    unknown = sorted(present - KNOWN)
    if unknown:
        message = f"not in the tiny split, so in no split: {', '.join(unknown)}"
        yield Finding("warning", "splits", message, folders.root, len(unknown))
    for name, found in frames.counts().items():
        expected = FRAMES.get(name, found)
        if found != expected:
            message = (
                f"{name}: {found} frames, a whole building has {expected}; complete its download"
            )
            yield Finding("warning", "splits", message, folders.root, abs(found - expected))


def _frames(frames: Frames) -> Iterator[Finding]:
    if not frames.has(IMAGE).any():
        yield Finding(
            "error", "frames", "there is no rgb image; download the domain rgb", count=len(frames)
        )
        return
    absent = [task for task in TASKS if task not in frames.tasks]
    for task in absent:
        message = f"no {PARTS[task][0]} files: the task {task} cannot run; download that domain to have it"
        yield Finding("error" if len(absent) == len(TASKS) else "warning", "frames", message)
    lacking_any = False
    for part in (IMAGE, *frames.tasks):
        lacking = ~frames.has(part)
        for number, building in enumerate(frames.buildings):
            at = np.flatnonzero(lacking & (frames.building == number))
            if len(at):
                lacking_any = True
                message = (
                    f"{building}: {len(at)} frames have no {PARTS[part][0]}, such as {frames.stem(int(at[0]))}; "
                    "they are left out in every domain. Complete the download to have them"
                )
                folder = frames.folders.get((building, part))
                yield Finding(
                    "warning", "frames", message, Path(folder) if folder else None, len(at)
                )
    if not lacking_any:
        yield Finding(
            "ok", "frames", f"{len(frames)} frames, each with {', '.join((IMAGE, *frames.tasks))}"
        )
    if "depth" in frames.tasks:
        yield Finding(
            "ok",
            "frames",
            "mask_valid is not published and not needed: validity is derived from depth",
        )


class _Values:
    """Ranges over the frames that were decoded."""

    def __init__(self) -> None:
        self._depths, self._vectors = Depths(), Vectors()
        self._edges: list[float] = []
        self._labelled = np.zeros(decode.MAX_LABEL + 1, dtype=np.int64)

    def add(self, native: Native) -> None:
        if "depth" in native:
            self._depths.add(
                native["depth"] / _COUNTS_A_METRE, native["depth"] < targets.INVALID_DEPTH
            )
        if "normals" in native:
            self._vectors.add(native["normals"])
        if "edge" in native:
            self._edges.append(float(native["edge"].max()))
        if "semseg" in native:
            self._labelled += np.bincount(native["semseg"].ravel(), minlength=len(self._labelled))

    def findings(self, frames: Frameset) -> Iterator[Finding]:
        yield from self._depths.findings(
            frames,
            f">= {targets.INVALID_DEPTH} counts",
            "the depth unit is not 1/512 m, so metres and scores do not compare with published ones",
        )
        yield from self._vectors.findings(
            frames,
            "these are not 8-bit vectors (v - 127.5) / 127.5, download the domain normal again",
        )
        if self._edges:
            good = max(self._edges) > 0
            message = "edges: " + (
                f"up to {max(self._edges):.0f} counts" if good else "0 in every frame looked at"
            )
            yield Finding("ok" if good else "warning", "values", message, frames.example("edge"))
        if self._labelled.any():
            yield from self._labels(frames)

    def _labels(self, frames: Frameset) -> Iterator[Finding]:
        objects = self._labelled[2:].sum() / self._labelled.sum()
        seen = int((self._labelled[2:] > 0).sum())
        message = (
            f"semseg: {objects:.1%} of the pixels show an object, {seen} of 16 object ids seen"
        )
        yield Finding(
            "ok" if objects > 0 else "warning", "values", message, frames.example("semseg")
        )
        if self._labelled[0]:
            message = f"semseg: 18 values where 17 classes are expected: 0 is uncertain ({self._labelled[0]} pixels)"
            yield Finding(
                "ok", "values", f"{message}; handled, it is ignored", frames.example("semseg")
            )
