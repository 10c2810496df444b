"""Write small NYUD-v2 trees in the formats of both releases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from support.files.scenes import scene

IDS: dict[str, tuple[str, ...]] = {"train": ("0003", "0004b", "n5"), "val": ("0001", "0002_x")}
LABELS = (0, 4, 5, 6, 7, 24, 33, 34)
SUFFIXES = {
    "atrc": {
        "images": ".png",
        "segmentation": ".png",
        "depth": ".npy",
        "normals": ".png",
        "edge": ".png",
    },
    "vandenhende": {
        "images": ".jpg",
        "segmentation": ".png",
        "depth": ".npy",
        "normals": ".npy",
        "edge": ".npy",
    },
}
FOLDERS = tuple(SUFFIXES["atrc"])


@dataclass(frozen=True)
class NyudView:
    """Contents of a frame; x right, y down, z forward.

    Attributes:
        rgb: (H, W, 3) uint8, the top left corner bright.
        labels: (H, W) uint8, blocks of `LABELS` on void.
        metres: (H, W), 0 in `hole`.
        vectors: (3, H, W) unit vectors.
        edges: (H, W) bool.
        hole: (H, W) bool, neither depth nor normal.
    """

    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    metres: NDArray[np.float64]
    vectors: NDArray[np.float64]
    edges: NDArray[np.bool_]
    hole: NDArray[np.bool_]


def view(size: tuple[int, int] = (48, 64), seed: int = 0) -> NyudView:
    """Return a frame of (H, W); the seed tilts the wall and draws the texture."""
    height, width = size
    whole = scene(64 * -(-max(size) // 64), seed)
    block = max(width // 16, 1)
    labels = np.zeros(size, np.uint8)
    for number, label in enumerate(LABELS):
        labels[2 * block : 5 * block, (2 * number) * block : (2 * number + 2) * block] = label
    rgb = whole.rgb[:height, :width].copy()
    rgb[: height // 8, : width // 8] = 250
    hole = whole.hole[:height, :width]
    edges = np.zeros(size, bool)
    edges[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edges[1:] |= labels[1:] != labels[:-1]
    return NyudView(
        rgb,
        labels,
        np.where(hole, 0.0, whole.metres[:height, :width]),
        whole.vectors[:, :height, :width],
        edges,
        hole,
    )


def write(
    root: Path,
    style: str = "atrc",
    ids: Mapping[str, Sequence[str]] = IDS,
    size: tuple[int, int] = (48, 64),
    folders: Sequence[str] = FOLDERS,
) -> Path:
    """Write views, seeds counting from 0 over train, then val; normals left / up / backward."""
    (root / "gt_sets").mkdir(parents=True)
    for name, listed in ids.items():
        (root / "gt_sets" / f"{name}.txt").write_text("\n".join(listed))
    names = [name for listed in ids.values() for name in listed]
    for seed, name in enumerate(names):
        write_view(root, name, view(size, seed), style, folders)
    return root


def write_view(
    root: Path, name: str, shown: NyudView, style: str = "atrc", folders: Sequence[str] = FOLDERS
) -> None:
    """Write one frame's files."""
    for folder in folders:
        (root / folder).mkdir(exist_ok=True)
        path = file_of(root, name, folder, style)
        if folder == "images":
            Image.fromarray(shown.rgb).save(path, quality=95)
        elif folder == "segmentation":
            Image.fromarray(shown.labels).save(path)
        elif folder == "depth":
            metres = shown.metres.astype(np.float32)
            np.save(path, metres if style == "atrc" else metres.astype(np.float64)[..., None])
        elif folder == "normals":
            stored = np.where(shown.hole, 0.0, -shown.vectors).transpose(1, 2, 0)
            if style == "atrc":
                Image.fromarray(np.rint(127.5 + 127.5 * stored).astype(np.uint8)).save(path)
            else:
                np.save(path, stored.astype(np.float32))
        elif style == "atrc":
            Image.fromarray(shown.edges.astype(np.uint8) * np.uint8(255)).save(path)
        else:
            np.save(path, shown.edges.astype(np.int64))


def file_of(root: Path, name: str, folder: str, style: str = "atrc") -> Path:
    """Return a file of a frame."""
    return root / folder / f"{name}{SUFFIXES[style][folder]}"


def write_libmtl(root: Path) -> Path:
    """Write the third form of NYUv2, which lacks the classes."""
    for split in ("train", "val"):
        for part, shape in (
            ("image", (8, 8, 3)),
            ("label", (8, 8)),
            ("depth", (8, 8, 1)),
            ("normal", (8, 8, 3)),
        ):
            (root / split / part).mkdir(parents=True)
            np.save(root / split / part / "0.npy", np.zeros(shape))
    return root
