"""Scores from stored sums, against plain loops over raw pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ttt_bench.metrics.alignment import align, constant_rmse, rmse
from ttt_bench.metrics.base import all_metrics, metrics_of
from ttt_bench.metrics.delta import delta_ttt
from ttt_bench.metrics.edge import ods_f
from ttt_bench.metrics.normals import ANGLE_BINS, median_angle, share_below
from ttt_bench.metrics.semseg import class_iou
from ttt_bench.tasks import HUMAN_PARTS, TASKS, class_names

CLASSES = 4


def pair_of_maps(seed: int, batches: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (prediction, target) of each batch, (2, 5, 6), 1/3 of the pixels without target."""
    rng = np.random.default_rng(seed)
    maps = []
    for _ in range(batches):
        target = rng.normal(2.0, 1.0, (2, 5, 6))
        prediction = 0.3 * target + rng.normal(0.0, 0.5, target.shape) + rng.normal()
        target[rng.random(target.shape) < 1 / 3] = np.nan
        maps.append((prediction, target))
    return maps


def sums_of(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return n, sum p, sum t, sum p^2, sum t^2, sum p t, one row per image, as they are stored."""
    rows = []
    for p, t in zip(prediction, target, strict=True):
        p, t = p[np.isfinite(t)], t[np.isfinite(t)]
        rows.append([len(p), p.sum(), t.sum(), (p * p).sum(), (t * t).sum(), (p * t).sum()])
    return np.array(rows)


def test_rmse_has_one_fit_per_batch() -> None:
    maps = pair_of_maps(0)
    squares, count = 0.0, 0
    for prediction, target in maps:
        valid = np.isfinite(target)
        columns = np.stack([prediction[valid], np.ones(valid.sum())], axis=1)
        fit, *_ = np.linalg.lstsq(columns, target[valid], rcond=None)
        squares += ((columns @ fit - target[valid]) ** 2).sum()
        count += valid.sum()
    statistics = [sums_of(*batch) for batch in maps]
    assert math.isclose(
        metrics_of("depth").score(statistics), math.sqrt(squares / count), rel_tol=1e-9
    )
    assert metrics_of("edge").score(statistics) == metrics_of("depth").score(statistics)


def old_align(sums: np.ndarray) -> tuple[float, float]:
    """Return the alignment, computed with branches as an independent statement of the formula."""
    n, sp, st, spp, _, spt = np.asarray(sums, dtype=np.float64)
    if n == 0:
        return 0.0, 0.0
    variance = spp - sp * sp / n
    if variance <= 1e-12 * max(spp, 1e-300):
        return 0.0, st / n
    scale = (spt - sp * st / n) / variance
    return float(scale), float((st - scale * sp) / n)


@pytest.mark.parametrize("spread", [0.0, 1e-9, 1e-6, 1.0])
def test_the_alignment_has_the_same_bits_in_numpy_and_torch(spread: float) -> None:
    cases = [np.zeros(6)]
    for seed in range(50):
        rng = np.random.default_rng(seed)
        target = rng.normal(2.0, 1.0, 40)
        prediction = 1e6 ** rng.normal() * (1 + spread * rng.normal(size=40))
        cases.append(sums_of(prediction[None], target[None])[0])
    for sums in cases:
        wanted = old_align(sums)
        assert align(sums) == wanted
        scale, shift = align(torch.from_numpy(sums))
        assert (scale.item(), shift.item()) == wanted


def test_align_is_the_least_squares_fit() -> None:
    ((prediction, target),) = pair_of_maps(1, batches=1)
    valid = np.isfinite(target)
    slope, intercept = np.polyfit(prediction[valid], target[valid], 1)
    assert np.allclose(align(sums_of(prediction, target).sum(axis=0)), (slope, intercept))


def test_constant_predictions_and_empty_batches() -> None:
    ((_, target),) = pair_of_maps(2, batches=1)
    flat = np.full_like(target, 0.7)
    sums = sums_of(flat, target).sum(axis=0)
    scale, shift = align(sums)
    assert scale == 0.0
    assert math.isclose(shift, np.nanmean(target))
    assert math.isclose(rmse([sums]), np.nanstd(target))
    empty = np.zeros(6)
    assert align(empty) == (0.0, 0.0)
    assert math.isclose(rmse([sums, empty]), rmse([sums]))
    assert math.isnan(rmse([empty]))
    assert math.isnan(constant_rmse([]))


def test_constant_rmse_is_the_spread_within_batches() -> None:
    maps = pair_of_maps(3)
    pooled = [sums_of(*batch).sum(axis=0) for batch in maps]
    residuals = np.concatenate([(t - np.nanmean(t))[np.isfinite(t)] for _, t in maps])
    assert math.isclose(constant_rmse(pooled), math.sqrt((residuals**2).mean()))
    assert rmse(pooled) <= constant_rmse(pooled)


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
        # the last class does not occur: it counts as zero in the mean
        expected.append(both / either if either else 0.0)
    assert np.allclose(class_iou(confusion.sum((0, 1))), expected)
    flat = [batch.reshape(4, -1) for batch in confusion]
    assert math.isclose(metrics_of("semseg").score(flat), 100 * sum(expected) / CLASSES)


def test_normals_are_a_mean_over_pixels() -> None:
    angles = [np.array([10.0, 20.0, 60.0]), np.array([2.0])]
    statistics = [np.array([[len(a), a.sum()]]) for a in angles]
    assert math.isclose(metrics_of("normals").score(statistics), np.concatenate(angles).mean())
    assert math.isnan(metrics_of("normals").score([np.zeros((2, 2))]))


def test_the_median_is_found_within_its_bin() -> None:
    # 2, 4 and 2 angles in the bins from 10, 10.0625 and 20 degrees: half of them are half way
    # through the second
    histogram = np.zeros(ANGLE_BINS)
    histogram[[160, 161, 320]] = 2, 4, 2
    assert median_angle(histogram) == (161 + 0.5) / 16
    assert share_below(histogram, 11.25) == 75
    # an angle of 11.25 degrees is not below it
    histogram[180] = 8
    assert share_below(histogram, 11.25) == 37.5
    assert math.isnan(median_angle(np.zeros(ANGLE_BINS)))
    assert math.isnan(share_below(np.zeros(ANGLE_BINS), 30))


def test_ods_f_by_hand() -> None:
    alone, right, found = levels = np.zeros((3, 100))
    # at 0.02: 3 of 4 edge pixels right, 1 of 4 found; at 0.01: 5 of 10 right, 3 of 4 found
    alone[[1, 2]], right[[1, 2]], found[[0, 1, 2]] = (4, 1), (2, 3), (1, 2, 1)
    assert ods_f(levels.ravel()) == pytest.approx(2 * 0.5 * 0.75 / 1.25)
    # level 0 reaches no threshold
    right[0] = 1000
    assert ods_f(levels) == pytest.approx(0.6)
    assert ods_f(np.zeros(300)) == 0


def test_each_metric_is_declared_once_and_each_score_has_its_metric() -> None:
    metrics = all_metrics()
    assert len({(metric.task, metric.name) for metric in metrics}) == len(metrics)
    assert all(name in TASKS for name in {metric.task for metric in metrics})
    totals = {
        "depth": np.array([4.0, 1.0, 3.0]),
        "normals": np.ones(ANGLE_BINS),
        "edge": np.ones(300),
    }
    statistics = {
        "semseg": np.ones((2, CLASSES**2)),
        "normals": np.ones((2, 2)),
        "human_parts": np.ones((2, len(HUMAN_PARTS) ** 2)),
        "saliency": np.ones((2, 40)),
    }
    for task in map(metrics_of, TASKS):
        assert [metric.primary for metric in task.metrics] == [
            True,
            *[False] * (len(task.metrics) - 1),
        ]
        found = task.scores([statistics.get(task.name, np.ones((2, 6)))], totals.get(task.name))
        assert found.keys() == {metric.name for metric in task.metrics}
        for metric in task.metrics:
            classes = len(class_names(task.name, "abcd"))
            assert np.shape(found[metric.name]) == ((classes,) if metric.per_class else ())


def test_scores_of_classes_by_hand() -> None:
    # class 0: 6 of 8 right, class 1: 1 of 2, class 2 is in neither
    confusion = np.array([[6, 2, 0], [1, 1, 0], [0, 0, 0]], dtype=float)
    found = metrics_of("semseg").scores([confusion.reshape(1, 9)], None)
    assert found["pixel_accuracy"] == 70
    assert np.allclose(found["iou"], [100 * 6 / 9, 25, 0])
    assert math.isclose(
        np.mean(found["iou"]), metrics_of("semseg").score([confusion.reshape(1, 9)])
    )
    assert found["miou"] == metrics_of("semseg").score([confusion.reshape(1, 9)])


def test_undefined_metrics_are_omitted_except_primary_ones() -> None:
    assert metrics_of("semseg").scores([np.zeros((1, 9))], None).keys() == {"miou", "iou"}
    assert metrics_of("depth").scores([np.ones((1, 6))], np.zeros(3)).keys() == {"rmse"}
    assert metrics_of("normals").scores([np.zeros((1, 2))], np.zeros(ANGLE_BINS)).keys() == {"merr"}
    assert metrics_of("edge").scores([np.ones((1, 6))], None).keys() == {"rmse"}


def test_delta_ttt_by_hand() -> None:
    # mIoU 20 -> 25 is +25 %, an error 2.0 -> 1.5 is +25 %, an error 0.1 -> 0.12 is -20 %
    assert math.isclose(delta_ttt([25.0, 1.5, 0.12], [20.0, 2.0, 0.1], [False, True, True]), 10.0)
    assert math.isnan(delta_ttt([1.0, 1.0], [0.0, 1.0], [False, True]))
