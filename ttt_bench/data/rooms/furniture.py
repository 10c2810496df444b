"""Furniture of the seven classes, as lists of primitives.

Each piece has a frame: x to its right, y away from the viewer (its back, if any, is at +y), z up,
the origin on the floor at the centre of its footprint. Lengths are in metres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from math import cos, sin

from ttt_bench.data.rooms.dice import Dice
from ttt_bench.data.rooms.looks import CLASSES, Layout

UNLABELLED = 255


class Kind(IntEnum):
    """Primitive shapes, each in the box of its half extents; a room is a box seen from inside."""

    BOX = 0
    CYLINDER = 1
    BALL = 2
    ROOM = 3


class Slot(IntEnum):
    """Material slots of a primitive; the style chooses the material of a slot for each piece."""

    MAIN = 0
    SECOND = 1
    ACCENT = 2
    METAL = 3
    DARK = 4
    GLOW = 5


Primitive = tuple[float, ...]
"""Kind, slot, centre x y z, half extents x y z, sine and cosine of the pitch (about x), taper."""


@dataclass(kw_only=True)
class Piece:
    """A piece: its name, label, extents (width, depth, height) and primitives."""

    name: str
    label: int
    size: tuple[float, float, float]
    primitives: list[Primitive] = field(default_factory=list)

    def box(
        self,
        slot: Slot,
        x: tuple[float, float],
        y: tuple[float, float],
        z: tuple[float, float],
        pitch: float = 0.0,
    ) -> None:
        """Add a box between these bounds, rotated by `pitch` about its centre."""
        (x0, x1), (y0, y1), (z0, z1) = x, y, z
        middle, half = (
            ((x0 + x1) / 2, (y0 + y1) / 2, (z0 + z1) / 2),
            ((x1 - x0) / 2, (y1 - y0) / 2, (z1 - z0) / 2),
        )
        self.primitives.append((Kind.BOX, slot, *middle, *half, sin(pitch), cos(pitch), 0.0))

    def cylinder(
        self,
        slot: Slot,
        at: tuple[float, float],
        radius: tuple[float, float],
        z: tuple[float, float],
        *,
        taper: float = 0.0,
        pitch: float = 0.0,
    ) -> None:
        """Add an upright elliptic cylinder.

        At height h in [-1, 1] its radius is (1 + taper h) times `radius`.
        """
        self.primitives.append(
            (
                Kind.CYLINDER,
                slot,
                *at,
                (z[0] + z[1]) / 2,
                *radius,
                (z[1] - z[0]) / 2,
                sin(pitch),
                cos(pitch),
                taper,
            )
        )

    def ball(
        self,
        slot: Slot,
        at: tuple[float, float, float],
        radius: tuple[float, float, float],
        pitch: float = 0.0,
    ) -> None:
        """Add an ellipsoid."""
        self.primitives.append((Kind.BALL, slot, *at, *radius, sin(pitch), cos(pitch), 0.0))

    def legs(
        self, slot: Slot, x: float, y: float, *, top: float, thick: float, round_: bool
    ) -> None:
        """Add four legs under the corners (+-x, +-y)."""
        half = thick / 2
        for sx in (-x, x):
            for sy in (-y, y):
                if round_:
                    self.cylinder(slot, (sx, sy), (half, half), (0.0, top), taper=0.2)
                else:
                    self.box(slot, (sx - half, sx + half), (sy - half, sy + half), (0.0, top))


def _piece(
    name: str, dice: Dice, layout: Layout, size: tuple[float, float, float]
) -> tuple[Piece, bool]:
    width, depth, height = (extent * dice.between(*layout.stretch) for extent in size)
    label = CLASSES.index(name) if name in CLASSES else UNLABELLED
    return Piece(name=name, label=label, size=(width, depth, height)), dice.chance(layout.modern)


def _refrigerator(dice: Dice, layout: Layout) -> Piece:
    piece, modern = _piece("refrigerator", dice, layout, (0.72, 0.66, 1.75))
    w, d, h = piece.size
    x, front = w / 2, -d / 2
    piece.box(Slot.MAIN, (-x, x), (front + 0.06, d / 2), (0.06, h))
    piece.box(Slot.DARK, (-x + 0.03, x - 0.03), (front + 0.1, d / 2), (0.0, 0.06))
    if modern:  # two doors side by side
        piece.box(Slot.MAIN, (-x, -0.008), (front, front + 0.06), (0.08, h))
        piece.box(Slot.MAIN, (0.008, x), (front, front + 0.06), (0.08, h))
        for side in (-0.05, 0.05):
            piece.box(
                Slot.METAL,
                (side - 0.015, side + 0.015),
                (front - 0.04, front - 0.01),
                (0.35 * h, 0.75 * h),
            )
        piece.box(Slot.DARK, (-0.7 * x, -0.35 * x), (front - 0.005, front), (0.55 * h, 0.68 * h))
    else:  # a freezer above or below
        split = h * (0.68 if dice.chance(0.6) else 0.34)
        piece.box(Slot.MAIN, (-x, x), (front, front + 0.06), (0.08, split - 0.012))
        piece.box(Slot.MAIN, (-x, x), (front, front + 0.06), (split + 0.012, h))
        grip = (-x + 0.05, -x + 0.085)
        piece.box(Slot.METAL, grip, (front - 0.045, front - 0.01), (split - 0.42, split - 0.06))
        piece.box(Slot.METAL, grip, (front - 0.045, front - 0.01), (split + 0.06, split + 0.34))
    return piece


def _table(dice: Dice, layout: Layout) -> Piece:
    piece, modern = _piece("table", dice, layout, (1.25, 0.8, 0.74))
    w, d, h = piece.size
    if modern:  # round, on one foot
        r = (w + d) / 4
        piece.size = (2 * r, 2 * r, h)
        piece.cylinder(Slot.MAIN, (0, 0), (r, r), (h - 0.045, h))
        piece.cylinder(Slot.SECOND, (0, 0), (0.06, 0.06), (0.04, h - 0.04), taper=0.25)
        piece.cylinder(Slot.SECOND, (0, 0), (0.55 * r, 0.55 * r), (0.0, 0.05), taper=-0.15)
    else:
        piece.box(Slot.MAIN, (-w / 2, w / 2), (-d / 2, d / 2), (h - 0.05, h))
        inset = 0.07
        for side in (-1, 1):
            edge = side * (d / 2 - inset)
            piece.box(
                Slot.SECOND,
                (-w / 2 + inset, w / 2 - inset),
                (edge - 0.012, edge + 0.012),
                (h - 0.14, h - 0.05),
            )
        piece.legs(
            Slot.SECOND,
            w / 2 - inset,
            d / 2 - inset,
            top=h - 0.05,
            thick=0.075,
            round_=dice.chance(0.3),
        )
    return piece


def _toilet(dice: Dice, layout: Layout) -> Piece:
    piece, modern = _piece("toilet", dice, layout, (0.44, 0.72, 0.82))
    w, d, h = piece.size
    back, rim = d / 2, 0.5 * h
    tank = back - 0.2
    reach = (tank + d / 2) / 2  # half the bowl's length
    middle = tank - reach
    r = 0.44 * w
    piece.cylinder(Slot.MAIN, (0, middle), (0.72 * r, 0.72 * reach), (0.0, rim - 0.05), taper=0.3)
    piece.cylinder(Slot.MAIN, (0, middle), (r, reach), (rim - 0.06, rim))
    piece.box(Slot.MAIN, (-0.55 * r, 0.55 * r), (middle, back), (0.0, rim - 0.03))
    if modern:  # lid up: the seat is a ring around dark water
        piece.cylinder(Slot.DARK, (0, middle - 0.01), (0.62 * r, 0.66 * reach), (rim, rim + 0.006))
        piece.ball(
            Slot.MAIN, (0, tank - 0.05, rim + 0.85 * reach), (r, 0.025, 0.9 * reach), pitch=-0.1
        )
    else:  # lid down
        piece.cylinder(
            Slot.SECOND, (0, middle), (1.04 * r, 1.02 * reach), (rim, rim + 0.035), taper=-0.04
        )
    piece.box(Slot.MAIN, (-w / 2, w / 2), (tank, back), (rim - 0.02, h - 0.03))
    piece.box(Slot.SECOND, (-w / 2 - 0.012, w / 2 + 0.012), (tank - 0.012, back), (h - 0.03, h))
    piece.ball(Slot.METAL, (-0.3 * w, tank - 0.01, h - 0.1), (0.03, 0.02, 0.02))
    return piece


def _sofa(dice: Dice, layout: Layout) -> Piece:
    piece, modern = _piece("sofa", dice, layout, (1.85, 0.88, 0.82))
    w, d, h = piece.size
    seats = 2 if w < 1.8 else 3
    arm = 0.13 if modern else 0.2
    low, seat = (0.12, 0.4) if modern else (0.05, 0.43)
    x, front, back = w / 2, -d / 2, d / 2
    piece.box(Slot.MAIN, (-x + 0.02, x - 0.02), (front + 0.04, back), (low, seat - 0.13))
    piece.box(Slot.MAIN, (-x, x), (back - 0.2, back), (low, h))
    for side in (-1, 1):
        inner, outer = side * (x - arm), side * x
        top = 0.62 if modern else 0.58
        piece.box(Slot.MAIN, (min(inner, outer), max(inner, outer)), (front, back), (low, top))
        if not modern:  # rolled arms
            middle = (inner + outer) / 2
            piece.ball(Slot.MAIN, (middle, 0.0, top), (0.55 * arm, 0.52 * d, 0.09))
    step = (w - 2 * arm) / seats
    for place in range(seats):
        x0 = -x + arm + place * step
        x1 = x0 + step - 0.015
        piece.box(Slot.SECOND, (x0, x1), (front - 0.01, back - 0.2), (seat - 0.13, seat))
        piece.box(Slot.SECOND, (x0, x1), (back - 0.36, back - 0.2), (seat, h + 0.03), pitch=-0.14)
    if modern:
        piece.legs(Slot.METAL, x - 0.1, d / 2 - 0.08, top=low, thick=0.05, round_=False)
    if dice.chance(0.6):
        at = (x - arm - 0.2) * (1 if dice.chance(0.5) else -1)
        piece.box(
            Slot.ACCENT,
            (at - 0.19, at + 0.19),
            (back - 0.47, back - 0.37),
            (seat + 0.01, seat + 0.36),
            pitch=-0.3,
        )
    return piece


def _bed(dice: Dice, layout: Layout) -> Piece:
    double = dice.chance(0.5)
    piece, modern = _piece("bed", dice, layout, (1.5 if double else 1.0, 2.0, 0.95))
    w, d, h = piece.size
    x, foot, head = w / 2, -d / 2, d / 2
    top = 0.46 if modern else 0.54
    piece.box(Slot.SECOND, (-x, x), (foot, head), (0.14, 0.3))
    piece.box(Slot.SECOND, (-x, x), (head - 0.07, head), (0.0, h))
    if modern:
        piece.box(Slot.DARK, (-x + 0.1, x - 0.1), (foot + 0.1, head), (0.0, 0.14))
    else:
        piece.box(Slot.SECOND, (-x, x), (foot, foot + 0.06), (0.0, 0.62))
        piece.legs(Slot.SECOND, x - 0.05, d / 2 - 0.06, top=0.14, thick=0.08, round_=False)
    piece.box(Slot.ACCENT, (-x + 0.03, x - 0.03), (foot + 0.06, head - 0.07), (0.3, top))
    fold = head - 0.32 * d
    piece.box(Slot.MAIN, (-x - 0.01, x + 0.01), (foot + 0.05, fold), (0.27, top + 0.035))
    piece.box(Slot.ACCENT, (-x - 0.012, x + 0.012), (fold - 0.16, fold + 0.01), (0.29, top + 0.045))
    pillows = (-w / 4, w / 4) if w > 1.25 else (0.0,)
    reach = 0.21 * w if w > 1.25 else 0.36 * w
    for at in pillows:
        piece.ball(Slot.ACCENT, (at, head - 0.32, top + 0.07), (reach, 0.2, 0.1), pitch=0.25)
    return piece


def _sink(dice: Dice, layout: Layout) -> Piece:
    piece, modern = _piece("sink", dice, layout, (0.62, 0.5, 0.86))
    w, d, h = piece.size
    x, front, back = w / 2, -d / 2, d / 2
    low, wall = h - 0.16, 0.045
    floor = h - 0.12
    piece.box(Slot.MAIN, (-x, x), (front, back), (low, floor))
    piece.box(Slot.MAIN, (-x, x), (front, front + wall), (floor, h))
    piece.box(Slot.MAIN, (-x, x), (back - 0.13, back), (floor, h))
    for side in (-1, 1):
        inner, outer = side * (x - wall), side * x
        piece.box(
            Slot.MAIN,
            (min(inner, outer), max(inner, outer)),
            (front + wall, back - 0.13),
            (floor, h),
        )
    piece.cylinder(Slot.DARK, (0, -0.03), (0.035, 0.035), (floor, floor + 0.004))
    piece.cylinder(Slot.METAL, (0, back - 0.07), (0.022, 0.022), (h, h + 0.2))
    piece.box(Slot.METAL, (-0.018, 0.018), (back - 0.24, back - 0.05), (h + 0.17, h + 0.205))
    if modern:  # in a cupboard with two doors
        piece.box(Slot.SECOND, (-x + 0.02, x - 0.02), (front + 0.05, back), (0.08, low))
        piece.box(Slot.SECOND, (-x + 0.03, -0.008), (front + 0.03, front + 0.05), (0.1, low - 0.02))
        piece.box(Slot.SECOND, (0.008, x - 0.03), (front + 0.03, front + 0.05), (0.1, low - 0.02))
        piece.box(Slot.DARK, (-x + 0.05, x - 0.05), (front + 0.1, back), (0.0, 0.08))
    else:  # on a pedestal
        piece.cylinder(Slot.MAIN, (0, 0.06), (0.11, 0.1), (0.0, low), taper=-0.12)
        piece.cylinder(Slot.MAIN, (0, 0.02), (0.36 * w, 0.36 * d), (low - 0.1, low), taper=0.2)
    return piece


def _chair(dice: Dice, layout: Layout) -> Piece:
    piece, modern = _piece("chair", dice, layout, (0.46, 0.48, 0.92))
    w, d, h = piece.size
    x, back, seat = w / 2, d / 2, 0.46
    piece.legs(Slot.SECOND, x - 0.03, back - 0.03, top=seat - 0.04, thick=0.045, round_=modern)
    piece.box(Slot.MAIN, (-x, x), (-back, back), (seat - 0.045, seat))
    if modern:  # a shell
        piece.box(
            Slot.MAIN,
            (-x + 0.02, x - 0.02),
            (back - 0.035, back),
            (seat + 0.06, h - 0.06),
            pitch=-0.16,
        )
        return piece
    for side in (-1, 1):
        post = side * (x - 0.025)
        piece.box(
            Slot.SECOND,
            (post - 0.022, post + 0.022),
            (back - 0.045, back),
            (seat - 0.05, h),
            pitch=-0.08,
        )
    for low, high in ((0.28, 0.5), (0.68, 0.98)):
        z = (seat + low * (h - seat), seat + high * (h - seat))
        lean = 0.04 * (low + high - 1.0)
        piece.box(
            Slot.MAIN,
            (-x + 0.03, x - 0.03),
            (back - 0.04 + lean, back - 0.012 + lean),
            z,
            pitch=-0.08,
        )
    return piece


PIECES: dict[str, Callable[[Dice, Layout], Piece]] = {
    "refrigerator": _refrigerator,
    "table": _table,
    "toilet": _toilet,
    "sofa": _sofa,
    "bed": _bed,
    "sink": _sink,
    "chair": _chair,
}
"""The function that makes a piece of each class."""
