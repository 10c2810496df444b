"""Normals from depth, and the axes of normal maps, on an empty room in closed form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.files.inside import FLOOR, as_picture, inside, stored
from support.paths import SAMPLES

from ttt_bench.data.images.geometry import facing_normals, focal_length, middle, surface_slopes
from ttt_bench.data.images.normals import EVERY_AXES, file_vectors
from ttt_bench.datatools.check import check
from ttt_bench.datatools.check.axes import (
    depth_angles,
    describe_axes,
    floor_cosines,
    judge_with_depth,
    judge_without_depth,
    shares_away,
)
from ttt_bench.datatools.check.conventions import measure_map
from ttt_bench.datatools.check.nyud import camera
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Silent

SIZE = (72, 96)
ROOM = inside(SIZE)
EVERYWHERE = np.ones(SIZE, bool)


def vectors_of(axes: str) -> NDArray[np.float32]:
    return file_vectors(as_picture(stored(ROOM.vectors, axes)))


def slopes_of(
    metres: NDArray[np.float64], radius: int = 1, valid: NDArray[np.bool_] = EVERYWHERE
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return surface_slopes(metres, valid, middle(SIZE), radius, 0.01)


def one_surface(surface: NDArray[np.intp], radius: int) -> NDArray[np.bool_]:
    """Return the pixels (H, W) whose window contains a single surface."""
    windows = np.lib.stride_tricks.sliding_window_view(surface, (2 * radius + 1, 2 * radius + 1))
    return np.pad(windows.max((2, 3)) == windows.min((2, 3)), radius)


def degrees_apart(found: NDArray[Any], true: NDArray[Any]) -> NDArray[Any]:
    return np.degrees(np.arccos(np.clip((found * true).sum(0), -1, 1)))


@pytest.mark.parametrize("radius", [1, 3])
@pytest.mark.parametrize("unit", [1.0, 512.0])
def test_planes_are_found_exactly_whatever_the_unit_of_depth(radius: int, unit: float) -> None:
    slopes, kept = slopes_of(unit * ROOM.metres, radius)
    focal = focal_length(SIZE[1], 70)
    apart = degrees_apart(facing_normals(slopes, (focal, focal)), ROOM.vectors)
    flat = one_surface(ROOM.surface, radius)
    assert apart[flat].max() < 0.1
    assert kept[flat].all()
    assert flat.mean() > 0.6
    assert not kept[:radius].any()
    assert not kept[:, -radius:].any()


def test_normals_are_missing_where_depth_jumps_or_is_missing() -> None:
    metres = ROOM.metres.copy()
    metres[20:40, 30:50] = 1.0  # a board in front of the walls
    valid = EVERYWHERE.copy()
    valid[50:53, 60:63] = False
    _, kept = surface_slopes(metres, valid, middle(SIZE), 1, 0.01)
    assert kept[21:39, 31:49].all()
    for edge in (
        kept[20, 30:50],
        kept[39, 30:50],
        kept[20:40, 30],
        kept[20:40, 49],
        kept[20:40, 29],
    ):
        assert not edge.any()
    assert not kept[49:54, 59:64].any()


def test_all_48_axes_are_found_with_depth_and_without() -> None:
    slopes, kept = slopes_of(ROOM.metres)
    length = focal_length(SIZE[1], 70)
    flat = kept & one_surface(ROOM.surface, 1)
    assert len(EVERY_AXES) == 48
    for axes in EVERY_AXES:
        vectors = vectors_of(axes)
        with_depth = judge_with_depth([depth_angles(vectors, slopes, flat, (length, length))])
        without_depth = judge_without_depth([shares_away(vectors, EVERYWHERE)])
        assert with_depth.axes == axes, f"{axes} with depth: {with_depth.words}"
        assert with_depth.words.startswith("0."), axes
        assert without_depth.axes == axes, f"{axes} without depth: {without_depth.words}"


@pytest.mark.parametrize("field_of_view", [66, 70, 100])
def test_the_field_of_view_need_not_be_known(field_of_view: int) -> None:
    focal = focal_length(SIZE[1], field_of_view)
    room = inside(SIZE, (focal, focal))
    slopes, kept = surface_slopes(room.metres, EVERYWHERE, middle(SIZE), 1, 0.01)
    vectors = file_vectors(as_picture(stored(room.vectors, "left / up / backward")))
    angles = depth_angles(vectors, slopes, kept & one_surface(room.surface, 1), None)
    assert judge_with_depth([angles]).axes == "left / up / backward"
    assert angles.min() < 1.5


def test_a_single_wall_determines_only_some_axes() -> None:
    wall = np.zeros((3, *SIZE))
    wall[2] = -1
    vectors = file_vectors(as_picture(stored(wall, "forward / down / right")))
    slopes, kept = slopes_of(np.full(SIZE, 3.0))
    for verdict in (
        judge_with_depth([depth_angles(vectors, slopes, kept, None)]),
        judge_without_depth([shares_away(vectors, EVERYWHERE)]),
    ):
        assert verdict.axes is None
        assert verdict.channels == "forward / undecided / undecided"
    assert "next" in verdict.words or "point away" in verdict.words


def test_noise_determines_no_axes() -> None:
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(3, *SIZE)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=0)
    slopes, kept = slopes_of(ROOM.metres)
    for verdict in (
        judge_with_depth([depth_angles(vectors, slopes, kept, None)]),
        judge_without_depth([shares_away(vectors, EVERYWHERE)]),
    ):
        assert verdict.axes is None
        assert len(verdict.possible) == 48


def test_a_floor_determines_the_vertical_axis() -> None:
    # a camera that looks down sees only the floor, so left and right cannot be told apart
    floor = ROOM.surface == FLOOR
    vectors = vectors_of("up / right / forward")
    seen = shares_away(vectors, EVERYWHERE & (ROOM.vectors[0] > -0.05))
    verdict = judge_without_depth([seen], [floor_cosines(vectors, floor)])
    assert all(axes.startswith("up") for axes in verdict.possible)
    assert "floors face up" in verdict.words


def test_too_few_vectors_determine_no_axes() -> None:
    few = np.zeros(SIZE, bool)
    few[:2, :90] = True
    slopes, _ = slopes_of(ROOM.metres)
    assert shares_away(vectors_of("right / down / forward"), few) is None
    assert depth_angles(vectors_of("right / down / forward"), slopes, few, None) is None


def test_axes_in_words() -> None:
    assert describe_axes("right / down / forward") == "right / down / forward (x, y, z)"
    assert describe_axes("left / up / backward") == "left / up / backward (-x, -y, -z)"
    assert (
        describe_axes("forward / down / right")
        == "forward / down / right (z, y, x: the channels are reversed)"
    )
    assert describe_axes("backward / up / left").endswith("(-z, -y, -x: the channels are reversed)")
    assert describe_axes("down / left / forward").endswith("(y, -x, z)")


def test_the_cropped_frames_have_a_moved_centre() -> None:
    focal, centre = (518.858, 519.470), (325.582, 253.736)
    whole = inside((480, 640), focal, centre)
    for rows, columns in ((slice(None), slice(None)), (slice(45, 470), slice(40, 600))):
        metres, vectors = whole.metres[rows, columns], whole.vectors[:, rows, columns]
        found_focal, found_centre = camera(metres.shape)
        slopes, _ = surface_slopes(metres, metres > 0, found_centre, 2, 0.01)
        flat = one_surface(whole.surface[rows, columns], 2)
        assert degrees_apart(facing_normals(slopes, found_focal), vectors)[flat].max() < 0.1
    assert camera((240, 320)) == (None, (159.5, 119.5))


def test_a_single_map_as_picture_or_array(tmp_path: Path) -> None:
    vectors = stored(ROOM.vectors, "backward / up / left")
    Image.fromarray(as_picture(vectors)).save(tmp_path / "normal.png")
    np.save(tmp_path / "normal.npy", vectors.astype(np.float32))
    for name in ("normal.png", "normal.npy"):
        assert measure_map(tmp_path / name).axes == "backward / up / left"
        (finding,) = check(tmp_path / name, Silent())
        assert finding.level == "warning"
        assert "the channels are reversed" in finding.message
    np.save(tmp_path / "flat.npy", np.zeros((40, 40), np.float32))
    with pytest.raises(DataError, match="expected a normal map"):
        measure_map(tmp_path / "flat.npy")
    np.save(tmp_path / "empty.npy", np.zeros((40, 40, 3), np.float32))
    assert "too few vectors" in check(tmp_path / "empty.npy", Silent())[0].message


@pytest.mark.samples
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the genuine samples are missing")
def test_the_genuine_nyu_map_is_caught_with_its_channels_reversed() -> None:
    (finding,) = check(SAMPLES / "nyud" / "normal_zyx.png", Silent())
    assert finding.level == "warning"
    assert "forward / down / right (z, y, x: the channels are reversed)" in finding.message


@pytest.mark.samples
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the genuine samples are missing")
@pytest.mark.parametrize("view", ["point_0_view_3", "point_12_view_1", "point_27_view_0"])
def test_each_genuine_view_determines_its_axes_even_without_depth(view: str) -> None:
    path = (
        SAMPLES / "taskonomy" / "normal" / "taskonomy" / "hm3dsample" / f"{view}_domain_normal.png"
    )
    assert measure_map(path).axes == "right / down / forward"
