"""Draw one image's scene: furniture, materials, viewpoint and light. Pure Python."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ttt_bench.data.rooms import clutter
from ttt_bench.data.rooms.dice import Dice, Stream
from ttt_bench.data.rooms.furniture import PIECES, Piece, Slot
from ttt_bench.data.rooms.looks import CLASSES, Camera, Layout, Light, Look, Sensor
from ttt_bench.data.rooms.style import NIGHT_SKY, Material, piece_materials, room_materials

NEAREST = 1.25  # metres from the camera to the centre of the nearest piece
ELBOW = 0.45  # metres that stay free around the camera
# The order of placement. It balances the classes: a bed placed early hides other pieces, small
# pieces are visible only if placed early, and chairs need a table.
PLACED_IN_TURN = ("sofa", "toilet", "sink", "refrigerator", "bed", "table", "chair")
Vector = tuple[float, float, float]


@dataclass(frozen=True)
class View:
    """A pinhole camera.

    It has a position, axes (right, down, forward) in the world, and an angle of view in degrees
    across the shorter side. World: x right, y into the room, z up, the floor at 0.
    """

    position: Vector
    axes: tuple[Vector, Vector, Vector]
    fov: float

    @property
    def half_tangent(self) -> float:
        """Return half the extent of the shorter side at depth 1."""
        return math.tan(math.radians(self.fov) / 2)


@dataclass(frozen=True, kw_only=True)
class Lamp:
    """The room's light.

    Attributes:
        position: in metres.
        power: linear RGB.
        ambient: linear RGB of the ambient light.
        exposure: factor on all light.
        gamma: exponent of the tone curve.
        reach: squared distance in m2 at which its light has halved.
    """

    position: Vector
    power: Vector
    ambient: Vector
    exposure: float
    gamma: float
    reach: float


@dataclass(frozen=True, kw_only=True)
class Optics:
    """One image's draws of a `Sensor`."""

    noise: float
    blur: float
    vignette: float
    levels: int


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A piece in the world.

    Attributes:
        piece: the piece.
        position: its origin.
        turn: sine and cosine of its rotation about the vertical.
        materials: its materials.
        shadow: whether it throws a shadow.
    """

    piece: Piece
    position: Vector
    turn: tuple[float, float]
    materials: list[Material]
    shadow: bool = True


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything that one image is rendered from.

    `room` is (width, length, height), with x from -width/2 and y from 0.
    """

    room: Vector
    room_materials: list[Material]
    placed: list[Placed]
    view: View
    lamp: Lamp
    optics: Optics


def draw(look: Look, seed: int, index: int) -> Scene:
    """Return the scene of image `index`; it depends only on the three arguments."""
    layout_dice, style_dice = Dice(seed, index, Stream.LAYOUT), Dice(seed, index, Stream.STYLE)
    layout = look.layout
    room = (
        layout_dice.between(*layout.width),
        layout_dice.between(*layout.length),
        layout_dice.between(*layout.height),
    )
    view = draw_view(look.camera, room, Dice(seed, index, Stream.CAMERA))
    lamp = draw_lamp(look.light, room, Dice(seed, index, Stream.LIGHT))
    rows = room_materials(style_dice, look.style)
    placed = []
    for piece, position, yaw, shadow in furnish(layout, room, view, lamp, layout_dice):
        materials = piece_materials(piece.name, style_dice, look.style)
        if piece.name == "window" and not look.light.day:
            materials[Slot.GLOW] = NIGHT_SKY
        placed.append(
            Placed(
                piece=piece,
                position=position,
                turn=(math.sin(yaw), math.cos(yaw)),
                materials=materials,
                shadow=shadow,
            )
        )
    return Scene(
        room=room,
        room_materials=rows,
        placed=placed,
        view=view,
        lamp=lamp,
        optics=draw_optics(look.sensor, Dice(seed, index, Stream.SENSOR)),
    )


def draw_view(camera: Camera, room: Vector, dice: Dice) -> View:
    """Return a camera at the wall y = 0, facing the room."""
    width, length, _ = room
    x = dice.about(0.0, camera.shift) * (width / 2 - ELBOW)
    position = (x, dice.between(0.2, 0.5), dice.between(*camera.height))
    target_x, target_y = dice.about(0.0, 0.15) * width, 0.65 * length
    yaw = math.atan2(position[0] - target_x, target_y - position[1]) + math.radians(
        dice.about(0.0, camera.yaw)
    )
    pitch = math.radians(dice.between(*camera.pitch))
    roll = math.radians(dice.about(0.0, camera.roll))
    return View(position, camera_axes(yaw, pitch, roll), dice.between(*camera.fov))


