"""The contours of images and labels: pure functions, and the genuine views with faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.files.rendered import views
from support.findings import among
from support.paths import SAMPLES

from ttt_bench.datatools.check import Finding, check
from ttt_bench.datatools.check.agreement.contours import (
    depth_contours,
    image_contours,
    label_contours,
)
from ttt_bench.datatools.check.agreement.judgement import fit_frames, judge
from ttt_bench.datatools.check.labels.steps import count_steps
from ttt_bench.util.progress import Silent

STEMS = ("point_0_view_3", "point_12_view_1", "point_27_view_0")
DOMAINS = ("rgb", "depth_zbuffer", "normal", "edge_occlusion")
genuine = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the genuine samples are missing")


def square(at: tuple[int, int], size: tuple[int, int] = (40, 60)) -> np.ndarray:
    labels = np.zeros(size, np.uint8)
    labels[at[0] : at[0] + 12, at[1] : at[1] + 20] = 7
    return labels


def test_a_moved_part_is_found_with_the_displacement() -> None:
    places = [(8, 10), (12, 22), (16, 30), (20, 14)]
    here = [label_contours(square(place)) for place in places]
    there = [label_contours(square((row - 3, column + 6))) for row, column in places]
    assert all(one is not None for one in (*here, *there))
    found = judge(fit_frames(here, there), 2)  # type: ignore[arg-type]
    assert (found.kind, found.moved) == ("moved", (3, -6)), "the way back"
    assert judge(fit_frames(here, here), 2).kind == "agree"  # type: ignore[arg-type]


def test_a_few_frames_are_not_judged() -> None:
    maps = [label_contours(square((8, 10))), label_contours(square((16, 30)))]
    assert judge(fit_frames(maps, maps[::-1]), 2).kind == "undecided"  # type: ignore[arg-type]


def test_contours_depend_neither_on_contrast_nor_on_units() -> None:
    shown = views()
    image, metres = shown.images[0], shown.metres[0]
    valid = np.ones(metres.shape, bool)
    plain, paler = image_contours(image), image_contours(image / 2.0 + 30)
    assert plain is not None
    assert paler is not None
    np.testing.assert_allclose(plain, paler, atol=1e-6)
    one, other = depth_contours(metres, valid), depth_contours(1000.0 * metres, valid)
    assert one is not None
    assert other is not None
    assert (one * other).sum() > 0.999


@pytest.mark.parametrize("empty", [np.zeros((40, 60, 3), np.uint8), np.full((40, 60, 3), 255)])
def test_an_empty_image_has_no_contours(empty: np.ndarray) -> None:
    assert image_contours(empty) is None


def test_steps_of_a_blended_border() -> None:
    rows = np.repeat(np.array([[1, 1, 1, 9, 9, 9, 9]], np.uint8), 5, axis=0)
    assert count_steps(rows) == (5, 0, 0)
    blended = np.repeat(np.array([[1, 1, 3, 6, 9, 9, 9]], np.uint8), 5, axis=0)
    assert count_steps(blended) == (15, 10, 10)
    void_between = np.repeat(np.array([[1, 1, 0, 9, 9, 9, 9]], np.uint8), 5, axis=0)
    assert count_steps(void_between) == (10, 5, 0)


def copy_views(root: Path, changes: dict[str, Callable[[list[Any]], list[Any]]]) -> list[Finding]:
    """Check a copy of the genuine views with changed domains."""
    for domain in DOMAINS:
        folder = f"{domain}/taskonomy/hm3dsample"
        paths = [SAMPLES / "taskonomy" / folder / f"{stem}_domain_{domain}.png" for stem in STEMS]
        arrays = [np.asarray(Image.open(path)) for path in paths]
        arrays = changes.get(domain, list)(arrays)
        (root / folder).mkdir(parents=True)
        for path, array in zip(paths, arrays, strict=True):
            Image.fromarray(array).save(root / folder / path.name, compress_level=1)
    return check(root, Silent())


@pytest.mark.samples
@genuine
def test_genuine_views_agree() -> None:
    findings = check(SAMPLES / "taskonomy", Silent())
    for part in ("depth maps", "normals"):
        assert among(findings, "ok", "agreement", f"{part} and images agree: 3 of 3 frames")
    assert not among(findings, "warning", "agreement")
    assert not among(findings, "warning", "edges")
    assert not among(findings, "warning", "conventions")


@pytest.mark.samples
@genuine
@pytest.mark.parametrize(
    ("domain", "change", "name", "words"),
    [
        ("rgb", lambda a: a[1:] + a[:1], "agreement", "images do not belong to their depth maps"),
        ("rgb", lambda a: [one[:, ::-1].copy() for one in a], "agreement", "when mirrored"),
        ("rgb", lambda a: [np.roll(one, 8, 1) for one in a], "agreement", "0 rows, 8 columns"),
        ("normal", lambda a: a[1:] + a[:1], "agreement", "normals do not belong to their images"),
        (
            "depth_zbuffer",
            lambda a: [np.where(one < 54_000, one * 1.2, 65_535).astype(np.uint16) for one in a],
            "edges",
            "slope 0.913",
        ),
    ],
)
def test_faults_of_genuine_views_are_named(
    tmp_path: Path, domain: str, change: Callable[[list[Any]], list[Any]], name: str, words: str
) -> None:
    assert among(copy_views(tmp_path, {domain: change}), "warning", name, words)
