"""Common base of data sets with published lists of ids: finding files, reading them, notices."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from numpy.typing import NDArray

from ttt_bench.data.images import sample as samples
from ttt_bench.data.images.basis import files_state
from ttt_bench.data.images.file_dataset import SampledDataset
from ttt_bench.data.images.files import (
    PHOTO_AS_STORED,
    ImageHeader,
    Size,
    image_header,
)
from ttt_bench.data.images.normals import NYUD_AXES
from ttt_bench.data.images.sample import IMAGE, Placement
from ttt_bench.data.label_spaces import LabelSpace, find_label_space
from ttt_bench.data.listed.layout import (
    ListedLayout,
    Listing,
    find_listing,
    near_files,
    require_disjoint,
    same_view,
)
from ttt_bench.data.listed.manifest import Manifest, read_manifest
from ttt_bench.data.splits import SPLITS
from ttt_bench.data.variants import CORRECTED, DataVariant
from ttt_bench.errors import DataError
from ttt_bench.tasks import PAPER_TASKS
from ttt_bench.util.hashing import hash_of
from ttt_bench.util.progress import Progress

FORMAT = 2
"""Raised when the targets made from the same files change."""


class FoundTasks(NamedTuple):
    """Tasks with files, in canonical order, and notices on the tasks without."""

    tasks: tuple[str, ...]
    notices: tuple[str, ...]


class ListedDataset(SampledDataset):
    """The images of a list, in its order. It can be pickled.

    Args:
        listing: the files, complete in every part of the tasks.
        size: (H, W) of images and targets.
        tasks: tasks to give targets for, in canonical order.
        files_fingerprint: the fingerprint of the files.
        space: the label space of `semseg`.
        variant: the data handling.
        axes: the axes of the files' normals, as in `ttt_bench.data.images.normals`.
        notices: sentences for readers of the results.

    Attributes:
        parts: the image, and the parts that the targets are made from.
    """

    hint = "Take them from the archive again"
    layout: ClassVar[ListedLayout]
    labels: ClassVar[str]
    """The default label space."""
    id_sets: ClassVar[tuple[str, ...]]
    """The names under which a label space may have ids for the data set."""

    def __init__(
        self,
        listing: Listing,
        size: Size,
        tasks: tuple[str, ...],
        *,
        files_fingerprint: str,
        space: LabelSpace,
        variant: DataVariant = CORRECTED,
        axes: str = NYUD_AXES,
        notices: tuple[str, ...] = (),
    ) -> None:
        self.listing, self.size, self.tasks, self.notices = listing, size, tasks, notices
        self.files_fingerprint = files_fingerprint
        self.space, self.variant, self.axes = space, variant, axes
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
        *,
        variant: DataVariant = CORRECTED,
        tasks: Sequence[str] | None = None,
    ) -> Self:
        """Find the files of a split.

        Args:
            root: the data set's folder, or a folder that contains it.
            split: train, val, test or tune; `layout.LIST_OF` gives the list of each.
            size: (H, W) of images and targets.
            space: the label space of `semseg`; None for the data set's default.
            tasks: the tasks to give targets for; None for those of `PAPER_TASKS`.

        Raises:
            DataError: the folder does not exist or has another form of the data set, or an image of
                the list lacks a file.
            BenchError: the split is unknown, or the label space has no ids for the data set.
        """
        space = space or find_label_space(cls.labels)
        if not any(name in space.native for name in cls.id_sets):
            space.table(cls.domain)  # raises the error that lists the space's data sets
        listing = find_listing(cls.layout, root, split)
        require_disjoint(cls.layout, listing.root)
        manifest = read_manifest(listing.root)
        found, missing = cls.tasks_of(listing, space, tasks or PAPER_TASKS)
        parts = cls.parts_of(found, listing, space)
        for part in parts:
            listing.require(part)
        headers, title = _image_headers(listing, progress), cls.layout.title
        sizes = [header.size for header in headers.values()]
        notices = [
            *missing,
            *_about_list(listing, split),
            *_about_orientation(listing, headers),
            *cls.about(listing, parts, sizes),
            *_about_size(title, sizes, size),
        ]
        state = files_state(listing.root, listing, parts, title, progress)
        notices += [*_about_targets(title, found, manifest, state.fingerprint), *state.notices]
        dataset = cls(
            listing,
            size,
            found,
            files_fingerprint=state.fingerprint,
            space=space,
            variant=variant,
            axes=manifest.normal_axes or NYUD_AXES,
            notices=tuple(notices),
        )
        dataset.basis, dataset.contents = state.basis, state.digest
        return dataset

    def __len__(self) -> int:
        return len(self.listing)

    def name(self, index: int) -> str:
        return self.listing.name(index)

    def ids(self) -> frozenset[str]:
        return frozenset(self.listing.ids)

    def placement(self, index: int) -> Placement:
        """Return the position of an image inside what `batch` gives.

        Raises:
            DataError: its file is missing or damaged.
        """
        header = image_header(self.listing.path(index, IMAGE), PHOTO_AS_STORED)
        return samples.placement(header.size, self.size)

    @classmethod
    @abstractmethod
    def needed(cls, task: str, listing: Listing, space: LabelSpace) -> tuple[str, ...]:
        """Return the parts that a task's target is made from."""

    @staticmethod
    @abstractmethod
    def decode(path: Path, part: str) -> NDArray[Any]:
        """Return the file of a part as an array, (H, W) or (H, W, 3).

        Raises:
            DataError: the file is missing, damaged or out of range.
        """

    @classmethod
    def about(cls, listing: Listing, parts: Sequence[str], sizes: Sequence[Size]) -> Iterable[str]:
        """Return further notices on a split, whose images have these sizes.

        Raises:
            DataError: a package that its files need is missing.
        """
        return ()

    def read(self, index: int) -> dict[str, NDArray[Any]]:
        """Return the native arrays of every part that is used.

        Raises:
            DataError: a file is missing, damaged or out of range, or a target does not fit its
                image.
        """
        arrays: dict[str, NDArray[Any]] = {}
        for part in self.parts:
            arrays[part] = self._read_part(index, part, arrays.get(IMAGE))
        return arrays

    @classmethod
    def parts_of(cls, tasks: Sequence[str], listing: Listing, space: LabelSpace) -> tuple[str, ...]:
        """Return the image, and the parts that the targets of these tasks are made from."""
        needed = (part for task in tasks for part in cls.needed(task, listing, space))
        return tuple(dict.fromkeys([IMAGE, *needed]))

    @classmethod
    def tasks_of(
        cls, listing: Listing, space: LabelSpace, wanted: Sequence[str] = PAPER_TASKS
    ) -> FoundTasks:
        """Return those of the wanted tasks that have files.

        Raises:
            DataError: no task has files.
        """
        tasks, notices = [], []
        for task in (task for task in cls.layout.tasks if task in wanted):
            why = cls._missing(task, listing, space)
            if why is None:
                tasks.append(task)
            else:
                notices.append(f"{cls.layout.title}: {why}; the task {task} cannot run")
        if not tasks:
            looked_for = ", ".join(cls.layout.places(part) for part in cls.layout.parts)
            example = listing.ids[0]
            near = (near_files(listing, part, example) for part in cls.layout.parts)
            found = ", ".join(filter(None, near)) or "no files"
            raise DataError(
                f"{cls.layout.title}: {listing.root} has no targets for the ids of "
                f"{listing.list_name}.txt, such as {example!r}; looked for {looked_for}; found "
                f"{found}. A line of the list is the name of a file without its suffix"
            )
        return FoundTasks(tuple(tasks), tuple(notices))

    @classmethod
    def _missing(cls, task: str, listing: Listing, space: LabelSpace) -> str | None:
        """Return why no image has a target of a task, or None if some have."""
        for part in cls.needed(task, listing, space):
            if len(listing.lacking(part)) == len(listing):
                looked_for = f"no {part} files (looked for {cls.layout.places(part)})"
                return cls.layout.missing_notes.get(part, looked_for)
        return None

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
        """Return the array of a part; raise a DataError if its shape does not fit the image's."""
        path = self.listing.path(index, part)
        array = self.decode(path, part)
        if image is not None and not same_view(array.shape, image.shape):
            raise _misfit(path, array.shape, self.listing.path(index, IMAGE), image.shape)
        return array