def camera_axes(yaw: float, pitch: float, roll: float) -> tuple[Vector, Vector, Vector]:
    """Return right, down and forward in the world.

    Angles are in radians: yaw to the left, pitch downwards, roll clockwise.
    """
    sy, cy, sp, cp, sr, cr = (
        f(angle) for angle in (yaw, pitch, roll) for f in (math.sin, math.cos)
    )
    forward = (-sy * cp, cy * cp, -sp)
    right, down = (cy, sy, 0.0), (sy * sp, -cy * sp, -cp)
    turned_right = tuple(cr * a + sr * b for a, b in zip(right, down, strict=True))
    turned_down = tuple(cr * b - sr * a for a, b in zip(right, down, strict=True))
    return turned_right, turned_down, forward  # type: ignore[return-value]


def draw_lamp(light: Light, room: Vector, dice: Dice) -> Lamp:
    """Return a lamp under the ceiling."""
    width, length, height = room
    position = (
        dice.about(0.0, light.spread) * width / 2,
        length * (0.5 + dice.about(0.0, light.spread) / 2 * 0.8),
        height - 0.25,
    )
    warmth, power = dice.between(*light.warmth), dice.between(*light.power)
    tint = (1.0 + 0.3 * warmth, 1.0, 1.0 - 0.45 * warmth)
    ambient = dice.between(*light.ambient)
    return Lamp(
        position=position,
        power=(tint[0] * power, tint[1] * power, tint[2] * power),
        ambient=((0.5 + 0.5 * tint[0]) * ambient, ambient, (0.5 + 0.5 * tint[2]) * ambient),
        exposure=dice.between(*light.exposure),
        gamma=dice.between(*light.gamma),
        reach=light.reach,
    )


def draw_optics(sensor: Sensor, dice: Dice) -> Optics:
    """Return the camera's effects on this image."""
    return Optics(
        noise=dice.between(*sensor.noise),
        blur=dice.between(*sensor.blur),
        vignette=dice.between(*sensor.vignette),
        levels=int(dice.between(*sensor.levels)),
    )


Placement = tuple[Piece, Vector, float, bool]
Footprint = tuple[float, float, float, float]


class _Floor:
    """The free space on the floor and on the walls."""

    def __init__(self, room: Vector, view: View) -> None:
        self.width, self.length, self.height = room
        self.view = view
        self.taken: list[Footprint] = []
        self.hung: list[tuple[int, float, float]] = []  # wall, centre along it, half width
        # pieces must be in a cone that is slightly narrower than the image
        self.cone = math.cos(math.radians(min(0.46 * view.fov, 60.0)))

    def visible(self, x: float, y: float) -> bool:
        """Return whether a piece centred here is near the image's centre and not at the lens."""
        forward = self.view.axes[2]
        dx, dy = x - self.view.position[0], y - self.view.position[1]
        far, level = math.hypot(dx, dy), math.hypot(forward[0], forward[1])
        return far > NEAREST and dx * forward[0] + dy * forward[1] > self.cone * far * level

    def take(self, x: float, y: float, ex: float, ey: float) -> bool:
        """Claim the rectangle of half extents (ex, ey) at (x, y) if free, inside and visible."""
        if (
            abs(x) + ex > self.width / 2
            or y + ey > self.length
            or y - ey < 0
            or not self.visible(x, y)
        ):
            return False
        cx, cy, _ = self.view.position
        if abs(x - cx) < ex + ELBOW and abs(y - cy) < ey + ELBOW:
            return False
        if any(
            abs(x - ox) < ex + oex and abs(y - oy) < ey + oey for ox, oy, oex, oey in self.taken
        ):
            return False
        self.taken.append((x, y, ex, ey))
        return True


def _extents(piece: Piece, yaw: float) -> tuple[float, float]:
    s, c = abs(math.sin(yaw)), abs(math.cos(yaw))
    w, d, _ = piece.size
    return (w * c + d * s) / 2, (w * s + d * c) / 2


def _at_wall(piece: Piece, floor: _Floor, dice: Dice, tries: int = 10) -> Placement | None:
    for _ in range(tries):
        wall = dice.weighted((0.5, 0.25, 0.25))
        yaw = (0.0, math.pi / 2, -math.pi / 2)[wall]
        ex, ey = _extents(piece, yaw)
        gap = 0.012
        if wall == 0:
            x, y = dice.about(0.0, max(floor.width / 2 - ex, 0.0)), floor.length - ey - gap
        else:
            x = (floor.width / 2 - ex - gap) * (-1 if wall == 1 else 1)
            y = dice.between(1.0, max(floor.length - ey, 1.0))
        if floor.take(x, y, ex, ey):
            return piece, (x, y, 0.0), yaw, True
    return None


