"""What data sets of listed ids have in common: batches padded to one size, the published augmentation, checks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from ttt_bench.data import samples
from ttt_bench.data.base import Batch, Dataset
from ttt_bench.data.files import PHOTO, Problem, Size, fingerprint, picture_size
from ttt_bench.data.label_spaces import LabelSpace, find_label_space
from ttt_bench.data.listing import Layout, Listing, find_listing, same_view
from ttt_bench.data.manifest import Manifest, read_manifest
from ttt_bench.data.normals import NYUD_AXES
from ttt_bench.data.random_views import random_view
from ttt_bench.data.samples import IMAGE, Placement, Sample
from ttt_bench.data.variants import CORRECTED, DataVariant
from ttt_bench.errors import DataError
from ttt_bench.progress import Noting, Progress
from ttt_bench.provenance import hash_of

FORMAT = 1
"""Raised when the targets that are made of the same files change."""
_LISTED = 5  # problems that a message names
_THREADS = 4  # Pillow decodes outside the interpreter's lock


class ListedDataset(Dataset):
    """The images of a list, in its order, each in the middle of `size` and nowhere enlarged.

    An image that is larger than `size` is scaled down to fit, its metric depth unchanged. It can be pickled.

    Args:
        listing: the files, complete in every part of the tasks.
        size: (H, W) of images and targets.
        tasks: tasks to give targets for, in canonical order.
        mark: the fingerprint of the files.
        space: the label space of `semseg`.
        variant: whose data handling.
        axes: the axes of the files' normals, as in `ttt_bench.data.normals`.

    Attributes:
        parts: the image, and what the targets are made of.
    """

    layout: ClassVar[Layout]
    labels: ClassVar[str]
    """The label space that is taken where none is given."""
    id_sets: ClassVar[tuple[str, ...]]
    """Under which names a label space may have ids for the data set."""

    def __init__(
        self,
        listing: Listing,
        size: Size,
        tasks: tuple[str, ...],
        mark: str,
        space: LabelSpace,
        variant: DataVariant = CORRECTED,
        axes: str = NYUD_AXES,
        notices: tuple[str, ...] = (),
    ) -> None:
        self.listing, self.size, self.tasks, self.notices = listing, size, tasks, notices
        self.mark, self.space, self.variant, self.axes = mark, space, variant, axes
        self.fingerprint = hash_of([FORMAT, self.domain, mark, size, space.record(), asdict(variant), axes], 16)
        self.parts = self.parts_of(tasks, listing, space)
        self._problems: list[Problem] | None = None

    @classmethod
    def open(
        cls,
        root: Path,
        split: str,
        size: Size,
        progress: Progress,
        space: LabelSpace | None = None,
        variant: DataVariant = CORRECTED,
    ) -> Self:
        """Find a split's files.

        Args:
            root: the data set's folder, or one that holds it.
            split: train, val, test or tune (`listing.SPLITS` says which list each is).
            size: (H, W) of images and targets.

        Raises:
            DataError: no such folder, another form of the data set, or an image of the list that lacks a file.
            BenchError: no such split, or a label space without ids for this data set.
        """
        noting = Noting(progress)
        space = space or find_label_space(cls.labels)
        if not any(name in space.native for name in cls.id_sets):
            space.table(cls.domain)  # says what it has ids for
        listing = find_listing(cls.layout, root, split)
        manifest = read_manifest(listing.root)
        tasks = cls.tasks_of(listing, space, noting)
        parts = cls.parts_of(tasks, listing, space)
        for part in parts:
            listing.require(part)
        sizes = image_sizes(listing, noting)
        for notice in (
            *_about_list(listing, split),
            *cls.about(listing, parts, sizes),
            *_about_size(cls.layout.title, sizes, size),
        ):
            noting.say(notice)
        mark = fingerprint(listing, parts, f"fingerprinting {cls.layout.title}", noting)
        for notice in _about_targets(cls.layout.title, tasks, manifest, mark):
            noting.say(notice)
        axes = manifest.normal_axes or NYUD_AXES
        return cls(listing, size, tasks, mark, space, variant, axes, tuple(noting.said))

    def __len__(self) -> int:
        return len(self.listing)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Images and targets of `ttt_bench.data.base`.

        Raises:
            DataError: a file is missing, damaged or out of range.
        """
        return _batched([samples.padded(self._fitted(index), self.size) for index in indices])

    def augmented(self, indices: Sequence[int], seed: int) -> Batch:
        """The same, each scaled, cropped, mirrored and recoloured at random as published (`random_views`)."""
        views = []
        for position, index in enumerate(indices):
            draw = np.random.default_rng([seed, position])
            views.append(random_view(self._fitted(index), self.size, draw, self.variant.balanced_crop))
        return _batched([samples.padded(view, self.size) for view in views])

    def placement(self, index: int) -> Placement:
        """Where an image lies in what `batch` gives.

        Raises:
            DataError: its file is missing or damaged.
        """
        return samples.placement(picture_size(self.listing.path(index, IMAGE), PHOTO), self.size)

    def prepare(self, progress: Progress) -> None:
        """Decode every file that is used; what was found is remembered, so that asking again costs nothing.

        Raises:
            DataError: names the first problems, how many there are in all, and what to do.
        """
        if self._problems is None:
            self._problems = self._inspect(progress)
        if self._problems:
            shown = "".join(f"\n  {problem.message}" for problem in self._problems[:_LISTED])
            more = len(self._problems) - _LISTED
            raise DataError(
                f"{self.layout.title}: {len(self._problems)} bad files among {len(self)} images:{shown}"
                + (f"\n  and {more} more" if more > 0 else "")
                + "\nTake them from the archive again"
            )

    @abstractmethod
    def sample(self, index: int) -> Sample:
        """An image with its targets, at the image's own size.

        Raises:
            DataError: a file is missing, damaged or out of range.
        """

    @classmethod
    @abstractmethod
    def needed(cls, task: str, listing: Listing, space: LabelSpace) -> tuple[str, ...]:
        """The parts that a task's target is made of."""

    @staticmethod
    @abstractmethod
    def decode(path: Path, part: str) -> NDArray[Any]:
        """A part's file as an array, (H, W) or (H, W, 3).

        Raises:
            DataError: what is wrong with it.
        """

    @classmethod
    def about(cls, listing: Listing, parts: Sequence[str], sizes: Sequence[Size]) -> Iterable[str]:
        """Further notices on a split, whose images have these sizes.

        Raises:
            DataError: a package is missing that its files need.
        """
        return ()

    def read(self, index: int) -> dict[str, NDArray[Any]]:
        """The native arrays of every part that is used.

        Raises:
            DataError: a file is missing, damaged or out of range, or a target is not the image's.
        """
        arrays: dict[str, NDArray[Any]] = {}
        for part in self.parts:
            arrays[part] = self._read_part(index, part, arrays.get(IMAGE))
        return arrays

    @classmethod
    def parts_of(cls, tasks: Sequence[str], listing: Listing, space: LabelSpace) -> tuple[str, ...]:
        """The image, and what the targets of these tasks are made of."""
        needed = (part for task in tasks for part in cls.needed(task, listing, space))
        return tuple(dict.fromkeys([IMAGE, *needed]))

    @classmethod
    def tasks_of(cls, listing: Listing, space: LabelSpace, progress: Progress) -> tuple[str, ...]:
        """The tasks that there are files for, in canonical order; what the others lack is said.

        Raises:
            DataError: there are files for none.
        """
        layout, found = cls.layout, []
        for task in layout.tasks:
            absent = [part for part in cls.needed(task, listing, space) if len(listing.lacking(part)) == len(listing)]
            if absent:
                why = layout.absent.get(absent[0], f"no {absent[0]} files (looked for {layout.places(absent[0])})")
                progress.say(f"{layout.title}: {why}; the task {task} cannot run")
            else:
                found.append(task)
        if not found:
            raise DataError(
                f"{layout.title}: {listing.root} has no targets for the ids of {listing.list_name}.txt; looked for "
                + ", ".join(layout.places(part) for part in layout.parts)
            )
        return tuple(found)

    def _read_part(self, index: int, part: str, image: NDArray[Any] | None) -> NDArray[Any]:
        path = self.listing.path(index, part)
        array = self.decode(path, part)
        if image is not None and not same_view(array.shape, image.shape):
            raise DataError(
                f"{path}: {array.shape[0]} rows and {array.shape[1]} columns, but its image has {image.shape[0]} and "
                f"{image.shape[1]}, another shape: one of them has been cropped. Take both from the same archive"
            )
        return array

    def _fitted(self, index: int) -> Sample:
        sample = self.sample(index)
        return samples.resized(sample, samples.placement(samples.image_size(sample), self.size).scaled)

    def _inspect(self, progress: Progress) -> list[Problem]:
        found: list[Problem] = []
        title = f"checking {self.layout.title}'s files"
        with progress.bar(title, len(self)) as bar, ThreadPoolExecutor(_THREADS) as pool:
            for problems in pool.map(self._look, range(len(self))):
                found += problems
                bar.advance()
        return found

    def _look(self, index: int) -> list[Problem]:
        found: list[Problem] = []
        image: NDArray[Any] | None = None
        for part in self.parts:
            try:
                array = self._read_part(index, part, image)
                image = array if part == IMAGE else image
            except DataError as error:
                found.append(Problem(self.listing.path(index, part), str(error)))
        return found


