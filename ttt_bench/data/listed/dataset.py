"""What data sets of listed ids have in common: finding their files, reading them, notices."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

from numpy.typing import NDArray

from ttt_bench.data.images import sample as samples
from ttt_bench.data.images.file_dataset import SampledDataset
from ttt_bench.data.images.files import PHOTO, Size, fingerprint, image_file_size
from ttt_bench.data.images.normals import NYUD_AXES
from ttt_bench.data.images.sample import IMAGE, Placement
from ttt_bench.data.label_spaces import LabelSpace, find_label_space
from ttt_bench.data.listed.layout import ListedLayout, Listing, find_listing, same_view
from ttt_bench.data.listed.manifest import Manifest, read_manifest
from ttt_bench.data.variants import CORRECTED, DataVariant
from ttt_bench.errors import DataError
from ttt_bench.util.hashing import hash_of
from ttt_bench.util.progress import NoticeRecorder, Progress

FORMAT = 1
"""Raised when the targets that are made of the same files change."""


class ListedDataset(SampledDataset):
    """The images of a list, in its order. It can be pickled.

    Args:
        listing: the files, complete in every part of the tasks.
        size: (H, W) of images and targets.
        tasks: tasks to give targets for, in canonical order.
        files_fingerprint: the fingerprint of the files.
        space: the label space of `semseg`.
        variant: whose data handling.
        axes: the axes of the files' normals, as in `ttt_bench.data.images.normals`.

    Attributes:
        parts: the image, and what the targets are made of.
    """

    hint = "Take them from the archive again"
    layout: ClassVar[ListedLayout]
    labels: ClassVar[str]
    """The label space that is taken where none is given."""
    id_sets: ClassVar[tuple[str, ...]]
    """Under which names a label space may have ids for the data set."""

    def __init__(
        self,
        listing: Listing,
        size: Size,
        tasks: tuple[str, ...],
        files_fingerprint: str,
        space: LabelSpace,
        variant: DataVariant = CORRECTED,
        axes: str = NYUD_AXES,
        notices: tuple[str, ...] = (),
    ) -> None:
        self.listing, self.size, self.tasks, self.notices = listing, size, tasks, notices
        self.files_fingerprint, self.space, self.variant, self.axes = (
            files_fingerprint,
            space,
            variant,
            axes,
        )
        labels = space.record(self.id_sets)
        self.fingerprint = hash_of(
            [FORMAT, self.domain, files_fingerprint, size, labels, asdict(variant), axes], 16
        )
        self.parts = self.parts_of(tasks, listing, space)
        self.title, self.balanced_crop = self.layout.title, variant.balanced_crop

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
            DataError: no such folder, another form of the data set, or an image of the list that
            lacks a file.
            BenchError: no such split, or a label space without ids for this data set.
        """
        noting = NoticeRecorder(progress)
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
            noting.notice(notice)
        files_fingerprint = fingerprint(
            listing, parts, f"fingerprinting {cls.layout.title}", noting
        )
        for notice in _about_targets(cls.layout.title, tasks, manifest, files_fingerprint):
            noting.notice(notice)
        axes = manifest.normal_axes or NYUD_AXES
        return cls(
            listing, size, tasks, files_fingerprint, space, variant, axes, tuple(noting.notices)
        )

    def __len__(self) -> int:
        return len(self.listing)

    def name(self, index: int) -> str:
        return self.listing.name(index)

    def placement(self, index: int) -> Placement:
        """Where an image lies in what `batch` gives.

        Raises:
            DataError: its file is missing or damaged.
        """
        return samples.placement(image_file_size(self.listing.path(index, IMAGE), PHOTO), self.size)

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
            absent = [
                part
                for part in cls.needed(task, listing, space)
                if len(listing.lacking(part)) == len(listing)
            ]
            if absent:
                why = layout.missing_notes.get(
                    absent[0], f"no {absent[0]} files (looked for {layout.places(absent[0])})"
                )
                progress.notice(f"{layout.title}: {why}; the task {task} cannot run")
            else:
                found.append(task)
        if not found:
            raise DataError(
                f"{layout.title}: {listing.root} has no targets for the ids of {listing.list_name}.txt; looked for "
                + ", ".join(layout.places(part) for part in layout.parts)
            )
        return tuple(found)

    def problems(self, index: int) -> list[str]:
        found: list[str] = []
        image: NDArray[Any] | None = None
        for part in self.parts:
            try:
                array = self._read_part(index, part, image)
                image = array if part == IMAGE else image
            except DataError as error:
                found.append(str(error))
        return found

    def _read_part(self, index: int, part: str, image: NDArray[Any] | None) -> NDArray[Any]:
        path = self.listing.path(index, part)
        array = self.decode(path, part)
        if image is not None and not same_view(array.shape, image.shape):
            raise DataError(
                f"{path}: {array.shape[0]} rows and {array.shape[1]} columns, but its image has {image.shape[0]} and "
                f"{image.shape[1]}, another shape: one of them has been cropped. Take both from the same archive"
            )
        return array


def image_sizes(listing: Listing, progress: Progress) -> list[Size]:
    """The sizes of all images whose headers can be read; the others are for `prepare` to name."""
    sizes = []
    with progress.bar(f"looking at {listing.layout.title}'s images", len(listing)) as bar:
        for index in range(len(listing)):
            with suppress(DataError):
                sizes.append(image_file_size(listing.path(index, IMAGE), PHOTO))
            bar.advance()
    return sizes


def _about_list(listing: Listing, split: str) -> Iterator[str]:
    layout, name = listing.layout, listing.list_name
    expected = layout.published[name]
    if len(listing) != expected:
        yield f"{layout.title}: {layout.lists}/{name}.txt lists {len(listing)} images, the published list {expected}"
    if split in ("val", "tune"):
        role = (
            "images held out of training" if split == "val" else "target images that no result uses"
        )
        yield f"{layout.title}: {split} ({role}) is the published list {name}, since the two lists are all there is"


def _about_size(title: str, sizes: Sequence[Size], size: Size) -> Iterator[str]:
    larger = sum(samples.placement(one, size).scaled != one for one in sizes)
    if larger:
        yield (
            f"{title}: {larger} of {len(sizes)} images are larger than {size[0]}x{size[1]} and are scaled down to fit "
            "(published: never scaled)"
        )


def _about_targets(
    title: str, tasks: Sequence[str], manifest: Manifest, files_fingerprint: str
) -> Iterator[str]:
    if "normals" in tasks and manifest.normal_axes is None:
        yield f"{title}: normal axes are taken as {NYUD_AXES}; nobody has measured them on these files"
    yield from manifest.notices(title, tasks, files_fingerprint)
