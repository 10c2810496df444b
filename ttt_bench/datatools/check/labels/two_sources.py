"""Compare the two label maps of PASCAL-Context: VOC's 21 classes with the 459 Context labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.pascal.ids import VOC_VOID, voc_table
from ttt_bench.datatools.check.findings import Finding

_LEAST_OBJECT = 0.02  # share of a picture that shows an object of VOC; less is not compared
_DISJOINT = 0.2  # share of common pixels below which two maps do not belong to one image
_MOST = 0.1  # share of such images
_FEWEST = 3  # images that are needed to judge


def common_share(voc: NDArray[Any], context: NDArray[Any]) -> float | None:
    """Return the share of object pixels with the same class in both maps (H, W).

    Object pixels are those that either map gives to a class of VOC. Void is left out.

    Returns:
        None if there are too few object pixels to compare.
    """
    if voc.shape != context.shape:
        return None
    expected = voc_table()[context]
    known = voc != VOC_VOID
    objects = known & ((voc > 0) | (expected > 0))
    if objects.mean() < _LEAST_OBJECT:
        return None
    return float((voc == expected)[objects].mean())


class TwoSources:
    """The agreement of both label maps in the decoded images."""

    def __init__(self) -> None:
        self._shares: list[float] = []

    def add(self, voc: NDArray[Any], context: NDArray[Any]) -> None:
        """Add both label maps (H, W) of an image."""
        share = common_share(voc, context)
        if share is not None:
            self._shares.append(share)

    def findings(self, path: Path) -> Iterator[Finding]:
        """Yield the result, if any image shows objects."""
        if not self._shares:
            return
        apart = sum(share < _DISJOINT for share in self._shares)
        message = (
            f"VOC and Context labels agree on {np.median(self._shares):.1%} of the object pixels "
            f"(median of {len(self._shares)} images)"
        )
        good = len(self._shares) < _FEWEST or apart <= _MOST * len(self._shares)
        if not good:
            message += (
                f"; in {apart} images they have almost nothing in common: files of one of them "
                "were mixed up or changed; take both from their archives again"
            )
        yield Finding.ok_if(good, "agreement", message, path, count=apart)
