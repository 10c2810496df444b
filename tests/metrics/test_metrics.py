"""Metrics and the sums of images, against plain loops over pixels as a second implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ttt_bench import metrics
from ttt_bench.metrics.base import Scoring, metrics_of
from ttt_bench.metrics.measure.base import measurement_of

CLASSES = 4
UNITS = {"depth": "metres", "edge": "0 or 1"}


def draw(task: str, images: int = 3, size: tuple[int, int] = (7, 9)) -> tuple[Tensor, Tensor]:
    """Return (prediction, target) float32; 20 % of the pixels and the second image are ignored."""
    generator = torch.Generator().manual_seed(len(task))
    channels = {"semseg": CLASSES, "normals": 3}.get(task, 1)
    prediction = torch.randn(images, channels, *size, generator=generator)
    hole = torch.rand(images, *size, generator=generator) < 0.2
    hole[1] = True
    if task == "semseg":
        target = torch.randint(0, CLASSES, (images, *size), generator=generator)
        return prediction, target.masked_fill(hole, 255)
    target = torch.randn(images, channels, *size, generator=generator)
    target = F.normalize(target, dim=1) if task == "normals" else target
    return prediction, target.masked_fill(hole[:, None], 255.0)


def by_loops(task: str, prediction: np.ndarray, target: np.ndarray) -> list[float]:
    """Return one image's sums, computed pixel by pixel with Python floats."""
    height, width = prediction.shape[1:]
    rows: list[float] = [0.0] * {"semseg": CLASSES**2, "normals": 2}.get(task, 6)
    for y in range(height):
        for x in range(width):
            p = [float(v) for v in prediction[:, y, x]]
            if task == "semseg":
                truth = int(target[y, x])
                if truth != 255:
                    rows[truth * CLASSES + p.index(max(p))] += 1
                continue
            t = [float(v) for v in target[:, y, x]]
            if t[0] == 255:
                continue
            if task == "normals":
                cosine = (
                    sum(a * b for a, b in zip(p, t, strict=True)) / math.hypot(*p) / math.hypot(*t)
                )
                entries = [1.0, math.degrees(math.acos(max(-1.0, min(1.0, cosine))))]
            else:
                entries = [1.0, p[0], t[0], p[0] ** 2, t[0] ** 2, p[0] * t[0]]
            rows = [a + b for a, b in zip(rows, entries, strict=True)]
    return rows


@pytest.mark.parametrize("task", ["semseg", "depth", "normals", "edge"])
def test_image_sums_equal_plain_loops_over_pixels(task: str) -> None:
    prediction, target = draw(task)
    found = measurement_of(task).image_sums(prediction, target)
    assert found.dtype == torch.float64
    wanted = [by_loops(task, p.numpy(), t.numpy()) for p, t in zip(prediction, target, strict=True)]
    np.testing.assert_allclose(found.numpy(), np.array(wanted), rtol=1e-5, atol=1e-5)
    assert not found[1].any(), "an image without a valid pixel counts nothing"


@pytest.mark.parametrize("task", ["semseg", "depth", "normals", "edge"])
def test_sums_of_an_image_do_not_depend_on_its_batch(task: str) -> None:
    prediction, target = draw(task)
    together = measurement_of(task).image_sums(prediction, target)
    alone = torch.cat(
        [
            measurement_of(task).image_sums(p[None], t[None])
            for p, t in zip(prediction, target, strict=True)
        ]
    )
    torch.testing.assert_close(
        together, alone, rtol=1e-7, atol=0
    )  # angles are taken in the prediction's float32


@pytest.mark.parametrize("task", ["semseg", "depth", "normals", "edge"])
def test_predictions_of_invalid_pixels_do_not_matter(task: str) -> None:
    prediction, target = draw(task)
    before = measurement_of(task).image_sums(prediction, target)
    hole = (target if task == "semseg" else target[:, 0]) == 255
    torch.testing.assert_close(
        measurement_of(task).image_sums(prediction.masked_fill(hole[:, None], math.nan), target),
        before,
    )


def test_aligned_rmse_equals_a_least_squares_fit_per_batch() -> None:
    pairs = [draw("depth", size=(5 + n, 6)) for n in range(3)]
    squared, count = 0.0, 0
    for prediction, target in pairs:
        valid = (target != 255).numpy()
        p, t = prediction.numpy()[valid].astype(float), target.numpy()[valid].astype(float)
        solution, *_ = np.linalg.lstsq(np.stack([p, np.ones_like(p)], axis=1), t, rcond=None)
        squared += float(((solution[0] * p + solution[1] - t) ** 2).sum())
        count += len(p)
        scale, shift = metrics.align_scale_shift(prediction, target, torch.from_numpy(valid))
        np.testing.assert_allclose([scale, shift], solution, rtol=1e-8)
    got = metrics.aligned_rmse([p for p, _ in pairs], [t for _, t in pairs])
    assert got == pytest.approx(math.sqrt(squared / count), rel=1e-9)


