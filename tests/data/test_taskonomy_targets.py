from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.files.scenes import NO_DEPTH, normals_from_depth, scene

from ttt_bench.data.label_spaces import LABEL_SPACES
from ttt_bench.data.taskonomy import targets

TABLE = LABEL_SPACES["taskonomy_nyud_7"].table("taskonomy")
VIEW = scene(64)


def test_the_image_is_rgb_between_zero_and_one() -> None:
    rgb = np.zeros((8, 8, 3), np.uint8)
    rgb[..., 0], rgb[:4, :, 2] = 255, 51
    image = targets.image(rgb, (2, 4))
    assert image.shape == (3, 2, 4)
    assert image.dtype == np.float32
    assert np.all(image[0] == 1)
    assert np.all(image[1] == 0)
    assert image[2, 0, 0] > image[2, 1, 0]
    assert targets.image(rgb, (8, 8))[2, 0, 0] == pytest.approx(0.2)


def test_depth_of_511_counts_is_nine_sixteenths() -> None:
    depth = targets.depth(np.full((16, 16), 511, np.uint16), (8, 8))
    assert depth.shape == (1, 8, 8)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, 0.5625, rtol=1e-6)


@pytest.mark.parametrize("size", [(64, 64), (32, 32), (24, 40), (96, 128)])
def test_invalid_depth_is_ignored_in_targets(size: tuple[int, int]) -> None:
    depth = targets.depth(VIEW.depth, size)[0]
    valid = depth != 255
    assert 0 < (~valid).mean() < 0.3
    low, high = (
        math.log(1 + 512 * metres) / math.log(65536)
        for metres in (VIEW.metres.min(), VIEW.metres.max())
    )
    assert depth[valid].min() >= low - 1e-3
    assert depth[valid].max() <= high + 1e-3


def test_invalid_depth_takes_four_pixels_around_it() -> None:
    counts = np.full((40, 40), 1000, np.uint16)
    counts[20, 20] = NO_DEPTH
    kept = targets.depth(counts, (40, 40))[0] != 255
    assert not kept[16:25, 16:25].any()
    assert kept.sum() == 40 * 40 - 81


def test_counts_from_65036_on_are_invalid() -> None:
    for count, valid in ((65035, True), (65036, False)):
        assert (targets.depth(np.full((8, 8), count, np.uint16), (8, 8)) != 255).all() == valid


@pytest.mark.parametrize("missing", [0, 65_535])
def test_either_value_of_a_missing_depth_gives_the_same_target(missing: int) -> None:
    counts = np.full((64, 64), 1536, np.uint16)
    counts[20:40, 10:30] = missing
    for size in ((64, 64), (32, 32), (20, 20)):
        target = targets.depth(counts, size)[0]
        valid = target[target != 255]
        np.testing.assert_allclose(valid, np.log1p(1536) / np.log(65_536), rtol=1e-6)
        assert 0.1 < (target == 255).mean() < 0.25  # the hole and four pixels around it
    assert (targets.depth(counts, (32, 32), masked=False) != 255).all()


def test_depth_next_to_a_hole_is_the_mean_of_what_is_valid() -> None:
    counts = np.full((64, 64), 2000, np.uint16)
    counts[:, 40:] = NO_DEPTH
    depth = targets.depth(counts, (16, 16))[0]
    np.testing.assert_allclose(depth[depth != 255], math.log(2001) / math.log(65536), rtol=1e-6)
    assert (depth[:, 9:] == 255).all()


@pytest.mark.parametrize("make", [targets.depth, targets.edge])
def test_the_integer_type_that_pillow_gives_makes_no_difference(make: Any) -> None:
    counts = VIEW.depth if make is targets.depth else VIEW.edge
    assert np.array_equal(make(counts, (32, 32)), make(counts.astype(np.int32), (32, 32)))


def test_labels_are_never_mixed() -> None:
    expected = {14: 0, 7: 1, 8: 2, 4: 3, 6: 4, 13: 5, 3: 6}
    native = targets.semseg(VIEW.labels, TABLE, (64, 64))
    for ident in range(18):
        assert set(native[VIEW.labels == ident]) == {expected.get(ident, 255)}
    pair = np.full((64, 64), 3, np.uint8)
    pair[:, 31:] = 7
    for size in ((32, 32), (20, 28), (100, 100)):
        small = targets.semseg(pair, TABLE, size)
        assert small.shape == size
        assert small.dtype == np.int64
        assert set(np.unique(small)) == {1, 6}  # bilinear would give 5, a potted plant


def test_a_frame_without_objects_is_all_255() -> None:
    assert (targets.semseg(np.tile(np.uint8([[0, 1]]), (8, 4)), TABLE, (4, 4)) == 255).all()


