"""Selection of the frames of a split. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from ttt_bench.config.preset import TestSubset
from ttt_bench.data.images import files
from ttt_bench.data.splits import require_split
from ttt_bench.data.taskonomy.index import IMAGE, Folders, Frames, list_frames
from ttt_bench.data.taskonomy.splits import DAMAGED, EXCLUDED, KNOWN, PUBLISHED_TEST, TINY, wanted
from ttt_bench.errors import BenchError, DataError, unknown
from ttt_bench.util.progress import Progress

SUBSETS: tuple[str, ...] = get_args(TestSubset)
"""Subsets of the test frames: first_tenth (as published), stride10 (every tenth frame of all
buildings), all.
"""

_HELD_OUT = 100  # one of 100 frames of the validation buildings is not trained on


class Selection(NamedTuple):
    """Frames, and notices on how they were chosen."""

    frames: Frames
    notices: tuple[str, ...]


def select(folders: Folders, split: str, subset: str, progress: Progress) -> Selection:
    """Return the frames of a split, complete in every part, in the order of the published lists.

    `train` is the training and validation buildings, as published, without the hundredth that is
    `val`. `test` is `subset` of the test buildings. `tune` is other frames of them: the last tenth,
    or every tenth from the fifth on. A root without any known building has no splits: every split
    is all of its frames.

    Raises:
        BenchError: the split or the subset is unknown.
        DataError: the root has no frame for the split.
    """
    require_split(split)
    if subset not in SUBSETS:
        raise unknown("subset", subset, SUBSETS)
    present = set(folders.buildings)
    if not present & KNOWN:
        return _select_all(folders, split, progress)
    names = [name for name in wanted(split) if name in present]
    if not names:
        raise DataError(
            f"Taskonomy: {folders.root} has none of the buildings of split {split} "
            f"({', '.join(wanted(split))}), only {', '.join(folders.buildings)}; download some of "
            "them into it"
        )
    frames, left_out = complete(list_frames(folders, names, progress))
    chosen = frames.select(_choose(frames, split, subset))
    if len(chosen) == 0:
        raise DataError(
            f"Taskonomy: split {split} ({subset}) is empty: it takes none of the {len(frames)} "
            f"complete frames of {', '.join(names)} below {folders.root} (a tenth needs ten); "
            "complete the download of these buildings, or take another subset of them, such as "
            "--set data.test_subset=all"
        )
    notices = [*folders.notices, *_about_absent(split, present), *left_out]
    if split == "test":
        used = ", ".join(frames.buildings[i] for i in np.unique(chosen.building))
        notices.append(
            f"Taskonomy: test subset {subset}: {len(chosen)} frames, from {used} "
            f"(published: first_tenth, {PUBLISHED_TEST} frames)"
        )
    return Selection(chosen, tuple(notices))


def _select_all(folders: Folders, split: str, progress: Progress) -> Selection:
    frames, left_out = complete(list_frames(folders, folders.buildings, progress))
    notice = (
        f"Taskonomy: {folders.root} has none of the known buildings; all its {len(frames)} frames "
        f"are used as {split}"
    )
    return Selection(frames, (*folders.notices, *left_out, notice))


def complete(frames: Frames) -> Selection:
    """Return the frames that have every part that any frame has.

    Frames whose published files are damaged are left out.

    Raises:
        DataError: no frame is complete, or there are no targets.
    """
    keep = np.ones(len(frames), dtype=np.bool_)
    for part in (IMAGE, *frames.tasks):
        keep &= frames.has(part)
    keep[published_damage(frames)] = False
    if not keep.any():
        raise DataError(
            f"Taskonomy: not one of {len(frames)} frames has all of "
            f"{', '.join((IMAGE, *frames.tasks))}; complete the download (folder names: rgb, "
            "segment_semantic, depth_zbuffer, normal, edge_occlusion)"
        )
    if not frames.tasks:
        raise DataError(
            "Taskonomy: there are images but no targets; download one of segment_semantic, "
            "depth_zbuffer, normal, edge_occlusion into the folder that contains rgb"
        )
    return Selection(frames.select(keep), tuple(_about_left_out(frames)))


def _about_left_out(frames: Frames) -> Iterator[str]:
    """Yield notices on files that are ignored and on frames that `complete` leaves out."""
    count, example = frames.strays
    if count:
        yield f"Taskonomy: ignored {count} files that belong to no frame, such as {example}"
    count, example = frames.doubles
    if count:
        yield (
            f"Taskonomy: {count} files exist in several layouts, the first is read; "
            f"{example} is not"
        )
    for part in (IMAGE, *frames.tasks):
        lacking = np.flatnonzero(~frames.has(part))
        if len(lacking):
            yield (
                f"Taskonomy: left out {len(lacking)} of {len(frames)} frames that have no {part}, "
                f"such as {frames.name(int(lacking[0]))}"
            )
    damaged = published_damage(frames)
    if damaged:
        names = ", ".join(frames.name(index) for index in damaged)
        yield (
            f"Taskonomy: {len(damaged)} frame unreadable upstream, left out in every domain: "
            f"{names}"
        )


def fingerprint(frames: Frames, tasks: tuple[str, ...], progress: Progress) -> str:
    """Return `ttt_bench.data.images.files.fingerprint` of these frames."""
    return files.fingerprint(frames, (IMAGE, *tasks), "fingerprinting Taskonomy", progress)


def _choose(frames: Frames, split: str, subset: str) -> NDArray[np.int64]:
    """Return the indices of a split's frames among the complete frames of its buildings."""
    everything = np.arange(len(frames))
    if split in ("train", "val"):
        numbers = [i for i, name in enumerate(frames.buildings) if name in TINY["val"]]
        held_out = np.flatnonzero(np.isin(frames.building, numbers))[::_HELD_OUT]
        return held_out if split == "val" else np.setdiff1d(everything, held_out)
    if subset == "stride10":
        return everything[(0 if split == "test" else 5) :: 10]
    if subset == "all" and split == "test":
        return everything
    if subset == "all":
        raise BenchError(
            "Taskonomy: with subset all every test frame is scored, so that no frame is left for "
            "split tune; take subset first_tenth or stride10"
        )
    tenth = first_tenth(frames.counts())
    return everything[:tenth] if split == "test" else everything[max(tenth, len(frames) - tenth) :]


