"""Sums of the set, against loops over pixels and thresholds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ttt_bench.data.taskonomy.depth import to_metres
from ttt_bench.metrics.alignment import align
from ttt_bench.metrics.base import Scoring, metrics_of
from ttt_bench.metrics.edge import ods_f
from ttt_bench.metrics.measure.base import measurement_of
from ttt_bench.metrics.measure.edge import disc_maximum

METRIC = Scoring(edge_sigmoid=True, depth_nonnegative=True)
LOG = Scoring(edge_sigmoid=False, depth_nonnegative=False, to_metres=to_metres)


def totals(task: str, prediction: Tensor, target: Tensor, scoring: Scoring = METRIC) -> np.ndarray:
    found = measurement_of(task).measure(prediction, target, scoring).set_sums
    assert found is not None
    assert found.dtype == torch.float64
    return found.numpy()


def rand(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def unit_vectors(seed: int, *shape: int) -> Tensor:
    return F.normalize(rand(seed, *shape) - 0.5, dim=1)


def test_angles_give_the_median_and_the_shares_of_the_raw_ones() -> None:
    target = unit_vectors(0, 3, 3, 20, 30)
    prediction = target + 0.4 * (rand(1, 3, 3, 20, 30) - 0.5)
    target[:, :, :4] = 255
    histogram = totals("normals", prediction, target)
    valid = (target != 255).all(dim=1)
    cosines = F.cosine_similarity(prediction.double(), target.double(), dim=1)[valid].numpy()
    angles = np.degrees(np.arccos(cosines.clip(-1, 1)))
    assert histogram.sum() == len(angles)
    found = metrics_of("normals").scores(
        [measurement_of("normals").image_sums(prediction, target).numpy()], histogram
    )
    assert found["median"] == pytest.approx(np.median(angles), abs=1 / 16)
    for name, limit in (("within_11_25", 11.25), ("within_22_5", 22.5), ("within_30", 30.0)):
        assert found[name] == pytest.approx(100 * (angles < limit).mean())


def test_angles_at_the_ends_are_counted() -> None:
    target = unit_vectors(0, 1, 3, 2, 2)
    assert totals("normals", target, target)[0] == 4
    assert totals("normals", -target, target)[-1] == 4


def depth_by_loops(prediction: np.ndarray, target: np.ndarray, log: bool) -> list[float]:
    """Return the depth errors, with a fit and a comparison pixel by pixel."""
    valid = target != 255
    columns = np.stack([prediction[valid], np.ones(valid.sum())], axis=1)
    (scale, shift), *_ = np.linalg.lstsq(columns, target[valid], rcond=None)
    count = error = close = 0.0
    for p, t in zip(prediction[valid] * scale + shift, target[valid], strict=True):
        if t <= 0:
            continue
        if log:
            p, t = ((65536.0 ** min(max(p, 0.0), 1.0)) - 1) / 512, (65536.0**t - 1) / 512
        count += 1
        error += abs(p - t) / t
        close += p > 0 and max(p / t, t / p) < 1.25
    return [count, error, close]


@pytest.mark.parametrize(("scoring", "low", "high"), [(METRIC, 0.0, 6.0), (LOG, 0.3, 0.8)])
def test_depth_errors_equal_a_fit_and_a_loop(scoring: Scoring, low: float, high: float) -> None:
    target = low + (high - low) * rand(0, 2, 1, 9, 11)
    # half of it noise, so that some aligned predictions are far off
    prediction = 3 - 0.5 * target + (high - low) * (rand(1, 2, 1, 9, 11) - 0.5)
    target[:, :, 2] = 255
    target[:, :, 3] = 0
    found = totals("depth", prediction, target, scoring)
    wanted = depth_by_loops(
        prediction.double().numpy(), target.double().numpy(), scoring.to_metres is not None
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert 0 < wanted[2] < wanted[0] == 2 * 7 * 11


def test_depth_errors_use_the_alignment_of_the_scores() -> None:
    target, prediction = 1 + rand(0, 1, 1, 5, 6), rand(1, 1, 1, 5, 6)
    scale, shift = align(measurement_of("depth").image_sums(prediction, target).sum(0).numpy())
    error = ((scale * prediction.double() + shift - target.double()).abs() / target.double()).sum()
    assert totals("depth", prediction, target)[1] == pytest.approx(float(error), rel=1e-6)
    # a constant prediction is aligned to the target's mean
    flat = totals("depth", torch.full_like(target, 0.3), target)
    assert flat[1] == pytest.approx(
        float(((target.mean() - target).abs() / target).sum()), rel=1e-5
    )


def test_predicted_depth_below_zero_is_wrong_and_invalid_pixels_do_not_count() -> None:
    # p + 1 is perfect
    target = torch.tensor([1.0, 2.0, 3.0, 1.0]).view(1, 1, 1, 4)
    prediction = torch.tensor([0.0, 1.0, 2.0, 0.0]).view(1, 1, 1, 4)
    assert totals("depth", prediction, target).tolist() == pytest.approx([4, 0, 4], abs=1e-5)
    target = torch.tensor([0.1, 8.0, 0.1, 8.0]).view(1, 1, 1, 4)
    prediction = torch.tensor([-1.0, 1.0, 0.0, 0.8]).view(1, 1, 1, 4)
    scale, shift = np.polyfit(prediction.flatten(), target.flatten(), 1)
    aligned = scale * prediction.numpy().ravel() + shift
    assert aligned[0] < 0 < aligned[3]
    assert totals("depth", prediction, target)[2] == sum(
        p > 0 and max(p / t, t / p) < 1.25
        for p, t in zip(aligned, target.flatten().tolist(), strict=True)
    )
    empty = totals("depth", prediction, torch.full_like(target, 255))
    assert empty.tolist() == [0, 0, 0]
    assert metrics_of("depth").scores([np.zeros((1, 6))], empty).keys() == {"rmse"}


def test_log_encoded_depth_is_finite_however_far_off() -> None:
    target = torch.full((1, 1, 100, 100), 0.5)
    target[..., 0, 0] = 1.0
    prediction = torch.zeros_like(target)
    prediction[..., 0, :2] = torch.tensor([1e4, 3e4])
    assert np.isfinite(totals("depth", prediction, target, LOG)).all()


@pytest.mark.parametrize("radius", [0.0, 0.77, 1.0, 1.5, 2.9, 5.47])
@pytest.mark.parametrize("size", [(9, 13), (3, 20), (20, 2)])
def test_disc_maximum_looks_at_every_pixel_within_the_radius(
    radius: float, size: tuple[int, int]
) -> None:
    values = (255 * rand(3, 2, *size) ** 8).to(torch.uint8)
    before = values.clone()
    found = disc_maximum(values, radius)
    assert torch.equal(values, before)
    rows, columns = np.mgrid[: size[0], : size[1]]
    for y in range(size[0]):
        for x in range(size[1]):
            near = torch.from_numpy((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)
            assert torch.equal(found[:, y, x], values[:, near].amax(dim=1))


def edges_by_loops(prediction: np.ndarray, target: np.ndarray) -> float:
    """Return the best F in percent, from all distances at every threshold, of (images, H, W)."""
    radius = 0.0075 * math.hypot(*target.shape[1:])
    best = 0.0
    for threshold in range(1, 100):
        right = predicted = found = true = 0
        for p, t in zip(prediction, target, strict=True):
            edges = np.argwhere((p * np.float32(100) >= threshold) & (t != 255))
            truth = np.argwhere(t == 1)
            distances = np.hypot(*(edges[:, None] - truth[None]).transpose(2, 0, 1))
            predicted, true = predicted + len(edges), true + len(truth)
            right += int((distances <= radius).any(axis=1).sum())
            found += int((distances <= radius).any(axis=0).sum())
        if right and found:
            precision, recall = right / predicted, found / true
            best = max(best, 100 * 2 * precision * recall / (precision + recall))
    return best


# diagonals of 36, 143, 290 and 100 pixels: within 0.27, 1.07, 2.2 and 0.75 pixels
@pytest.mark.parametrize("size", [(24, 27), (6, 143), (290, 4), (60, 80)])
def test_ods_f_equals_a_loop_over_thresholds(size: tuple[int, int]) -> None:
    target = (rand(0, 3, 1, *size) < 0.1).float()
    moved = torch.roll(target, (1, 1), dims=(2, 3))
    prediction = 0.5 * moved * rand(1, 3, 1, *size) + 0.4 * rand(2, 3, 1, *size) + 0.1 * target
    target[1, :, :2] = 255
    # predictions of one image are larger, so another threshold would be the best for it alone
    prediction[2] = prediction[2].sqrt()
    together = totals("edge", prediction, target)
    apart = [totals("edge", p[None], t[None]) for p, t in zip(prediction, target, strict=True)]
    assert np.array_equal(together, np.sum(apart, axis=0))
    wanted = edges_by_loops(prediction[:, 0].numpy(), target[:, 0].numpy())
    assert 100 * ods_f(together) == pytest.approx(wanted)
    assert 5 < wanted < 95


def test_edges_by_hand() -> None:
    # a picture of 120 x 160 has a diagonal of 200, so that edges match within 1.5 pixels: the eight
    # neighbours
    target = torch.zeros(1, 1, 120, 160)
    target[..., 10, 10:14] = 1
    prediction = torch.zeros_like(target)
    prediction[..., 11, 9] = 0.9  # diagonal to the first true pixel
    prediction[..., 12, 12] = 0.5  # two below: too far
    prediction[..., 10, 13] = 0.305  # on the last
    levels = totals("edge", prediction, target).reshape(3, 100)
    alone, right, found = ({int(k): int(row[k]) for k in row.nonzero()[0]} for row in levels)
    # everywhere else level 0: the 3 x 6 pixels around the line are near it, two of them predicted
    assert (alone, right) == ({0: 120 * 160 - 18 - 1, 50: 1}, {0: 18 - 2, 30: 1, 90: 1})
    # the first of the true pixels is found on the diagonal, the last two from column 13; the second
    # has no edge near
    assert found == {0: 1, 30: 2, 90: 1}
    # at 0.30: P = 2/3, R = 3/4; above it, at 0.5: P = 1/2, R = 1/4; at 0.9: P = 1, R = 1/4
    assert ods_f(levels) == pytest.approx(2 * (2 / 3) * (3 / 4) / (2 / 3 + 3 / 4))


def test_f_is_zero_without_a_true_or_a_predicted_edge() -> None:
    nothing = torch.zeros(1, 1, 8, 8)
    for prediction, target in ((nothing, nothing), (nothing, nothing + 1), (nothing + 1, nothing)):
        assert ods_f(totals("edge", prediction, target)) == 0
    assert ods_f(totals("edge", nothing + 1, nothing + 1)) == 1
    # predictions of pixels without a target neither count nor match
    target = torch.zeros(1, 1, 120, 160)
    target[..., 5, 5], target[..., 5, 6] = 1, 255
    prediction = (target == 255).float()
    assert totals("edge", prediction, target).reshape(3, 100)[:, 1:].sum() == 0


def test_only_binary_edges_have_totals_and_classes_have_none() -> None:
    edges = rand(0, 1, 1, 4, 4)
    assert measurement_of("edge").measure(edges, edges, LOG).set_sums is None
    assert (
        measurement_of("semseg")
        .measure(rand(0, 1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64), METRIC)
        .set_sums
        is None
    )


@pytest.mark.parametrize("task", ["semseg", "depth", "normals", "edge"])
def test_measuring_gives_the_same_image_sums(task: str) -> None:
    prediction = rand(0, 2, {"semseg": 4, "normals": 3}.get(task, 1), 6, 7)
    target = (
        torch.randint(0, 4, (2, 6, 7)) if task == "semseg" else rand(1, *prediction.shape).round()
    )
    found = measurement_of(task).measure(prediction, target, METRIC).image_sums
    assert torch.equal(found, measurement_of(task).image_sums(prediction, target))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("task", ["depth", "normals", "edge"])
@pytest.mark.parametrize("scoring", [METRIC, LOG])
def test_predictions_that_are_not_finite_do_no_harm(
    task: str, value: float, scoring: Scoring
) -> None:
    prediction = torch.full((2, 3 if task == "normals" else 1, 6, 7), value)
    measurement_of(task).measure(prediction, torch.ones_like(prediction), scoring)


@pytest.mark.gpu
@pytest.mark.parametrize("task", ["depth", "normals", "edge"])
@pytest.mark.parametrize("scoring", [METRIC, LOG])
def test_measuring_can_be_captured_as_a_graph(task: str, scoring: Scoring) -> None:
    # a size at which a level of edges spreads over several pixels
    prediction = rand(0, 2, 3 if task == "normals" else 1, 200, 300)
    target = (
        rand(1, *prediction.shape).round()
        if task == "edge"
        else 0.2 + 0.6 * rand(1, *prediction.shape)
    )
    on_device = [tensor.cuda() for tensor in (prediction, target)]
    measurement_of(task).measure(*on_device, scoring)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = measurement_of(task).measure(*on_device, scoring)
    graph.replay()
    wanted = measurement_of(task).measure(prediction, target, scoring).set_sums
    if wanted is None:
        assert found.set_sums is None
        return
    assert found.set_sums is not None
    # a count may differ by the few pixels that rounding moves over a limit
    torch.testing.assert_close(found.set_sums.cpu(), wanted, rtol=1e-4, atol=3)
