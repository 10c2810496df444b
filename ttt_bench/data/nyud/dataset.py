"""NYUD-v2 as a `Dataset`: files are decoded when a batch is requested."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ttt_bench.data.images import sample as samples
from ttt_bench.data.images.files import Size
from ttt_bench.data.images.normals import file_vectors, unit_normals
from ttt_bench.data.images.sample import IMAGE, Sample
from ttt_bench.data.label_spaces import LabelSpace
from ttt_bench.data.listed.dataset import ListedDataset
from ttt_bench.data.listed.layout import Listing
from ttt_bench.data.nyud import decode, targets
from ttt_bench.data.nyud.index import LAYOUT, RELEASES, release, wrong_release


class NYUD(ListedDataset):
    """NYUD-v2: depth in metres, edges of 0 and 1, in either release."""

    domain = "nyud"
    layout = LAYOUT
    labels = "taskonomy_nyud_7"
    id_sets = ("nyud",)

    @classmethod
    def needed(cls, task: str, listing: Listing, space: LabelSpace) -> tuple[str, ...]:
        return (task,)

    @staticmethod
    def decode(path: Path, part: str) -> NDArray[Any]:
        return decode.read(path, part)

    @classmethod
    def about(cls, listing: Listing, parts: Sequence[str], sizes: Sequence[Size]) -> Iterable[str]:
        wrong = wrong_release(sizes)
        if wrong is not None:
            yield wrong
        elif release(listing) != RELEASES[".png"]:
            yield f"NYUD-v2: {release(listing)}; the published results use {RELEASES['.png']}"

    def sample(self, index: int) -> Sample:
        native = self.read(index)
        size: Size = native[IMAGE].shape[:2]
        sample = {IMAGE: native[IMAGE].transpose(2, 0, 1)}
        for task in self.tasks:
            sample[task] = self._target(task, native[task], size)
        return sample

    def _target(self, task: str, native: NDArray[Any], size: Size) -> NDArray[Any]:
        if task == "normals":
            vectors = file_vectors(native, masked=self.variant.mask_invalid)
            return unit_normals(samples.resized_vectors(vectors, size), self.axes)
        native = samples.nearest(native, size)
        if task == "semseg":
            return targets.semseg(native, self.space.table("nyud"))
        return {"depth": targets.depth, "edge": targets.edge}[task](native)
