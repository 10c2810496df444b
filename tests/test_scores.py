"""Scores from sufficient statistics against plain loops over raw pixels."""

from __future__ import annotations

import math

import numpy as np

from ttt_bench import scores

CLASSES = 4


def pair_of_maps(seed: int, batches: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    """(prediction, target) of each batch, (2, 5, 6), a third of the pixels without a target (NaN)."""
    rng = np.random.default_rng(seed)
    maps = []
    for _ in range(batches):
        target = rng.normal(2.0, 1.0, (2, 5, 6))
        prediction = 0.3 * target + rng.normal(0.0, 0.5, target.shape) + rng.normal()
        target[rng.random(target.shape) < 1 / 3] = np.nan
        maps.append((prediction, target))
    return maps


def sums_of(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The stored layout, one row an image: n, sum p, sum t, sum p^2, sum t^2, sum p t."""
    rows = []
    for p, t in zip(prediction, target, strict=True):
        p, t = p[np.isfinite(t)], t[np.isfinite(t)]
        rows.append([len(p), p.sum(), t.sum(), (p * p).sum(), (t * t).sum(), (p * t).sum()])
    return np.array(rows)


def test_rmse_is_a_fit_a_batch() -> None:
    maps = pair_of_maps(0)
    squares, count = 0.0, 0
    for prediction, target in maps:
        valid = np.isfinite(target)
        columns = np.stack([prediction[valid], np.ones(valid.sum())], axis=1)
        fit, *_ = np.linalg.lstsq(columns, target[valid], rcond=None)
        squares += ((columns @ fit - target[valid]) ** 2).sum()
        count += valid.sum()
    statistics = [sums_of(*batch) for batch in maps]
    assert math.isclose(scores.task_score("depth", statistics), math.sqrt(squares / count), rel_tol=1e-9)
    assert scores.task_score("edge", statistics) == scores.task_score("depth", statistics)


def test_align_is_the_least_squares_fit() -> None:
    ((prediction, target),) = pair_of_maps(1, batches=1)
    valid = np.isfinite(target)
    slope, intercept = np.polyfit(prediction[valid], target[valid], 1)
    assert np.allclose(scores.align(sums_of(prediction, target).sum(axis=0)), (slope, intercept))


def test_constant_predictions_and_empty_batches() -> None:
    ((_, target),) = pair_of_maps(2, batches=1)
    flat = np.full_like(target, 0.7)
    sums = sums_of(flat, target).sum(axis=0)
    scale, shift = scores.align(sums)
    assert scale == 0.0
    assert math.isclose(shift, np.nanmean(target))
    assert math.isclose(scores.rmse([sums]), np.nanstd(target))
    empty = np.zeros(6)
    assert scores.align(empty) == (0.0, 0.0)
    assert math.isclose(scores.rmse([sums, empty]), scores.rmse([sums]))
    assert math.isnan(scores.rmse([empty]))
    assert math.isnan(scores.constant_rmse([]))


def test_constant_rmse_is_the_spread_within_batches() -> None:
    maps = pair_of_maps(3)
    pooled = [sums_of(*batch).sum(axis=0) for batch in maps]
    residuals = np.concatenate([(t - np.nanmean(t))[np.isfinite(t)] for _, t in maps])
    assert math.isclose(scores.constant_rmse(pooled), math.sqrt((residuals**2).mean()))
    assert scores.rmse(pooled) <= scores.constant_rmse(pooled)


def test_miou_counts_pixels_over_the_set() -> None:
    rng = np.random.default_rng(4)
    truth, predicted = rng.integers(0, 3, (2, 4, 50)), rng.integers(0, 3, (2, 4, 50))
    confusion = np.zeros((2, 4, CLASSES, CLASSES))
    for batch, image, pixel in np.ndindex(truth.shape):
        confusion[batch, image, truth[batch, image, pixel], predicted[batch, image, pixel]] += 1
    expected = []
    for label in range(CLASSES):
        both = ((truth == label) & (predicted == label)).sum()
        either = ((truth == label) | (predicted == label)).sum()
        # the last class occurs nowhere: it counts as zero and stays in the mean
        expected.append(both / either if either else 0.0)
    assert np.allclose(scores.class_iou(confusion.sum((0, 1))), expected)
    flat = [batch.reshape(4, -1) for batch in confusion]
    assert math.isclose(scores.task_score("semseg", flat), 100 * sum(expected) / CLASSES)


def test_normals_are_a_mean_over_pixels() -> None:
    angles = [np.array([10.0, 20.0, 60.0]), np.array([2.0])]
    statistics = [np.array([[len(a), a.sum()]]) for a in angles]
    assert math.isclose(scores.task_score("normals", statistics), np.concatenate(angles).mean())
    assert math.isnan(scores.task_score("normals", [np.zeros((2, 2))]))


def test_delta_ttt_by_hand() -> None:
    # mIoU 20 -> 25 is +25 %, an error 2.0 -> 1.5 is +25 %, an error 0.1 -> 0.12 is -20 %
    assert math.isclose(scores.delta_ttt([25.0, 1.5, 0.12], [20.0, 2.0, 0.1], [False, True, True]), 10.0)
    assert math.isnan(scores.delta_ttt([1.0, 1.0], [0.0, 1.0], [False, True]))
