"""Data sets whose images are files: batches, augmentation, and the check for damaged files.

A custom data set derives from `SampledDataset` (docs/adding-a-dataset.md).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ttt_bench.data.base import Dataset, PlacedBatch
from ttt_bench.data.images import sample as samples
from ttt_bench.data.images.augment_sample import augmented_sample, streams_of
from ttt_bench.data.images.sample import IMAGE, Sample
from ttt_bench.errors import BenchError, DataError
from ttt_bench.network import Batch
from ttt_bench.tasks import IGNORE, TASKS, labelled
from ttt_bench.util.code.error_place import where
from ttt_bench.util.os_errors import cause
from ttt_bench.util.parallel import map_in_threads
from ttt_bench.util.progress import Progress
from ttt_bench.util.text import listed

_LISTED = 5  # problems that a message names

MOST_METRES = 100.0
"""A larger median depth is in another unit."""


@dataclass(frozen=True, kw_only=True)
class DepthAdvice:
    """What to do about invalid depth, as messages say it.

    Attributes:
        missing: about values that mean missing depth.
        unit: about depth that is not in metres.
    """

    missing: str = "255 marks a pixel without a target"
    unit: str = "convert it, or declare `depth_unit` and `to_metres` in the Domain"


@dataclass(frozen=True, kw_only=True)
class ExpectedValues:
    """The range of the values of samples.

    Attributes:
        classes: number of classes of semantic segmentation; None if it is not known.
        depth_in_metres: whether depth is in metres, where 0 is invalid.
        depth_advice: what to do about other depth.
    """

    classes: int | None = None
    depth_in_metres: bool = False
    depth_advice: DepthAdvice = DepthAdvice()


class FileDataset(Dataset):
    """A data set whose images are files, which `prepare` checks for damage.

    Attributes:
        title: name of the data set in messages; the domain's name if empty.
        hint: what the user can do about bad files; the end of the message of `prepare`.
    """

    title: str = ""
    hint: str = "Replace them, or remove their images from the data set"
    _problems: tuple[str, ...] | None = None
    """The problems that `prepare` has found; None before its first call."""

    @abstractmethod
    def at_size(self, index: int) -> Sample:
        """Return an image with its targets at `size`, the image float32 in [0, 1].

        Raises:
            DataError: a file is missing, damaged or out of range.
        """

    @abstractmethod
    def problems(self, index: int) -> list[str]:
        """Return the problems of an image's files, each with the path of the file."""

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return images and targets as `ttt_bench.data.base` describes them.

        Raises:
            DataError: a file is missing, damaged or out of range.
        """
        return batched([self.at_size(index) for index in indices])

    def prepare(self, progress: Progress) -> None:
        """Check the files that are used. The result is kept, so that a second call is free.

        Raises:
            DataError: names the first problems, their number, and what to do.
        """
        if self._problems is None:
            self._problems = self._inspect(progress)
        if self._problems:
            count = f"{len(self._problems)} bad files among {len(self)} images"
            more = len(self._problems) - _LISTED
            lines = [f"{self.label}: {count}:", *(f"  {one}" for one in self._problems[:_LISTED])]
            lines += [f"  and {more} more"] if more > 0 else []
            raise DataError("\n".join([*lines, self.hint]))

    @property
    def label(self) -> str:
        """The name of the data set in messages."""
        return self.title or self.domain

    def _inspect(self, progress: Progress) -> tuple[str, ...]:
        title = f"checking {self.label}'s files"
        found = map_in_threads(self.problems, range(len(self)), title, progress)
        return tuple(problem for problems in found for problem in problems)


class SampledDataset(FileDataset):
    """Images of any size, each centred in `size`. Images are scaled down to fit, but never up.

    Metric depth does not change when an image is scaled down.

    Attributes:
        expected: what the values must be; `open_domain` sets it from the domain and the classes.
        balanced_crop: whether a random crop is drawn again if it has one class, or mostly one.
        depth_advice: what messages about invalid depth say.
    """

    expected: ExpectedValues = ExpectedValues()
    balanced_crop: bool = True
    depth_advice: DepthAdvice = DepthAdvice()

    @abstractmethod
    def sample(self, index: int) -> Sample:
        """Return an image with its targets at the image's own size.

        The arrays are described in `ttt_bench.data.images.sample`.

        Raises:
            DataError: a file is missing, damaged or out of range.
        """

    def at_size(self, index: int) -> Sample:
        return samples.padded(self._fitted(index), self.size)

    def placed(self, indices: Sequence[int]) -> PlacedBatch:
        fitted = [self._fitted(index) for index in indices]
        areas = [samples.placement(samples.image_size(one), self.size).area for one in fitted]
        return PlacedBatch(batched([samples.padded(one, self.size) for one in fitted]), areas)

    def augmented(self, indices: Sequence[int], seed: int) -> Batch:
        """Return the samples, each scaled, cropped, mirrored and recoloured at random.

        See `ttt_bench.data.images.augment_sample`.
        """
        views = []
        for position, index in enumerate(indices):
            stream = streams_of(seed, position)
            sample = self._fitted(index)
            views.append(augmented_sample(sample, self.size, stream, balanced=self.balanced_crop))
        return batched([samples.padded(view, self.size) for view in views])

    def problems(self, index: int) -> list[str]:
        try:
            sample = self._checked(index)
        except DataError as error:
            return [str(error)]
        found = [*value_problems(sample, self.expected)]
        if index == 0 and not equal_samples(sample, self._checked(0)):
            found.append(
                "two calls of `sample` give different arrays; a sample must depend on its index "
                "alone, so seed what it draws with the index"
            )
        return [f"{self.label}, {self.name(index)}: {one}" for one in found]

    def _checked(self, index: int) -> Sample:
        """Return the sample of an image; raise a DataError if its arrays are not as described."""
        try:
            sample = self.sample(index)
            problems = list(array_problems(sample, self.tasks))
        except BenchError:
            raise
        except Exception as error:  # the code of another package can raise any error
            reason = f"{type(error).__name__}: {cause(error, Path())}"
            raise DataError(
                f"{self.label}, {self.name(index)}: `sample` failed at {where(error, type(self))}: "
                f"{reason}"
            ) from error
        if problems:
            raise DataError(f"{self.label}, {self.name(index)}: {'; '.join(problems)}")
        return sample

    def _fitted(self, index: int) -> Sample:
        """Return the sample of an image, scaled down to fit into `size`."""
        sample = self._checked(index)
        scaled = samples.placement(samples.image_size(sample), self.size).scaled
        return samples.resized(sample, scaled)


def array_problems(sample: Sample, tasks: Sequence[str]) -> Iterator[str]:
    """Yield the differences of a sample's arrays from `ttt_bench.data.images.sample`."""
    lacking = [name for name in (IMAGE, *tasks) if name not in sample]
    if lacking or len(sample) != 1 + len(tasks):
        yield f"the sample holds {', '.join(sample)}, expected {', '.join((IMAGE, *tasks))}"
        return
    for name, array in sample.items():
        axes, kind = _layout(name)
        shape = (*axes, *sample[IMAGE].shape[-2:])
        if array.shape != shape or array.dtype != kind:
            yield f"{name} is {array.dtype} {array.shape}, expected {np.dtype(kind)} {shape}"


