"""The papers' metrics over sequences of batches, composed of the parts that a run stores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttt_bench.metrics.alignment import align, rmse
from ttt_bench.metrics.measure.normals import angle_sums
from ttt_bench.metrics.measure.semseg import confusion
from ttt_bench.metrics.measure.sums import moments
from ttt_bench.metrics.semseg import class_iou
from ttt_bench.tasks import IGNORE


def mean_iou(
    predictions: Sequence[Tensor],
    targets: Sequence[Tensor],
    num_classes: int,
    ignore_index: int = IGNORE,
) -> tuple[float, NDArray[np.float64]]:
    """Return the mIoU and the IoU of each class, (K,), in [0, 1].

    Counts are pooled over the whole sequence. A class absent from prediction and target counts
    as 0.

    Args:
        predictions: class maps (N, H, W) int64.
        targets: the same shapes, `ignore_index` where a pixel has none.
        num_classes: K.
        ignore_index: the value of pixels that are not counted.
    """
    # (N, K, K) -> (K, K) per element
    counts = [
        confusion(p, t, num_classes, ignore_index).sum(0)
        for p, t in zip(predictions, targets, strict=True)
    ]
    iou = class_iou(torch.stack(counts).sum(0).cpu().numpy())
    return float(iou.mean()), iou


def normal_angle_error(
    predictions: Sequence[Tensor], targets: Sequence[Tensor], ignore_index: int = IGNORE
) -> float:
    """Return the mean angle in degrees over all valid pixels; NaN if no pixel is valid.

    Args:
        predictions: vectors (N, 3, H, W).
        targets: the same shapes, `ignore_index` where a pixel has none.
        ignore_index: the value of pixels that are not counted.
    """
    # (N, 2) -> (2,) per element
    sums = [
        angle_sums(p, t, ignore_index).sum(0) for p, t in zip(predictions, targets, strict=True)
    ]
    count, angles = torch.stack(sums).sum(0).tolist()
    return angles / count if count else float("nan")


def align_scale_shift(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[float, float]:
    """Return the least-squares (scale, shift) of the prediction to the target over the mask.

    A constant prediction gives scale 0 and the target's mean. All arguments have one shape.
    """
    # (B, 6) -> (6,)
    scale, shift = align(moments(prediction, target, mask).sum(0).cpu().numpy())
    return float(scale), float(shift)


def aligned_rmse(
    predictions: Sequence[Tensor], targets: Sequence[Tensor], ignore_index: int = IGNORE
) -> float:
    """Return the root mean squared error with one scale and shift per element of the sequences.

    An element is an evaluation batch, as published; single images give the per-image variant.
    Squared errors and counts are pooled before the root. NaN if no pixel is valid.
    """
    # (B, 6) -> (6,) per element
    sums = [
        moments(p, t, t != ignore_index).sum(0).cpu().numpy()
        for p, t in zip(predictions, targets, strict=True)
    ]
    return rmse(sums)