def _free(
    piece: Piece, floor: _Floor, turn: float, dice: Dice, tries: int = 10
) -> Placement | None:
    for _ in range(tries):
        yaw = dice.whole(0, 3) * math.pi / 2 + math.radians(dice.about(0.0, turn))
        ex, ey = _extents(piece, yaw)
        x, y = dice.about(0.0, max(floor.width / 2 - ex, 0.0)), dice.between(1.2, floor.length - ey)
        if floor.take(x, y, 0.92 * ex, 0.92 * ey):
            return piece, (x, y, 0.0), yaw, True
    return None


def _chair_at(
    table: Placement, piece: Piece, floor: _Floor, turn: float, dice: Dice
) -> Placement | None:
    _, (tx, ty, _), table_yaw, _ = table
    for _ in range(4):
        side = dice.whole(0, 3)
        reach = table[0].size[side % 2 == 0] / 2 + piece.size[1] * dice.between(0.35, 0.65)
        # a chair's back is at its +y: it is outside the table's edge and faces the table
        yaw = table_yaw + side * math.pi / 2
        x, y = tx - reach * math.sin(yaw), ty + reach * math.cos(yaw)
        yaw += math.radians(dice.about(0.0, turn))
        ex, ey = _extents(piece, yaw)
        if floor.take(x, y, 0.5 * ex, 0.5 * ey):
            return piece, (x, y, 0.0), yaw, True
    return None


def _hang(piece: Piece, floor: _Floor, dice: Dice, tries: int = 4) -> Placement | None:
    half = piece.size[0] / 2
    for _ in range(tries):
        wall = dice.weighted((0.5, 0.25, 0.25))
        if wall == 0:
            x, y, yaw = dice.about(0.0, floor.width / 2 - half), floor.length - 0.02, 0.0
        else:
            x = (floor.width / 2 - 0.02) * (-1 if wall == 1 else 1)
            y, yaw = (
                dice.between(1.5, floor.length - half),
                (math.pi / 2 if wall == 1 else -math.pi / 2),
            )
        along = x if wall == 0 else y
        if all(other != wall or abs(along - at) > half + reach for other, at, reach in floor.hung):
            floor.hung.append((wall, along, half + 0.1))
            return piece, (x, y, 0.0), yaw, False
    return None


def furnish(layout: Layout, room: Vector, view: View, lamp: Lamp, dice: Dice) -> list[Placement]:
    """Return pieces with positions and rotations; they do not overlap, and none is at the lens."""
    floor = _Floor(room, view)
    placed: list[Placement] = []
    order = dice.shuffled(CLASSES) + [dice.choose(CLASSES) for _ in range(layout.pieces[1])]
    for name in sorted(order[: dice.whole(*layout.pieces)], key=PLACED_IN_TURN.index):
        piece = PIECES[name](dice, layout)
        table = next((other for other in placed if other[0].name == "table"), None)
        if name == "chair" and table is not None and dice.chance(0.75):
            place = _chair_at(table, piece, floor, layout.turn, dice)
        elif name in ("table", "chair"):
            place = _free(piece, floor, layout.turn, dice)
        else:
            place = _at_wall(piece, floor, dice)
        if place is not None:
            placed.append(place)
            if name == "table" and dice.chance(0.6):
                trinket = clutter.on_top(
                    dice, piece.size[2], (0.25 * piece.size[0], 0.25 * piece.size[1])
                )
                placed.append((trinket, place[1], place[2], True))
    for _ in range(dice.whole(*layout.clutter)):
        placed += _clutter(floor, layout, dice)
    lamp_at = (lamp.position[0], lamp.position[1], 0.0)
    return [*placed, (clutter.ceiling_lamp(room[2]), lamp_at, 0.0, False)]


def _clutter(floor: _Floor, layout: Layout, dice: Dice) -> list[Placement]:
    """Return one more object without a class, or None if there is no space."""
    group = (clutter.AGAINST_WALL, clutter.STANDING, clutter.HANGING, clutter.LYING)[
        dice.weighted((0.2, 0.3, 0.4, 0.1))
    ]
    piece = dice.choose(list(group.values()))(dice, layout)
    place: Placement | None
    if group is clutter.AGAINST_WALL:
        place = _at_wall(piece, floor, dice, tries=5)
    elif group is clutter.STANDING:
        place = _free(piece, floor, layout.turn, dice, tries=5)
    elif group is clutter.HANGING:
        place = _hang(piece, floor, dice)
    else:
        yaw = math.radians(dice.about(0.0, layout.turn))
        x, y = dice.about(0.0, 0.25) * floor.width, dice.about(0.55, 0.15) * floor.length
        place = (piece, (x, y, 0.0), yaw, False)
    return [] if place is None else [place]
