"""Taskonomy as a `Dataset`: files are decoded when a batch is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ttt_bench.data.base import Dataset
from ttt_bench.data.images import sample as samples
from ttt_bench.data.images.augment_batch import coin, hflip, nudged
from ttt_bench.data.images.file_dataset import batched
from ttt_bench.data.images.files import Problem, spread
from ttt_bench.data.images.normals import HARNESS_AXES
from ttt_bench.data.images.sample import Sample
from ttt_bench.data.label_spaces import LABEL_SPACES, LabelSpace
from ttt_bench.data.listed.manifest import Manifest, read_manifest
from ttt_bench.data.taskonomy import decode, targets
from ttt_bench.data.taskonomy.index import IMAGE, Frames, find_folders
from ttt_bench.data.taskonomy.selection import fingerprint, select
from ttt_bench.data.variants import CORRECTED, DataVariant
from ttt_bench.errors import DataError
from ttt_bench.network import Batch
from ttt_bench.util.hashing import hash_of
from ttt_bench.util.progress import NoticeRecorder, Progress

FORMAT = 2
"""Raised when the targets that are made of the same files change."""
_DECODE_ALL = 6_000  # selections up to this size are decoded whole before a run
_DECODED_SAMPLE = 200  # of larger ones so many frames are decoded, and all headers read
_LISTED = 5  # problems that a message names
_PIECE = 512
_THREADS = 4  # Pillow decodes outside the interpreter's lock


class Taskonomy(Dataset):
    """Frames of Taskonomy.

    Depth is log(1 + d) / log(65536) of the raw counts and edges are real-valued (see `targets`). It
    can be pickled.

    Args:
        frames: what to give, in this order; each complete in `tasks`.
        size: (H, W) of images and targets.
        tasks: tasks to give targets for, in canonical order.
        files_fingerprint: the fingerprint of the files.
        space: the label space of `semseg`.
        variant: whose data handling.
        axes: the axes of the files' normals, as in `ttt_bench.data.images.normals`.
        resized: whether the files are a cache of smaller ones, whose invalid pixels were masked at
        full size.
    """

    domain = "taskonomy"

    def __init__(
        self,
        frames: Frames,
        size: tuple[int, int],
        tasks: tuple[str, ...],
        files_fingerprint: str,
        space: LabelSpace = LABEL_SPACES["taskonomy_nyud_7"],
        variant: DataVariant = CORRECTED,
        axes: str = HARNESS_AXES,
        notices: tuple[str, ...] = (),
        resized: bool = False,
    ) -> None:
        self.frames, self.size, self.tasks, self.notices = frames, size, tasks, notices
        self.files_fingerprint, self.variant, self.axes, self.resized = (
            files_fingerprint,
            variant,
            axes,
            resized,
        )
        cached = ["resized"] if resized else []
        labels = space.record((self.domain,))
        self.fingerprint = hash_of(
            [FORMAT, files_fingerprint, size, labels, asdict(variant), axes, *cached], 16
        )
        self._table = space.table(self.domain)
        self._problems: list[Problem] | None = None

    @classmethod
    def open(
        cls,
        root: Path,
        split: str,
        size: tuple[int, int],
        progress: Progress,
        subset: str = "first_tenth",
        space: LabelSpace | None = None,
        variant: DataVariant = CORRECTED,
    ) -> Taskonomy:
        """Find a split's files.

        Args:
            root: the folder `taskonomy/` of a data root, in any known layout.
            split: train, val, test or tune (`selection.select` says what each is).
            size: (H, W) of images and targets.
            subset: which test frames: first_tenth (as published), stride10 or all.

        Raises:
            DataError: no such folder, no known layout, or nothing in it for the split; or a cache
                of smaller files, of which another variant's targets cannot be made.
            BenchError: no such split or subset.
        """
        noting = NoticeRecorder(progress)
        folders = find_folders(root)
        manifest = read_manifest(folders.root)
        if manifest.resized is not None and not (
            variant.mask_invalid and variant.label_resize == "nearest"
        ):
            raise DataError(
                f"Taskonomy: {folders.root} is a cache of smaller files, masked and resized as the variant corrected "
                f"has it; the variant {variant.name} needs the original files, so --data-root must name their folder"
            )
        frames = select(folders, split, subset, noting)
        tasks = frames.tasks
        files_fingerprint = fingerprint(frames, tasks, noting)
        for notice in _about_files(manifest, size, tasks, files_fingerprint):
            noting.notice(notice)
        axes, resized = manifest.normal_axes or HARNESS_AXES, manifest.resized is not None
        labels = space or LABEL_SPACES["taskonomy_nyud_7"]
        return cls(
            frames,
            size,
            tasks,
            files_fingerprint,
            labels,
            variant,
            axes,
            tuple(noting.notices),
            resized,
        )

    def __len__(self) -> int:
        return len(self.frames)

    def name(self, index: int) -> str:
        return self.frames.name(index)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Images and targets of `ttt_bench.data.base`.

        Raises:
            DataError: a file is missing, damaged or out of range.
        """
        return batched([self._sample(index) for index in indices])

    def augmented(self, indices: Sequence[int], seed: int) -> Batch:
        """The same, each mirrored with probability 1/2, with what the variant does besides."""
        draw = torch.Generator().manual_seed(seed)
        mirrored = coin(len(indices), draw)
        batch = self.batch(indices)
        if self.variant.one_pixel_crop:
            offsets = torch.randint(0, 2, (len(indices), 2), generator=draw)
            batch = nudged(batch, offsets, {task: targets.OF_ZEROS[task] for task in self.tasks})
        return hflip(batch, mirrored, negate_x=self.variant.flip_negates_x)

    def prepare(self, progress: Progress) -> None:
        """Look for damaged files: all of a small selection, else every header and a spread sample
        in full.

        What was found is remembered, so that asking again costs nothing.

        Raises:
            DataError: names the first problems, how many there are in all, and what to do.
        """
        if self._problems is None:
            self._problems = self._inspect(progress)
        if self._problems:
            shown = "".join(f"\n  {problem.message}" for problem in self._problems[:_LISTED])
            more = len(self._problems) - _LISTED
            raise DataError(
                f"Taskonomy: {len(self._problems)} bad files among {len(self)} frames:{shown}"
                + (f"\n  and {more} more" if more > 0 else "")
                + "\nDownload them again; a file that stays bad is best deleted, which leaves its frame out"
            )

    def _inspect(self, progress: Progress) -> list[Problem]:
        count = len(self)
        decoded = set(range(count)) if count <= _DECODE_ALL else set(spread(count, _DECODED_SAMPLE))
        found: list[Problem] = []

        def look(index: int) -> list[Problem]:
            return decode.problems(self.frames, index, self.tasks, full=index in decoded)

        with (
            progress.bar("checking Taskonomy's files", count) as bar,
            ThreadPoolExecutor(_THREADS) as pool,
        ):
            # in pieces, because a pool queues all that it is given at once
            for start in range(0, count, _PIECE):
                for problems in pool.map(look, range(start, min(start + _PIECE, count))):
                    found += problems
                    bar.advance()
        return found

    def _sample(self, index: int) -> Sample:
        native = decode.read_frame(self.frames, index, self.tasks)
        made = {task: self._target(task, native[task], index) for task in self.tasks}
        return {samples.IMAGE: targets.image(native[IMAGE], self.size), **made}

    def _target(self, task: str, native: np.ndarray[Any, Any], index: int) -> np.ndarray[Any, Any]:
        masked = self.variant.mask_invalid
        if task == "semseg":
            mixed = self.variant.label_resize == "bilinear"
            mixed = mixed and not decode.is_palette(self.frames.path(index, task))
            return targets.semseg(native, self._table, self.size, mixed)
        if task == "depth":
            return targets.depth(
                native, self.size, masked, 0 if self.resized else targets.DEPTH_MARGIN
            )
        if task == "normals":
            return targets.normals(native, self.size, self.axes, masked)
        return targets.edge(native, self.size, blurred=self.resized)


def _about_files(
    manifest: Manifest, size: tuple[int, int], tasks: Sequence[str], files_fingerprint: str
) -> Iterator[str]:
    if manifest.resized is not None:
        of = "x".join(map(str, manifest.resized))
        again = "" if manifest.resized == size else f", and resized again to {size[0]}x{size[1]}"
        yield f"Taskonomy: read from a cache of {of} files{again}"
    if "normals" in tasks and manifest.normal_axes is None:
        yield f"Taskonomy: normal axes are taken as {HARNESS_AXES}; nobody has measured them on these files"
    yield from manifest.notices("Taskonomy", tasks, files_fingerprint)
