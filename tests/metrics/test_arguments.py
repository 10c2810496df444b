"""The public metrics give the same number for every dtype that holds the values, or refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ttt_bench import metrics
from ttt_bench.errors import BenchError
from ttt_bench.metrics.measure.base import measurement_of

CLASSES = 21
INTEGERS = (torch.uint8, torch.int16, torch.int32, torch.int64, torch.uint16)
REALS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int16)


def class_maps(classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    """Return predictions and targets (2, 6, 7) int64, of which a third are equal; some are 255."""
    draw = torch.Generator().manual_seed(0)
    target = torch.randint(0, classes, (2, 6, 7), generator=draw)
    other = torch.randint(0, classes, (2, 6, 7), generator=draw)
    prediction = torch.where(torch.rand(2, 6, 7, generator=draw) < 0.33, target, other)
    target[:, 0] = 255
    return prediction, target


def iou_by_sets(prediction: Tensor, target: Tensor, classes: int) -> list[float]:
    """Return the IoU of each class from sets of pixels."""
    counted = [i for i, label in enumerate(target.flatten().tolist()) if label != 255]
    predicted, truth = prediction.flatten().tolist(), target.flatten().tolist()
    found = []
    for label in range(classes):
        p = {i for i in counted if predicted[i] == label}
        t = {i for i in counted if truth[i] == label}
        found.append(len(p & t) / max(len(p | t), 1))
    return found


@pytest.mark.parametrize("of_target", INTEGERS, ids=str)
@pytest.mark.parametrize("of_prediction", INTEGERS, ids=str)
def test_mean_iou_of_every_integer_dtype(
    of_prediction: torch.dtype, of_target: torch.dtype
) -> None:
    prediction, target = class_maps()
    wanted = iou_by_sets(prediction, target, CLASSES)
    mean, iou = metrics.mean_iou([prediction.to(of_prediction)], [target.to(of_target)], CLASSES)
    np.testing.assert_allclose(iou, wanted)
    assert mean == pytest.approx(np.mean(wanted))
    assert 0.1 < mean < 0.6


def test_mean_iou_of_bool_maps() -> None:
    prediction, target = class_maps(classes=2)
    prediction, target = prediction[:, 1:].bool(), target[:, 1:].bool()
    _, iou = metrics.mean_iou([prediction], [target], 2)
    np.testing.assert_allclose(iou, iou_by_sets(prediction.long(), target.long(), 2))


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_the_confusion_of_a_run_counts_targets_of_every_integer_dtype(dtype: torch.dtype) -> None:
    prediction, target = class_maps()
    logits = torch.nn.functional.one_hot(prediction, CLASSES).movedim(-1, 1).float()
    measure = measurement_of("semseg").image_sums
    assert torch.equal(measure(logits, target.to(dtype)), measure(logits, target))


def changed(tensor: Tensor, value: int) -> Tensor:
    """Return a copy with another value at one pixel that counts."""
    copy = tensor.clone()
    copy[1, 3, 2] = value
    return copy


PREDICTION, TARGET = class_maps()


@pytest.mark.parametrize(
    ("predictions", "targets", "classes", "message"),
    [
        (
            [PREDICTION],
            [changed(TARGET, CLASSES)],
            CLASSES,
            r"targets\[0\] holds the class 21",
        ),
        ([changed(PREDICTION, 0)], [changed(TARGET, 21)], 21, "the class 21, expected 0..20"),
        ([PREDICTION], [changed(TARGET, 254)], CLASSES, "holds the class 254"),
        ([PREDICTION], [changed(TARGET, -1)], CLASSES, "holds the class -1"),
        ([changed(PREDICTION, 255)], [TARGET], CLASSES, r"predictions\[0\] holds the class 255"),
        ([changed(PREDICTION, -3)], [TARGET], CLASSES, "holds the class -3"),
        ([PREDICTION.float()], [TARGET], CLASSES, r"predictions\[0\] has the dtype float32; give"),
        ([PREDICTION], [TARGET.double()], CLASSES, r"targets\[0\] has the dtype float64"),
        ([PREDICTION, PREDICTION], [TARGET], CLASSES, "2 batches of predictions for 1 of targets"),
        ([], [], CLASSES, "no batches were given"),
        ([PREDICTION.numpy()], [TARGET], CLASSES, r"predictions\[0\] is of type ndarray; give a"),
        (
            [PREDICTION[:, None]],
            [TARGET],
            CLASSES,
            r"\(2, 1, 6, 7\), expected \(N, H, W\)",
        ),
        (PREDICTION, TARGET, CLASSES, r"the shape \(6, 7\), expected \(N, H, W\)"),
        ([PREDICTION], [TARGET[:, :5]], CLASSES, r"\(2, 5, 7\), its prediction \(2, 6, 7\)"),
        ([PREDICTION * 0], [TARGET * 0], 1, "num_classes = 1; give a whole number of at least 2"),
        ([PREDICTION], [TARGET], 21.0, "num_classes = 21.0"),
    ],
)
def test_class_maps_that_give_no_right_number_are_refused(
    predictions: Any, targets: Any, classes: Any, message: str
) -> None:
    with pytest.raises(BenchError, match=message) as error:
        metrics.mean_iou(predictions, targets, classes)
    assert "\n" not in str(error.value)


def test_predictions_of_pixels_that_are_not_counted_may_have_any_class() -> None:
    prediction = torch.where(TARGET == 255, 255, PREDICTION)
    wanted, _ = metrics.mean_iou([PREDICTION], [TARGET], CLASSES)
    assert metrics.mean_iou([prediction], [TARGET], CLASSES)[0] == wanted
    ignored = torch.where(TARGET == 255, -100, TARGET)
    assert metrics.mean_iou([PREDICTION], [ignored], CLASSES, -100)[0] == wanted


def vectors(low: int, high: int) -> Tensor:
    """Return whole numbers (2, 3, 4, 5) that every real dtype of the test holds exactly."""
    draw = torch.Generator().manual_seed(low + high)
    return torch.randint(low, high, (2, 3, 4, 5), generator=draw)


@pytest.mark.parametrize("dtype", REALS, ids=str)
def test_real_metrics_of_every_dtype(dtype: torch.dtype) -> None:
    prediction, target = vectors(1, 120), vectors(0, 120)
    target[:, :, 0] = 255
    p, t = [prediction.to(dtype)], [target.to(dtype)]
    exact = [prediction.double()], [target.double()]
    assert metrics.normal_angle_error(p, t) == pytest.approx(
        metrics.normal_angle_error(*exact), rel=1e-5
    )
    assert metrics.aligned_rmse(p, t) == pytest.approx(metrics.aligned_rmse(*exact), rel=1e-12)
    mask = target != 255
    assert metrics.align_scale_shift(p[0], t[0], mask) == pytest.approx(
        tuple(np.polyfit(prediction[mask].numpy(), target[mask].numpy(), 1)), rel=1e-9
    )


def test_real_metrics_take_tensors_that_need_a_gradient() -> None:
    prediction, target = vectors(1, 120).float().requires_grad_(), vectors(0, 120).float()
    for metric in (metrics.normal_angle_error, metrics.aligned_rmse):
        assert metric([prediction], [target]) == metric([prediction.detach()], [target])


@pytest.mark.parametrize(
    ("predictions", "targets", "message"),
    [
        ([torch.ones(2, 1, 3, 4)], [torch.ones(2, 3, 4)], "they must be equal"),
        ([torch.ones(2, 3, 4, dtype=torch.complex64)], [torch.ones(2, 3, 4)], "complex64"),
        ([], [], "no batches"),
        ([torch.ones(2, 3)] * 2, [torch.ones(2, 3)], "2 batches of predictions for 1"),
        ([np.ones((2, 3))], [torch.ones(2, 3)], "of type ndarray"),
    ],
)
def test_real_arguments_that_give_no_right_number_are_refused(
    predictions: Any, targets: Any, message: str
) -> None:
    with pytest.raises(BenchError, match=message):
        metrics.aligned_rmse(predictions, targets)


def test_vectors_and_masks_of_another_shape_or_dtype_are_refused() -> None:
    ones = torch.ones(2, 1, 3, 4)
    with pytest.raises(BenchError, match=r"\(2, 1, 3, 4\), expected \(N, 3, H, W\)"):
        metrics.normal_angle_error([ones], [ones])
    with pytest.raises(BenchError, match="mask is not bool"):
        metrics.align_scale_shift(ones, ones, ones.to(torch.uint8))
    with pytest.raises(BenchError, match="mask has the shape"):
        metrics.align_scale_shift(ones, ones, ones[0] > 0)


@pytest.mark.parametrize(
    ("scores", "base", "lower", "message"),
    [
        ([1.0, 2.0], [1.0], [True, False], r"the shapes \(2,\), \(1,\) and \(2,\)"),
        ([1.0, 2.0], [1.0, 2.0], [True], r"\(2,\) and \(1,\)"),
        ([], [], [], "give one number of each per task"),
        (1.0, 2.0, True, "give one number of each per task"),
        ([1.0], [2.0], ["lower"], "give True or False"),
    ],
)
def test_scores_that_do_not_belong_together_are_refused(
    scores: Any, base: Any, lower: Any, message: str
) -> None:
    with pytest.raises(BenchError, match=message):
        metrics.delta_ttt(scores, base, lower)