def test_alignment_of_a_constant_is_the_targets_mean() -> None:
    target = torch.tensor([1.0, 2.0, 6.0]).view(1, 1, 1, 3)
    assert metrics.align_scale_shift(torch.full_like(target, 0.3), target, target > 0) == (0.0, 3.0)
    assert metrics.aligned_rmse([torch.full_like(target, 0.3)], [target]) == pytest.approx(
        math.sqrt(14 / 3)
    )


def test_angles_are_exact_near_their_ends_and_a_zero_vector_is_at_right_angles() -> None:
    z = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    tilted = torch.tensor([1e-5, 0.0, 1.0]).view(1, 3, 1, 1)
    for prediction, degrees in (
        (z, 0.0),
        (-z, 180.0),
        (torch.zeros_like(z), 90.0),
        (tilted, math.degrees(1e-5)),
    ):
        assert metrics.normal_angle_error([prediction], [z]) == pytest.approx(degrees, rel=1e-4)
    assert metrics.normal_angle_error([5 * z], [2 * z]) == 0.0, "both sides are normalised"
    assert math.isnan(metrics.normal_angle_error([z], [torch.full_like(z, 255)]))


def test_image_sums_lead_to_the_scores_of_the_published_definitions() -> None:
    for task in ("depth", "edge"):
        prediction, target = draw(task)
        stored = [measurement_of(task).image_sums(prediction, target).numpy()]
        assert metrics_of(task).score(stored) == pytest.approx(
            metrics.aligned_rmse([prediction], [target])
        )
    prediction, target = draw("normals")
    expected = metrics.normal_angle_error([prediction], [target])
    assert metrics_of("normals").score(
        [measurement_of("normals").image_sums(prediction, target).numpy()]
    ) == pytest.approx(expected)
    prediction, target = draw("semseg")
    expected, _ = metrics.mean_iou([prediction.argmax(1)], [target], CLASSES)
    found = metrics_of("semseg").score(
        [measurement_of("semseg").image_sums(prediction, target).numpy()]
    )
    assert found == pytest.approx(100 * expected)


def test_scoring_transforms_only_the_outputs_of_such_targets() -> None:
    outputs = {
        "depth": torch.tensor([-1.0, 2.0]),
        "edge": torch.tensor([0.0, 3.0]),
        "normals": torch.tensor([-4.0]),
    }
    kept = {task: value.clone() for task, value in outputs.items()}
    scored = Scoring(edge_sigmoid=True, depth_nonnegative=True).apply(outputs)
    torch.testing.assert_close(scored["depth"], torch.tensor([0.0, 2.0]))
    torch.testing.assert_close(scored["edge"], 1 / (1 + torch.exp(-outputs["edge"])))
    assert torch.equal(scored["normals"], outputs["normals"])
    plain = Scoring(edge_sigmoid=False, depth_nonnegative=False).apply(outputs)
    assert all(
        torch.equal(plain[task], kept[task]) and torch.equal(outputs[task], kept[task])
        for task in kept
    )
    assert Scoring(edge_sigmoid=True, depth_nonnegative=True).apply(
        {"semseg": kept["depth"]}
    ).keys() == {"semseg"}


def test_the_words_of_a_scoring_name_its_transforms() -> None:
    first, second = (
        Scoring(edge_sigmoid=True, depth_nonnegative=False),
        Scoring(edge_sigmoid=False, depth_nonnegative=True),
    )
    one, other = (
        scoring.words(("depth", "edge"), batch=8, units=UNITS) for scoring in (first, second)
    )
    assert "sigmoid" in one["edge"]
    assert "sigmoid" not in other["edge"]
    assert one["depth"] != other["depth"]
    assert "metres" in one["depth"]
    assert "evaluation batch of 8" in one["alignment"]
    assert "semseg" not in one
    assert "alignment" not in first.words(("semseg",), batch=8, units=UNITS)


@pytest.mark.gpu
@pytest.mark.parametrize("task", ["semseg", "depth", "normals", "edge"])
def test_image_sums_can_be_captured_as_a_graph(task: str) -> None:
    prediction, target = (tensor.cuda() for tensor in draw(task))
    measurement_of(task).image_sums(prediction, target)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = measurement_of(task).image_sums(prediction, target)
    graph.replay()
    torch.testing.assert_close(
        found.cpu(),
        measurement_of(task).image_sums(prediction.cpu(), target.cpu()),
        rtol=1e-6,
        atol=1e-6,
    )
