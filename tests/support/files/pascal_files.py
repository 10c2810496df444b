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
