"""What `data check` finds: layout, splits, completeness, damage, value ranges, fingerprint. Prints nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.files import spread
from ttt_bench.data.taskonomy import decode, targets
from ttt_bench.data.taskonomy.index import IMAGE, LAYOUTS, PARTS, Folders, Frames, find_folders, list_frames
from ttt_bench.data.taskonomy.selection import fingerprint, published_damage
from ttt_bench.data.taskonomy.splits import EXCLUDED, FRAMES, KNOWN, TINY
from ttt_bench.errors import DataError
from ttt_bench.progress import Progress
from ttt_bench.tasks import TASKS

Level = Literal["ok", "warning", "error"]

_SAMPLE = 200  # frames that are decoded
_LISTED = 10  # damaged files that get a line of their own
_COUNTS_A_METRE = 512.0
_MEDIAN_DEPTH = (0.5, 20.0)  # metres, of the median over a sample; beyond it the unit is another
_MOST_INVALID = 0.5
_UNIT_LENGTH = 0.05
_UNIT_SHARE = 0.95


@dataclass(frozen=True)
class Finding:
    """One line of a check.

    Attributes:
        level: ok, warning (usable, but look), error (unusable as it is).
        check: layout, splits, frames, files, values or fingerprint.
        message: what was found and, where something is wrong, what to do.
        path: an example file or folder, if any.
        count: how many things the finding is about; 0 where there is nothing to count.
    """

    level: Level
    check: str
    message: str
    path: Path | None = None
    count: int = 0


def check(root: Path, progress: Progress) -> list[Finding]:
    """Look over a data root (the folder that holds `taskonomy/`) or Taskonomy's folder itself.

    Folders and names are read in full; a spread sample of 200 frames is decoded. What is unusable is a finding, never
    an exception.
    """
    root = root / "taskonomy" if (root / "taskonomy").is_dir() else root
    try:
        folders = find_folders(root)
        used = [name for name in folders.buildings if name not in EXCLUDED]
        frames = list_frames(folders, used, progress)
    except DataError as error:
        return [Finding("error", "layout", str(error), root)]
    findings = [*_layout(folders, frames), *_splits(folders, frames), *_frames(frames)]
    keep = np.logical_and.reduce([frames.has(part) for part in (IMAGE, *frames.tasks)])
    for index in published_damage(frames):
        keep[index] = False
        message = f"{frames.name(index)}: unreadable upstream, so left out in every domain. Nothing to do."
        findings.append(Finding("ok", "files", message, count=1))
    whole = frames.select(keep)
    if not len(whole):
        message = (
            f"not one of {len(frames)} frames has all of {', '.join((IMAGE, *frames.tasks))}; complete the download"
        )
        findings.append(Finding("error", "frames", message, folders.root, len(frames)))
    else:
        findings += _contents(whole, progress)
        mark = fingerprint(whole, whole.tasks, progress)
        findings.append(Finding("ok", "fingerprint", f"{mark} over {len(whole)} frames", folders.root, len(whole)))
    return findings


def exit_code(findings: Sequence[Finding], strict: bool = False) -> int:
    """0: fine; 1: warnings, where `strict` asks for none; 2: an error."""
    levels = {finding.level for finding in findings}
    if "error" in levels:
        return 2
    return 1 if strict and "warning" in levels else 0


def _layout(folders: Folders, frames: Frames) -> Iterator[Finding]:
    for name in folders.layouts:
        yield Finding("ok", "layout", f"layout {name}: {LAYOUTS[name]}", folders.root)
    for notice in folders.notices:
        yield Finding("warning", "layout", notice, next(iter(folders.leftovers), folders.root))
    count, example = frames.strays
    if count:
        yield Finding("ok", "layout", f"ignored {count} files that are no frame's", Path(example), count)


def _splits(folders: Folders, frames: Frames) -> Iterator[Finding]:
    present = set(folders.buildings)
    if not present & KNOWN:
        message = "none of the known buildings is there, so there are no splits: all frames are used for every split"
        yield Finding("warning", "splits", f"{message} ({', '.join(sorted(present))})", folders.root, len(present))
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
            message = f"{name}: {found} frames, a whole building has {expected}; complete its download"
            yield Finding("warning", "splits", message, folders.root, abs(found - expected))


def _frames(frames: Frames) -> Iterator[Finding]:
    if not frames.has(IMAGE).any():
        yield Finding("error", "frames", "there is no rgb image; download the domain rgb", count=len(frames))
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
                yield Finding("warning", "frames", message, Path(folder) if folder else None, len(at))
    if not lacking_any:
        yield Finding("ok", "frames", f"{len(frames)} frames, each with {', '.join((IMAGE, *frames.tasks))}")


def _contents(frames: Frames, progress: Progress) -> list[Finding]:
    """Decode a sample; what cannot be used is listed, what can is measured."""
    damaged: list[decode.Problem] = []
    values = _Values()
    sample = spread(len(frames), _SAMPLE)
    with progress.bar("decoding a sample", len(sample)) as bar:
        for index in sample:
            try:
                values.add(decode.read_frame(frames, index, frames.tasks))
            except DataError:
                damaged += decode.problems(frames, index, frames.tasks, full=True)
            bar.advance()
    remedy = "Download the file again, or delete it, which leaves its frame out"
    findings = [
        Finding("error", "files", f"{problem.message}. {remedy}", problem.path, 1) for problem in damaged[:_LISTED]
    ]
    if len(damaged) > _LISTED:
        findings.append(Finding("error", "files", f"and {len(damaged) - _LISTED} more", count=len(damaged) - _LISTED))
    if not damaged:
        message = f"{len(sample)} of {len(frames)} frames decoded: mode, bit depth and size as they should be"
        findings.append(Finding("ok", "files", message, count=len(sample)))
    return [*findings, *values.findings(frames)]


class _Values:
    """Ranges over a sample of frames."""

    def __init__(self) -> None:
        self._medians: list[float] = []
        self._invalid: list[float] = []
        self._unit: list[float] = []
        self._edges: list[float] = []
        self._labelled = np.zeros(decode.MAX_LABEL + 1, dtype=np.int64)

    def add(self, native: dict[str, NDArray[Any]]) -> None:
        if "depth" in native:
            valid = native["depth"] < targets.INVALID_DEPTH
            self._invalid.append(1.0 - float(valid.mean()))
            if valid.any():
                self._medians.append(float(np.median(native["depth"][valid])) / _COUNTS_A_METRE)
        if "normals" in native:
            lengths = np.linalg.norm(targets.decode_normals(native["normals"]), axis=0)
            lengths = lengths[targets.normals_mask(native["normals"])]
            if lengths.size:
                self._unit.append(float((np.abs(lengths - 1.0) <= _UNIT_LENGTH).mean()))
        if "edge" in native:
            self._edges.append(float(native["edge"].max()))
        if "semseg" in native:
            self._labelled += np.bincount(native["semseg"].ravel(), minlength=len(self._labelled))

    def findings(self, frames: Frames) -> Iterator[Finding]:
        if self._invalid:
            yield from self._depth(frames)
        if self._unit:
            share = float(np.mean(self._unit))
            good = share >= _UNIT_SHARE
            message = f"normals: {share:.1%} of the vectors have unit length" + (
                "" if good else "; these are not 8-bit vectors (v - 127.5) / 127.5, download the domain normal again"
            )
            yield Finding("ok" if good else "warning", "values", message, frames.path(0, "normals"))
        if self._edges:
            good = max(self._edges) > 0
            message = "edges: " + (f"up to {max(self._edges):.0f} counts" if good else "0 in every frame looked at")
            yield Finding("ok" if good else "warning", "values", message, frames.path(0, "edge"))
        if self._labelled.any():
            objects = self._labelled[2:].sum() / self._labelled.sum()
            seen = int((self._labelled[2:] > 0).sum())
            message = f"semseg: {objects:.1%} of the pixels show an object, {seen} of 16 object ids seen"
            yield Finding("ok" if objects > 0 else "warning", "values", message, frames.path(0, "semseg"))

    def _depth(self, frames: Frames) -> Iterator[Finding]:
        path = frames.path(0, "depth")
        invalid = float(np.mean(self._invalid))
        yield Finding(
            "warning" if invalid > _MOST_INVALID else "ok",
            "values",
            f"depth: {invalid:.1%} of the pixels are invalid (>= {targets.INVALID_DEPTH}) and masked",
            path,
        )
        if self._medians:
            median = float(np.median(self._medians))
            good = _MEDIAN_DEPTH[0] <= median <= _MEDIAN_DEPTH[1]
            message = f"depth: median {median:.2f} m" + (
                ""
                if good
                else f", outside {_MEDIAN_DEPTH[0]}..{_MEDIAN_DEPTH[1]:.0f} m: the depth unit is not 1/512 m, so "
                "metres and scores do not compare with published ones"
            )
            yield Finding("ok" if good else "warning", "values", message, path)
