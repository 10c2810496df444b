"""Measure the values of decoded frames: units of depth, lengths of normals, shares of edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.normals import file_vectors
from ttt_bench.datatools.check.findings import Finding
from ttt_bench.datatools.check.frameset import Frameset, Native

_ROOMS = (0.5, 20.0)
"""Range in metres of the median depth of rooms; outside of it the unit is not metres."""

_MOST_INVALID = 0.5
_UNIT_LENGTH = 0.05
_UNIT_SHARE = 0.95
_LEVELS = 256  # values of an 8-bit file
_FEWEST_PIXELS = 3_000  # valid pixels of a depth map whose values are counted
_MOST_EDGES = 0.2  # share of edge pixels; published maps have a few percent
_MOST_BLACK = 0.001  # share of the vectors that are (0, 0, 0) as a picture


class Values(Protocol):
    """Measurements on decoded frames."""

    def add(self, native: Native) -> None:
        """Add the arrays of a frame."""
        ...

    def findings(self, frames: Frameset) -> Iterator[Finding]:
        """Yield the results; `frames` supplies example files."""
        ...


def metres_finding(
    medians: Sequence[float], wrong_unit: str, path: Path | None, *, largest: float = _ROOMS[1]
) -> Finding:
    """Return whether the median of the frames' medians is that of a scene in metres.

    Args:
        wrong_unit: the cause and remedy of a median out of range.
        largest: the largest median in metres. If it is more than that of rooms, a larger median
            than that of rooms has a remark.
    """
    median, (low, high) = float(np.median(medians)), _ROOMS
    good = low <= median <= largest
    remark = "" if good else f", outside {low}..{largest:.0f} m: {wrong_unit}"
    if good and median > high:
        remark = f", as outdoors; that of rooms is {low} to {high:.0f} m"
    return Finding.ok_if(
        good, "values", f"depth: median {median:.2f} m{remark}", path, about="depth"
    )


class DepthValues:
    """The medians of depth and the shares of invalid depth."""

    def __init__(self) -> None:
        self._medians: list[float] = []
        self._invalid: list[float] = []
        self._levels: list[int] = []

    def add(self, metres: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Add a depth map (H, W) in metres, and its valid pixels (H, W)."""
        self._invalid.append(1.0 - float(valid.mean()))
        if valid.any():
            self._medians.append(float(np.median(metres[valid])))
        if valid.sum() >= _FEWEST_PIXELS:
            self._levels.append(len(np.unique(metres[valid])))

    def findings(self, frames: Frameset, invalid: str, wrong_unit: str) -> Iterator[Finding]:
        """Yield the results, if any depth map was added.

        Args:
            invalid: the stored value of invalid depth, for the message.
            wrong_unit: the cause and remedy of a median out of range.
        """
        if not self._invalid:
            return
        path, share = frames.example("depth"), float(np.mean(self._invalid))
        message = f"depth: {share:.1%} of the pixels are invalid ({invalid}) and masked"
        yield Finding.ok_if(share <= _MOST_INVALID, "values", message, path, about="depth")
        if self._medians:
            yield metres_finding(self._medians, wrong_unit, path)
        if self._levels and max(self._levels) <= _LEVELS:
            message = (
                f"depth: at most {max(self._levels)} different values per frame, as many as an "
                "8-bit file has: depth was reduced to 8 bits; take the original files"
            )
            yield Finding.warning("values", message, path, about="depth")


class NormalValues:
    """The share of normals that have unit length."""

    def __init__(self) -> None:
        self._unit: list[float] = []
        self._black: list[float] = []

    def add(self, normals: NDArray[Any]) -> None:
        """Add a normal map (H, W, 3) as stored in the file."""
        if normals.dtype == np.uint8:
            self._black.append(float((normals == 0).all(axis=2).mean()))
        vectors = file_vectors(normals)
        # (3, H, W) -> (N,) lengths of the vectors that are not zero
        lengths = np.linalg.norm(vectors, axis=0)[(vectors != 0).any(axis=0)]
        if lengths.size:
            self._unit.append(float((np.abs(lengths - 1.0) <= _UNIT_LENGTH).mean()))

    def findings(self, frames: Frameset, wrong: str) -> Iterator[Finding]:
        """Yield the result, if any map with normals was added.

        Args:
            wrong: the cause and remedy of other lengths.
        """
        if self._black and np.mean(self._black) > _MOST_BLACK:
            message = (
                f"normals: {np.mean(self._black):.1%} of the pixels are (0, 0, 0), which is not a "
                "unit vector, and are read as missing; published files have 127 or 128 in each "
                "channel there, so these are other ones"
            )
            yield Finding.warning("values", message, frames.example("normals"))
        if not self._unit:
            return
        share = float(np.mean(self._unit))
        good = share >= _UNIT_SHARE
        remark = "" if good else f"; {wrong}"
        message = f"normals: {share:.1%} of the vectors have unit length{remark}"
        yield Finding.ok_if(good, "values", message, frames.example("normals"))


class EdgeValues:
    """The share of edge pixels, and of pixels that are neither 0 nor 1."""

    def __init__(self) -> None:
        self._edges: list[float] = []
        self._between: list[float] = []

    def add(self, edges: NDArray[Any]) -> None:
        """Add an edge map (H, W) with values in [0, 1]."""
        self._edges.append(float((edges >= 0.5).mean()))
        self._between.append(float(((edges > 0) & (edges < 1)).mean()))

    def findings(self, frames: Frameset) -> Iterator[Finding]:
        """Yield the result, if any edge map was added."""
        if not self._edges:
            return
        path = frames.example("edge")
        share, between = float(np.mean(self._edges)), float(np.mean(self._between))
        if share == 0:
            yield Finding.warning("values", "edges: 0 in every decoded frame", path)
        elif between > 0:
            message = (
                f"edges: {between:.1%} of the pixels are neither 0 nor 1, as if resized or "
                "compressed; take them from the archive again"
            )
            yield Finding.warning("values", message, path)
        else:
            message = f"edges: 0 and 1 only, {share:.1%} of the pixels are edges"
            good = share <= _MOST_EDGES
            if not good:
                message += (
                    f", more than {_MOST_EDGES:.0%}: the maps may be inverted; an edge must be 1 "
                    "(255 in a picture) and everything else 0"
                )
            yield Finding.ok_if(good, "values", message, path)