def _batched(padded: Sequence[Sample]) -> Batch:
    """Samples of one size as a batch."""
    stacked = {name: torch.from_numpy(np.stack([sample[name] for sample in padded])) for name in padded[0]}
    if "semseg" in stacked:
        stacked["semseg"] = stacked["semseg"].long()
    return Batch(stacked.pop(IMAGE), stacked)


def image_sizes(listing: Listing, progress: Progress) -> list[Size]:
    """The sizes of all images whose headers can be read; the others are for `prepare` to name."""
    sizes = []
    with progress.bar(f"looking at {listing.layout.title}'s images", len(listing)) as bar:
        for index in range(len(listing)):
            with suppress(DataError):
                sizes.append(picture_size(listing.path(index, IMAGE), PHOTO))
            bar.advance()
    return sizes


def _about_list(listing: Listing, split: str) -> Iterator[str]:
    layout, name = listing.layout, listing.list_name
    expected = layout.published[name]
    if len(listing) != expected:
        yield f"{layout.title}: {layout.lists}/{name}.txt lists {len(listing)} images, the published list {expected}"
    if split in ("val", "tune"):
        role = "images held out of training" if split == "val" else "target images that no result uses"
        yield f"{layout.title}: {split} ({role}) is the published list {name}, since the two lists are all there is"


def _about_size(title: str, sizes: Sequence[Size], size: Size) -> Iterator[str]:
    larger = sum(samples.placement(one, size).scaled != one for one in sizes)
    if larger:
        yield (
            f"{title}: {larger} of {len(sizes)} images are larger than {size[0]}x{size[1]} and are scaled down to fit "
            "(published: never scaled)"
        )


def _about_targets(title: str, tasks: Sequence[str], manifest: Manifest, mark: str) -> Iterator[str]:
    if "normals" in tasks and manifest.normal_axes is None:
        yield f"{title}: normal axes are taken as {NYUD_AXES}; nobody has measured them on these files"
    yield from manifest.notices(title, tasks, mark)
