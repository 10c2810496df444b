"""Which frames a split is made of. Imports no torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images import files
from ttt_bench.data.taskonomy.index import IMAGE, Folders, Frames, list_frames
from ttt_bench.data.taskonomy.splits import DAMAGED, EXCLUDED, KNOWN, PUBLISHED_TEST, TINY, wanted
from ttt_bench.errors import BenchError, DataError, unknown
from ttt_bench.util.progress import Progress

SUBSETS = ("first_tenth", "stride10", "all")
"""first_tenth: as published; stride10: every tenth test frame, all buildings; all: every test
frame.
"""

_HELD_OUT = 100  # one in so many frames of the validation buildings is kept from training


def select(folders: Folders, split: str, subset: str, progress: Progress) -> Frames:
    """The frames of a split, complete in every part, in the order that the published lists have.

    `train` is the training and validation buildings, as published, less the hundredth that `val`
    is. `test` is `subset` of the test buildings. `tune` is other frames of those: the last tenth,
    or every tenth from the fifth on. A root without a single known building has no splits: all its
    frames are used for each.

    Raises:
        BenchError: no such split or subset.
        DataError: the root has no frame for the split.
    """
    if split not in ("train", "val", "test", "tune"):
        raise unknown("split", split, ("train", "val", "test", "tune"))
    if subset not in SUBSETS:
        raise unknown("subset", subset, SUBSETS)
    for notice in folders.notices:
        progress.notice(notice)
    present = set(folders.buildings)
    if not present & KNOWN:
        frames = complete(list_frames(folders, folders.buildings, progress), progress)
        progress.notice(
            f"Taskonomy: {folders.root} holds none of the known buildings; all its {len(frames)} frames are used as "
            f"{split}"
        )
        return frames
    names = [name for name in wanted(split) if name in present]
    _say_absent(split, present, progress)
    if not names:
        raise DataError(
            f"Taskonomy: {folders.root} holds none of the buildings of split {split} ({', '.join(wanted(split))}), "
            f"only {', '.join(folders.buildings)}; download some of them into it"
        )
    frames = complete(list_frames(folders, names, progress), progress)
    chosen = frames.select(_choose(frames, split, subset))
    if len(chosen) == 0:
        raise DataError(
            f"Taskonomy: split {split} ({subset}) is empty: it takes none of the {len(frames)} complete frames of "
            f"{', '.join(names)} below {folders.root} (a tenth needs ten); complete the download of these buildings, "
            "or take another subset of them, such as --set data.test_subset=all"
        )
    if split == "test":
        used = ", ".join(frames.buildings[i] for i in np.unique(chosen.building))
        progress.notice(
            f"Taskonomy: test subset {subset}: {len(chosen)} frames, from {used} (published: first_tenth, "
            f"{PUBLISHED_TEST} frames)"
        )
    return chosen


def complete(frames: Frames, progress: Progress) -> Frames:
    """The frames that have every part that any of them has, less those whose published files are
    damaged.

    Raises:
        DataError: none has.
    """
    count, example = frames.strays
    if count:
        progress.notice(f"Taskonomy: ignored {count} files that are no frame's, such as {example}")
    keep = np.ones(len(frames), dtype=np.bool_)
    for part in (IMAGE, *frames.tasks):
        lacking = ~frames.has(part)
        if lacking.any():
            first = int(np.flatnonzero(lacking)[0])
            progress.notice(
                f"Taskonomy: left out {int(lacking.sum())} of {len(frames)} frames that have no {part}, such as "
                f"{frames.name(first)}"
            )
        keep &= ~lacking
    damaged = published_damage(frames)
    if damaged:
        keep[damaged] = False
        progress.notice(
            f"Taskonomy: {len(damaged)} frame unreadable upstream, left out in every domain: "
            + ", ".join(frames.name(index) for index in damaged)
        )
    if not keep.any():
        raise DataError(
            f"Taskonomy: not one of {len(frames)} frames has all of {', '.join((IMAGE, *frames.tasks))}; complete the "
            "download (folder names: rgb, segment_semantic, depth_zbuffer, normal, edge_occlusion)"
        )
    if not frames.tasks:
        raise DataError(
            "Taskonomy: there are images but no targets; download one of segment_semantic, depth_zbuffer, normal, "
            "edge_occlusion beside rgb"
        )
    return frames.select(keep)


def fingerprint(frames: Frames, tasks: tuple[str, ...], progress: Progress) -> str:
    """`ttt_bench.data.images.files.fingerprint` of these frames."""
    return files.fingerprint(frames, (IMAGE, *tasks), "fingerprinting Taskonomy", progress)


def _choose(frames: Frames, split: str, subset: str) -> NDArray[np.int64]:
    everything = np.arange(len(frames))
    if split in ("train", "val"):
        validation = np.isin(
            frames.building, [i for i, name in enumerate(frames.buildings) if name in TINY["val"]]
        )
        held_out = np.flatnonzero(validation)[::_HELD_OUT]
        return held_out if split == "val" else np.setdiff1d(everything, held_out)
    if subset == "stride10":
        return everything[(0 if split == "test" else 5) :: 10]
    if subset == "all" and split == "test":
        return everything
    if subset == "all":
        raise BenchError(
            "Taskonomy: with subset all every test frame is scored, which leaves none for split tune"
        )
    tenth = first_tenth(frames.counts())
    return everything[:tenth] if split == "test" else everything[max(tenth, len(frames) - tenth) :]


def first_tenth(counts: dict[str, int]) -> int:
    """How many frames the first tenth of the test buildings has, given each one's frames in order.

    The published number where the first building has that many, since it alone holds the published
    tenth: the others need not be downloaded, and a frame that is damaged may be deleted. Else a
    tenth of what is there, rounded down.
    """
    if counts.get(TINY["test"][0], 0) >= PUBLISHED_TEST:
        return PUBLISHED_TEST
    return sum(counts.values()) // 10


def published_damage(frames: Frames) -> list[int]:
    """Indices of the frames whose published files cannot be read."""
    found = []
    for building, stem in DAMAGED:
        if building in frames.buildings:
            inside = np.flatnonzero(frames.building == frames.buildings.index(building))
            found += [int(index) for index in inside if frames.stem(int(index)) == stem]
    return sorted(found)


def _say_absent(split: str, present: set[str], progress: Progress) -> None:
    missing = [name for name in wanted(split) if name not in present]
    if missing:
        progress.notice(
            f"Taskonomy: split {split} lacks the buildings {', '.join(missing)}, which are not there"
        )
    buildings = {"train": TINY["train"] + TINY["val"], "val": TINY["val"]}.get(split, ())
    for name in buildings:
        if name in EXCLUDED:
            progress.notice(f"Taskonomy: {EXCLUDED[name]}")
