"""Find photographs whose red and blue channels were exchanged (BGR files).

Photographs of rooms and of everyday scenes are redder than blue on average. A single image says
nothing, since daylight is blue and lamps are red; so it needs many images.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.datatools.check.findings import Finding

_FEWEST = 20  # images that are needed to judge
_BLUER = 0.015  # mean of blue minus red (0..1) above which the channels are doubted, plus
_SPREAD = 0.07  # this over the root of the number of images; images differ by 0.06 to 0.12
_MOST = 0.6  # share of images that are bluer than red


class Colours:
    """The mean colours of the decoded images."""

    def __init__(self) -> None:
        self._means: list[NDArray[np.float64]] = []

    def add(self, rgb: NDArray[Any]) -> None:
        """Add an image (H, W, 3) of 0..255."""
        self._means.append(rgb[::4, ::4].reshape(-1, 3).mean(axis=0) / 255.0)

    def findings(self, path: Path) -> Iterator[Finding]:
        """Yield the mean colour, and a warning if most images are bluer than red."""
        if not self._means:
            return
        red, green, blue = np.mean(self._means, axis=0)
        bluer = float(np.mean([mean[2] > mean[0] for mean in self._means]))
        message = f"image: mean colour {red:.2f} red, {green:.2f} green, {blue:.2f} blue"
        count = len(self._means)
        if count < _FEWEST:
            message += f"; too few images to find exchanged channels ({_FEWEST} are needed)"
        most = _BLUER + _SPREAD / np.sqrt(count)
        good = bool(count < _FEWEST or blue - red <= most or bluer < _MOST)
        if not good:
            message += (
                f"; {bluer:.0%} of {count} images are bluer than red, unlike photographs of rooms: "
                "the channels may be exchanged (BGR); compare with `ttt-bench data show`"
            )
        yield Finding.ok_if(good, "agreement", message, path)
