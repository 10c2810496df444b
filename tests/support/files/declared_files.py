"""Write small data sets of streets with a `dataset.toml`, each with its own numbers of classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = (32, 48)
CLASSES = ("road", "person", "sky")

WEST = """
description = "streets of a city in the west"
images = "photos/{split}/*/{name}_photo.png"

[splits]
train = "train"
val = "val"
test = "val"

[semseg]
files = "labels/{split}/*/{name}_ids.png"
void = [0, 255]

[semseg.classes]
road = 7
person = [24, 25]
sky = 23
terrain = 22

[depth]
files = "disparity/{split}/*/{name}.png"
inverse = true
scale = 1000.0
offset = -1.0

[normals]
files = "normals/{split}/*/{name}.png"
axes = "left / up / backward"

[edge]
files = "edges/{split}/*/{name}.png"

[human_parts]
files = "parts/{split}/*/{name}.png"

[saliency]
files = "salient/{split}/*/{name}.png"
"""

EAST = """
root = "data"
images = "{name}/image.png"

[splits]
train = { list = "lists/train.txt" }
test = { list = "lists/test.txt" }

[semseg]
files = "{name}/classes.png"
void = 9

[semseg.classes]
sky = 1
person = 2
road = 3

[depth]
files = "{name}/depth.npy"
scale = 1.0

[normals]
files = "{name}/normals.png"

[edge]
files = "{name}/edges.png"

[human_parts]
files = "{name}/parts.png"

[saliency]
files = "{name}/salient.png"
"""
WEST_IDS = {"road": 7, "person": 24, "sky": 23, "void": 0}
EAST_IDS = {"sky": 1, "person": 2, "road": 3, "void": 9}


def scene(seed: int) -> dict[str, NDArray[np.generic]]:
    """Return sky over road with a person: image, index in `CLASSES` (3: void), metres, and so on.

    Normals are (3, H, W), right / down / forward.
    """
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    classes = np.where(rows < 12, 2, 0)
    left = 6 + seed % 20
    person = (rows >= 8) & (rows < 24) & (columns >= left) & (columns < left + 10)
    classes[person] = 1
    classes[:2] = 3
    image = np.array([(90, 90, 90), (180, 60, 40), (120, 160, 220), (0, 0, 0)])[classes]
    image = np.clip(image + draw.integers(-20, 20, (*SIZE, 3)), 0, 255).astype(np.uint8)
    metres = np.where(person, 5.0, 40.0 - rows)
    normals = np.where(person, np.array([0, 0, -1.0])[:, None, None], _UP[:, None, None])
    edges = np.zeros(SIZE, bool)
    edges[:, 1:] |= classes[:, 1:] != classes[:, :-1]
    parts = np.where(person, 1 + (rows - 8) // 3, 0)
    return {
        "image": image,
        "classes": classes,
        "metres": metres,
        "normals": normals,
        "edges": edges,
        "parts": parts.astype(np.uint8),
        "salient": person,
    }


_UP = np.array([0, -0.6, -0.8])


def write_west(root: Path, images: Mapping[str, int] | None = None) -> Path:
    """Write a data set with a folder per split and city; depth is 16-bit disparity."""
    seed = 0
    for split, count in (images or {"train": 6, "val": 4}).items():
        for number in range(count):
            shown, name = scene(seed), f"{split}/city{number % 2}/{number:03}"
            ids = np.array([WEST_IDS[one] for one in (*CLASSES, "void")])[shown["classes"]]
            disparity = np.rint(1000 / shown["metres"] + 1).astype(np.uint16)
            save(root / f"photos/{name}_photo.png", shown["image"])
            save(root / f"labels/{name}_ids.png", ids.astype(np.uint8))
            save(root / f"disparity/{name}.png", disparity)
            save(root / f"normals/{name}.png", coded(-shown["normals"]))
            save(root / f"edges/{name}.png", shown["edges"] * np.uint8(255))
            save(root / f"parts/{name}.png", shown["parts"])
            save(root / f"salient/{name}.png", shown["salient"] * np.uint8(255))
            seed += 1
    (root / "dataset.toml").write_text(WEST)
    return root


def write_east(root: Path, images: Mapping[str, int] | None = None) -> Path:
    """Write a data set with a folder per image and lists of names; depth is in .npy files."""
    seed = 100
    for split, count in (images or {"train": 6, "test": 4}).items():
        names = [f"{split}-{number}" for number in range(count)]
        for name in names:
            shown, folder = scene(seed), root / "data" / name
            ids = np.array([EAST_IDS[one] for one in (*CLASSES, "void")])[shown["classes"]]
            save(folder / "image.png", shown["image"])
            save(folder / "classes.png", ids.astype(np.uint8))
            np.save(folder / "depth.npy", shown["metres"].astype(np.float32))
            save(folder / "normals.png", coded(shown["normals"]))
            save(folder / "edges.png", shown["edges"] * np.uint8(255))
            save(folder / "parts.png", shown["parts"])
            save(folder / "salient.png", shown["salient"] * np.uint8(255))
            seed += 1
        (root / "data" / "lists").mkdir(exist_ok=True)
        (root / "data" / "lists" / f"{split}.txt").write_text("\n".join(names) + "\n")
    (root / "dataset.toml").write_text(EAST)
    return root


def coded(vectors: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return vectors (3, H, W) as 8-bit RGB (H, W, 3)."""
    return np.rint(127.5 + 127.5 * vectors.transpose(1, 2, 0)).astype(np.uint8)


def save(path: Path, values: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
