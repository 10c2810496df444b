"""Rendered rooms as images and labels: their values, and their dependencies."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
import torch

from ttt_bench.data.rooms import CLASSES, LOOKS, render
from ttt_bench.data.rooms.dice import Dice, Stream
from ttt_bench.data.rooms.furniture import Slot
from ttt_bench.data.rooms.scene import draw
from ttt_bench.network import Batch

PARTS = ("light", "sensor", "style", "layout", "camera")


@pytest.fixture(scope="module")
def sample() -> Batch:
    return render(LOOKS["rooms"], 5, range(24), (64, 64))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread: a second one does not help on small images and stalls if a core is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _same(a: Batch, b: Batch) -> bool:
    return torch.equal(a.images, b.images) and all(
        torch.equal(a.targets[name], b.targets[name]) for name in a.targets
    )


def _take(batch: Batch, row: int) -> Batch:
    return Batch(
        batch.images[row : row + 1],
        {name: value[row : row + 1] for name, value in batch.targets.items()},
    )


@pytest.mark.parametrize("look", ["rooms", "rooms-mix"])
@pytest.mark.parametrize("size", [(64, 64), (37, 51)])
def test_an_image_does_not_depend_on_its_batch(look: str, size: tuple[int, int]) -> None:
    indices = [3, 7, 9, 20, 21]
    together = render(LOOKS[look], 1, indices, size)
    for row, index in enumerate(indices):
        assert _same(_take(together, row), render(LOOKS[look], 1, [index], size))
    backwards = render(LOOKS[look], 1, indices[::-1], size)
    assert _same(_take(together, 0), _take(backwards, 4))


def test_an_image_does_not_depend_on_the_number_of_threads() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = render(LOOKS["rooms-mix"], 1, range(10), (64, 64))
        torch.set_num_threads(2)
        two = render(LOOKS["rooms-mix"], 1, range(10), (64, 64))
    finally:
        torch.set_num_threads(threads)
    assert _same(one, two)


def test_seed_and_index_change_the_image() -> None:
    first = render(LOOKS["rooms"], 1, [0, 1], (32, 32))
    other = render(LOOKS["rooms"], 2, [0], (32, 32))
    assert not torch.equal(first.images[0], first.images[1])
    assert not torch.equal(first.images[0], other.images[0])


def test_types_shapes_and_values(sample: Batch) -> None:
    images, targets = sample.images, sample.targets
    assert list(targets) == ["semseg", "depth", "normals", "edge"]
    assert images.shape == (24, 3, 64, 64)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert torch.equal((images * 255).round() / 255, images)
    assert targets["semseg"].shape == (24, 64, 64)
    assert targets["semseg"].dtype == torch.int64
    assert set(targets["semseg"].unique().tolist()) == {*range(len(CLASSES)), 255}
    assert targets["edge"].shape == (24, 1, 64, 64)
    assert set(targets["edge"].unique().tolist()) == {0.0, 1.0}
    assert 0.05 < targets["edge"].mean() < 0.13
    assert targets["depth"].shape == (24, 1, 64, 64)
    assert targets["depth"].min() > 0.2
    assert targets["depth"].max() < 10
    assert targets["normals"].shape == (24, 3, 64, 64)
    assert torch.allclose(targets["normals"].norm(dim=1), torch.ones(24, 64, 64), atol=1e-5)


@pytest.mark.parametrize("look", sorted(LOOKS))
def test_every_class_is_visible_in_every_look(look: str) -> None:
    labels = render(LOOKS[look], 9, range(40), (48, 48)).targets["semseg"]
    for label, name in enumerate(CLASSES):
        seen = (labels == label).flatten(1).any(1).float().mean()
        assert seen > 0.2, f"{name} is in {seen:.0%} of the images"
    assert 0.4 < (labels == 255).float().mean() < 0.9


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (33, 47), (70, 20), (96, 160), (224, 288)])
def test_sizes(size: tuple[int, int]) -> None:
    batch = render(LOOKS["rooms-mix"], 1, [0, 1], size)
    assert batch.images.shape == (2, 3, *size)
    assert batch.targets["semseg"].shape == (2, *size)
    for name in ("depth", "normals", "edge"):
        assert batch.targets[name].shape[2:] == size
        assert batch.targets[name].isfinite().all()


def test_a_larger_picture_shows_the_same_scene() -> None:
    small = render(LOOKS["rooms"], 1, range(4), (32, 32)).targets["depth"]
    large = render(LOOKS["rooms"], 1, range(4), (96, 96)).targets["depth"]
    # The middle one of three rays runs where the coarse ray runs.
    assert torch.allclose(large[:, :, 1::3, 1::3], small, rtol=1e-3, atol=1e-3)


def test_looks_differ_from_the_source_in_the_parts_their_names_say() -> None:
    source, mix = LOOKS["rooms"], LOOKS["rooms-mix"]
    assert all(getattr(source, part) != getattr(mix, part) for part in PARTS)
    for part in PARTS:
        look = LOOKS[f"rooms-{part}"]
        for other in PARTS:
            assert getattr(look, other) is getattr(mix if other == part else source, other)
    nolight = LOOKS["rooms-nolight"]
    assert nolight.light is source.light
    assert all(getattr(nolight, part) is getattr(mix, part) for part in PARTS if part != "light")
    for name, look in LOOKS.items():
        assert look.name == name
        assert look.description
        assert {field.name for field in fields(look)} == {"name", "description", *PARTS}


@pytest.mark.parametrize("look", ["rooms-light", "rooms-sensor", "rooms-style", "rooms-night"])
def test_a_part_that_moves_nothing_leaves_the_labels(look: str) -> None:
    source = render(LOOKS["rooms"], 3, range(6), (48, 48))
    target = render(LOOKS[look], 3, range(6), (48, 48))
    assert not torch.equal(source.images, target.images)
    if look == "rooms-light":  # the lamp hangs elsewhere, and its shade is seen
        differ = (source.targets["semseg"] != target.targets["semseg"]).float().mean()
        assert differ < 0.01
    else:
        assert all(
            torch.equal(source.targets[name], target.targets[name]) for name in source.targets
        )


def test_at_night_it_is_darker_warmer_and_windows_do_not_shine() -> None:
    day, night = LOOKS["rooms"], LOOKS["rooms-night"]
    quiet = replace(night, sensor=day.sensor)
    by_day, by_night = (render(look, 3, range(12), (48, 60)).images for look in (day, quiet))
    assert by_night.mean() < 0.5 * by_day.mean()
    tint = [float(images[:, 0].mean() / images[:, 2].mean()) for images in (by_day, by_night)]
    assert tint[1] > 1.2 * tint[0]
    for index in range(12):
        panes = [draw(look, 3, index) for look in (day, night)]
        glows = [
            [p.materials[Slot.GLOW][-1] for p in scene.placed if p.piece.name == "window"]
            for scene in panes
        ]
        assert set(glows[0]) <= {1.0}
        assert set(glows[1]) <= {0.0}
        assert len(glows[0]) == len(glows[1])


def test_streams_do_not_share_numbers() -> None:
    drawn = [Dice(1, 1, stream).unit() for stream in Stream]
    drawn += [Dice(1, 2, Stream.LIGHT).unit(), Dice(2, 1, Stream.LIGHT).unit()]
    assert len(set(drawn)) == len(drawn)


def test_looks_are_read_without_torch() -> None:
    code = (
        "import sys, ttt_bench.data.rooms.looks as looks; "
        "print(sorted(looks.LOOKS), 'torch' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "'rooms-mix'" in out
    assert out.strip().endswith("False")
