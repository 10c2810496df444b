"""PASCAL-Context as a `Dataset`: files are decoded when a batch is requested."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ttt_bench.data.images import sample as samples
from ttt_bench.data.images.files import Size
from ttt_bench.data.images.human_parts import human_parts
from ttt_bench.data.images.normals import file_vectors, unit_normals
from ttt_bench.data.images.sample import IMAGE, Sample
from ttt_bench.data.label_spaces import LabelSpace
from ttt_bench.data.listed.dataset import ListedDataset
from ttt_bench.data.listed.layout import Listing
from ttt_bench.data.pascal import decode, targets
from ttt_bench.data.pascal.edges import label_edges
from ttt_bench.data.pascal.index import CONTEXT, LAYOUT
from ttt_bench.util.extras import import_optional

_LABELS = {"pascal": "semseg", "pascal_context": CONTEXT}
"""The part with the native ids that a label space lists under a name."""


class PascalContext(ListedDataset):
    """PASCAL-Context: semantic classes, predicted normals of indoor objects, edges of labels.

    If they are asked for, also the parts of people, and saliency that a network has predicted.
    """

    domain = "pascal"
    layout = LAYOUT
    labels = "taskonomy_pascal_6"
    id_sets = ("pascal", "pascal_context")

    @classmethod
    def needed(cls, task: str, listing: Listing, space: LabelSpace) -> tuple[str, ...]:
        if task == "semseg":
            return tuple(part for ids, part in _LABELS.items() if ids in space.native)
        if task == "normals":
            return ("normals", CONTEXT)
        if task != "edge":
            return (task,)
        return (CONTEXT,) if listing.lacking("edge") else ("edge",)

    @staticmethod
    def decode(path: Path, part: str) -> NDArray[Any]:
        return decode.read(path, part)

    @classmethod
    def about(cls, listing: Listing, parts: Sequence[str], sizes: Sequence[Size]) -> Iterable[str]:
        if {CONTEXT, "human_parts"} & set(parts):
            import_optional("scipy.io", "reading PASCAL-Context's labels (.mat)")
        if CONTEXT in parts and "edge" not in parts:
            import_optional("skimage.morphology", "making PASCAL-Context's edges from labels")
            yield (
                "PASCAL-Context: edges are made from the labels each time an image is read; "
                "`ttt-bench data prepare pascal` makes and stores them once"
            )

    def sample(self, index: int) -> Sample:
        native = self.read(index)
        size: Size = native[IMAGE].shape[:2]
        sample = {IMAGE: native[IMAGE].transpose(2, 0, 1)}
        for task in self.tasks:
            sample[task] = self._target(task, native, size)
        return sample

    def _target(self, task: str, native: dict[str, NDArray[Any]], size: Size) -> NDArray[Any]:
        if task == "semseg":
            parts = {ids: part for ids, part in _LABELS.items() if ids in self.space.native}
            labels = {ids: samples.nearest(native[part], size) for ids, part in parts.items()}
            return targets.semseg(self.space, labels)
        if task == "normals":
            vectors = file_vectors(native["normals"], masked=self.variant.mask_invalid)
            context = samples.nearest(native[CONTEXT], size)
            return unit_normals(
                targets.trusted(samples.resized_vectors(vectors, size), context), self.axes
            )
        if task == "human_parts":
            return human_parts(native[task], size)
        if task == "saliency":
            return targets.binary(samples.nearest(native[task], size))
        edges = native["edge"] if "edge" in native else label_edges(native[CONTEXT])
        return targets.binary(samples.nearest(edges, size))
