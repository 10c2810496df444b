"""Objects without a class: semseg 255. Frames and units as in `furniture`."""

from __future__ import annotations

from collections.abc import Callable

from ttt_bench.data.rooms.dice import Dice
from ttt_bench.data.rooms.furniture import UNLABELLED, Piece, Slot
from ttt_bench.data.rooms.looks import Layout


def _extents(
    dice: Dice, layout: Layout, size: tuple[float, float, float]
) -> tuple[float, float, float]:
    w, d, h = (extent * dice.between(*layout.stretch) for extent in size)
    return w, d, h


def _cupboard(dice: Dice, layout: Layout) -> Piece:
    w, d, h = _extents(dice, layout, dice.choose(((1.0, 0.5, 1.85), (1.1, 0.45, 0.85))))
    piece = Piece(name="cupboard", label=UNLABELLED, size=(w, d, h))
    x, front = w / 2, -d / 2
    piece.box(Slot.MAIN, (-x, x), (front + 0.03, d / 2), (0.05, h))
    piece.box(Slot.SECOND, (-x - 0.02, x + 0.02), (front, d / 2), (h - 0.04, h))
    for left, right in ((-x + 0.02, -0.01), (0.01, x - 0.02)):
        piece.box(Slot.MAIN, (left, right), (front + 0.005, front + 0.03), (0.1, h - 0.07))
    for at in (-0.06, 0.06):
        piece.ball(Slot.METAL, (at, front, 0.55 * h), (0.02, 0.02, 0.02))
    return piece


def _shelf(dice: Dice, layout: Layout) -> Piece:
    w, d, h = _extents(dice, layout, (0.85, 0.32, 1.7))
    piece = Piece(name="shelf", label=UNLABELLED, size=(w, d, h))
    x, front, back = w / 2, -d / 2, d / 2
    piece.box(Slot.MAIN, (-x, x), (back - 0.02, back), (0.0, h))
    for side in (-x, x - 0.03):
        piece.box(Slot.MAIN, (side, side + 0.03), (front, back), (0.0, h))
    rows = 4
    for row in range(rows + 1):
        z = row * (h - 0.03) / rows
        piece.box(Slot.MAIN, (-x, x), (front, back), (z, z + 0.03))
        if row < rows and dice.chance(0.8):
            start = dice.between(-x + 0.04, -0.1 * w)
            end = dice.between(0.1 * w, x - 0.04)
            slot = dice.choose((Slot.SECOND, Slot.ACCENT, Slot.DARK))
            piece.box(
                slot,
                (start, end),
                (front + 0.06, back - 0.03),
                (z + 0.03, z + dice.between(0.2, 0.32)),
            )
    return piece


def _lamp(dice: Dice, layout: Layout) -> Piece:
    w, d, h = _extents(dice, layout, (0.4, 0.4, 1.55))
    piece = Piece(name="lamp", label=UNLABELLED, size=(w, d, h))
    piece.cylinder(Slot.METAL, (0, 0), (0.14, 0.14), (0.0, 0.03))
    piece.cylinder(Slot.METAL, (0, 0), (0.018, 0.018), (0.03, h - 0.2))
    piece.cylinder(Slot.GLOW, (0, 0), (0.45 * w, 0.45 * d), (h - 0.3, h), taper=-0.25)
    return piece


def _crate(dice: Dice, layout: Layout) -> Piece:
    w, d, h = _extents(dice, layout, (0.45, 0.38, 0.34))
    piece = Piece(name="crate", label=UNLABELLED, size=(w, d, h))
    piece.box(Slot.MAIN, (-w / 2, w / 2), (-d / 2, d / 2), (0.0, h))
    piece.box(Slot.SECOND, (-0.04, 0.04), (-d / 2 - 0.002, d / 2 + 0.002), (0.0, h + 0.002))
    return piece


def _plant(dice: Dice, layout: Layout) -> Piece:
    w, d, h = _extents(dice, layout, (0.5, 0.5, 1.0))
    piece = Piece(name="plant", label=UNLABELLED, size=(w, d, h))
    piece.cylinder(Slot.SECOND, (0, 0), (0.14, 0.14), (0.0, 0.28), taper=0.22)
    piece.cylinder(Slot.DARK, (0, 0), (0.02, 0.02), (0.28, 0.6 * h))
    for _ in range(5):
        at = (dice.about(0, 0.26 * w), dice.about(0, 0.26 * d), dice.between(0.45 * h, 0.85 * h))
        piece.ball(Slot.MAIN, at, (0.24 * w, 0.24 * d, 0.13 * h), pitch=dice.about(0, 0.8))
    return piece


def _rug(dice: Dice, layout: Layout) -> Piece:
    w, d, _ = _extents(dice, layout, (1.7, 1.2, 1.0))
    piece = Piece(name="rug", label=UNLABELLED, size=(w, d, 0.006))
    piece.box(Slot.MAIN, (-w / 2, w / 2), (-d / 2, d / 2), (0.0, 0.005))
    piece.box(
        Slot.SECOND, (-w / 2 + 0.14, w / 2 - 0.14), (-d / 2 + 0.14, d / 2 - 0.14), (0.0, 0.006)
    )
    return piece


