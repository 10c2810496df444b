"""Write rendered rooms as data sets in the real formats: images and labels that belong together.

Each function returns nothing and writes all frames. Faults are changes of the frames' arrays, by
part, before they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image

from support.files.scenes import occlusion_edges
from ttt_bench.data.pascal.ids import voc_table
from ttt_bench.data.rooms.dataset import Rooms
from ttt_bench.util.progress import Silent

SIZE = (96, 128)
TASKONOMY_IDS = (14, 7, 8, 4, 6, 13, 3)
NYUD_IDS = (24, 7, 33, 6, 4, 34, 5)
CONTEXT_IDS = (0, 397, 408, 368, 23, 349, 72)
WALL, FLOOR = 1, 2
CONTEXT_WALL, CONTEXT_FLOOR = 440, 158

Array = NDArray[np.generic]
Parts = dict[str, list[Array]]
Fault = Callable[[Parts], Mapping[str, Sequence[Array]]]
"""Return the changed arrays of some parts."""


@dataclass(frozen=True)
class Views:
    """Rendered frames.

    Attributes:
        images: (H, W, 3) uint8.
        labels: (H, W) uint8, classes of `taskonomy_nyud_7`, 255 for other surfaces.
        metres: (H, W).
        vectors: (3, H, W), x right, y down, z forward.
        edges: (H, W) bool.
    """

    images: list[Array]
    labels: list[NDArray[np.uint8]]
    metres: list[NDArray[np.float32]]
    vectors: list[NDArray[np.float32]]
    edges: list[NDArray[np.bool_]]


@cache
def views(count: int = 14, look: str = "rooms", size: tuple[int, int] = SIZE) -> Views:
    """Return the first frames of a look."""
    with TemporaryDirectory() as cache_folder:
        rooms = Rooms(look, "train", size, count, Path(cache_folder))
        rooms.prepare(Silent())
        batch = rooms.batch(range(count))
    images = np.rint(batch.images.numpy() * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    targets = {task: values.numpy() for task, values in batch.targets.items()}
    return Views(
        list(images),
        list(targets["semseg"].astype(np.uint8)),
        list(targets["depth"][:, 0]),
        list(targets["normals"]),
        list(targets["edge"][:, 0] > 0.5),
    )


def ids_of(labels: Array, vectors: Array, ids: Sequence[int], wall: int, floor: int) -> Array:
    """Return native ids: those of the classes, and of floors and walls elsewhere."""
    table = np.zeros(256, np.uint16)
    table[: len(ids)] = ids
    others = np.where(vectors[1] < -0.9, floor, wall)
    return np.where(labels == 255, others, table[labels]).astype(np.uint16)


def picture(vectors: Array, sign: int = 1) -> NDArray[np.uint8]:
    """Return vectors (3, H, W) as an 8-bit normal map."""
    return np.rint(127.5 + sign * 127.5 * vectors.transpose(1, 2, 0)).astype(np.uint8)


def taskonomy_parts(shown: Views) -> Parts:
    depth = [np.rint(512 * metres).astype(np.uint16) for metres in shown.metres]
    pairs = zip(shown.labels, shown.vectors, strict=True)
    return {
        "rgb": list(shown.images),
        "depth_zbuffer": list(depth),
        "normal": [picture(vectors) for vectors in shown.vectors],
        "edge_occlusion": [occlusion_edges(counts) for counts in depth],
        "segment_semantic": [
            ids_of(labels, vectors, TASKONOMY_IDS, 1, 1).astype(np.uint8)
            for labels, vectors in pairs
        ],
    }


def write_taskonomy(root: Path, shown: Views, fault: Fault | None = None) -> Path:
    parts = _with_fault(taskonomy_parts(shown), fault)
    for domain, arrays in parts.items():
        folder = root / "taskonomy" / domain / "taskonomy" / "ihlen"
        folder.mkdir(parents=True)
        suffix = "segmentsemantic" if domain == "segment_semantic" else domain
        for number, array in enumerate(arrays):
            path = folder / f"point_{number}_view_0_domain_{suffix}.png"
            Image.fromarray(array).save(path)
    return root


def nyud_parts(shown: Views) -> Parts:
    pairs = zip(shown.labels, shown.vectors, strict=True)
    return {
        "images": list(shown.images),
        "segmentation": [
            ids_of(labels, vectors, NYUD_IDS, WALL, FLOOR).astype(np.uint8)
            for labels, vectors in pairs
        ],
        "depth": [metres.astype(np.float32) for metres in shown.metres],
        "normals": [picture(vectors, -1) for vectors in shown.vectors],
        "edge": [edges.astype(np.uint8) * np.uint8(255) for edges in shown.edges],
    }


def write_nyud(root: Path, shown: Views, fault: Fault | None = None) -> Path:
    parts = _with_fault(nyud_parts(shown), fault)
    root = root / "nyud"
    names = _lists(root / "gt_sets", len(shown.images))
    for part, arrays in parts.items():
        (root / part).mkdir(parents=True)
        for name, array in zip(names, arrays, strict=True):
            if part == "depth":
                np.save(root / part / f"{name}.npy", array)
            else:
                Image.fromarray(array).save(root / part / f"{name}.png")
    return root


def pascal_parts(shown: Views) -> Parts:
    pairs = zip(shown.labels, shown.vectors, strict=True)
    context = [
        ids_of(labels, vectors, CONTEXT_IDS, CONTEXT_WALL, CONTEXT_FLOOR)
        for labels, vectors in pairs
    ]
    return {
        "JPEGImages": list(shown.images),
        "pascal-context/trainval": list(context),
        "semseg/VOC12": [voc_table()[ids] for ids in context],
        "normals_distill": [picture(vectors, -1) for vectors in shown.vectors],
        "edge": [edges.astype(np.uint8) * np.uint8(255) for edges in shown.edges],
    }


def write_pascal(root: Path, shown: Views, fault: Fault | None = None) -> Path:
    parts = _with_fault(pascal_parts(shown), fault)
    root = root / "pascal"
    names = _lists(root / "ImageSets" / "Context", len(shown.images))
    for part, arrays in parts.items():
        (root / part).mkdir(parents=True)
        for name, array in zip(names, arrays, strict=True):
            if part == "pascal-context/trainval":
                scipy.io.savemat(root / part / f"{name}.mat", {"LabelMap": array})
            elif part == "JPEGImages":
                Image.fromarray(array).save(root / part / f"{name}.jpg", quality=95)
            else:
                Image.fromarray(array).save(root / part / f"{name}.png")
    return root


def _with_fault(parts: Parts, fault: Fault | None) -> Parts:
    return parts if fault is None else {**parts, **{k: list(v) for k, v in fault(parts).items()}}


def _lists(folder: Path, count: int) -> list[str]:
    names = [f"a{number:04d}" for number in range(count)]
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text("\n".join(names[: count // 2]))
    (folder / "val.txt").write_text("\n".join(names[count // 2 :]))
    return names


WRITERS = {"taskonomy": write_taskonomy, "nyud": write_nyud, "pascal": write_pascal}
