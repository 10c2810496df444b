"""Taskonomy as a `Dataset`: files are decoded when a batch is requested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from ttt_bench.data.images import sample as samples
from ttt_bench.data.images.augment_batch import coin, hflip, nudged
from ttt_bench.data.images.basis import files_state
from ttt_bench.data.images.file_dataset import FileDataset
from ttt_bench.data.images.files import Size, spread
from ttt_bench.data.images.normals import HARNESS_AXES
from ttt_bench.data.images.sample import Sample
from ttt_bench.data.label_spaces import LABEL_SPACES, LabelSpace
from ttt_bench.data.listed.manifest import Manifest, read_manifest
from ttt_bench.data.taskonomy import decode, targets
from ttt_bench.data.taskonomy.index import IMAGE, Folders, Frames, find_folders
from ttt_bench.data.taskonomy.selection import select
from ttt_bench.data.variants import CORRECTED, DataVariant
from ttt_bench.errors import DataError
from ttt_bench.network import Batch
from ttt_bench.util.hashing import hash_of
from ttt_bench.util.progress import Progress
from ttt_bench.util.seeding import derive_seed

FORMAT = 3
"""Raised when the targets made from the same files change."""
_DECODE_ALL = 6_000  # frames; the files of larger selections are not all decoded before a run
_SEARCHED_FOR_ZEROS = 16  # depth files that are decoded when the data set is opened
_DECODED_SAMPLE = 200  # frames of a larger selection that are decoded; of all others the headers


class Taskonomy(FileDataset):
    """Frames of Taskonomy. It can be pickled.

    Depth is log(1 + d) / log(65536) of the raw counts and edges are real-valued (see `targets`).

    Args:
        frames: the frames in this order, each complete in `tasks`.
        size: (H, W) of images and targets.
        tasks: tasks to give targets for, in canonical order.
        files_fingerprint: the fingerprint of the files.
        space: the label space of `semseg`.
        variant: the data handling.
        axes: the axes of the files' normals, as in `ttt_bench.data.images.normals`.
        notices: sentences for readers of the results.
        resized: whether the files are a cache of smaller ones, whose invalid pixels were masked at
            full size.
    """

    domain = "taskonomy"
    title = "Taskonomy"
    hint = "Download them again; if a file stays bad, delete it, which leaves its frame out"

    def __init__(
        self,
        frames: Frames,
        size: Size,
        tasks: tuple[str, ...],
        *,
        files_fingerprint: str,
        space: LabelSpace = LABEL_SPACES["taskonomy_nyud_7"],
        variant: DataVariant = CORRECTED,
        axes: str = HARNESS_AXES,
        notices: tuple[str, ...] = (),
        resized: bool = False,
    ) -> None:
        self.frames, self.size, self.tasks, self.notices = frames, size, tasks, notices
        self.files_fingerprint = files_fingerprint
        self.variant, self.axes, self.resized = variant, axes, resized
        cached = ["resized"] if resized else []
        labels = space.record((self.domain,))
        self.fingerprint = hash_of(
            [FORMAT, files_fingerprint, size, labels, asdict(variant), axes, *cached], 16
        )
        self._table = space.table(self.domain)
        self._decoded = frozenset(spread(len(frames), _DECODED_SAMPLE))

    @classmethod
    def open(
        cls,
        root: Path,
        split: str,
        size: Size,
        progress: Progress,
        *,
        subset: str = "first_tenth",
        space: LabelSpace | None = None,
        variant: DataVariant = CORRECTED,
    ) -> Taskonomy:
        """Find the files of a split.

        Args:
            root: the folder `taskonomy/` of a data root, in any known layout.
            split: train, val, test or tune; see `selection.select`.
            size: (H, W) of images and targets.
            subset: the test frames: first_tenth (as published), stride10 or all.

        Raises:
            DataError: the folder does not exist, has no known layout, or has no frame for the
                split; or it is a cache of smaller files, which the variant cannot use.
            BenchError: the split or the subset is unknown.
        """
        folders = find_folders(root)
        manifest = read_manifest(folders.root)
        _require_usable(folders, manifest, variant)
        frames, chosen = select(folders, split, subset, progress)
        tasks = frames.tasks
        state = files_state(folders.root, frames, (IMAGE, *tasks), "Taskonomy", progress)
        dataset = cls(
            frames,
            size,
            tasks,
            files_fingerprint=state.fingerprint,
            space=space or LABEL_SPACES["taskonomy_nyud_7"],
            variant=variant,
            axes=manifest.normal_axes or HARNESS_AXES,
            notices=(
                *chosen,
                *_about_files(manifest, size, tasks, state.fingerprint),
                *state.notices,
                *_about_depth(frames, variant),
            ),
            resized=manifest.resized is not None,
        )
        dataset.basis, dataset.contents = state.basis, state.digest
        return dataset

    def __len__(self) -> int:
        return len(self.frames)

    def name(self, index: int) -> str:
        return self.frames.name(index)

    def ids(self) -> frozenset[str]:
        return frozenset(map(self.frames.name, range(len(self))))

    def augmented(self, indices: Sequence[int], seed: int) -> Batch:
        """Return the samples, each mirrored with probability 1/2.

        The data variant may move each sample by a pixel before.
        """
        mirrored = coin(len(indices), torch.Generator().manual_seed(seed))
        batch = self.batch(indices)
        if self.variant.one_pixel_crop:
            draw = torch.Generator().manual_seed(derive_seed(seed, "offset"))
            offsets = torch.randint(0, 2, (len(indices), 2), generator=draw)
            batch = nudged(batch, offsets, {task: targets.OF_ZEROS[task] for task in self.tasks})
        return hflip(batch, mirrored, negate_x=self.variant.flip_negates_x)

    def problems(self, index: int) -> list[str]:
        """Return the problems of a frame's files, each with the path of the file.

        A small selection is decoded completely. Of a large one, a spread sample of frames is
        decoded, and the headers of all other files are read.
        """
        full = len(self) <= _DECODE_ALL or index in self._decoded
        found = decode.problems(self.frames, index, self.tasks, full=full)
        return [problem.message for problem in found]

    def at_size(self, index: int) -> Sample:
        native = decode.read_frame(self.frames, index, self.tasks)
        made = {task: self._target(task, native[task], index) for task in self.tasks}
        return {samples.IMAGE: targets.image(native[IMAGE], self.size), **made}

    def _target(self, task: str, native: NDArray[Any], index: int) -> NDArray[Any]:
        masked = self.variant.mask_invalid
        if task == "semseg":
            mixed = self.variant.label_resize == "bilinear"
            mixed = mixed and not decode.is_palette(self.frames.path(index, task))
            return targets.semseg(native, self._table, self.size, bilinear=mixed)
        if task == "depth":
            margin = 0 if self.resized else targets.DEPTH_MARGIN
            return targets.depth(native, self.size, masked=masked, margin=margin)
        if task == "normals":
            return targets.normals(native, self.size, self.axes, masked=masked)
        return targets.edge(native, self.size, blurred=self.resized)


def _require_usable(folders: Folders, manifest: Manifest, variant: DataVariant) -> None:
    """Raise a DataError if the files are a cache that lacks what the variant needs."""
    usable = variant.mask_invalid and variant.label_resize == "nearest"
    if manifest.resized is not None and not usable:
        raise DataError(
            f"Taskonomy: {folders.root} is a cache of smaller files, masked and resized for the "
            f"data variant corrected; the variant {variant.name} needs the original files, so "
            "--data-root must name their folder"
        )


def _about_depth(frames: Frames, variant: DataVariant) -> Iterator[str]:
    """Yield a notice if a few frames, evenly spread, have depths of 0."""
    if "depth" not in frames.tasks or not variant.mask_invalid:
        return
    for index in spread(len(frames), _SEARCHED_FOR_ZEROS):
        path = frames.path(index, "depth")
        with suppress(DataError):  # `prepare` reports damaged files
            if not decode.read(path, "depth").all():
                yield f"Taskonomy: depth is 0 in some pixels, such as in {path}; 0 is invalid depth"
                return


def _about_files(
    manifest: Manifest, size: Size, tasks: Sequence[str], files_fingerprint: str
) -> Iterator[str]:
    if manifest.resized is not None:
        of = "x".join(map(str, manifest.resized))
        again = "" if manifest.resized == size else f", and resized again to {size[0]}x{size[1]}"
        yield f"Taskonomy: read from a cache of {of} files{again}"
    if "normals" in tasks and manifest.normal_axes is None:
        yield f"Taskonomy: normal axes are assumed to be {HARNESS_AXES}; they were not measured"
    yield from manifest.notices("Taskonomy", tasks, files_fingerprint)
