"""Data sets whose images are files: what it takes beside reading one image with its targets.

This is what a data set of your own derives from (docs/adding-a-dataset.md).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from ttt_bench.data.base import Dataset
from ttt_bench.data.images import sample as samples
from ttt_bench.data.images.augment_sample import augmented_sample
from ttt_bench.data.images.sample import IMAGE, Sample
from ttt_bench.errors import DataError
from ttt_bench.network import Batch
from ttt_bench.tasks import IGNORE
from ttt_bench.util.progress import Progress

_ARRAYS = {
    IMAGE: ((3,), np.uint8),
    "semseg": ((), np.uint8),
    "depth": ((1,), np.float32),
    "normals": ((3,), np.float32),
    "edge": ((1,), np.float32),
}
"""Of the image and each task, the axes before rows and columns, and the type."""
_LISTED = 5  # problems that a message names
_THREADS = 4  # Pillow decodes outside the interpreter's lock


class SampledDataset(Dataset):
    """Images of any size, each in the middle of `size` and nowhere enlarged.

    An image that is larger than `size` is scaled down to fit, its metric depth unchanged.

    Attributes:
        title: what messages call it; the domain's name where there is none.
        hint: what to do about a file that is bad.
        balanced_crop: whether a random crop is drawn again where one class fills most of it.
    """

    title: str = ""
    hint: str = "Replace them, or take their images out of the data set"
    balanced_crop: bool = True
    _problems: list[str] | None = None

    @abstractmethod
    def sample(self, index: int) -> Sample:
        """An image with its targets, at the image's own size, in the arrays that
        `ttt_bench.data.images.sample` describes.

        Raises:
            DataError: a file is missing, damaged or out of range.
        """

    def batch(self, indices: Sequence[int]) -> Batch:
        """Images and targets of `ttt_bench.data.base`.

        Raises:
            DataError: a file is missing, damaged or out of range.
        """
        return batched([samples.padded(self._fitted(index), self.size) for index in indices])

    def augmented(self, indices: Sequence[int], seed: int) -> Batch:
        """The same, each scaled, cropped, mirrored and recoloured at random (`augment_sample`)."""
        views = []
        for position, index in enumerate(indices):
            draw = np.random.default_rng([seed, position])
            views.append(augmented_sample(self._fitted(index), self.size, draw, self.balanced_crop))
        return batched([samples.padded(view, self.size) for view in views])

    def prepare(self, progress: Progress) -> None:
        """Decode every file that is used; what was found is remembered, so that asking again costs
        nothing.

        Raises:
            DataError: names the first problems, how many there are in all, and what to do.
        """
        if self._problems is None:
            self._problems = self._inspect(progress)
        if self._problems:
            shown = "".join(f"\n  {problem}" for problem in self._problems[:_LISTED])
            more = len(self._problems) - _LISTED
            raise DataError(
                f"{self.title or self.domain}: {len(self._problems)} bad files among {len(self)} images:{shown}"
                + (f"\n  and {more} more" if more > 0 else "")
                + f"\n{self.hint}"
            )

    def problems(self, index: int) -> list[str]:
        """What is wrong with an image's files, each with its path."""
        try:
            sample = self._checked(index)
        except DataError as error:
            return [str(error)]
        return [
            f"{self.title or self.domain}, {self.name(index)}: {problem}"
            for problem in value_problems(sample)
        ]

    def _checked(self, index: int) -> Sample:
        sample = self.sample(index)
        problems = list(array_problems(sample, self.tasks))
        if problems:
            raise DataError(
                f"{self.title or self.domain}, {self.name(index)}: {'; '.join(problems)}"
            )
        return sample

    def _fitted(self, index: int) -> Sample:
        sample = self._checked(index)
        return samples.resized(
            sample, samples.placement(samples.image_size(sample), self.size).scaled
        )

    def _inspect(self, progress: Progress) -> list[str]:
        found: list[str] = []
        title = f"checking {self.title or self.domain}'s files"
        with progress.bar(title, len(self)) as bar, ThreadPoolExecutor(_THREADS) as pool:
            for problems in pool.map(self.problems, range(len(self))):
                found += problems
                bar.advance()
        return found


def array_problems(sample: Sample, tasks: Sequence[str]) -> Iterator[str]:
    """In which arrays a sample is not what `ttt_bench.data.images.sample` describes."""
    lacking = [name for name in (IMAGE, *tasks) if name not in sample]
    if lacking or len(sample) != 1 + len(tasks):
        yield f"the sample holds {', '.join(sample)}, expected {', '.join((IMAGE, *tasks))}"
        return
    for name, array in sample.items():
        axes, kind = _ARRAYS[name]
        shape = (*axes, *sample[IMAGE].shape[-2:])
        if array.shape != shape or array.dtype != kind:
            yield f"{name} is {array.dtype} {array.shape}, expected {np.dtype(kind)} {shape}"


def value_problems(sample: Sample) -> Iterator[str]:
    """Which targets hold what no target may: values that are not finite, depth below 0, normals
    of another length.
    """
    for name in sample.keys() - {IMAGE, "semseg"}:
        if not np.isfinite(sample[name]).all():
            yield f"{name} holds values that are not finite; 255 marks a pixel without a target"
    if "depth" in sample and (sample["depth"] < 0).any():
        yield "depth is negative somewhere; 255 marks a pixel without a target"
    if "normals" in sample:
        there = (sample["normals"] != IGNORE).any(axis=0)
        lengths = np.linalg.norm(sample["normals"], axis=0)[there]
        if (np.abs(lengths - 1) > 0.01).any():
            yield f"normals have lengths from {lengths.min():.3g} to {lengths.max():.3g}, expected 1, or 255 thrice"


def batched(padded: Sequence[Sample]) -> Batch:
    """Samples of one size as a batch."""
    stacked = {
        name: torch.from_numpy(np.stack([sample[name] for sample in padded])) for name in padded[0]
    }
    if "semseg" in stacked:
        stacked["semseg"] = stacked["semseg"].long()
    return Batch(stacked.pop(IMAGE), stacked)
