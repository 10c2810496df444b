"""The differences between predictions that the signals are made of, computed a second time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ttt_bench.data.images.augment_batch import hflip
from ttt_bench.metrics.measure.base import measurement_of
from ttt_bench.network import Batch
from ttt_bench.tasks import TASKS, output_channels

CHANNELS = output_channels(TASKS, classes=5)


def drawn(task: str, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(3, CHANNELS[task], 8, 12, generator=draw)


def difference(task: str, one: Tensor, other: Tensor) -> np.ndarray:
    measurement = measurement_of(task)
    return measurement.difference(measurement.compared(one), measurement.compared(other)).numpy()


def worked_out(task: str, one: Tensor, other: Tensor) -> np.ndarray:
    """Return the differences in plain NumPy, image by image."""
    found = []
    for p, q in zip(one.double().numpy(), other.double().numpy(), strict=True):
        if TASKS[task].labelled:
            p, q = (np.exp(x) / np.exp(x).sum(0) for x in (p, q))
            found.append(0.5 * np.abs(p - q).sum(0).mean())
        elif task == "normals":
            p, q = (x / np.linalg.norm(x, axis=0) for x in (p, q))
            found.append(np.degrees(np.arccos((p * q).sum(0))).mean() / 90)
        else:
            spread = p.var() + q.var() + (p.mean() - q.mean()) ** 2
            found.append(math.sqrt(((p - q) ** 2).mean() / spread))
    return np.array(found)


@pytest.mark.parametrize("task", TASKS)
def test_differences_equal_those_worked_out_image_by_image(task: str) -> None:
    one, other = drawn(task, 0), drawn(task, 1)
    np.testing.assert_allclose(
        difference(task, one, other), worked_out(task, one, other), rtol=1e-5
    )
    np.testing.assert_array_equal(difference(task, one, other), difference(task, other, one))
    assert (difference(task, one, one.clone()) == 0).all()


def test_differences_of_real_values_have_no_scale_and_bounds() -> None:
    one, other = drawn("depth", 0), drawn("depth", 1)
    np.testing.assert_allclose(
        difference("depth", 1e-3 * one, 1e-3 * other), difference("depth", one, other), rtol=1e-5
    )
    np.testing.assert_allclose(difference("depth", one, -one + 2 * one.mean()), math.sqrt(2), 1e-2)
    flat = torch.ones_like(one)
    assert (difference("depth", flat, 2 * flat) == 1).all()
    assert (difference("depth", 0 * flat, 0 * flat) == 0).all()
    huge = difference("depth", 1e30 * one, 1e30 * other)
    np.testing.assert_allclose(huge, difference("depth", one, other), rtol=1e-5)


def test_opposite_predictions_have_the_largest_difference() -> None:
    normals = drawn("normals", 0)
    np.testing.assert_allclose(difference("normals", normals, -normals), 2, rtol=1e-4)
    certain = torch.zeros(1, 5, 8, 12)
    certain[:, 0] = 100
    other = certain.roll(1, dims=1)
    np.testing.assert_allclose(difference("semseg", certain, other), 1, rtol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_predictions_are_mirrored_as_the_targets_of_training_are(task: str) -> None:
    prediction = drawn(task, 2)
    before = prediction.clone()
    batch = hflip(Batch(torch.zeros(3, 3, 8, 12), {task: prediction}), torch.ones(3).bool())
    mirrored = measurement_of(task).mirrored(prediction)
    assert torch.equal(mirrored, batch.targets[task])
    assert torch.equal(measurement_of(task).mirrored(mirrored), before)
    assert torch.equal(prediction, before)
