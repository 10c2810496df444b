"""From predictions to per-image sufficient statistics, on the device; `ttt_bench.metrics.scores`
makes scores of them.

Nothing here moves data to the host or makes a shape depend on values, so that scoring can be
captured as a CUDA graph. The functions on sequences of batches (`mean_iou`, `aligned_rmse`, ...)
are the papers' metrics, composed of the same parts as what a run stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ttt_bench.metrics.scores import align, class_iou, rmse
from ttt_bench.metrics.scores import delta_ttt as delta_ttt
from ttt_bench.metrics.totals import angle_histogram, depth_errors, edge_matches
from ttt_bench.tasks import IGNORE


@dataclass(frozen=True)
class Scoring:
    """What a target does to raw outputs before they are scored.

    Attributes:
        edge_sigmoid: edge outputs pass through a sigmoid (targets whose edges are 0 or 1).
        depth_nonnegative: depths below 0 become 0.
        depth_log: depth is log(1 + counts) / log(65536), counts of 1/512 m; otherwise metres.
    """

    edge_sigmoid: bool
    depth_nonnegative: bool
    depth_log: bool = False

    def apply(self, predictions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The predictions as they are scored, task -> (B, K, H, W); the given ones stay as they
        are.
        """
        scored = dict(predictions)
        if self.edge_sigmoid and "edge" in scored:
            scored["edge"] = scored["edge"].sigmoid()
        if self.depth_nonnegative and "depth" in scored:
            scored["depth"] = scored["depth"].clamp(min=0)
        return scored

    def words(
        self,
        tasks: Iterable[str],
        batch: int,
        depth_unit: str,
        edge_unit: str,
        order: str = "file order",
    ) -> dict[str, str]:
        """The scoring of these tasks in words, for manifests and reports.

        Args:
            batch: images of an evaluation batch.
            order: in which order images come, and so which share a batch.
        """
        depth = "negative depths set to 0" if self.depth_nonnegative else "raw output"
        edge = "sigmoid of the raw output" if self.edge_sigmoid else "raw output"
        words = {
            "semseg": "class of the largest logit; IoU of counts pooled over the set, mean over all classes",
            "depth": f"{depth}, in {depth_unit}",
            "normals": "angle between unit vectors, mean over the set's valid pixels",
            "edge": f"{edge}, targets {edge_unit}",
        }
        found = {task: words[task] for task in words if task in set(tasks)}
        if {"depth", "edge"} & found.keys():
            found["alignment"] = (
                f"depth and edge: one scale and shift for each evaluation batch of {batch}, {order}"
            )
        return found


class Measured(NamedTuple):
    """What is kept of a batch's predictions of one task.

    Attributes:
        statistics: (B, S) float64, as `statistics` gives them.
        totals: (T,) float64, columns as in `store.TOTALS_COLUMNS`; None where the task has none.
    """

    statistics: Tensor
    totals: Tensor | None


def measure(task: str, prediction: Tensor, target: Tensor, scoring: Scoring) -> Measured:
    """An evaluation batch's statistics, and what it adds to the totals of the set.

    Args:
        task, prediction, target: as for `statistics`.
        scoring: what kind of target it is.
    """
    if task == "normals":
        degrees, valid = angles(prediction, target)
        return Measured(_sums(valid, degrees), angle_histogram(degrees, valid))
    found = statistics(task, prediction, target)
    if task == "depth":
        return Measured(found, depth_errors(prediction, target, found.sum(0), scoring.depth_log))
    if task == "edge" and scoring.edge_sigmoid:
        return Measured(found, edge_matches(prediction, target))
    return Measured(found, None)


def statistics(task: str, prediction: Tensor, target: Tensor) -> Tensor:
    """Each image's sufficient statistics, (B, S) float64; columns as in `store.STATISTICS_COLUMNS`.

    Args:
        task: semseg (S = K * K), depth or edge (S = 6), normals (S = 2).
        prediction: (B, K, H, W), after the scoring transform.
        target: (B, H, W) int64 for semseg, otherwise (B, K, H, W); 255 where there is none.
    """
    if task == "semseg":
        # several times faster than argmax on a CPU
        classes = prediction.max(dim=1).indices
        return confusion(classes, target, prediction.shape[1]).flatten(1)
    if task == "normals":
        return angle_sums(prediction, target)
    return moments(prediction, target, target != IGNORE)


