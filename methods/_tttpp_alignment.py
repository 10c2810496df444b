"""Statistics of features and their divergences, for the alignment of TTT++."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ttt_bench.errors import BenchError


def mean(features: Tensor, kept: Tensor | None = None) -> Tensor:
    """Return the mean (D,) of the rows (N, D) for which `kept` (N,) is 1; default: of all rows."""
    if kept is None:
        return features.mean(dim=0)
    return kept @ features / kept.sum()


def covariance(features: Tensor, kept: Tensor | None = None) -> Tensor:
    """Return the unbiased covariance (D, D) of the rows for which `kept` is 1; see `mean`."""
    centred = features - mean(features, kept)
    # (D, N) @ (N, D) -> (D, D); rows that are not kept count as 0
    if kept is None:
        return centred.T @ centred / (len(features) - 1)
    return (centred * kept[:, None]).T @ centred / (kept.sum() - 1)


def coral_loss(covariance_source: Tensor, covariance_target: Tensor) -> Tensor:
    """Return the squared Frobenius distance of covariances (D, D) over 4 D^2 (Sun, Saenko 2016)."""
    distance = (covariance_source - covariance_target).square().sum()
    return distance / (4 * len(covariance_source) ** 2)


def mmd_loss(mean_source: Tensor, mean_target: Tensor) -> Tensor:
    """Return the mean squared difference of means (D,): MMD with a linear kernel."""
    return (mean_source - mean_target).square().mean()


class Statistics(NamedTuple):
    """Statistics of a feature on the source.

    Attributes:
        covariance: (D, D).
        coral_reference: CORAL_0, the mean divergence between covariances of batches.
        mean: (D,).
        mmd_reference: MMD_0, the mean divergence between means of batches.
    """

    covariance: Tensor
    coral_reference: Tensor
    mean: Tensor
    mmd_reference: Tensor


class Accumulator:
    """Compute `Statistics` from batches of features (n, D), with moments in double precision."""

    def __init__(self) -> None:
        self._first: tuple[Tensor, Tensor] | None = None
        self._divergences: list[Tensor] = []
        self._count = 0

    def add(self, features: Tensor) -> None:
        """Add a batch; the first one is only the reference for the others."""
        own = covariance(features), mean(features)
        if self._first is None:
            self._first = own
            self._sum = torch.zeros_like(own[1], dtype=torch.float64)
            self._outer = torch.zeros_like(own[0], dtype=torch.float64)
            return
        self._divergences.append(
            torch.stack([coral_loss(self._first[0], own[0]), mmd_loss(self._first[1], own[1])])
        )
        rows = features.double()
        self._count += len(rows)
        self._sum += rows.sum(dim=0)
        self._outer.addmm_(rows.T, rows)

    def result(self) -> Statistics:
        """Return the statistics of all batches but the first.

        Raises:
            BenchError: there were fewer than three batches.
        """
        if self._first is None or len(self._divergences) < 2:
            raise BenchError(
                "tttpp needs at least 3 batches for its source statistics (the first is only a "
                "reference for the others) and got fewer; raise tttpp.stat_images, or lower "
                "tttpp.stat_batch if the source is small"
            )
        average = self._sum / self._count
        spread = (self._outer - self._count * average.outer(average)) / (self._count - 1)
        coral, mmd = torch.stack(self._divergences).mean(dim=0)
        dtype = self._first[0].dtype
        return Statistics(spread.to(dtype), coral, average.to(dtype), mmd)


def source_statistics(batches: Iterable[Tensor]) -> Statistics:
    """Return the statistics of batches of features (n, D), which are read once."""
    found = Accumulator()
    for features in batches:
        found.add(features)
    return found.result()
