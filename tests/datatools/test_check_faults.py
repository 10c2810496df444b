"""`data check` on wrong data: rendered rooms in the real formats, changed in one way each.

A fault is a change of the arrays before they are written. Without a fault nothing may be doubted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.files.rendered import WRITERS, Array, Fault, views
from support.findings import among

from ttt_bench.data.listed.manifest import read_manifest
from ttt_bench.datatools.check import Finding, check
from ttt_bench.util.progress import Silent

FRAMES = 14
EXPECTED = ("splits", "classes")
"""Checks that warn of any set of a few frames."""


def each(part: str, change: Callable[[Any], Any], first: int | None = None) -> Fault:
    """Change the arrays of a part, or only the first ones."""
    return lambda parts: {
        part: [
            change(array) if first is None or number < first else array
            for number, array in enumerate(parts[part])
        ]
    }


def mixed_up(part: str) -> Fault:
    """Give each frame the array of another one."""
    return lambda parts: {part: parts[part][5:] + parts[part][:5]}


def mirrored(array: Any) -> Any:
    return array[:, ::-1].copy()


def moved(pixels: int) -> Callable[[Any], Any]:
    return lambda array: np.roll(array, pixels, axis=1)


def scaled(factor: float) -> Callable[[Any], Any]:
    return lambda depth: (depth * factor).astype(depth.dtype)


def blended(labels: Any) -> Any:
    """Resize a label map to a half and back, like a picture."""
    picture = Image.fromarray(labels)
    half = picture.resize((labels.shape[1] // 2, labels.shape[0] // 2), Image.Resampling.BILINEAR)
    return np.asarray(half.resize(picture.size, Image.Resampling.BILINEAR))


def to_8_bit(counts: Any) -> Any:
    return (counts // 256 * 256 + 128).astype(counts.dtype)


def rounded(metres: Any) -> Any:
    return (np.rint(metres * 25) / 25).astype(metres.dtype)


def inverse(depth: Any) -> Any:
    return (float(depth.max()) * float(depth.min()) / depth).astype(depth.dtype)


def lowered(labels: Any) -> Any:
    return np.where(labels > 0, labels - 1, 0).astype(labels.dtype)


def holes(value: int) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        changed = array.copy()
        changed[10:20, 10:20] = value
        return changed

    return change


def black(image: Any) -> Any:
    return np.zeros_like(image)


def turned_axes(normals: Any) -> Any:
    return normals[..., ::-1].copy()


Case = tuple[str, str, Fault, str, str, tuple[str, ...]]

CASES: dict[str, Case] = {
    # name: data set, what is wrong, the fault, level, check, words
    "t-units": ("taskonomy", "depth in millimetres", each("depth_zbuffer", scaled(1000 / 512)),
                "warning", "edges", ("slope 0.71", "counts per metre (millimetres)")),
    "t-double": ("taskonomy", "depth times 2", each("depth_zbuffer", scaled(2.0)),
                 "warning", "edges", ("slope 0.707", "1024 counts per metre")),
    "t-inverse": ("taskonomy", "inverse depth", each("depth_zbuffer", inverse),
                  "warning", "edges", ("not the published edges",)),
    "t-8-bit": ("taskonomy", "depth of 8 bits", each("depth_zbuffer", to_8_bit),
                "warning", "values", ("different values per frame",)),
    "t-zeros": ("taskonomy", "invalid depth as 0", each("depth_zbuffer", holes(0)),
                "warning", "values", ("of the pixels are 0",)),
    "t-some-depth": ("taskonomy", "depth wrong in 3 frames",
                     each("depth_zbuffer", mirrored, first=3),
                     "warning", "edges", ("3 of 14 frames", "ihlen/point_0_view_0")),
    "t-some-normals": ("taskonomy", "normals wrong in 3 frames",
                       each("normal", turned_axes, first=3),
                       "warning", "conventions", ("3 of 14 frames", "ihlen/point_0_view_0")),
    "t-black-normals": ("taskonomy", "missing normals as black", each("normal", holes(0)),
                        "warning", "values", ("are (0, 0, 0)",)),
    "t-normals-mirrored": ("taskonomy", "normals mirrored as a picture", each("normal", mirrored),
                           "warning", "agreement", ("normals fit their images when mirrored",)),
    "t-normals-mixed": ("taskonomy", "normals of other frames", mixed_up("normal"),
                        "warning", "agreement", ("normals do not belong to their images",)),
    "t-edges-inverted": ("taskonomy", "edges inverted",
                         each("edge_occlusion", lambda edges: (65535 - edges).astype(np.uint16)),
                         "warning", "edges", ("not the published edges",)),
    "t-rgb-mixed": ("taskonomy", "photographs of other frames", mixed_up("rgb"),
                    "warning", "agreement", ("images do not belong to their label maps",)),
    "t-rgb-mirrored": ("taskonomy", "photographs mirrored", each("rgb", mirrored),
                       "warning", "agreement", ("images fit their label maps", "mirrored")),
    "t-rgb-moved": ("taskonomy", "photographs moved by 8 pixels", each("rgb", moved(8)),
                    "warning", "agreement", ("images are displaced", "0 rows, 8 columns")),
    "t-rgb-black": ("taskonomy", "3 photographs black", each("rgb", black, first=3),
                    "warning", "agreement", ("3 of 14 images show nothing",)),
    "t-labels-mixed": ("taskonomy", "label maps of other frames", mixed_up("segment_semantic"),
                       "warning", "agreement", ("label maps do not belong to their images",)),
    "t-labels-mirrored": ("taskonomy", "label maps mirrored", each("segment_semantic", mirrored),
                          "warning", "agreement", ("label maps fit their images when mirrored",)),
    "t-labels-moved": ("taskonomy", "label maps moved by 8 pixels",
                       each("segment_semantic", moved(8)),
                       "warning", "agreement", ("label maps are displaced", "8 columns")),
    "t-labels-blended": ("taskonomy", "label maps resized like pictures",
                         each("segment_semantic", blended),
                         "warning", "values", ("resized like pictures",)),
    "t-labels-lowered": ("taskonomy", "ids lowered by one", each("segment_semantic", lowered),
                         "warning", "values", ("lowered by one",)),
    "n-feet": ("nyud", "depth in feet", each("depth", scaled(3.28)),
               "warning", "values", ("the sensor cannot measure",)),
    "n-inverse": ("nyud", "inverse depth",
                  each("depth", lambda metres: (1 / metres).astype(np.float32)),
                  "warning", "values", ("depth: median 0.3",)),
    "n-8-bit": ("nyud", "depth of 8 bits", each("depth", rounded),
                "warning", "values", ("different values per frame",)),
    "n-depth-mixed": ("nyud", "depth of other frames", mixed_up("depth"),
                      "warning", "agreement", ("depth maps do not belong to their images",)),
    "n-edges-inverted": ("nyud", "edges inverted", each("edge", lambda edges: 255 - edges),
                         "warning", "values", ("may be inverted",)),
    "n-edges-mixed": ("nyud", "edges of other frames", mixed_up("edge"),
                      "warning", "agreement", ("edges do not belong to their images",)),
    "n-rgb-mixed": ("nyud", "photographs of other frames", mixed_up("images"),
                    "warning", "agreement", ("images do not belong to their label maps",)),
    "n-rgb-mirrored": ("nyud", "photographs mirrored", each("images", mirrored),
                       "warning", "agreement", ("images fit their label maps", "mirrored")),
    "n-labels-mixed": ("nyud", "label maps of other frames", mixed_up("segmentation"),
                       "warning", "agreement", ("label maps do not belong to their images",)),
    "n-labels-moved": ("nyud", "label maps moved by 8 pixels", each("segmentation", moved(8)),
                       "warning", "agreement", ("label maps are displaced",)),
    "n-labels-blended": ("nyud", "label maps resized like pictures", each("segmentation", blended),
                         "warning", "values", ("resized like pictures",)),
    "n-labels-lowered": ("nyud", "ids lowered by one", each("segmentation", lowered),
                         "warning", "values", ("lowered by one",)),
    "n-some-normals": ("nyud", "normals wrong in 3 frames", each("normals", turned_axes, first=3),
                       "warning", "conventions", ("3 of 14 frames", "a0000")),
    "p-edges-inverted": ("pascal", "edges inverted", each("edge", lambda edges: 255 - edges),
                         "warning", "values", ("may be inverted",)),
    "p-rgb-mixed": ("pascal", "photographs of other frames", mixed_up("JPEGImages"),
                    "warning", "agreement", ("images do not belong to their label maps",)),
    "p-rgb-mirrored": ("pascal", "photographs mirrored", each("JPEGImages", mirrored),
                       "warning", "agreement", ("images fit their label maps", "mirrored")),
    "p-voc-mixed": ("pascal", "class masks of other images", mixed_up("semseg/VOC12"),
                    "warning", "agreement", ("VOC and Context labels", "nothing in common")),
    "p-context-mixed": ("pascal", "Context labels of other images",
                        mixed_up("pascal-context/trainval"),
                        "warning", "agreement", ("Context labels do not belong to their images",)),
    "p-normals-mixed": ("pascal", "normals of other images", mixed_up("normals_distill"),
                        "warning", "agreement", ("normals do not belong to their images",)),
    "p-normals-mirrored": ("pascal", "normals mirrored as a picture",
                           each("normals_distill", mirrored),
                           "warning", "agreement", ("normals fit their images when mirrored",)),
}  # fmt: skip
QUICK = frozenset({
    "t-units", "t-8-bit", "t-zeros", "t-some-normals", "t-rgb-mixed", "t-labels-blended", "n-feet",
    "n-inverse", "n-labels-lowered", "n-labels-moved", "p-voc-mixed", "p-edges-inverted",
})  # fmt: skip
"""Cases that every run of the tests includes: one per kind."""


def doubts(findings: Sequence[Finding]) -> list[str]:
    """Return the findings that a sound set of a few frames does not have."""
    return [f.message for f in findings if f.level != "ok" and f.check not in EXPECTED]


@pytest.mark.parametrize("name", WRITERS)
def test_sound_data_are_not_doubted(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path, views(FRAMES))
    assert not doubts(check(tmp_path, Silent()))


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name, case in CASES.items()
    ],
)
def test_wrong_data_are_named(tmp_path: Path, case: Case) -> None:
    name, _, fault, level, check_name, words = case
    WRITERS[name](tmp_path, views(FRAMES), fault)
    findings = check(tmp_path, Silent())
    assert among(findings, level, check_name, *words), doubts(findings)


def test_axes_are_not_stored_while_depth_is_wrong(tmp_path: Path) -> None:
    fault = each("depth", lambda metres: (1 / metres).astype(np.float32))
    WRITERS["nyud"](tmp_path, views(FRAMES), fault)
    check(tmp_path, Silent(), store=True)
    assert read_manifest(tmp_path / "nyud").normal_axes is None


def test_axes_are_not_stored_for_mirrored_normals(tmp_path: Path) -> None:
    WRITERS["pascal"](tmp_path, views(FRAMES), each("normals_distill", mirrored))
    check(tmp_path, Silent(), store=True)
    assert read_manifest(tmp_path / "pascal").normal_axes is None


def test_exchanged_channels_are_found_on_many_images(tmp_path: Path) -> None:
    def exchanged(parts: dict[str, list[Array]]) -> dict[str, list[Array]]:
        return {"JPEGImages": [image[..., ::-1].copy() for image in parts["JPEGImages"]]}

    shown = views(56, size=(24, 32))
    WRITERS["pascal"](tmp_path / "sound", shown)
    WRITERS["pascal"](tmp_path / "wrong", shown, exchanged)
    assert not among(check(tmp_path / "sound", Silent()), "warning", "agreement", "BGR")
    assert among(check(tmp_path / "wrong", Silent()), "warning", "agreement", "BGR")