def value_problems(sample: Sample, expected: ExpectedValues = ExpectedValues()) -> Iterator[str]:
    """Yield the invalid values of targets.

    These are values that are not finite, class indices out of range, depth that is negative or not
    in metres, and normals of other lengths.
    """
    for name in sample.keys() - {IMAGE}:
        if not np.isfinite(sample[name]).all():
            advice = expected.depth_advice if name == "depth" else DepthAdvice()
            yield f"{name} has values that are not finite; {advice.missing}"
    for task in labelled(sample):
        classes = TASKS[task].channels or expected.classes
        if classes is not None:
            yield from _class_problems(task, sample[task], classes)
    if "depth" in sample:
        yield from _depth_problems(sample["depth"], expected)
    if "normals" in sample:
        # (3, H, W) -> (H, W) -> (N,), the lengths of all normals
        there = (sample["normals"] != IGNORE).any(axis=0)
        lengths = np.linalg.norm(sample["normals"], axis=0)[there]
        if (np.abs(lengths - 1) > 0.01).any():
            yield (
                f"normals have lengths from {lengths.min():.3g} to {lengths.max():.3g}, "
                "expected 1, or 255 in all three channels"
            )


def _class_problems(task: str, labels: NDArray[Any], classes: int) -> Iterator[str]:
    wrong = np.unique(labels[(labels >= classes) & (labels != IGNORE)])
    if wrong.size:
        values = listed([str(value) for value in wrong])
        hint = "; convert the file's numbers with `space.table`" if task == "semseg" else ""
        yield (
            f"{task} holds {values}, expected 0..{classes - 1} or 255, which marks a pixel without "
            f"a target{hint}"
        )


def _depth_problems(depth: NDArray[Any], expected: ExpectedValues) -> Iterator[str]:
    valid, advice = depth[depth != IGNORE], expected.depth_advice
    if (valid < 0).any():
        yield f"depth has negative values; {advice.missing}"
    if expected.depth_in_metres and (valid == 0).any():
        share = float((valid == 0).mean())
        yield f"depth is 0 in {share:.1%} of its values; {advice.missing}"
    if expected.depth_in_metres and valid.size and np.median(valid) > MOST_METRES:
        yield (
            f"depth has a median of {np.median(valid):g} m, expected metres below {MOST_METRES:g}; "
            f"{advice.unit}"
        )


def equal_samples(one: Sample, other: Sample) -> bool:
    """Return whether two samples have the same arrays."""
    return one.keys() == other.keys() and all(
        np.array_equal(array, other[name], equal_nan=array.dtype.kind == "f")
        for name, array in one.items()
    )


def batched(sized: Sequence[Sample]) -> Batch:
    """Return samples of one size as a batch."""
    stacked = {}
    for name in sized[0]:
        arrays = [sample[name] for sample in sized]
        stacked[name] = torch.from_numpy(np.stack(arrays))  # (B, ...)
    for task in labelled(stacked):
        stacked[task] = stacked[task].long()
    return Batch(stacked.pop(IMAGE), stacked)


def _layout(name: str) -> tuple[tuple[int, ...], type[np.generic]]:
    """Return the axes before rows and columns, and the type, of the image or a task's target."""
    if name == IMAGE:
        return (3,), np.uint8
    task = TASKS[name]
    return ((), np.uint8) if task.labelled else ((task.channels or 1,), np.float32)