@pytest.mark.parametrize("size", [(64, 64), (32, 32), (24, 40)])
def test_normals_are_unit_vectors_in_the_files_axes(size: tuple[int, int]) -> None:
    normals = targets.normals(VIEW.normals, size)
    valid = (normals != 255).all(axis=0)
    assert normals.shape == (3, *size)
    assert ((normals == 255).any(axis=0) == ~valid).all()
    assert 0 < (~valid).sum() < 0.05 * valid.size
    np.testing.assert_allclose(np.linalg.norm(normals, axis=0)[valid], 1, rtol=1e-5)


def test_normals_decode_to_the_scene_and_stay_valid_beyond_the_depth_range() -> None:
    normals = targets.normals(VIEW.normals, (64, 64))
    assert (normals[:, VIEW.hole] == 255).all()
    assert (normals[:, ~VIEW.hole] != 255).all()
    cosine = (normals * VIEW.vectors).sum(0)[~VIEW.hole]
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 1.0
    # a floor's normal points up, that is, to negative y; what faces the camera has negative z
    assert normals[1][VIEW.vectors[1] == -1].max() < -0.99
    assert normals[2, 32, 60] < -0.9


def test_normals_agree_with_the_depth() -> None:
    big = scene(128)
    normals = targets.normals(big.normals, (128, 128))
    from_depth = normals_from_depth(big.metres)
    cosine = (normals * from_depth).sum(0)
    inner = np.ones((128, 128), bool)
    inner[:1] = inner[-1:] = inner[:, :1] = inner[:, -1:] = False
    angles = np.degrees(np.arccos(np.clip(cosine[inner & ~big.hole], -1, 1)))
    assert np.median(angles) < 0.5
    assert (angles < 2).mean() > 0.95  # the others are on the box's outline


@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_are_missing_normals(value: int) -> None:
    rgb = np.full((8, 8, 3), value, np.uint8)
    assert (targets.normals(rgb, (4, 4)) == 255).all()
    rgb[0, 0, 1] = 128  # as in (-1, 0, -1), which has the length of no unit vector, but a direction
    assert targets.normals_mask(rgb).sum() == 1


@pytest.mark.parametrize("grey", [127, 128])
def test_missing_normals_are_recognised_as_either_middle_grey(grey: int) -> None:
    rgb = np.full((8, 8, 3), grey, np.uint8)
    assert (targets.normals(rgb, (4, 4)) == 255).all()
    rgb[0, 0, 1] = grey + 2 if grey == 128 else grey - 2
    assert targets.normals_mask(rgb).sum() == 1


def test_opposite_normals_that_cancel_are_no_target() -> None:
    rgb = np.zeros((8, 8, 3), np.uint8)
    rgb[:, ::2] = 255
    assert (targets.normals(rgb, (1, 1)) == 255).all()


def test_edges_without_an_edge_are_minus_one_and_scale_as_published() -> None:
    flat = targets.edge(np.zeros((64, 64), np.uint16), (32, 32))
    np.testing.assert_allclose(flat, -1, rtol=1e-5)
    np.testing.assert_allclose(
        targets.edge(np.full((64, 64), 2048, np.uint16), (32, 32)), 9, rtol=1e-5
    )


def test_the_blur_is_a_gaussian_of_four_pixels_at_256() -> None:
    counts = np.zeros((256, 256), np.uint16)
    counts[128, 100] = 65535
    blurred = targets.edge(counts, (256, 256))[0].astype(np.float64) + 1
    assert blurred.sum() == pytest.approx(2 * 65535 / 409.6, rel=1e-3)
    peak = blurred[128, 100]
    assert peak == pytest.approx(2 * 65535 / 409.6 / (2 * math.pi * 16), rel=2e-3)
    for offset in (2, 4, 8):
        assert blurred[128, 100 + offset] / peak == pytest.approx(
            math.exp(-(offset**2) / 32), rel=1e-3
        )
        assert blurred[128 - offset, 100] / peak == pytest.approx(
            math.exp(-(offset**2) / 32), rel=1e-3
        )


def test_the_blur_grows_with_the_size_and_mirrors_the_border() -> None:
    counts = np.zeros((512, 512), np.uint16)
    counts[:, 256] = 4096
    blurred = targets.edge(counts, (512, 512))[0] + 1
    assert blurred[256, 256 + 8] / blurred[256, 256] == pytest.approx(math.exp(-0.5), rel=1e-3)
    counts[:] = 0
    counts[:, 0] = 4096
    blurred = targets.edge(counts, (512, 512))[0] + 1
    # the border mirrors its own pixel as well, so that twice half a line stays a line
    assert blurred.sum(1)[0] == pytest.approx(20, rel=1e-3)


@given(st.integers(1, 70), st.integers(1, 70))
def test_any_size_is_made(height: int, width: int) -> None:
    for target in (
        targets.depth(VIEW.depth, (height, width)),
        targets.edge(VIEW.edge, (height, width)),
    ):
        assert target.shape == (1, height, width)
        assert np.isfinite(target).all()