def _picture(dice: Dice, layout: Layout) -> Piece:
    w, _, h = _extents(
        dice, layout, dice.choose(((0.7, 1.0, 0.5), (0.45, 1.0, 0.6), (1.0, 1.0, 0.6)))
    )
    piece = Piece(name="picture", label=UNLABELLED, size=(w, 0.04, h))
    z = dice.between(1.35, 1.6)
    piece.box(Slot.SECOND, (-w / 2, w / 2), (-0.01, 0.02), (z - h / 2, z + h / 2))
    piece.box(
        Slot.MAIN,
        (-w / 2 + 0.05, w / 2 - 0.05),
        (-0.014, 0.02),
        (z - h / 2 + 0.05, z + h / 2 - 0.05),
    )
    lowest = z - h / 2 + 0.05
    piece.box(
        Slot.ACCENT, (-w / 2 + 0.05, w / 2 - 0.05), (-0.016, 0.02), (lowest, lowest + 0.3 * h)
    )
    return piece


def _window(dice: Dice, layout: Layout) -> Piece:
    w, _, h = _extents(dice, layout, (1.2, 1.0, 1.1))
    piece = Piece(name="window", label=UNLABELLED, size=(w, 0.06, h))
    z0 = dice.between(0.85, 1.0)
    piece.box(Slot.SECOND, (-w / 2, w / 2), (-0.01, 0.03), (z0, z0 + h))
    bar = 0.05
    for left, right in ((-w / 2 + bar, -bar / 2), (bar / 2, w / 2 - bar)):
        piece.box(Slot.GLOW, (left, right), (-0.013, 0.03), (z0 + bar, z0 + h - bar))
    piece.box(Slot.SECOND, (-w / 2 - 0.06, w / 2 + 0.06), (-0.11, 0.03), (z0 - 0.04, z0))
    return piece


def _door(dice: Dice, layout: Layout) -> Piece:
    w, _, h = _extents(dice, layout, (0.9, 1.0, 2.0))
    h = min(h, 2.15)
    piece = Piece(name="door", label=UNLABELLED, size=(w, 0.06, h))
    piece.box(Slot.SECOND, (-w / 2 - 0.08, w / 2 + 0.08), (-0.015, 0.03), (0.0, h + 0.08))
    piece.box(Slot.MAIN, (-w / 2, w / 2), (-0.025, 0.03), (0.0, h))
    for low, high in ((0.12, 0.46), (0.54, 0.92)):
        piece.box(Slot.MAIN, (-w / 2 + 0.13, w / 2 - 0.13), (-0.035, 0.03), (low * h, high * h))
    piece.ball(Slot.METAL, (w / 2 - 0.07, -0.06, 1.0), (0.03, 0.03, 0.03))
    return piece


def on_top(dice: Dice, height: float, reach: tuple[float, float]) -> Piece:
    """Return a small object at `height`, within `reach` of the centre: a bowl, a vase or books."""
    piece = Piece(name="trinket", label=UNLABELLED, size=(0.2, 0.2, height))
    x, y = dice.about(0, reach[0]), dice.about(0, reach[1])
    form = dice.whole(0, 2)
    if form == 0:
        piece.cylinder(Slot.MAIN, (x, y), (0.11, 0.11), (height, height + 0.09), taper=0.35)
    elif form == 1:
        piece.cylinder(Slot.MAIN, (x, y), (0.05, 0.05), (height, height + 0.2), taper=-0.3)
        piece.ball(Slot.ACCENT, (x, y, height + 0.28), (0.1, 0.1, 0.11))
    else:
        piece.box(Slot.MAIN, (x - 0.13, x + 0.13), (y - 0.09, y + 0.09), (height, height + 0.04))
        piece.box(
            Slot.ACCENT, (x - 0.1, x + 0.12), (y - 0.08, y + 0.08), (height + 0.04, height + 0.075)
        )
    return piece


def ceiling_lamp(height: float) -> Piece:
    """Return the shade around the room's light; `height` is that of the ceiling."""
    piece = Piece(name="ceiling lamp", label=UNLABELLED, size=(0.4, 0.4, height))
    piece.cylinder(Slot.GLOW, (0, 0), (0.2, 0.2), (height - 0.12, height), taper=0.15)
    return piece


Builder = Callable[[Dice, Layout], Piece]
AGAINST_WALL: dict[str, Builder] = {"cupboard": _cupboard, "shelf": _shelf}
STANDING: dict[str, Builder] = {"lamp": _lamp, "crate": _crate, "plant": _plant}
HANGING: dict[str, Builder] = {"picture": _picture, "window": _window, "door": _door}
LYING: dict[str, Builder] = {"rug": _rug}
"""The functions that make each object, by where it can be placed."""
