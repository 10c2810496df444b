"""A declared data set as a `Dataset`: files are decoded when a batch is requested."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.declared.declaration import (
    FILE,
    ClassMaps,
    Declaration,
    DepthMaps,
    NormalMaps,
    read_declaration,
)
from ttt_bench.data.declared.files import Frames, find_frames
from ttt_bench.data.images.basis import files_state
from ttt_bench.data.images.file_dataset import DepthAdvice, SampledDataset
from ttt_bench.data.images.files import GREY, GREY16, LABELS, PHOTO, RGB, Size, read_image, read_npy
from ttt_bench.data.images.human_parts import human_parts
from ttt_bench.data.images.normals import file_vectors, unit_normals
from ttt_bench.data.images.sample import IMAGE, Sample
from ttt_bench.data.label_spaces import LabelSpace
from ttt_bench.data.variants import DataVariant
from ttt_bench.errors import DataError
from ttt_bench.tasks import IGNORE, PAPER_TASKS, TASKS
from ttt_bench.util.hashing import hash_of
from ttt_bench.util.progress import Progress

FORMATS = {"human_parts": 2}
"""Task -> a number, 1 by default, that is raised when targets made from the same files change."""
HALF = 127
"""Edges and saliency are 1 where the value of 0..255 is larger."""


class DeclaredDataset(SampledDataset):
    """The images and targets that a `dataset.toml` describes. It can be pickled.

    Args:
        folder: the folder of the `dataset.toml`.
        declaration: its content.
        frames: the frames of the split, with files of every task.
        size: (H, W) of images and targets.
        tasks: tasks to give targets for, in canonical order.
        space: the label space of `semseg`; None without.
    """

    def __init__(
        self,
        folder: Path,
        declaration: Declaration,
        frames: Frames,
        *,
        size: Size,
        tasks: tuple[str, ...],
        space: LabelSpace | None,
    ) -> None:
        self.domain, self.folder, self.declaration = folder.name, folder, declaration
        self.frames, self.size, self.tasks = frames, size, tasks
        self.table = space.table(self.domain) if space and "semseg" in tasks else None
        place = f"of [depth] in {folder / FILE}"
        self.depth_advice = DepthAdvice(
            missing=f"list the stored value of missing depth in `invalid` {place}",
            unit=f"correct `scale`, `offset` or `inverse` {place}",
        )

    @classmethod
    def open(
        cls,
        folder: Path,
        split: str,
        size: Size,
        progress: Progress,
        *,
        space: LabelSpace | None,
        variant: DataVariant,
        tasks: Sequence[str] | None = None,
    ) -> Self:
        """Find the files of a split.

        Args:
            folder: the folder of the `dataset.toml`.
            split: train, val, test or tune.
            size: (H, W) of images and targets.
            progress: shows long work.
            space: the label space of `semseg`; None if the pair shares no classes.
            variant: the data handling; both variants read the files in the same way.
            tasks: the tasks to give targets for; None for those of `PAPER_TASKS`.

        Raises:
            BenchError: the `dataset.toml` is invalid, or files are missing.
        """
        declaration = read_declaration(folder)
        given = (task for task in declaration.tasks if space or not TASKS[task].needs_labels)
        wanted = tuple(task for task in given if task in (tasks or PAPER_TASKS))
        frames = find_frames(folder, declaration, split, wanted)
        dataset = cls(folder, declaration, frames, size=size, tasks=wanted, space=space)
        state = files_state(folder, frames, (IMAGE, *wanted), folder.name, progress)
        labels = space.record([folder.name]) if space else None
        record = declaration.record(wanted)
        form = max((FORMATS.get(task, 1) for task in wanted), default=1)
        dataset.fingerprint = hash_of([form, state.fingerprint, size, record, labels], 16)
        dataset.basis, dataset.contents, dataset.notices = state.basis, state.digest, state.notices
        return dataset

    def __len__(self) -> int:
        return len(self.frames)

    def name(self, index: int) -> str:
        return self.frames.name(index)

    def ids(self) -> frozenset[str]:
        root, paths = self.folder / self.declaration.root, self.frames.files[IMAGE]
        return frozenset(paths[name].relative_to(root).as_posix() for name in self.frames.names)

    def sample(self, index: int) -> Sample:
        image = read_image(self.frames.path(index, IMAGE), PHOTO)
        # (H, W, 3) -> (3, H, W)
        sample: Sample = {IMAGE: image.transpose(2, 0, 1)}
        for task in self.tasks:
            path = self.frames.path(index, task)
            target = _READERS[task](self, path)
            if target.shape[-2:] != image.shape[:2]:
                raise DataError(
                    f"{path}: {_words(target.shape[-2:])}, but its image "
                    f"{self.frames.path(index, IMAGE)} has {_words(image.shape[:2])}; give files "
                    "of one size, made from the same picture"
                )
            sample[task] = target
        return sample

    def _classes(self, path: Path) -> NDArray[np.uint8]:
        declared = self.declaration.semseg
        assert isinstance(declared, ClassMaps)
        assert self.table is not None
        numbers = read_image(path, LABELS)
        strange = np.setdiff1d(numbers, declared.numbers)
        if strange.size:
            raise DataError(
                f"{path}: holds {strange[0]}, which is not in the table; add it to a class or to "
                f"`void` of [semseg] in {self.folder / FILE}"
            )
        return np.asarray(self.table[numbers])

    def _depth(self, path: Path) -> NDArray[np.float32]:
        declared = self.declaration.depth
        assert isinstance(declared, DepthMaps)
        stored = read_npy(path) if path.suffix == ".npy" else read_image(path, GREY16)
        if stored.ndim != 2 and stored.shape[2:] != (1,):
            raise DataError(f"{path}: has the shape {stored.shape}, expected (H, W) or (H, W, 1)")
        values = stored.reshape(stored.shape[:2]).astype(np.float64)
        shifted = values + declared.offset
        with np.errstate(divide="ignore"):
            metres = declared.scale / shifted if declared.inverse else declared.scale * shifted
        missing = np.isin(values, declared.invalid) | np.isnan(values)
        # (H, W) -> (1, H, W)
        return np.where(missing, IGNORE, metres).astype(np.float32)[None]

    def _normals(self, path: Path) -> NDArray[np.float32]:
        declared = self.declaration.normals
        assert isinstance(declared, NormalMaps)
        return unit_normals(file_vectors(read_image(path, RGB)), declared.axes)

    def _binary(self, path: Path) -> NDArray[np.float32]:
        # (H, W) -> (1, H, W)
        return (read_image(path, GREY) > HALF).astype(np.float32)[None]

    def _parts(self, path: Path) -> NDArray[np.uint8]:
        parts = read_image(path, LABELS)
        height, width = parts.shape
        return human_parts(parts, (height, width))


_READERS: dict[str, Callable[[DeclaredDataset, Path], NDArray[Any]]] = {
    "semseg": DeclaredDataset._classes,
    "depth": DeclaredDataset._depth,
    "normals": DeclaredDataset._normals,
    "edge": DeclaredDataset._binary,
    "human_parts": DeclaredDataset._parts,
    "saliency": DeclaredDataset._binary,
}


def _words(size: Sequence[int]) -> str:
    """Return a size (H, W) in words."""
    return f"{size[1]}x{size[0]} pixels"
