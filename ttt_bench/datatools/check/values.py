"""Ranges of values over the frames that were decoded: units, lengths, shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.normals import file_vectors
from ttt_bench.datatools.check.findings import Finding
from ttt_bench.datatools.check.frameset import Frameset, Native

_MEDIAN_DEPTH = (0.5, 20.0)  # metres, of the median over a sample; beyond it the unit is another
_MOST_INVALID = 0.5
_UNIT_LENGTH = 0.05
_UNIT_SHARE = 0.95


class Values(Protocol):
    """What is measured on decoded frames."""

    def add(self, native: Native) -> None: ...

    def findings(self, frames: Frameset) -> Iterator[Finding]: ...


class Depths:
    """Medians of depth and shares of missing depth."""

    def __init__(self) -> None:
        self._medians: list[float] = []
        self._invalid: list[float] = []

    def add(self, metres: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        self._invalid.append(1.0 - float(valid.mean()))
        if valid.any():
            self._medians.append(float(np.median(metres[valid])))

    def findings(self, frames: Frameset, invalid_means: str, wrong_unit: str) -> Iterator[Finding]:
        """Nothing where there was no depth; the texts say what invalid depth is, and what
        another unit means.
        """
        if not self._invalid:
            return
        path, invalid = frames.example("depth"), float(np.mean(self._invalid))
        message = f"depth: {invalid:.1%} of the pixels are invalid ({invalid_means}) and masked"
        yield Finding("warning" if invalid > _MOST_INVALID else "ok", "values", message, path)
        if self._medians:
            median, (low, high) = float(np.median(self._medians)), _MEDIAN_DEPTH
            good = low <= median <= high
            wrong = "" if good else f", outside {low}..{high:.0f} m: {wrong_unit}"
            yield Finding(
                "ok" if good else "warning", "values", f"depth: median {median:.2f} m{wrong}", path
            )


class Vectors:
    """The share of normals that have unit length."""

    def __init__(self) -> None:
        self._unit: list[float] = []

    def add(self, normals: NDArray[Any]) -> None:
        """A map as in the file, (H, W, 3)."""
        vectors = file_vectors(normals)
        lengths = np.linalg.norm(vectors, axis=0)[(vectors != 0).any(axis=0)]
        if lengths.size:
            self._unit.append(float((np.abs(lengths - 1.0) <= _UNIT_LENGTH).mean()))

    def findings(self, frames: Frameset, wrong: str) -> Iterator[Finding]:
        """Nothing where there were none; the text says what other lengths mean."""
        if not self._unit:
            return
        share = float(np.mean(self._unit))
        good = share >= _UNIT_SHARE
        message = f"normals: {share:.1%} of the vectors have unit length" + (
            "" if good else f"; {wrong}"
        )
        yield Finding("ok" if good else "warning", "values", message, frames.example("normals"))


class Shares:
    """The share of edge pixels, and of pixels that are neither 0 nor 1."""

    def __init__(self) -> None:
        self._edges: list[float] = []
        self._between: list[float] = []

    def add(self, edges: NDArray[Any]) -> None:
        """(H, W) in 0..1."""
        self._edges.append(float((edges >= 0.5).mean()))
        self._between.append(float(((edges > 0) & (edges < 1)).mean()))

    def findings(self, frames: Frameset) -> Iterator[Finding]:
        if not self._edges:
            return
        path, share, between = (
            frames.example("edge"),
            float(np.mean(self._edges)),
            float(np.mean(self._between)),
        )
        if share == 0:
            yield Finding("warning", "values", "edges: 0 in every frame looked at", path)
        elif between > 0:
            message = f"edges: {between:.1%} of the pixels are neither 0 nor 1, as if resized or compressed"
            yield Finding("warning", "values", f"{message}; take them from the archive again", path)
        else:
            yield Finding(
                "ok", "values", f"edges: 0 and 1 only, {share:.1%} of the pixels are edges", path
            )
