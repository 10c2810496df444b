"""Write small Taskonomy trees in every known layout, and damage them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from support.files.scenes import scene

STEMS = ("point_0_view_0", "point_0_view_1", "point_2_view_0", "point_10_view_0")
IN_STRING_ORDER = ("point_0_view_0", "point_0_view_1", "point_10_view_0", "point_2_view_0")
DOMAINS = ("rgb", "depth_zbuffer", "normal", "edge_occlusion", "segment_semantic")


def folder_of(root: Path, layout: str, building: str, domain: str) -> Path:
    """Return the folder of a building's files of a domain in a layout."""
    return {
        "A": root / domain / "taskonomy" / building,
        "B": root / domain / building,
        "C": root / f"{building}_{domain}" / domain,
        "D": root / domain,
        "E": root / building / domain,
    }[layout]


def file_of(root: Path, building: str, stem: str, domain: str, layout: str = "A") -> Path:
    """Return a frame's file of a domain."""
    suffix = "segmentsemantic" if domain == "segment_semantic" else domain
    return folder_of(root, layout, building, domain) / f"{stem}_domain_{suffix}.png"


def write(
    root: Path,
    buildings: Mapping[str, Sequence[str]] | Sequence[str],
    layout: str = "A",
    size: int = 64,
    domains: Sequence[str] = DOMAINS,
) -> Path:
    """Write scenes; every frame of a tree differs. Buildings without stems get `STEMS`."""
    frames = buildings if isinstance(buildings, Mapping) else dict.fromkeys(buildings, STEMS)
    seed = 0
    for building, stems in frames.items():
        for stem in stems:
            native = scene(size, seed).native
            seed += 1
            for domain in domains:
                path = file_of(root, building, stem, domain, layout)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(native[domain]).save(path)
    return root


def write_empty(
    root: Path, building: str, stems: Sequence[str], domains: Sequence[str] = DOMAINS
) -> None:
    """Write empty files, for tests of listings."""
    for domain in domains:
        folder_of(root, "A", building, domain).mkdir(parents=True, exist_ok=True)
        for stem in stems:
            file_of(root, building, stem, domain).touch()


def cut(path: Path, share: float = 0.6) -> None:
    """Keep only the first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def rewrite(path: Path, array: np.ndarray) -> None:
    """Replace the image of a file."""
    Image.fromarray(array).save(path)
