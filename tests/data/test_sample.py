"""Geometric changes of samples, and the published augmentation, compared with hand calculation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ttt_bench.data.images import augment_sample
from ttt_bench.data.images import sample as samples
from ttt_bench.data.images.augment_sample import augmented_sample, random_crop, streams_of
from ttt_bench.data.images.sample import Placement, Sample, placement
from ttt_bench.model.normalisation import NORMALISATIONS

DRAW = np.random.default_rng(0)


class Scripted:
    """A random generator with given results."""

    def __init__(
        self, *, uniform: tuple[()] = (), random: tuple[()] = (), integers: tuple[()] = ()
    ) -> None:
        self.values = {"uniform": list(uniform), "random": list(random), "integers": list(integers)}

    def uniform(self, low: Any, high: Any) -> Any:
        return self.values["uniform"].pop(0)

    def random(self) -> Any:
        return self.values["random"].pop(0)

    def integers(self, low: Any, high: Any) -> Any:
        return self.values["integers"].pop(0)


def sample(height: int = 12, width: int = 16) -> Sample:
    vectors = DRAW.normal(size=(3, height, width))
    normals = (vectors / np.linalg.norm(vectors, axis=0)).astype(np.float32)
    normals[:, 0, 0] = 255
    depth = DRAW.uniform(1, 9, (1, height, width)).astype(np.float32)
    depth[:, -1, 3] = 255
    return {
        "image": DRAW.integers(0, 256, (3, height, width), dtype=np.uint8),
        "semseg": DRAW.choice(np.array([0, 1, 2, 255], np.uint8), (height, width)),
        "depth": depth,
        "normals": normals,
        "edge": DRAW.integers(0, 2, (1, height, width)).astype(np.float32),
    }


def test_images_are_placed_as_published() -> None:
    assert placement((425, 560), (448, 576)) == Placement(
        original=(425, 560), scaled=(425, 560), top=11, left=8
    )
    assert placement((375, 500), (512, 512)) == Placement(
        original=(375, 500), scaled=(375, 500), top=68, left=6
    )
    assert placement((480, 640), (448, 576)) == Placement(
        original=(480, 640), scaled=(432, 576), top=8, left=0
    )
    assert placement((1, 500), (50, 50)) == Placement(
        original=(1, 500), scaled=(1, 50), top=24, left=0
    )


def test_padding_is_the_networks_zero_around_images_and_255_around_targets() -> None:
    whole = sample()
    padded = samples.padded(whole, (15, 17))
    mean, _ = NORMALISATIONS["imagenet"]
    assert mean == samples.MEAN_COLOUR
    np.testing.assert_allclose(padded["image"][:, 1:13, :16], whole["image"] / 255, rtol=1e-6)
    outside = np.ones((15, 17), bool)
    outside[1:13, :16] = False
    np.testing.assert_allclose(
        padded["image"][:, outside].T, np.tile(mean, (outside.sum(), 1)), rtol=1e-6
    )
    for task in ("semseg", "depth", "normals", "edge"):
        assert (padded[task][..., outside] == 255).all()
        np.testing.assert_array_equal(padded[task][..., 1:13, :16], whole[task])
        assert padded[task].dtype == whole[task].dtype


def test_enlarging_twice_halves_depth_and_keeps_other_targets() -> None:
    whole = sample()
    twice = samples.zoomed(whole, 2.0)

    def doubled(values: Any) -> Any:
        return np.repeat(np.repeat(values, 2, axis=-2), 2, axis=-1)

    for task in ("semseg", "normals", "edge"):
        np.testing.assert_array_equal(twice[task], doubled(whole[task]))
    depth = doubled(whole["depth"])
    np.testing.assert_array_equal(twice["depth"], np.where(depth == 255, 255, depth / 2))
    assert twice["image"].shape == (3, 24, 32)
    half = samples.zoomed(whole, 0.5)
    assert half["semseg"].shape == (6, 8)
    there = half["depth"] != 255
    assert np.isin(half["depth"][there], 2 * whole["depth"]).all()


@pytest.mark.parametrize("size", [(5, 7), (24, 16), (13, 31), (1, 1)])
def test_the_nearest_pixel_is_the_one_that_the_middle_falls_into(size: tuple[int, int]) -> None:
    values = np.arange(12 * 16).reshape(12, 16)
    expected = [
        [
            values[int((row + 0.5) * 12 / size[0]), int((column + 0.5) * 16 / size[1])]
            for column in range(size[1])
        ]
        for row in range(size[0])
    ]
    np.testing.assert_array_equal(samples.nearest(values, size), expected)


def test_mirrored_twice_is_the_identity_and_once_turns_x() -> None:
    whole = sample()
    once = samples.mirrored(whole)
    np.testing.assert_array_equal(once["normals"][1:], whole["normals"][1:, :, ::-1])
    x, mirrored = whole["normals"][0], once["normals"][0][:, ::-1]
    np.testing.assert_array_equal(mirrored, np.where(x == 255, 255, -x))
    for name in ("image", "semseg", "depth", "edge"):
        np.testing.assert_array_equal(once[name], whole[name][..., ::-1])
    again = samples.mirrored(once)
    for name, value in whole.items():
        np.testing.assert_array_equal(again[name], value)


def test_a_crop_is_drawn_again_until_no_class_fills_it() -> None:
    whole = sample(4, 40)
    whole["semseg"][:] = 1
    whole["semseg"][:, 30:] = 255
    whole["semseg"][:, 31] = 2
    draw = Scripted(integers=[0, 0, 0, 28, 0, 10])
    crop = random_crop(whole, (4, 8), draw)
    # columns 0..7 hold class 1 alone; of 28..35 it has 2 in 8; so the third place is not drawn
    assert (crop["semseg"] == 1).sum() == 8
    np.testing.assert_array_equal(crop["image"], whole["image"][..., 28:36])
    assert draw.values["integers"] == [0, 10]


def labels_of(*counts: tuple[int, int]) -> np.ndarray:
    """Return a row of labels with (class, pixels)."""
    return np.concatenate([np.full(pixels, label, np.uint8) for label, pixels in counts])[None]


@pytest.mark.parametrize(
    ("labels", "accepted"),
    [
        (labels_of((3, 5), (1, 3)), True),
        (labels_of((3, 6), (1, 2)), False),  # exactly three quarters, which mmsegmentation rejects
        (labels_of((3, 8)), False),
        (labels_of((255, 8)), False),
        (labels_of((255, 7), (3, 1)), False),
        (labels_of((255, 5), (3, 2), (1, 1)), True),  # two thirds of the pixels with a class
        (labels_of((255, 4), (3, 3), (1, 1)), False),
    ],
)
def test_a_crop_needs_two_classes_and_none_with_three_quarters_of_the_labelled_pixels(
    labels: np.ndarray, accepted: bool
) -> None:
    whole = {**sample(1, 8), "semseg": labels}
    draw = Scripted(integers=[0, 0] * 10)
    random_crop(whole, (1, 8), draw)
    assert (len(draw.values["integers"]) == 18) == accepted

    # mmsegmentation's RandomCrop, written again from its documentation
    classes, counts = np.unique(labels, return_counts=True)
    counts = counts[classes != 255]
    assert accepted == (len(counts) > 1 and counts.max() / counts.sum() < 0.75)


def test_ten_places_are_tried_and_the_last_is_taken() -> None:
    whole = sample(1, 30)
    whole["semseg"][:] = 0
    places = [value for column in range(12) for value in (0, column)]
    draw = Scripted(integers=places)
    crop = random_crop(whole, (1, 4), draw)
    np.testing.assert_array_equal(crop["image"], whole["image"][..., 9:13])
    assert len(draw.values["integers"]) == 4
    one = Scripted(integers=places)
    random_crop(whole, (1, 4), one, balanced=False)
    assert len(one.values["integers"]) == 22


def test_small_images_are_not_cropped() -> None:
    whole = sample()
    crop = random_crop(whole, (20, 10), Scripted(integers=[0, 3]), balanced=False)
    np.testing.assert_array_equal(crop["semseg"], whole["semseg"][:, 3:13])


def test_a_view_keeps_image_and_targets_together() -> None:
    # image and targets encode each pixel's original position
    rows, columns = np.mgrid[:40, :60]
    whole = {
        "image": np.stack([rows * 4, columns * 4, 0 * rows]).astype(np.uint8),
        "semseg": (rows // 10 + 4 * (columns // 10)).astype(np.uint8),
        "depth": (1.0 + columns[None]).astype(np.float32),
        "normals": np.stack([columns / 60, rows / 40, -np.ones(rows.shape)]).astype(np.float32),
    }
    # no colour is changed: neither brightness, contrast, saturation nor hue
    draw = Scripted(uniform=[2.0], integers=[17, 31], random=[0.4, 0.9, 0.9, 0.9, 0.9, 0.9])
    view = augmented_sample(whole, (30, 50), lambda _: draw, balanced=False)
    assert view["image"].shape == (3, 30, 50)
    row = (17 + np.arange(30)) // 2
    column = ((31 + np.arange(50)) // 2)[::-1]
    np.testing.assert_array_equal(view["semseg"], whole["semseg"][row[:, None], column])
    np.testing.assert_array_equal(view["depth"][0], np.tile((1 + column) / 2, (30, 1)))
    np.testing.assert_allclose(view["normals"][0], np.tile(-column / 60, (30, 1)), rtol=1e-6)
    assert np.abs(view["image"][0] / 4.0 - row[:, None]).max() < 1
    assert np.abs(view["image"][1] / 4.0 - column).max() < 1


@pytest.mark.parametrize("early", [True, False])
def test_brightness_and_contrast(early: bool) -> None:
    image = np.array([[[0, 100, 250]]], np.uint8).repeat(3, 0)
    changed = augment_sample.recoloured(
        image, Scripted(random=[0.0 if early else 0.9, 0.1, 0.1, 0.9, 0.9], uniform=[-20.0, 1.5])
    )
    np.testing.assert_array_equal(changed[0, 0], [0, 120, 255])


def test_hue_turns_in_steps_of_two_degrees_and_saturation_scales() -> None:
    red = np.array([200, 0, 0], np.uint8).reshape(3, 1, 1)
    for turn, expected in ((60, [0, 200, 0]), (-60, [0, 0, 200]), (0, [200, 0, 0])):
        assert (
            np.abs(augment_sample.tinted(red, 1.0, turn)[:, 0, 0].astype(int) - expected).max() <= 6
        )
    assert (
        np.abs(augment_sample.tinted(red, 0.5, 0)[:, 0, 0].astype(int) - [200, 100, 100]).max() <= 2
    )
    grey = np.full((3, 2, 2), 90, np.uint8)
    np.testing.assert_array_equal(augment_sample.tinted(grey, 1.5, 18), grey)


def test_views_range_over_the_published_scales() -> None:
    whole = {"image": DRAW.integers(0, 256, (3, 20, 20), dtype=np.uint8)}
    heights = [
        augmented_sample(whole, (99, 99), streams_of(seed, 0))["image"].shape[1]
        for seed in range(200)
    ]
    assert min(heights) in (10, 11)
    assert max(heights) in (39, 40)
    assert 23 < np.mean(heights) < 27
