"""Colours and textures of pieces and rooms: rows of a material table."""

from __future__ import annotations

from colorsys import hsv_to_rgb
from enum import IntEnum

from ttt_bench.data.rooms.dice import Dice
from ttt_bench.data.rooms.looks import Style


class Texture(IntEnum):
    """Patterns that mix the two colours of a material."""

    PLAIN = 0
    STRIPES = 1
    WOOD = 2
    TILES = 3
    CHECKS = 4
    FABRIC = 5
    PLANKS = 6
    DOTS = 7


Hsv = tuple[float, float, float]
Material = tuple[float, ...]
"""First and second colour (linear RGB each), texture, its repeats per metre, the grain's repeats
per metre in both directions, contrast, glow.
"""

WOOD: Hsv = (0.075, 0.55, 0.62)
DARK_WOOD: Hsv = (0.06, 0.6, 0.42)
WHITE: Hsv = (0.12, 0.05, 0.93)
STEEL: Hsv = (0.58, 0.06, 0.72)
BLACK: Hsv = (0.6, 0.1, 0.16)

FAMILIES: dict[str, tuple[tuple[Hsv, Texture], tuple[Hsv, Texture], Hsv]] = {
    "refrigerator": (
        ((0.57, 0.12, 0.84), Texture.PLAIN),
        ((0.57, 0.12, 0.84), Texture.PLAIN),
        STEEL,
    ),
    "table": ((WOOD, Texture.WOOD), (DARK_WOOD, Texture.WOOD), WHITE),
    "toilet": (((0.13, 0.1, 0.95), Texture.PLAIN), ((0.12, 0.16, 0.9), Texture.PLAIN), WHITE),
    "sofa": (
        ((0.99, 0.62, 0.66), Texture.FABRIC),
        ((0.99, 0.56, 0.74), Texture.FABRIC),
        (0.12, 0.5, 0.85),
    ),
    "bed": (((0.62, 0.52, 0.72), Texture.FABRIC), (DARK_WOOD, Texture.WOOD), (0.6, 0.06, 0.93)),
    "sink": (((0.47, 0.26, 0.86), Texture.PLAIN), ((0.5, 0.2, 0.7), Texture.PLAIN), WHITE),
    "chair": (((0.27, 0.52, 0.6), Texture.FABRIC), (DARK_WOOD, Texture.WOOD), WHITE),
    "cupboard": (((0.09, 0.3, 0.72), Texture.WOOD), (DARK_WOOD, Texture.WOOD), WHITE),
    "shelf": ((DARK_WOOD, Texture.WOOD), ((0.08, 0.6, 0.5), Texture.STRIPES), (0.4, 0.3, 0.5)),
    "lamp": ((WHITE, Texture.PLAIN), (WHITE, Texture.PLAIN), WHITE),
    "crate": (((0.09, 0.4, 0.68), Texture.PLAIN), ((0.1, 0.25, 0.8), Texture.PLAIN), WHITE),
    "plant": (((0.34, 0.6, 0.42), Texture.FABRIC), ((0.04, 0.6, 0.6), Texture.PLAIN), WHITE),
    "rug": (((0.05, 0.35, 0.55), Texture.FABRIC), ((0.1, 0.25, 0.75), Texture.FABRIC), WHITE),
    "picture": (((0.55, 0.35, 0.8), Texture.FABRIC), (DARK_WOOD, Texture.PLAIN), (0.3, 0.4, 0.5)),
    "window": ((WHITE, Texture.PLAIN), (WHITE, Texture.PLAIN), WHITE),
    "door": (((0.1, 0.12, 0.88), Texture.PLAIN), ((0.1, 0.08, 0.93), Texture.PLAIN), WHITE),
    "trinket": (((0.95, 0.5, 0.75), Texture.PLAIN), (WHITE, Texture.PLAIN), (0.3, 0.6, 0.6)),
    "ceiling lamp": ((WHITE, Texture.PLAIN), (WHITE, Texture.PLAIN), WHITE),
}
"""Main and second colour with their textures, and the accent's colour, of every object."""

REPEATS: dict[Texture, tuple[float, float]] = {
    Texture.PLAIN: (3.0, 6.0),
    Texture.STRIPES: (5.0, 9.0),
    Texture.WOOD: (7.0, 11.0),
    Texture.TILES: (2.5, 5.0),
    Texture.CHECKS: (3.0, 6.0),
    Texture.FABRIC: (10.0, 16.0),
    Texture.PLANKS: (5.0, 7.0),
    Texture.DOTS: (5.0, 8.0),
}
"""Range of repeats of a texture per metre."""

GRAIN: dict[Texture, tuple[float, float]] = {
    Texture.PLAIN: (3.0, 3.0),
    Texture.STRIPES: (8.0, 8.0),
    Texture.WOOD: (11.0, 1.3),
    Texture.TILES: (4.0, 4.0),
    Texture.CHECKS: (8.0, 8.0),
    Texture.FABRIC: (9.0, 9.0),
    Texture.PLANKS: (14.0, 1.5),
    Texture.DOTS: (8.0, 8.0),
}
"""Repeats of a texture's grain per metre, across and along."""

