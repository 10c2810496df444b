"""Features of TTT++: their contrast, the pooled hypercolumn, and the queue of earlier batches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttt_bench.model import linear_weights


def contrastive_loss(
    features: Tensor, temperature: float = 0.5, base_temperature: float = 0.07
) -> Tensor:
    """Return L_con of features (B, 2, D) of unit length (scalar); every view is an anchor once."""
    # (B, 2, D) -> (2, B, D) -> (2 B, D), so that row i + B is the other view of row i
    anchors = features.transpose(0, 1).flatten(0, 1)
    numbers = torch.arange(len(anchors), device=features.device)
    itself = numbers[:, None] == numbers
    # (2 B, 2 B), without each view's similarity to itself
    logits = (anchors @ anchors.T / temperature).masked_fill(itself, -math.inf)
    other_view = numbers.roll(len(features))
    return temperature / base_temperature * F.cross_entropy(logits, other_view)


def pooled_grid(stages: Sequence[Tensor], cells: int) -> Tensor:
    """Return the hypercolumn averaged (adaptively) in cells x cells, (B, sum C_l, cells, cells).

    The hypercolumn itself is not built. Resizing and averaging are both linear along an axis, so
    together they are one small matrix per axis and stage.
    """
    height, width = stages[0].shape[-2:]

    def weights(length: int, resized: int) -> Tensor:
        # (resized, length) -> (cells, length)
        return F.adaptive_avg_pool1d(linear_weights(length, resized, stages[0]).T, cells).T

    # each (B, C_l, h_l, w_l) -> (B, C_l, h_l, cells) -> (B, C_l, cells, cells)
    pooled = [weights(s.shape[2], height) @ (s @ weights(s.shape[3], width).T) for s in stages]
    return torch.cat(pooled, dim=1)


class Queue(nn.Module):
    """Ring of the latest `length` rows of features of earlier batches; not in checkpoints."""

    rows: Tensor
    taken: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(length, width), persistent=False)
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64), persistent=False)

    def push(self, features: Tensor) -> None:
        """Replace the oldest rows by those of a batch (n, width)."""
        length = len(self.rows)
        latest = features[-length:]
        places = (self.taken + torch.arange(len(latest), device=latest.device)) % length
        self.rows.index_copy_(0, places, latest)
        self.taken += len(latest)

    def behind(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Append the rows of the queue to those of a batch (n, width).

        Returns:
            (n + length, width), and (n + length,) with 1 for filled rows and 0 for empty ones. The
            shapes do not depend on the number of filled rows.
        """
        filled = torch.arange(len(self.rows), device=features.device) < self.taken
        kept = torch.cat([features.new_ones(len(features)), filled.to(features.dtype)])
        return torch.cat([features, self.rows]), kept
