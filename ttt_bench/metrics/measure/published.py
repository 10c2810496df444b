"""The papers' metrics over sequences of batches, composed of the parts that a run stores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttt_bench.errors import BenchError
from ttt_bench.metrics.alignment import align, rmse
from ttt_bench.metrics.measure.arguments import (
    check_class_count,
    check_classes,
    check_is_tensor,
    check_same_shape,
    class_indices,
    paired,
    real,
)
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
    as 0, as in the published evaluation; without any counted pixel, all classes do.

    Args:
        predictions: class maps (N, H, W) of any integer dtype.
        targets: the same shapes, `ignore_index` where a pixel has none; any integer dtype.
        num_classes: K, at least 2.
        ignore_index: the value of pixels that are not counted.

    Raises:
        BenchError: the arguments have other shapes or dtypes, there is no batch, or a counted
            pixel has a class outside 0..K-1.
    """
    check_class_count(num_classes)
    counts = []
    for number, pair in enumerate(paired(predictions, targets, "N, H, W")):
        prediction, target = class_indices(pair, number)
        counted = target != ignore_index
        check_classes(target, counted, num_classes, f"targets[{number}]")
        check_classes(prediction, counted, num_classes, f"predictions[{number}]")
        # (N, K, K) -> (K, K)
        counts.append(confusion(prediction, target, num_classes, ignore_index).sum(0))
    iou = class_iou(torch.stack(counts).sum(0).cpu().numpy())
    return float(iou.mean()), iou


def normal_angle_error(
    predictions: Sequence[Tensor], targets: Sequence[Tensor], ignore_index: int = IGNORE
) -> float:
    """Return the mean angle in degrees over all valid pixels; NaN if no pixel is valid.

    Args:
        predictions: vectors (N, 3, H, W) of any length and any real dtype, computed in float32 or
            float64.
        targets: the same shapes, `ignore_index` in every channel where a pixel has none.
        ignore_index: the value of pixels that are not counted.

    Raises:
        BenchError: the arguments have other shapes or dtypes, or there is no batch.
    """
    # (N, 2) -> (2,) per element
    sums = [
        angle_sums(real(p, "predictions"), real(t, "targets"), ignore_index).sum(0)
        for p, t in paired(predictions, targets, "N, 3, H, W")
    ]
    count, angles = torch.stack(sums).sum(0).tolist()
    return angles / count if count else float("nan")


def align_scale_shift(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[float, float]:
    """Return the least-squares (scale, shift) of the prediction to the target over the mask.

    A constant prediction gives scale 0 and the target's mean; without pixels both are 0.

    Args:
        prediction: any shape and any real dtype; sums are made in float64.
        target: the same shape, any real dtype.
        mask: the same shape, bool: the pixels that count.

    Raises:
        BenchError: the shapes differ, or a dtype is not as described.
    """
    check_is_tensor(mask, "mask")
    ((p, t),) = paired([prediction], [target], "")
    check_same_shape(p, mask, "mask")
    if mask.dtype != torch.bool:
        raise BenchError("mask is not bool; give a condition, such as target != 255")
    scale, shift = align(_pooled_moments(p, t, mask))
    return float(scale), float(shift)


def aligned_rmse(
    predictions: Sequence[Tensor], targets: Sequence[Tensor], ignore_index: int = IGNORE
) -> float:
    """Return the root mean squared error with one scale and shift per element of the sequences.

    An element is an evaluation batch, as published; single images give the per-image variant.
    Squared errors and counts are pooled before the root. NaN if no pixel is valid.

    Args:
        predictions: (N, 1, H, W) or any other shape, of any real dtype; sums are made in float64.
        targets: the same shapes, `ignore_index` where a pixel has none.
        ignore_index: the value of pixels that are not counted.

    Raises:
        BenchError: shapes differ, a dtype is complex, or there is no batch.
    """
    pairs = paired(predictions, targets, "")
    return rmse([_pooled_moments(p, t, t != ignore_index) for p, t in pairs])


def _pooled_moments(prediction: Tensor, target: Tensor, valid: Tensor) -> NDArray[np.float64]:
    """Return the moments (6,) of all pixels of a batch; see `moments`."""
    p, t = real(prediction, "prediction"), real(target, "target")
    # as one image: (1, 6) -> (6,)
    found: NDArray[np.float64] = moments(p[None], t[None], valid[None])[0].cpu().numpy()
    return found