DEPTH: dict[Texture, float] = {
    Texture.PLAIN: 0.94,
    Texture.STRIPES: 0.55,
    Texture.WOOD: 0.72,
    Texture.TILES: 0.6,
    Texture.CHECKS: 0.6,
    Texture.FABRIC: 0.8,
    Texture.PLANKS: 0.7,
    Texture.DOTS: 0.55,
}
"""Brightness of a texture's second colour, relative to its first."""


def _row(
    colour: Hsv, texture: Texture, repeats: float, contrast: float, glow: float = 0.0
) -> Material:
    hue, saturation, value = colour
    red, green, blue = hsv_to_rgb(hue % 1.0, saturation, value)
    # Squares convert display values to (nearly) linear ones with exact arithmetic. The second
    # colour is the first, darker and slightly more saturated.
    red, green, blue = red * red, green * green, blue * blue
    dark = DEPTH[texture] ** 2
    mean = (red + green + blue) / 3 * -0.08
    second = (1.08 * red + mean) * dark, (1.08 * green + mean) * dark, (1.08 * blue + mean) * dark
    return (red, green, blue, *second, float(texture), repeats, *GRAIN[texture], contrast, glow)


def _drawn(colour: Hsv, texture: Texture, dice: Dice, style: Style) -> Material:
    return _row(colour, texture, dice.between(*REPEATS[texture]), dice.between(*style.contrast))


METAL, DARK, GLOW = (
    _row(STEEL, Texture.PLAIN, 4.0, 1.0),
    _row(BLACK, Texture.PLAIN, 4.0, 1.0),
    _row((0.13, 0.12, 0.98), Texture.PLAIN, 4.0, 0.0, glow=1.0),
)
NIGHT_SKY = _row((0.62, 0.6, 0.18), Texture.PLAIN, 4.0, 0.0)
"""The colour behind a window's panes at night."""


def _near(colour: Hsv, dice: Dice, style: Style) -> Hsv:
    hue, saturation, value = colour
    return (
        dice.about(hue, style.hue),
        min(saturation * dice.about(1.0, style.tone), 1.0),
        min(value * dice.about(1.0, style.tone), 0.97),
    )


def _any_colour(dice: Dice) -> Hsv:
    return dice.unit(), dice.between(0.03, 0.65), dice.between(0.3, 0.95)


def piece_materials(name: str, dice: Dice, style: Style) -> list[Material]:
    """Return one material for every `furniture.Slot` of a piece of this kind, in order."""
    (main, main_texture), (second, second_texture), accent = FAMILIES[name]
    own = dice.chance(style.keep)
    if own and name != "trinket":
        main, second, accent = (_near(colour, dice, style) for colour in (main, second, accent))
    else:
        main, second, accent = (_any_colour(dice) for _ in range(3))
    if dice.chance(style.pattern):
        main_texture = dice.choose((Texture.STRIPES, Texture.CHECKS, Texture.DOTS))
    if name == "picture" or name == "shelf":
        second = _near(second, dice, style)
        main = _any_colour(dice) if name == "picture" else main
    return [
        _drawn(main, main_texture, dice, style),
        _drawn(second, second_texture, dice, style),
        _drawn(accent, Texture.PLAIN, dice, style),
        METAL,
        DARK,
        GLOW,
    ]


def room_materials(dice: Dice, style: Style) -> list[Material]:
    """Return the materials of the room's six faces: -x, +x, -y, +y, -z, +z.

    These are four walls, floor and ceiling.
    """
    wall: Hsv = (dice.unit(), dice.between(*style.walls), dice.between(0.72, 0.95))
    paper = Texture.PLAIN
    if dice.chance(style.papered):
        paper = dice.choose((Texture.STRIPES, Texture.CHECKS, Texture.DOTS, Texture.TILES))
    accent: Hsv = (
        (dice.about(wall[0], 0.1), min(wall[1] * 1.6, 1.0), wall[2] * 0.85)
        if dice.chance(0.3)
        else wall
    )
    walls = [_drawn(wall, paper, dice, style) for _ in range(3)]
    walls.append(_drawn(accent, Texture.PLAIN if accent is not wall else paper, dice, style))
    floor_texture = (Texture.PLANKS, Texture.TILES, Texture.FABRIC, Texture.CHECKS)[
        dice.weighted(style.floors)
    ]
    if floor_texture is Texture.PLANKS:
        floor = (dice.about(0.08, 0.02), dice.between(0.3, 0.55), dice.between(0.5, 0.78))
    else:
        floor = (
            dice.unit(),
            dice.between(0.03, 0.1) + style.walls[1] * 0.5,
            dice.between(0.5, 0.8),
        )
    # the same wallpaper on all walls, as in a real room
    walls[1:3] = [walls[0]] * 2
    return [
        walls[0], walls[1], walls[2], walls[3],
        _drawn(floor, floor_texture, dice, style),
        _drawn((wall[0], 0.03, 0.95), Texture.PLAIN, dice, style),
    ]  # fmt: skip
