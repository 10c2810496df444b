"""Pictures of example images: errors, differences to norm, steps, and places that are blank."""

from __future__ import annotations

import numpy as np
import pytest
from support.synthetic import example_images

from ttt_bench.metrics import colours
from ttt_bench.metrics.base import metrics_of
from ttt_bench.report.figures.picture_grid import Grid, Line
from ttt_bench.report.figures.pictures import ExampleSet

WHITE, GREY = [255, 255, 255], [221, 221, 221]


def test_errors_by_hand() -> None:
    # the third pixel has no truth
    classes = metrics_of("semseg").error(np.array([[0, 1, 255]]), np.array([[0, 2, 1]]))
    np.testing.assert_array_equal(classes, [[0.0, 1.0, np.nan]])
    # z, x and no truth, against z, half-way between x and z, and z
    truth = np.array([[[0, 1, 255]], [[0, 0, 255]], [[1, 0, 255]]], dtype=np.float16)
    predicted = np.array([[[0, 2, 0]], [[0, 0, 0]], [[3, 2, 1]]], dtype=np.float16)
    angles = metrics_of("normals").error(truth, predicted)
    np.testing.assert_allclose(angles, [[0.0, 45.0, np.nan]], atol=1e-4)
    # 1, 2, 3 by the line 2.5 - p / 4 of p = 2, 2, 6, which fits them best: 2, 2, 1
    depth = metrics_of("depth").error(np.array([[1.0, 3.0, 1.0, 255]]), np.array([[2, 2, 6, 9.0]]))
    np.testing.assert_allclose(depth, [[1.0, 1.0, 0.0, np.nan]], atol=1e-6)
    saliency = metrics_of("saliency").error(np.array([[1.0, 255]]), np.array([[0.25, 0.5]]))
    np.testing.assert_allclose(saliency, [[0.75, np.nan]])


def test_colours_of_errors_and_differences_end_where_they_are_told_to() -> None:
    errors = colours.errors([[0.0, 2.0, 9.0, np.nan]], 2.0)[0].tolist()
    assert errors[0] == WHITE
    assert errors[1] == errors[2] != WHITE
    assert errors[3] == GREY
    better, same, worse, missing = colours.differences([[-2.0, 0.0, 2.0, np.nan]], 2.0)[0].tolist()
    assert better[2] > better[0], "better is blue"
    assert worse[0] > worse[2], "worse is red"
    assert same == WHITE
    assert missing == GREY
    assert (colours.differences(np.zeros((1, 2)), 0.0) == 255).all()


@pytest.mark.parametrize("task", ["semseg", "depth", "normals", "edge"])
def test_a_prediction_is_masked_where_the_truth_is_unknown(task: str) -> None:
    examples = example_images(count=1)
    truth = examples[f"truth_{task}"][0]
    shown = metrics_of(task).picture(truth, examples[f"prediction_{task}_3"][0])
    missing = truth[0] == 255 if truth.ndim == 3 else truth == 255
    assert (shown[missing] == GREY).all()
    assert not (shown[~missing] == GREY).all()


def test_the_last_step_has_three_rows_per_task_and_compares_with_norm() -> None:
    right, wrong = example_images(count=3), example_images(shift=0.5, count=3)
    both = ExampleSet({"base": wrong, "norm": right}, ["wall", "floor"])
    assert both.tasks == ["semseg", "depth", "normals", "edge"]
    assert both.steps == [0, 3]
    shape = both.last_step().shape
    assert ExampleSet({"base": wrong, "norm": right}).last_step().shape[0] < shape[0]
    # without norm there is no row of differences: 2 images x 4 tasks rows of 96 + 4 pixels less
    alone = ExampleSet({"base": wrong, "tent": right}, ["wall", "floor"])
    assert shape[0] - alone.last_step().shape[0] == 8 * 100
    assert shape == both.last_step().shape
    assert shape[1] == alone.last_step().shape[1] > ExampleSet({"base": wrong}).last_step().shape[1]


def test_a_step_without_predictions_has_those_of_the_step_before_it() -> None:
    moving = example_images(shift=0.5)
    still = {name: array for name, array in moving.items() if not name.endswith("_3")}
    kept, _ = ExampleSet({"norm": moving}).over_steps("depth")
    repeated, _ = ExampleSet({"norm": moving, "base": still}).over_steps("depth")
    # heads, then one row of 96 + 4 pixels per label: both rows of predictions are equal
    first = repeated[22 : 22 + 96, 300:]
    second = repeated[22 + 100 : 22 + 100 + 96, 300:]
    assert np.array_equal(first, second)
    assert kept.shape[1] == repeated.shape[1]
    # other example images leave the places blank
    other = {**moving, "indices": np.array([5, 6])}
    blank, _ = ExampleSet({"norm": moving, "base": other}).over_steps("depth")
    assert (blank[22 + 100 : 22 + 100 + 96, 300:] == 255).all()


def test_a_grid_leaves_missing_tiles_blank_and_frames_the_others() -> None:
    tile = np.zeros((2, 4, 3), dtype=np.uint8)
    grid = Grid(heads=("a", "b"), lines=[Line(label=("x",), tiles=[tile, None])], shape=(2, 4))
    shown = grid.drawn()
    # tiles are 56 x 112, the labels take 100 pixels and a head 18 + 4
    assert (shown[22 : 22 + 56, 100:212] == 0).all()
    assert (shown[22 : 22 + 56, 216:] == 255).all()
    assert (shown[21, 100:212] == 187).all()
