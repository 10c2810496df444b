"""The renderer's geometry, compared with an independent march through solids in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ttt_bench.data.rooms import LOOKS, render
from ttt_bench.data.rooms.cast import (
    camera_rays,
    cast,
    intersect_ball,
    intersect_box,
    intersect_cylinder,
)
from ttt_bench.data.rooms.furniture import UNLABELLED, Piece, Slot
from ttt_bench.data.rooms.labels import edges
from ttt_bench.data.rooms.light import shade, shadowed
from ttt_bench.data.rooms.pack import gather, pack
from ttt_bench.data.rooms.renderer import render_scenes
from ttt_bench.data.rooms.scene import Placed, Scene, View, camera_axes, draw
from ttt_bench.data.rooms.surface import surfaces

Points = NDArray[np.float64]
Inside = Callable[[Points], NDArray[np.bool_]]
LOOK = LOOKS["rooms"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread: a second one does not help on small images and stalls if a core is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _bare(view: View, placed: list[Placed]) -> Scene:
    scene = draw(LOOK, 1, 0)
    lamp = replace(scene.lamp, position=(0.3, 2.2, 2.2))
    return replace(scene, room=(4.0, 5.0, 2.5), view=view, placed=placed, lamp=lamp)


def _looking_ahead(pitch: float = 0.0, height: float = 1.25) -> View:
    return View((0.0, 1.0, height), camera_axes(0.0, pitch, 0.0), 60.0)


def _placed(piece: Piece, x: float, y: float, yaw: float) -> Placed:
    return Placed(
        piece=piece,
        position=(x, y, 0.0),
        turn=(math.sin(yaw), math.cos(yaw)),
        materials=draw(LOOK, 1, 0).placed[0].materials,
    )


def test_a_bare_wall_is_flat() -> None:
    batch = render_scenes([_bare(_looking_ahead(), [])], LOOK, 1, [0], (9, 9))
    depth, normals = batch.targets["depth"][0, 0], batch.targets["normals"][0]
    middle = slice(2, 7)
    assert torch.allclose(depth[middle, middle], torch.tensor(4.0), atol=1e-5)
    wall = torch.tensor([0.0, 0.0, -1.0])[:, None, None]
    assert torch.allclose(normals[:, middle, middle], wall.expand(3, 5, 5), atol=1e-6)
    assert (batch.targets["semseg"] == UNLABELLED).all()


def test_floor_walls_and_ceiling_where_they_are() -> None:
    size = 33
    batch = render_scenes([_bare(_looking_ahead(), [])], LOOK, 1, [0], (size, size))
    depth, normals = batch.targets["depth"][0, 0], batch.targets["normals"][0]
    step = 2 * math.tan(math.radians(30)) / size
    bottom = 1.25 / ((size / 2 - 0.5) * step)
    assert depth[-1, size // 2] == pytest.approx(bottom, rel=1e-5)
    assert normals[:, -1, size // 2].tolist() == pytest.approx([0, -1, 0], abs=1e-6)
    assert normals[:, 0, size // 2].tolist() == pytest.approx([0, 1, 0], abs=1e-6)
    assert depth[size // 2, 0] == pytest.approx(2.0 / ((size / 2 - 0.5) * step), rel=1e-5)
    assert normals[:, size // 2, 0].tolist() == pytest.approx([1, 0, 0], abs=1e-6)
    assert normals[:, size // 2, -1].tolist() == pytest.approx([-1, 0, 0], abs=1e-6)


def _in_box(p: Points) -> NDArray[np.bool_]:
    return np.abs(p).max(-1) <= 1


def _in_ball(p: Points) -> NDArray[np.bool_]:
    return (p * p).sum(-1) <= 1


def _in_cone(taper: float) -> Inside:
    return lambda p: (
        (np.abs(p[..., 2]) <= 1) & (np.hypot(p[..., 0], p[..., 1]) <= 1 + taper * p[..., 2])
    )


@pytest.mark.parametrize(
    ("intersect", "inside", "taper"),
    [
        (intersect_box, _in_box, 0.0),
        (intersect_ball, _in_ball, 0.0),
        (intersect_cylinder, _in_cone(0.0), 0.0),
        (intersect_cylinder, _in_cone(0.6), 0.6),
        (intersect_cylinder, _in_cone(-0.6), -0.6),
    ],
)
def test_intersections_agree_with_marching(
    intersect: Callable[..., torch.Tensor], inside: Inside, taper: float
) -> None:
    rng = np.random.default_rng(0)
    count, step = 400, 0.004
    origin = rng.normal(size=(count, 3))
    origin *= 4.0 / np.linalg.norm(origin, axis=1, keepdims=True)
    direction = rng.uniform(-1.3, 1.3, size=(count, 3)) - origin
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    marks = np.arange(0.0, 8.0, step)
    found = inside(origin[:, None] + marks[:, None] * direction[:, None])
    expected = np.where(found.any(1), marks[found.argmax(1)], np.inf)

    o, d = (tuple(torch.from_numpy(v.T.astype(np.float32))) for v in (origin, direction))
    depth = intersect(o, d, torch.full((count,), taper)).double().numpy()
    both = np.isfinite(expected) & np.isfinite(depth)
    assert both.mean() > 0.4
    assert np.all(np.abs(depth[both] - expected[both]) <= step + 1e-4)
    # A ray that only grazes a solid may be seen by one alone.
    assert (np.isfinite(expected) != np.isfinite(depth)).mean() < 0.02


def _world_points(view: View, size: int, depth: torch.Tensor) -> Points:
    half = math.tan(math.radians(view.fov) / 2)
    steps = ((np.arange(size) + 0.5) / size * 2 - 1) * half
    x, y = np.meshgrid(steps, steps)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1)
    return np.array(view.position) + depth.double().numpy()[..., None] * (
        rays @ np.array(view.axes)
    )


def _crate(yaw: float) -> tuple[Placed, Inside]:
    piece = Piece(name="crate", label=UNLABELLED, size=(0.8, 0.5, 0.6))
    piece.box(Slot.MAIN, (-0.4, 0.4), (-0.25, 0.25), (0.4, 1.0))
    at = np.array([0.2, 2.8, 0.7])

    def inside(p: Points) -> NDArray[np.bool_]:
        offset = p - at
        c, s = math.cos(yaw), math.sin(yaw)
        own = np.stack(
            [c * offset[..., 0] + s * offset[..., 1], c * offset[..., 1] - s * offset[..., 0]],
            axis=-1,
        )
        return (
            (np.abs(own[..., 0]) <= 0.4)
            & (np.abs(own[..., 1]) <= 0.25)
            & (np.abs(offset[..., 2]) <= 0.3)
        )

    return _placed(piece, 0.2, 2.8, yaw), inside


def _drum() -> tuple[Placed, Inside]:
    piece = Piece(name="plant", label=UNLABELLED, size=(0.8, 0.5, 0.6))
    piece.cylinder(Slot.MAIN, (0.0, 0.0), (0.4, 0.3), (0.0, 0.6), taper=0.3)

    def inside(p: Points) -> NDArray[np.bool_]:
        own = (p - np.array([0.2, 2.8, 0.3])) / np.array([0.4, 0.3, 0.3])
        return _in_cone(0.3)(own)

    return _placed(piece, 0.2, 2.8, 0.0), inside


def test_a_turned_box_in_a_room() -> None:
    placed, inside = _crate(0.5)
    view, size = _looking_ahead(pitch=0.25, height=1.6), 48
    tables = pack([_bare(view, [placed])])
    rays = camera_rays(tables, (size, size))
    hits = cast(tables, rays)
    seen = (hits.primitive == 0).view(size, size).numpy()  # boxes come before the room
    depth = hits.depth.view(size, size)
    assert seen.mean() > 0.05
    assert inside(_world_points(view, size, depth * 1.001))[seen].mean() > 0.99
    assert not inside(_world_points(view, size, depth * 0.999))[seen].any()
    assert not inside(_world_points(view, size, depth * 0.999))[~seen].any()
    marches = np.stack(
        [inside(_world_points(view, size, depth * share)) for share in np.linspace(0.3, 0.99, 60)]
    )
    assert not marches.any(0)[~seen].any()


@pytest.mark.parametrize("solid", [_crate(0.5), _drum()], ids=["box", "cylinder"])
def test_shadows_agree_with_marching_to_the_lamp(solid: tuple[Placed, Inside]) -> None:
    placed, inside = solid
    view, size = _looking_ahead(pitch=0.35, height=1.6), 40
    scene = _bare(view, [placed])
    tables = pack([scene])
    rays = camera_rays(tables, (size, size))
    hits = cast(tables, rays)
    surface = surfaces(tables, rays, hits)
    dark = torch.zeros(size * size, dtype=torch.bool)
    dark[shadowed(tables, surface, gather(tables.lamp, rays.image), torch.ones_like(dark))] = True

    start = _world_points(view, size, hits.depth.view(size, size)).reshape(-1, 3)
    shares = np.linspace(0.005, 1.0, 400)[:, None, None]
    expected: NDArray[np.bool_] = inside(
        start + shares * (np.array(scene.lamp.position) - start)
    ).any(0)
    floor = (hits.primitive != 0).numpy()
    assert expected[floor].mean() > 0.02
    assert (dark.numpy() == expected)[floor].mean() > 0.99


def test_light_falls_off_with_its_reach() -> None:
    """At a squared distance equal to the reach, half of the light is left."""
    view, size = _looking_ahead(pitch=0.35, height=1.6), 24
    bare = _bare(view, [])
    lit = []
    for reach in (6.0, 0.6):
        scene = replace(bare, lamp=replace(bare.lamp, ambient=(0.0, 0.0, 0.0), reach=reach))
        tables = pack([scene])
        rays = camera_rays(tables, (size, size))
        hits = cast(tables, rays)
        lit.append(shade(tables, rays, surfaces(tables, rays, hits))[0].double().numpy())
    points = _world_points(view, size, hits.depth.view(size, size)).reshape(-1, 3)
    squared = ((points - np.array(bare.lamp.position)) ** 2).sum(1)
    seen = lit[0] > 1e-3
    assert seen.mean() > 0.9
    np.testing.assert_allclose(
        (lit[1] / lit[0])[seen], ((1 + squared / 6.0) / (1 + squared / 0.6))[seen], rtol=1e-3
    )


@pytest.mark.parametrize("look", ["rooms", "rooms-mix"])
def test_normals_agree_with_depth(look: str) -> None:
    size = 160
    batch = render(LOOKS[look], 4, range(4), (size, size))
    for row, index in enumerate(range(4)):
        view = draw(LOOKS[look], 4, index).view
        points = _world_points(view, size, batch.targets["depth"][row, 0])
        across, along = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
        estimate = np.cross(along, across)
        estimate /= np.linalg.norm(estimate, axis=-1, keepdims=True)
        stated = batch.targets["normals"][row].permute(1, 2, 0).double().numpy()
        angle = np.degrees(
            np.arccos(np.clip((stated[1:-1, 1:-1] @ np.array(view.axes) * estimate).sum(-1), -1, 1))
        )
        around = [
            stated[1 + i : size - 1 + i, 1 + j : size - 1 + j]
            for i, j in ((0, 1), (0, -1), (1, 0), (-1, 0))
        ]
        edge = batch.targets["edge"][row, 0].numpy() > 0
        near = (
            sum(
                edge[1 + i : size - 1 + i, 1 + j : size - 1 + j]
                for i in (-1, 0, 1)
                for j in (-1, 0, 1)
            )
            > 0
        )
        smooth = ~near & np.all(
            [(stated[1:-1, 1:-1] * other).sum(-1) > 0.95 for other in around], axis=0
        )
        assert smooth.mean() > 0.6
        # a picture is flat on its wall: same normal, another depth, so the mean is not as
        # small as the median.
        assert angle[smooth].mean() < 3
        assert np.median(angle[smooth]) < 0.1


def test_normals_point_towards_the_camera() -> None:
    size = 64
    batch = render(LOOK, 4, range(8), (size, size))
    for row in range(8):
        half = math.tan(math.radians(draw(LOOK, 4, row).view.fov) / 2)
        steps = ((torch.arange(size) + 0.5) / size * 2 - 1) * half
        rays = torch.stack(
            [steps.expand(size, size), steps[:, None].expand(size, size), torch.ones(size, size)]
        )
        assert ((batch.targets["normals"][row] * rays).sum(0) <= 1e-4).all()


def _plane(
    normal: tuple[float, float, float], offset: float, x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    return offset / (normal[0] * x + normal[1] * y + normal[2])


def _edges_of(
    depth: torch.Tensor, normals: torch.Tensor, x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    n = tuple(normals[i][None] for i in range(3))
    return edges(depth[None], n, x[None], y[None])[0]  # type: ignore[arg-type]


def test_edge_rule_on_planes() -> None:
    size = 24
    steps = (torch.arange(size) + 0.5) / size * 2 - 1
    x, y = steps.expand(size, size), steps[:, None].expand(size, size)
    up = torch.tensor([0.0, -1.0, 0.0])[:, None, None].expand(3, size, size)
    towards = torch.tensor([0.0, 0.0, -1.0])[:, None, None].expand(3, size, size)
    floor = _plane((0.0, -1.0, 0.0), -1.5, x, y.clamp(min=0.04))

    # A floor that is seen at a grazing angle has steps of many metres between its rows, and no
    # edge.
    lower = slice(size // 2, size)
    assert not _edges_of(floor[lower], up[:, lower], x[lower], y[lower]).any()

    # Two walls, one behind the other: a band of four columns, two on either side.
    step = torch.where(x < 0, 2.0, 3.0)
    marked = _edges_of(step, towards, x, y)
    assert marked.all(0).nonzero().flatten().tolist() == [10, 11, 12, 13]
    assert marked.sum() == 4 * size
    # a shallow step is not an edge
    assert not _edges_of(torch.where(x < 0, 2.0, 2.4), towards, x, y).any()

    # A wall that meets the floor: nothing is hidden there.
    wall = torch.full_like(floor, 3.0)
    depth = torch.minimum(wall, torch.where(y > 0, floor, 99.0))
    normals = torch.where((depth < 3.0)[None], up, towards)
    assert not _edges_of(depth, normals, x, y).any()