def confusion(
    classes: Tensor, target: Tensor, num_classes: int, ignore_index: int = IGNORE
) -> Tensor:
    """Counts (B, K, K) float64 of each image, truth by row, prediction by column; both inputs
    (B, H, W) int64.
    """
    pairs = torch.where(
        target == ignore_index, num_classes * num_classes, target * num_classes + classes
    )
    # one histogram a row of pixels: on a GPU few additions meet in one place; the last bin takes
    # what is ignored
    counts = torch.zeros(
        *pairs.shape[:2], num_classes**2 + 1, dtype=torch.float64, device=pairs.device
    )
    counts.scatter_add_(2, pairs, torch.ones_like(pairs, dtype=torch.float64))
    return counts.sum(1)[:, :-1].unflatten(1, (num_classes, num_classes))


def moments(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """n, sum p, sum t, sum p^2, sum t^2, sum p t of each image's valid pixels, (B, 6) float64;
    inputs (B, ...).
    """
    p = torch.where(valid, prediction, 0).double()
    t = torch.where(valid, target, 0).double()
    return _sums(valid, p, t, p * p, t * t, p * t)


def angle_sums(prediction: Tensor, target: Tensor, ignore_index: int = IGNORE) -> Tensor:
    """Valid pixels and the sum of their angles in degrees of each image, (B, 2) float64; inputs
    (B, 3, H, W).
    """
    degrees, valid = angles(prediction, target, ignore_index)
    return _sums(valid, degrees)


def angles(prediction: Tensor, target: Tensor, ignore_index: int = IGNORE) -> tuple[Tensor, Tensor]:
    """(angles in degrees, where they are valid), each (B, H, W), of (B, 3, H, W); 0 where there is
    no target.

    The angle is 2 atan2(|p - t|, |p + t|) of unit vectors, exact near 0 and 180 degrees where the arccosine is not.
    """
    valid = (target != ignore_index).all(dim=1)
    p, t = _unit(prediction), _unit(target)
    radians = torch.where(valid, 2 * torch.atan2(_length(p - t), _length(p + t)), 0)
    return torch.rad2deg(radians), valid


def _sums(*values: Tensor) -> Tensor:
    """The sums of each image of (B, ...), side by side in float64."""
    return torch.stack([value.flatten(1).sum(1, dtype=torch.float64) for value in values], dim=1)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / _length(vectors).clamp(min=1e-12).unsqueeze(1)


def _length(vectors: Tensor) -> Tensor:
    # an order of magnitude faster over three channels than torch.linalg.vector_norm on a CPU
    return vectors.square().sum(dim=1).sqrt()


def mean_iou(
    predictions: Sequence[Tensor],
    targets: Sequence[Tensor],
    num_classes: int,
    ignore_index: int = IGNORE,
) -> tuple[float, np.ndarray]:
    """(mIoU, IoU of each class (K,)) in [0, 1] over sequences of class maps (N, H, W) int64.

    Counts are pooled over the whole sequence; a class absent from prediction and target counts as
    0.
    """
    counts = [
        confusion(p, t, num_classes, ignore_index).sum(0)
        for p, t in zip(predictions, targets, strict=True)
    ]
    iou = class_iou(torch.stack(counts).sum(0).cpu().numpy())
    return float(iou.mean()), iou


def normal_angle_error(
    predictions: Sequence[Tensor], targets: Sequence[Tensor], ignore_index: int = IGNORE
) -> float:
    """Mean angle in degrees over all valid pixels of sequences of (N, 3, H, W); NaN where there
    is none.
    """
    sums = [
        angle_sums(p, t, ignore_index).sum(0) for p, t in zip(predictions, targets, strict=True)
    ]
    count, angles = torch.stack(sums).sum(0).tolist()
    return angles / count if count else float("nan")


def align_scale_shift(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[float, float]:
    """Least-squares (scale, shift) of the target on the prediction over the mask; all of one shape.

    A constant prediction gives scale 0 and the target's mean.
    """
    return align(moments(prediction, target, mask).sum(0).cpu().numpy())


def aligned_rmse(
    predictions: Sequence[Tensor], targets: Sequence[Tensor], ignore_index: int = IGNORE
) -> float:
    """Root mean squared error with one scale and shift an element of the sequences; NaN without a
    valid pixel.

    An element is an evaluation batch as published (single images give the per-image variant);
    squared errors and counts are pooled before the root.
    """
    sums = [
        moments(p, t, t != ignore_index).sum(0).cpu().numpy()
        for p, t in zip(predictions, targets, strict=True)
    ]
    return rmse(sums)
