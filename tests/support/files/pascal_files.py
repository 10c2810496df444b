"""Write small PASCAL-Context trees in the real formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image

IDS: dict[str, tuple[str, ...]] = {
    "train": ("2008_000008", "2008_000015"),
    "val": ("2010_000001", "2010_000002", "2008_000027"),
}
SIZES = ((75, 100), (100, 67))  # rows, columns; taken in turn
CONTEXT = (397, 427, 34, 368, 308, 72, 408, 158, 440, 431, 360)
"""table, tv, bottle, sofa, pottedplant, chair, toilet, floor, wall, unknown, sky."""
VOC = {397: 11, 427: 20, 34: 5, 368: 18, 308: 16, 72: 9}
"""The VOC id of the same object; all others are background."""
UNTRUSTED = (308, 431, 360)
"""The ids above whose normals must not be used."""
FOLDERS = ("JPEGImages", "pascal-context/trainval", "semseg/VOC12", "normals_distill")


@dataclass(frozen=True)
class PascalView:
    """Contents of an image.

    Attributes:
        rgb: (H, W, 3) uint8, smooth, so that it survives JPEG.
        context: (H, W) uint16, columns of the ids in `CONTEXT`.
        voc: (H, W) uint8 the same in VOC ids.
        vectors: (3, H, W) unit vectors, x right, y down, z forward.
    """

    rgb: NDArray[np.uint8]
    context: NDArray[np.uint16]
    voc: NDArray[np.uint8]
    vectors: NDArray[np.float64]


def view(size: tuple[int, int] = SIZES[0], seed: int = 0) -> PascalView:
    """Return an image of (H, W); the seed changes the colours and the vectors."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    shade = 40 + 150 * columns / size[1] + 50 * rows / size[0]
    rgb = np.stack([shade, 255 - shade, np.full(size, 20.0 * (seed % 10))], axis=-1).astype(
        np.uint8
    )
    context = np.array(CONTEXT, np.uint16)[columns * len(CONTEXT) // size[1]]
    voc = np.zeros(size, np.uint8)
    for ident, other in VOC.items():
        voc[context == ident] = other
    angle = 0.5 * np.sin(columns / 9.0 + seed)
    vectors = np.stack([np.sin(angle), 0.2 * np.cos(rows / 7.0), -np.cos(angle)])
    return PascalView(rgb, context, voc, vectors / np.linalg.norm(vectors, axis=0))


def write(
    root: Path, ids: Mapping[str, Sequence[str]] = IDS, folders: Sequence[str] = FOLDERS
) -> Path:
    """Write views with seeds from 0 over train, then val; normals left / up / backward, unmasked.

    Every second one has its semantic map in `semseg/pascal-context` instead of `semseg/VOC12`.
    """
    (root / "ImageSets" / "Context").mkdir(parents=True)
    for name, listed in ids.items():
        (root / "ImageSets" / "Context" / f"{name}.txt").write_text("\n".join(listed) + "\n")
    for seed, name in enumerate(name for listed in ids.values() for name in listed):
        write_view(root, name, view(SIZES[seed % 2], seed), seed % 2 == 0, folders)
    return root


def write_view(
    root: Path, name: str, shown: PascalView, voc: bool = True, folders: Sequence[str] = FOLDERS
) -> None:
    """Write one image's files; with `voc`, the semantic map has a palette and a void border."""
    for folder in folders:
        path = file_of(root, name, folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        if folder == "JPEGImages":
            Image.fromarray(shown.rgb).save(path, quality=95)
        elif folder == "normals_distill":
            stored = -shown.vectors.transpose(1, 2, 0)
            Image.fromarray(np.rint(127.5 + 127.5 * stored).astype(np.uint8)).save(path)
        elif folder == "semseg/VOC12":
            write_labels(root, name, shown.voc, voc)
        else:
            scipy.io.savemat(path, {"LabelMap": shown.context}, do_compression=True)


def write_labels(root: Path, name: str, ids: NDArray[np.uint8], voc: bool) -> None:
    """Write a semantic map: with a palette and a border of 255, or grey without a border."""
    path = file_of(root, name, "semseg/VOC12" if voc else "semseg/pascal-context")
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(bordered(ids) if voc else ids)
    if voc:
        indices = picture.tobytes()
        picture = Image.new("P", picture.size)
        picture.frombytes(indices)
        picture.putpalette(voc_palette())
    picture.save(path)


def write_extras(root: Path, ids: Mapping[str, Sequence[str]] = IDS) -> Path:
    """Write parts of people and saliency next to the files of `write`.

    The first image of each list has no person, the second one a person and a chair, and further
    ones two people. Saliency is 128 in the left half, else 127.
    """
    for number, name in enumerate(name for listed in ids.values() for name in listed):
        size = SIZES[number % 2]
        for folder, suffix in (("human_parts", ".mat"), ("sal_distill", ".png")):
            (root / folder).mkdir(exist_ok=True)
            path = root / folder / f"{name}{suffix}"
            if suffix == ".mat":
                place = next(listed.index(name) for listed in ids.values() if name in listed)
                scipy.io.savemat(path, {"anno": annotation(size, place)})
            else:
                grey = np.full(size, 127, np.uint8)
                grey[:, : size[1] // 2] = 128
                Image.fromarray(grey).save(path)
    return root


def annotation(size: tuple[int, int], people: int) -> dict[str, object]:
    """Return the structure of PASCAL-Part's annotations: a chair, and people with six parts each.

    A person's parts are squares of 4 pixels in a row, 5 pixels apart: `PARTS` from left to right.
    """
    objects = [_object(size, 9, [])]
    for person in range(people):
        places = [(name, 8 * person, 5 * column) for column, name in enumerate(PARTS)]
        objects.append(_object(size, 15, places))
    return {"imname": "x", "objects": _structures(objects)}


PARTS = ("lear", "torso", "ruarm", "lhand", "luleg", "rfoot")
"""A part of each class of `HUMAN_PARTS` but the background, in its order."""


def _object(
    size: tuple[int, int], class_ind: int, places: Sequence[tuple[str, int, int]]
) -> dict[str, object]:
    parts = []
    for name, row, column in places:
        mask = np.zeros(size, np.uint8)
        mask[row : row + 4, column : column + 4] = 1
        parts.append({"part_name": name, "mask": mask})
    mask = sum((part["mask"] for part in parts), np.zeros(size, np.uint8))
    return {"class": "x", "class_ind": class_ind, "mask": mask, "parts": _structures(parts)}


def _structures(records: Sequence[Mapping[str, object]]) -> NDArray[np.void] | list[object]:
    """Return records as MATLAB's array of structures, or an empty list."""
    if not records:
        return []
    array = np.empty((1, len(records)), dtype=[(name, object) for name in records[0]])
    for place, record in enumerate(records):
        array[0, place] = tuple(record.values())
    return array


def bordered(ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the map with a void border of two pixels."""
    framed = np.full_like(ids, 255)
    framed[2:-2, 2:-2] = ids[2:-2, 2:-2]
    return framed


def voc_palette() -> list[int]:
    """Return 256 colours made from the bits of the index.

    Red has bits 0, 3, 6, green 1, 4, 7, blue 2, 5.
    """
    return [
        sum(((index >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(8))
        for index in range(256)
        for channel in range(3)
    ]


def file_of(root: Path, name: str, folder: str) -> Path:
    """Return a file of an image."""
    suffix = {"JPEGImages": ".jpg", "pascal-context/trainval": ".mat"}.get(folder, ".png")
    return root / folder / f"{name}{suffix}"
