"""The looks of the rooms, as data. A look has five parts; domain shifts exchange parts.

Nothing here imports torch, so that listings can read names and descriptions. All strengths are in
this file. Each part has a source constant and a mix constant, and the looks of the mix are
assembled from these ten, so that a look with one exchanged part stays consistent with the mix. The
night has its own light and sensor.

A pair of numbers is a range that every image draws from uniformly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ttt_bench.data.splits import SPLITS as NAMES

CLASSES: tuple[str, ...] = ("refrigerator", "table", "toilet", "sofa", "bed", "sink", "chair")
"""The classes of `semseg`, in label order; all other objects are 255."""

SPLITS: dict[str, int] = {split: seed for seed, split in enumerate(NAMES, start=1)}
"""The seed of every split. A split has the same rooms in every look with the same layout."""

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Light:
    """Illumination and exposure.

    Attributes:
        warmth: colour of the lamp, -1 (blue sky) to 1 (candle).
        power: brightness of the lamp.
        ambient: ambient light, as a share of the lamp's.
        spread: largest distance of the lamp from the room's centre, as a share of half the room.
        exposure: factor on all light.
        gamma: exponent of the tone curve; above 1 darkens the middle tones.
        reach: the squared distance in m2 at which the lamp's light has halved; smaller values give
            darker corners.
        day: whether windows shine; at night their panes are dark.
    """

    warmth: Range
    power: Range
    ambient: Range
    spread: float
    exposure: Range
    gamma: Range
    reach: float = 6.0
    day: bool = True


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """Effects of the camera.

    Attributes:
        noise: standard deviation of Gaussian noise, in image units (0 to 1).
        blur: standard deviation of a Gaussian blur, in pixels of an image whose shorter side is 64;
            it is added to the lens's blur, which is under half a pixel at any size.
        vignette: darkening of the corners, 0 to 1.
        levels: number of grey levels of a channel.
    """

    noise: Range
    blur: Range
    vignette: Range
    levels: Range


@dataclass(frozen=True, kw_only=True)
class Style:
    """Colours and textures.

    Attributes:
        keep: share of the pieces with the colours of their class; the others have any colour.
        hue: largest difference of a hue from that of its family, in turns.
        tone: largest factor on saturation and brightness, minus 1.
        pattern: share of the pieces' materials with another pattern (stripes, checks, dots).
        contrast: strength of every texture.
        walls: saturation of the walls.
        papered: share of rooms with a patterned wallpaper.
        floors: weights of the floors: planks, tiles, carpet, checks.
    """

    keep: float
    hue: float
    tone: float
    pattern: float
    contrast: Range
    walls: Range
    papered: float
    floors: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Furniture and the size of the room.

    Attributes:
        stretch: factor on each of a piece's three extents.
        pieces: number of pieces of the seven classes that are tried.
        clutter: number of objects without a class that are tried.
        turn: largest rotation of a free-standing piece from the walls' directions, in degrees.
        modern: share of pieces in their second form (a round table, a sink in a cupboard, a
            stool-like chair).
        width: extent of the room in metres, left to right.
        length: extent of the room in metres, front to back.
        height: extent of the room in metres, floor to ceiling.
    """

    stretch: Range
    pieces: tuple[int, int]
    clutter: tuple[int, int]
    turn: float
    modern: float
    width: Range
    length: Range
    height: Range


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Viewpoint of the camera.

    Attributes:
        height: metres above the floor.
        pitch: degrees below the horizon.
        yaw: largest horizontal deviation from its target, in degrees.
        roll: largest roll, in degrees.
        fov: angle of view across the shorter side, in degrees.
        shift: largest distance from the centre of the wall behind it, as a share of half that wall.
    """

    height: Range
    pitch: Range
    yaw: float
    roll: float
    fov: Range
    shift: float


@dataclass(frozen=True, kw_only=True)
class Look:
    """A named look; its name is the name of a domain."""

    name: str
    description: str
    light: Light
    sensor: Sensor
    style: Style
    layout: Layout
    camera: Camera


SOURCE_LIGHT = Light(
    warmth=(-0.1, 0.25),
    power=(0.9, 1.15),
    ambient=(0.38, 0.5),
    spread=0.5,
    exposure=(0.92, 1.08),
    gamma=(0.95, 1.05),
)
MIX_LIGHT = Light(
    warmth=(0.2, 0.75),
    power=(0.8, 1.2),
    ambient=(0.25, 0.4),
    spread=0.8,
    exposure=(0.7, 1.0),
    gamma=(0.95, 1.2),
)

NIGHT_LIGHT = Light(
    warmth=(0.8, 1.0),
    power=(0.8, 1.1),
    ambient=(0.03, 0.06),
    spread=SOURCE_LIGHT.spread,
    exposure=(0.85, 1.25),
    gamma=(1.0, 1.15),
    reach=0.6,
    day=False,
)

SOURCE_SENSOR = Sensor(
    noise=(0.005, 0.015), blur=(0.0, 0.1), vignette=(0.0, 0.1), levels=(256, 256)
)
MIX_SENSOR = Sensor(noise=(0.025, 0.05), blur=(0.3, 0.6), vignette=(0.2, 0.4), levels=(32, 64))
NIGHT_SENSOR = Sensor(noise=(0.03, 0.06), blur=(0.1, 0.3), vignette=(0.2, 0.4), levels=(256, 256))

SOURCE_STYLE = Style(
    keep=1.0,
    hue=0.025,
    tone=0.12,
    pattern=0.08,
    contrast=(0.7, 1.0),
    walls=(0.03, 0.16),
    papered=0.1,
    floors=(0.6, 0.2, 0.2, 0.0),
)
MIX_STYLE = Style(
    keep=0.8,
    hue=0.035,
    tone=0.18,
    pattern=0.2,
    contrast=(0.9, 1.2),
    walls=(0.08, 0.3),
    papered=0.35,
    floors=(0.3, 0.25, 0.25, 0.2),
)

SOURCE_LAYOUT = Layout(
    stretch=(0.93, 1.07),
    pieces=(5, 7),
    clutter=(3, 6),
    turn=12.0,
    modern=0.1,
    width=(3.0, 5.2),
    length=(3.2, 5.8),
    height=(2.4, 2.7),
)
MIX_LAYOUT = Layout(
    stretch=(0.82, 1.22),
    pieces=(6, 9),
    clutter=(6, 10),
    turn=45.0,
    modern=0.6,
    width=(2.8, 6.0),
    length=(3.0, 6.4),
    height=(2.3, 3.2),
)

SOURCE_CAMERA = Camera(
    height=(1.4, 1.7), pitch=(13.0, 20.0), yaw=8.0, roll=1.5, fov=(60.0, 66.0), shift=0.5
)
MIX_CAMERA = Camera(
    height=(1.2, 1.9), pitch=(9.0, 25.0), yaw=12.0, roll=4.0, fov=(56.0, 74.0), shift=0.7
)

ROOMS = Look(
    name="rooms",
    description="rendered rooms under even light, a clean sensor, one colour family per class",
    light=SOURCE_LIGHT,
    sensor=SOURCE_SENSOR,
    style=SOURCE_STYLE,
    layout=SOURCE_LAYOUT,
    camera=SOURCE_CAMERA,
)
ROOMS_MIX = Look(
    name="rooms-mix",
    description=(
        "the same kinds of rooms with other light, sensor, colours, furniture and viewpoints"
    ),
    light=MIX_LIGHT,
    sensor=MIX_SENSOR,
    style=MIX_STYLE,
    layout=MIX_LAYOUT,
    camera=MIX_CAMERA,
)

LOOKS: dict[str, Look] = {
    look.name: look
    for look in (
        ROOMS,
        ROOMS_MIX,
        replace(
            ROOMS,
            name="rooms-light",
            description="rooms with rooms-mix's illumination alone",
            light=MIX_LIGHT,
        ),
        replace(
            ROOMS,
            name="rooms-sensor",
            description="rooms with rooms-mix's sensor alone",
            sensor=MIX_SENSOR,
        ),
        replace(
            ROOMS,
            name="rooms-style",
            description="rooms with rooms-mix's colours and textures alone",
            style=MIX_STYLE,
        ),
        replace(
            ROOMS,
            name="rooms-layout",
            description="rooms with rooms-mix's furniture and room alone",
            layout=MIX_LAYOUT,
        ),
        replace(
            ROOMS,
            name="rooms-camera",
            description="rooms with rooms-mix's viewpoints alone",
            camera=MIX_CAMERA,
        ),
        replace(
            ROOMS,
            name="rooms-night",
            description=(
                "the rooms of rooms at night: one dim warm lamp, dark windows and corners, a noisy "
                "sensor"
            ),
            light=NIGHT_LIGHT,
            sensor=NIGHT_SENSOR,
        ),
        replace(
            ROOMS_MIX,
            name="rooms-nolight",
            description="rooms-mix without its illumination",
            light=SOURCE_LIGHT,
        ),
    )
}
"""Every look by name."""
