"""The rule about images without people, for the task `human_parts`. Imports no torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.files import Size
from ttt_bench.data.images.sample import nearest
from ttt_bench.tasks import IGNORE


def human_parts(parts: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Return (H, W) indices of `HUMAN_PARTS`; 255 everywhere if the image has no part of a person.

    This excludes images without people, as the evaluation of ASTMT and its successors does.

    Args:
        parts: (H', W') indices of `HUMAN_PARTS`, 255 for no target; may be empty without people.
        size: (H, W) of the image.
    """
    if np.isin(parts, (0, IGNORE)).all():
        return np.full(size, IGNORE, dtype=np.uint8)
    return nearest(parts, size)
