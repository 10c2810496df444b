"""Sums that add up over images against the scores of whole sets, which other code computes."""

from __future__ import annotations

import numpy as np
import pytest

from ttt_bench.metrics.alignment import squared_errors
from ttt_bench.metrics.base import metrics_of
from ttt_bench.tasks import TASKS

BATCH = np.array([0, 0, 0, 1, 1, 2])


def image_sums(task: str, rng: np.random.Generator) -> np.ndarray:
    """Return made sums of six images, (6, S)."""
    if TASKS[task].labelled:
        return rng.integers(0, 50, (6, 16)).astype(float)
    if task == "saliency":
        return np.stack([_thresholded(rng) for _ in range(6)])
    if task == "normals":
        return np.stack([rng.integers(1, 90, 6), rng.uniform(1, 900, 6)], axis=1).astype(float)
    return np.stack([_aligned(rng) for _ in range(6)])


def _thresholded(rng: np.random.Generator) -> np.ndarray:
    p, salient = rng.random(50), rng.random(50) < 0.4
    reached = [p >= k / 20 for k in range(1, 20)]
    right = [(one & salient).sum() for one in reached]
    return np.array([50, salient.sum(), *[one.sum() for one in reached], *right], dtype=float)


def _aligned(rng: np.random.Generator) -> np.ndarray:
    p, t = rng.normal(2, 1, 40), rng.normal(3, 2, 40)
    return np.array([40, p.sum(), t.sum(), p @ p, t @ t, p @ t])


@pytest.mark.parametrize("task", TASKS)
def test_the_total_gives_the_score_of_the_set(task: str) -> None:
    sums = image_sums(task, np.random.default_rng(0))
    metrics = metrics_of(task)
    groups = [sums[number == BATCH] for number in range(3)]
    total = metrics.linear_sums(sums, BATCH).sum(axis=0)
    assert metrics.score_of_sums(total) == pytest.approx(metrics.score(groups), rel=1e-12)


@pytest.mark.parametrize("task", TASKS)
def test_leading_axes_are_kept(task: str) -> None:
    rng = np.random.default_rng(1)
    steps = np.stack([image_sums(task, rng) for _ in range(3)])
    metrics = metrics_of(task)
    together = metrics.score_of_sums(metrics.linear_sums(steps, BATCH).sum(axis=1))
    alone = [metrics.score_of_sums(metrics.linear_sums(one, BATCH).sum(axis=0)) for one in steps]
    assert together.tolist() == [float(score) for score in alone]


def test_an_image_keeps_the_alignment_of_its_batch() -> None:
    rng = np.random.default_rng(2)
    p, t = rng.normal(2, 1, (2, 30)), rng.normal(3, 2, (2, 30))
    sums = np.stack(
        [[30, a.sum(), b.sum(), a @ a, b @ b, a @ b] for a, b in zip(p, t, strict=True)]
    )
    # one least-squares line through both images
    scale, shift = np.polyfit(p.ravel(), t.ravel(), 1)
    expected = ((scale * p + shift - t) ** 2).sum(axis=1)
    assert squared_errors(sums, np.array([0, 0])) == pytest.approx(expected)


@pytest.mark.parametrize("task", ["depth", "normals", "edge", "saliency"])
def test_no_pixel_gives_no_score(task: str) -> None:
    metrics = metrics_of(task)
    sums = np.zeros((2, {"normals": 2, "saliency": 40}.get(task, 6)))
    total = metrics.linear_sums(sums, np.array([0, 0])).sum(axis=0)
    assert np.isnan(metrics.score_of_sums(total))