def _misfit(path: Path, shape: Sequence[int], image: Path, stored: Sequence[int]) -> DataError:
    """Return the error for a target whose shape is not that of its image."""
    found = (
        f"{path}: {shape[0]} rows and {shape[1]} columns, but its image has {stored[0]} and "
        f"{stored[1]}"
    )
    orientation = image_header(image, PHOTO_AS_STORED).orientation
    if orientation > 4 and same_view(shape, stored[1::-1]):
        return DataError(
            f"{found}. {image} carries the EXIF orientation {orientation}, which turns it by a "
            "quarter and is not applied; save the picture turned, as viewers show it"
        )
    return DataError(
        f"{found}, another shape: one of them has been cropped. Take both from the same archive"
    )


def image_sizes(listing: Listing, progress: Progress) -> list[Size]:
    """Return the sizes of all images with a readable header; `prepare` reports the others."""
    return [header.size for header in _image_headers(listing, progress).values()]


def _image_headers(listing: Listing, progress: Progress) -> dict[int, ImageHeader]:
    """Return index -> header of all images with a readable header."""
    headers = {}
    with progress.bar(f"looking at {listing.layout.title}'s images", len(listing)) as bar:
        for index in range(len(listing)):
            with suppress(DataError):
                headers[index] = image_header(listing.path(index, IMAGE), PHOTO_AS_STORED)
            bar.advance()
    return headers


def _about_orientation(listing: Listing, headers: Mapping[int, ImageHeader]) -> Iterator[str]:
    turned = [index for index, header in headers.items() if header.orientation != 1]
    if turned:
        yield (
            f"{listing.layout.title}: {len(turned)} images carry an EXIF orientation, such as "
            f"{listing.path(turned[0], IMAGE)}; it is not applied: labels are taken to fit the "
            "pixels as they are stored"
        )


def _about_list(listing: Listing, split: str) -> Iterator[str]:
    layout, name = listing.layout, listing.list_name
    expected = layout.published[name]
    if len(listing) != expected:
        yield (
            f"{layout.title}: {layout.lists}/{name}.txt lists {len(listing)} images, "
            f"the published list {expected}"
        )
    if split in ("val", "tune"):
        yield (
            f"{layout.title}: {split} ({SPLITS[split]}) is the published list {name}, since the "
            "data set has only two lists"
        )


def _about_size(title: str, sizes: Sequence[Size], size: Size) -> Iterator[str]:
    larger = sum(samples.placement(one, size).scaled != one for one in sizes)
    if larger:
        yield (
            f"{title}: {larger} of {len(sizes)} images are larger than {size[0]}x{size[1]} and are "
            "scaled down to fit (published: never scaled)"
        )


def _about_targets(
    title: str, tasks: Sequence[str], manifest: Manifest, files_fingerprint: str
) -> Iterator[str]:
    if "normals" in tasks and manifest.normal_axes is None:
        yield f"{title}: normal axes are assumed to be {NYUD_AXES}; they were not measured"
    yield from manifest.notices(title, tasks, files_fingerprint)