def first_tenth(counts: dict[str, int]) -> int:
    """Return the number of frames in the first tenth of the test buildings.

    This is the published number if the first building has that many frames, since the published
    tenth is part of it: the other buildings need not be downloaded, and a damaged frame may be
    deleted. Otherwise it is a tenth of all frames, rounded down.

    Args:
        counts: number of frames of each building, in order.
    """
    if counts.get(TINY["test"][0], 0) >= PUBLISHED_TEST:
        return PUBLISHED_TEST
    return sum(counts.values()) // 10


def published_damage(frames: Frames) -> list[int]:
    """Return the indices of the frames whose published files cannot be read."""
    found = []
    for building, stem in DAMAGED:
        if building in frames.buildings:
            inside = np.flatnonzero(frames.building == frames.buildings.index(building))
            found += [int(index) for index in inside if frames.stem(int(index)) == stem]
    return sorted(found)


def _about_absent(split: str, present: set[str]) -> Iterator[str]:
    """Yield notices on buildings of a split that are missing or excluded."""
    missing = [name for name in wanted(split) if name not in present]
    if missing:
        yield f"Taskonomy: split {split}: the buildings {', '.join(missing)} are missing"
    buildings = {"train": TINY["train"] + TINY["val"], "val": TINY["val"]}.get(split, ())
    for name in buildings:
        if name in EXCLUDED:
            yield f"Taskonomy: {EXCLUDED[name]}"
