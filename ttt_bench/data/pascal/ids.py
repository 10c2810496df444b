"""PASCAL-Context's ids as data. Imports no torch.

Source: the id lists that ship with ASTMT's public code, as facts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_CONTEXT = 459
"""The largest id of the Context labels, which begin at 1."""
VOC_VOID = 255
"""Border and void of the 21-class maps, whose ids are 0..20."""
FLOOR = 158
"""The Context id of floor, whose normals point up."""

CONTEXT_OF_VOC: tuple[int, ...] = (
    0, 2, 23, 25, 31, 34, 45, 59, 65, 72, 98, 397, 113, 207, 258, 284, 308, 347, 368, 416, 427,
)  # fmt: skip
"""The Context id of each of the 21 VOC classes; all other Context ids are background, 0."""

PERSON = 15
"""The VOC id of people, and the class of people in the files of parts."""

_SIDES = ("l", "r")
PART_OF: dict[str, str] = {
    **dict.fromkeys(("hair", "head", "mouth", "nose"), "head"),
    **{f"{side}{name}": "head" for side in _SIDES for name in ("ear", "ebrow", "eye")},
    **dict.fromkeys(("neck", "torso"), "torso"),
    **{f"{side}uarm": "upper arm" for side in _SIDES},
    **{f"{side}{name}": "lower arm" for side in _SIDES for name in ("larm", "hand")},
    **{f"{side}uleg": "upper leg" for side in _SIDES},
    **{f"{side}{name}": "lower leg" for side in _SIDES for name in ("lleg", "foot")},
}
"""The class of `HUMAN_PARTS` that each of PASCAL-Part's 24 parts of a person belongs to."""

NORMALS_VALID: tuple[int, ...] = (
    3, 4, 6, 9, 10, 11, 13, 15, 17, 18, 22, 23, 29, 30, 33, 34, 36, 37, 38, 39, 41, 43, 46, 49, 50,
    51, 53, 55, 56, 59, 61, 62, 65, 66, 68, 69, 72, 73, 78, 83, 84, 85, 87, 88, 95, 96, 101, 104,
    105, 107, 111, 113, 115, 122, 124, 135, 141, 142, 143, 146, 150, 154, 157, 158, 159, 165, 172,
    174, 181, 183, 184, 191, 193, 195, 197, 199, 202, 213, 215, 216, 219, 220, 223, 225, 228, 230,
    232, 233, 238, 239, 242, 243, 246, 250, 251, 252, 255, 260, 261, 263, 269, 272, 273, 275, 281,
    283, 284, 285, 286, 287, 288, 290, 291, 292, 293, 295, 304, 307, 309, 310, 314, 315, 319, 323,
    329, 330, 331, 336, 342, 345, 349, 350, 351, 352, 355, 357, 368, 370, 371, 374, 379, 380, 383,
    384, 397, 401, 403, 405, 407, 408, 411, 412, 413, 414, 417, 419, 421, 423, 427, 429, 430, 432,
    440, 441, 442, 443, 444, 446, 454, 457,
)  # fmt: skip
"""Context ids of indoor objects. The normals are predictions of a network that is reliable only for
these.
"""


def voc_table() -> NDArray[np.uint8]:
    """Return (460,), the VOC id of each Context id, 0 for background."""
    table = np.zeros(MAX_CONTEXT + 1, dtype=np.uint8)
    table[list(CONTEXT_OF_VOC)] = np.arange(len(CONTEXT_OF_VOC), dtype=np.uint8)
    return table


def normals_valid() -> NDArray[np.bool_]:
    """Return (460,), whether the normals of a Context id are reliable."""
    valid = np.zeros(MAX_CONTEXT + 1, dtype=np.bool_)
    valid[list(NORMALS_VALID)] = True
    return valid
