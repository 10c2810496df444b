"""Taskonomy as a `Dataset`: files are decoded when a batch is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ttt_bench.data.base import Batch, Dataset
from ttt_bench.data.label_spaces import LABEL_SPACES, LabelSpace
from ttt_bench.data.taskonomy import decode, targets
from ttt_bench.data.taskonomy.index import IMAGE, Frames, find_folders
from ttt_bench.data.taskonomy.selection import fingerprint, select, spread
from ttt_bench.errors import DataError
from ttt_bench.progress import Noting, Progress
from ttt_bench.provenance import hash_of

FORMAT = 1
"""Raised when the targets that are made of the same files change."""
AXES = "right / down / forward"
_DECODE_ALL = 6_000  # selections up to this size are decoded whole before a run
_DECODED_SAMPLE = 200  # of larger ones so many frames are decoded, and all headers read
_LISTED = 5  # problems that a message names
_PIECE = 512
_THREADS = 4  # Pillow decodes outside the interpreter's lock


class Taskonomy(Dataset):
    """Frames of Taskonomy with the targets of the `corrected` data variant.

    Depth is log(1 + d) / log(65536) of the raw counts and edges are real-valued (see `targets`). It can be pickled.

    Args:
        frames: what to give, in this order; each complete in `tasks`.
        size: (H, W) of images and targets.
        tasks: tasks to give targets for, in canonical order.
        mark: the fingerprint of the files.
        space: the label space of `semseg`.
    """

    domain = "taskonomy"

    def __init__(
        self,
        frames: Frames,
        size: tuple[int, int],
        tasks: tuple[str, ...],
        mark: str,
        space: LabelSpace = LABEL_SPACES["taskonomy_nyud_7"],
        notices: tuple[str, ...] = (),
    ) -> None:
        self.frames, self.size, self.tasks, self.notices = frames, size, tasks, notices
        self.fingerprint = hash_of([FORMAT, mark, size, space.name], 16)
        self._table = space.table(self.domain)
        self._problems: list[decode.Problem] | None = None

    @classmethod
    def open(
        cls, root: Path, split: str, size: tuple[int, int], progress: Progress, subset: str = "first_tenth"
    ) -> Taskonomy:
        """Find a split's files.

        Args:
            root: the folder `taskonomy/` of a data root, in any known layout.
            split: train, val, test or tune (`selection.select` says what each is).
            size: (H, W) of images and targets.
            subset: which test frames: first_tenth (as published), stride10 or all.

        Raises:
            DataError: no such folder, no known layout, or nothing in it for the split.
            BenchError: no such split or subset.
        """
        noting = Noting(progress)
        frames = select(find_folders(root), split, subset, noting)
        tasks = frames.tasks
        mark = fingerprint(frames, tasks, noting)
        if "normals" in tasks:
            noting.say(f"Taskonomy: normal axes are taken as {AXES}; nobody has measured them on these files")
        return cls(frames, size, tasks, mark, notices=tuple(noting.said))

    def __len__(self) -> int:
        return len(self.frames)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Images and targets of `ttt_bench.data.base`.

        Raises:
            DataError: a file is missing, damaged or out of range.
        """
        samples = [self._sample(index) for index in indices]
        stacked = {name: torch.stack([sample[name] for sample in samples]) for name in (IMAGE, *self.tasks)}
        return Batch(stacked.pop(IMAGE), stacked)

    def prepare(self, progress: Progress) -> None:
        """Look for damaged files: all of a small selection, else every header and a spread sample in full.

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

    def _inspect(self, progress: Progress) -> list[decode.Problem]:
        count = len(self)
        decoded = set(range(count)) if count <= _DECODE_ALL else set(spread(count, _DECODED_SAMPLE))
        found: list[decode.Problem] = []

        def look(index: int) -> list[decode.Problem]:
            return decode.problems(self.frames, index, self.tasks, full=index in decoded)

        with progress.bar("checking Taskonomy's files", count) as bar, ThreadPoolExecutor(_THREADS) as pool:
            # in pieces, because a pool queues all that it is given at once
            for start in range(0, count, _PIECE):
                for problems in pool.map(look, range(start, min(start + _PIECE, count))):
                    found += problems
                    bar.advance()
        return found

    def _sample(self, index: int) -> dict[str, Tensor]:
        native = decode.read_frame(self.frames, index, self.tasks)
        sample = {IMAGE: targets.image(native[IMAGE], self.size)}
        sample |= {task: self._target(task, native[task]) for task in self.tasks}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in sample.items()}

    def _target(self, task: str, native: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if task == "semseg":
            return targets.semseg(native, self._table, self.size)
        make = {"depth": targets.depth, "normals": targets.normals, "edge": targets.edge}[task]
        return make(native, self.size)
