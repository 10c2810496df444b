"""TTT: a whole adaptation by hand, views and rotations, published counts, the source loss,
options.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support.fakes import CHANNELS, TARGET, TASKS, random_images, tiny_net, tiny_session
from support.plain import PlainNet, assert_same_predictions
from support.settings import assert_settings
from support.toy import ToyDataset, source_terms
from torch import Tensor, nn

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.parameters import moved_parameters
from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Norm, Optimiser, Passes, Target
from ttt_bench.config.preset import ModelConfig
from ttt_bench.losses import RECIPES
from ttt_bench.methods.ttt import (
    TTT,
    TTTOptions,
    centre_view,
    crop,
    random_view,
    rotate_batch,
    rotate_batch_expand,
    square_side,
)
from ttt_bench.model.architecture import build_model
from ttt_bench.model.network import StagedNetwork
from ttt_bench.model.parameters import count_parameters
from ttt_bench.network import Batch, Net
from ttt_bench.util.seeding import derive_seed

LAST = 1 - 2**-24  # the largest number that a draw can give


def adapter(**options: Any) -> TTT:
    return TTT(TTTOptions(**{"hidden": 5, **options}))


def turned(image: Tensor, times: int) -> Tensor:
    """Turn (C, S, S) counter-clockwise: the last column, read downwards, becomes the first row."""
    for _ in range(times):
        image = torch.stack(
            [image[:, :, column] for column in reversed(range(image.shape[2]))], dim=1
        )
    return image


def reflected(length: int, pad: int) -> list[int]:
    """Return the pixel of a row at each position of the padded row; the edge is not repeated."""
    last = length - 1
    return [last - abs(last - abs(place)) for place in range(-pad, length + pad)]


def view_by_hand(image: Tensor, place: Tensor, mirror: bool) -> Tensor:
    """Cut a square from (3, H, W): pad by reflection, crop, mirror."""
    height, width = image.shape[1:]
    side = min(height, width) // 32 * 32
    pad = side // 8
    top = int(place[0] * (height + 2 * pad - side + 1))
    left = int(place[1] * (width + 2 * pad - side + 1))
    rows, columns = (
        reflected(height, pad)[top : top + side],
        reflected(width, pad)[left : left + side],
    )
    return image[:, rows][:, :, columns[::-1] if mirror else columns]


def rotation_loss_by_hand(plain: PlainNet, views: Tensor, labels: list[int], mode: str) -> Tensor:
    """Return -log softmax at the label, mean over views, of a head on the mean hypercolumn."""
    pooled = plain.hypercolumn(plain.stages(views, mode)).mean(dim=(2, 3))
    hidden = (pooled @ plain.p["extra.0.weight"].T + plain.p["extra.0.bias"]).clamp(min=0)
    logits = hidden @ plain.p["extra.2.weight"].T + plain.p["extra.2.bias"]
    total = logits.exp().sum(dim=1).log()
    return torch.stack([total[i] - logits[i, label] for i, label in enumerate(labels)]).mean()


def streams(*use: object) -> dict[str, torch.Generator]:
    """Return the generator of every purpose."""
    return {
        name: torch.Generator().manual_seed(derive_seed(*use, "stream", name))
        for name in ("place", "mirror", "angle")
    }


def draws_by_hand(images: Tensor, draws: dict[str, torch.Generator]) -> tuple[Tensor, list[int]]:
    """Return the rotated views and their labels that follow from the next draws."""
    place, mirror = (
        torch.rand(len(images), 2, generator=draws["place"]),
        torch.rand(len(images), generator=draws["mirror"]) < 0.5,
    )
    labels = [int(4 * number) for number in torch.rand(len(images), generator=draws["angle"])]
    views = [
        view_by_hand(image, p, bool(m)) for image, p, m in zip(images, place, mirror, strict=True)
    ]
    return torch.stack(
        [turned(view, label) for view, label in zip(views, labels, strict=True)]
    ), labels


@pytest.mark.parametrize(("fix_head", "copies"), [(False, 1), (True, 3)])
def test_two_steps_by_hand(fix_head: bool, copies: int) -> None:
    images = random_images(3, 70, 97)
    method = adapter(fix_head=fix_head, copies=copies)
    session = tiny_session(method, Optimiser(lr=0.5, weight_decay=1e-2), images=images)
    plain = PlainNet(tiny_net(method))
    draws = streams(0, "ttt", 0)
    moved = ("model.backbone.",) if fix_head else ("model.backbone.", "extra.")
    seen = set()
    for k, predictions, losses in session.trajectory(images, 2):
        assert_same_predictions(predictions, plain.predict(images, "running"))
        if k < 2:
            rotated, labels = draws_by_hand(torch.cat([images] * copies), draws)
            seen |= set(labels)
            loss = rotation_loss_by_hand(plain, rotated, labels, "ema")
            assert list(losses) == ["rotation"]
            assert losses["rotation"].item() == pytest.approx(loss.item(), rel=1e-10)
            plain.descend(loss, lambda name: name.startswith(moved), lr=0.5, weight_decay=1e-2)
    plain.assert_equal(session.net)
    assert len(seen) > 1, "labels differ"
    start = PlainNet(tiny_net(method))
    assert not torch.allclose(
        start.predict(images, "running")["depth"], predictions["depth"], rtol=1e-2
    ), "it moved"
    changed = {
        name for name, p in session.net.named_parameters() if not torch.equal(p, start.p[name])
    }
    assert changed == {name for name in start.p if name.startswith(moved)}


def test_all_four_angles_of_the_middle_by_hand() -> None:
    images = random_images(2, 66, 97)
    method = adapter(rotation="expand", augment=False)
    losses = next(tiny_session(method, Optimiser(), images=images).trajectory(images, 1))[2]
    middle = images[:, :, 1:65, 16:80]
    rotated = torch.stack([turned(image, label) for label in range(4) for image in middle])
    labels = [0, 0, 1, 1, 2, 2, 3, 3]
    wanted = rotation_loss_by_hand(PlainNet(tiny_net(method)), rotated, labels, "ema")
    assert losses["rotation"].item() == pytest.approx(wanted.item(), rel=1e-10)


def test_a_turn_is_counter_clockwise() -> None:
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 0, 3] = 1  # the upper right corner moves left, down, right
    for label, corner in enumerate([(0, 3), (0, 0), (3, 0), (3, 3)]):
        turned_image = rotate_batch(image, torch.tensor([label]))
        assert turned_image[0, 0][corner] == 1
        assert turned_image.sum() == 1


def test_every_image_is_turned_by_its_own_label() -> None:
    images = random_images(4, 6, 6)
    rotated = rotate_batch(images, torch.tensor([3, 0, 2, 1]))
    for image, result, label in zip(images, rotated, [3, 0, 2, 1], strict=True):
        assert torch.equal(result, turned(image, label))
    expanded, labels = rotate_batch_expand(images)
    assert torch.equal(expanded, rotate_batch(images.repeat(4, 1, 1, 1), labels))


def test_only_square_images_are_rotated() -> None:
    oblong = torch.zeros(2, 3, 4, 6)
    with pytest.raises(ValueError, match=r"only square images .* 4 x 6"):
        rotate_batch(oblong, torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="only square images"):
        rotate_batch_expand(oblong)


def test_a_crop_is_each_images_own_part() -> None:
    images = random_images(3, 9, 11)
    cut = crop(images, torch.tensor([0, 5, 2]), torch.tensor([7, 0, 3]), 4)
    for image, top, left, result in zip(images, [0, 5, 2], [7, 0, 3], cut, strict=True):
        assert torch.equal(result, image[:, top : top + 4, left : left + 4])


@pytest.mark.parametrize(
    ("size", "side"),
    [((32, 32), 32), ((63, 200), 32), ((448, 576), 448), ((425, 560), 416), ((100, 64), 64)],
)
def test_views_are_squares_of_a_multiple_of_32(size: tuple[int, int], side: int) -> None:
    assert square_side(*size) == side
    images = torch.zeros(1, 3, *size)
    assert centre_view(images).shape == (1, 3, side, side)
    assert random_view(images, torch.full((1, 2), LAST), torch.tensor([True])).shape == (
        1,
        3,
        side,
        side,
    )


@pytest.mark.parametrize("size", [(64, 64), (70, 97)])
def test_random_views_at_the_edges_and_in_between(size: tuple[int, int]) -> None:
    images = random_images(4, *size)
    place = torch.tensor([[0.0, 0.0], [LAST, LAST], [0.3, LAST], [0.5, 0.7]])
    mirror = torch.tensor([False, True, True, False])
    views = random_view(images, place, mirror)
    for image, p, m, view in zip(images, place, mirror, views, strict=True):
        assert torch.equal(view, view_by_hand(image, p, bool(m)))


def test_every_place_is_as_likely_as_another() -> None:
    rows = (
        torch.arange(32.0).view(1, 1, 32, 1).expand(900, 3, 32, 32)
    )  # padded by 4: nine rows to start in
    even = (torch.arange(900) + 0.5) / 900
    views = random_view(
        rows, torch.stack([even, torch.zeros(900)], dim=1), torch.zeros(900, dtype=torch.bool)
    )
    first, second = views[:, 0, 0, 0], views[:, 0, 1, 0]
    starts = torch.where(second > first, first, -first).unique(return_counts=True)
    assert dict(zip(starts[0].tolist(), starts[1].tolist(), strict=True)) == dict.fromkeys(
        range(-4, 5), 100
    )


@pytest.mark.parametrize(
    ("tasks", "total"),
    [
        ({"semseg": 7, "depth": 1, "normals": 3, "edge": 1}, 27_491_408),
        ({"semseg": 6, "normals": 3, "edge": 1}, 27_483_726),
    ],
)
def test_published_numbers_of_parameters(tasks: dict[str, int], total: int) -> None:
    def network(method: TTT) -> Net:
        with torch.device("meta"):
            model = build_model(ModelConfig(backbone="resnet50"), tasks)
            return Net(model, method.build(model, tasks))

    def moved(method: TTT) -> int:
        net = network(method)
        moves = method.bind(net, {}, TARGET).moves
        return sum(p.numel() for p in moved_parameters(net, moves, "ttt").values())

    counts = count_parameters(network(TTT()))
    assert (counts.total, counts.added) == (total, 3_937_284)
    assert count_parameters(network(adapter(hidden=0))).added == 15_364
    assert moved(TTT()) == 27_445_316
    assert moved(adapter(fix_head=True)) == 23_508_032


def test_the_source_loss_by_hand_moves_the_statistics_once_more() -> None:
    method = adapter()
    net = tiny_net(method)
    plain = PlainNet(net)
    ctx = HarnessContext(net, RECIPES["weighted"])
    ctx.norms.set(Norm.EMA)
    batch = ToyDataset(size=(70, 33)).batch([0, 1, 2])
    images = batch.images.double()
    features = net.model.stages(images)
    plain.stages(images, "ema")
    ctx.seed(3)
    phase = method.phases()[0]
    terms = source_terms(method, net, Batch(images, batch.targets), ctx, stages=features)
    assert (phase.trains, phase.supervised) == (("model", "extra"), True)
    rotated, labels = draws_by_hand(images, streams(3))
    wanted = rotation_loss_by_hand(plain, rotated, labels, "ema")
    assert list(terms) == ["rotation"], "a plain addend"
    torch.testing.assert_close(terms["rotation"], wanted)
    plain.assert_equal(net)
    terms["rotation"].backward()
    reached = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {name for name in plain.p if not name.startswith("model.heads.")}


def test_source_labels_and_views_are_drawn_whatever_the_options_of_adapting() -> None:
    batch = ToyDataset(size=(64, 64)).batch([0, 1])
    found = []
    for method in (adapter(), adapter(augment=False, rotation="expand", copies=4)):
        net = tiny_net(method).float()
        ctx = HarnessContext(net, RECIPES["weighted"])
        ctx.seed(0)
        found.append(source_terms(method, net, batch, ctx)["rotation"])
    assert torch.equal(*found)


def test_running_statistics_stay_where_asked_for() -> None:
    session = tiny_session(adapter(norm_adapt="running"), Optimiser(lr=0.1))
    assert (session.plan.adapt, session.plan.predict, session.plan.exact) == (
        Norm.RUNNING,
        Norm.RUNNING,
        False,
    )
    before = {name: b.clone() for name, b in session.net.named_buffers()}
    list(session.trajectory(random_images(), 2))
    assert all(torch.equal(b, before[name]) for name, b in session.net.named_buffers())


def test_modes_by_default_and_prediction_with_batch_statistics() -> None:
    plan = tiny_session(adapter(), Optimiser()).plan
    assert (plan.adapt, plan.predict, plan.exact) == (Norm.EMA, Norm.RUNNING, False)
    images = random_images()
    first = next(tiny_session(adapter(predict_norm="batch"), Optimiser()).trajectory(images, 1))[1]
    assert_same_predictions(first, PlainNet(tiny_net(adapter())).predict(images, "batch"))


@pytest.mark.parametrize(
    ("options", "batch", "images"),
    [({}, 2, 2), ({"copies": 3}, 2, 6), ({"copies": 0}, 8, 32), ({"copies": 0}, 5, 30),
     ({"copies": 0}, 40, 40),
     ({"rotation": "expand"}, 3, 12), ({"rotation": "expand", "copies": 2}, 3, 24)],
)  # fmt: skip
def test_passes_are_the_images_that_a_step_uses(
    options: dict[str, Any], batch: int, images: int
) -> None:
    method, seen = adapter(**options), []
    session = tiny_session(method, Optimiser(), images=random_images(batch))
    session.net.model.backbone.register_forward_hook(
        lambda _, inputs, __: seen.append(len(inputs[0]))
    )
    session.adapt(random_images(batch))
    assert seen == [images]
    area = 64 * 64 / (64 * 96)  # of a square view, in images
    assert method.passes(batch) == pytest.approx((images * area, images * area, 4))


@pytest.mark.parametrize("size", [(64, 96), (61, 47), (33, 130)])
@pytest.mark.parametrize("tasks", [TASKS, {"normals": 3, "edge": 1}])
def test_any_size_and_any_tasks(size: tuple[int, int], tasks: dict[str, int]) -> None:
    images = random_images(2, *size)
    before, state = images.clone(), torch.random.get_rng_state()
    for _, predictions, losses in tiny_session(adapter(), Optimiser(lr=1e-2), tasks).trajectory(
        images, 1
    ):
        assert {task: tuple(p.shape) for task, p in predictions.items()} == {
            t: (2, k, *size) for t, k in tasks.items()
        }
        assert all(torch.isfinite(loss) for loss in losses.values())
    assert torch.equal(images, before)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext", "test_efficientnet"])
def test_any_backbone(backbone: str) -> None:
    method = adapter()
    model = build_model(ModelConfig(backbone=backbone, pretrained=False), TASKS)
    assert isinstance(model, StagedNetwork)
    session = Session(
        Net(model, method.build(model, TASKS)),
        method,
        target=TARGET,
        optimiser=Optimiser(lr=1e-2),
        statistics={},
        recipe=RECIPES["weighted"],
        seed=0,
    )
    images = random_images(2, 64, 70).float()
    session.begin_batch(0, images)
    start = {name: p.detach().clone() for name, p in session.net.named_parameters()}
    assert torch.isfinite(session.adapt(images)["rotation"])
    assert any(
        not torch.equal(p, start[name])
        for name, p in session.net.named_parameters()
        if "backbone" in name
    )


def test_views_differ_from_step_to_step_and_follow_from_the_batchs_number() -> None:
    def losses(number: int) -> list[float]:
        session = tiny_session(adapter(), Optimiser(lr=0.0))
        session.begin_batch(number, random_images())
        return [
            entry[2]["rotation"].item()
            for entry in list(session.trajectory(random_images(), 2))[:-1]
        ]

    first = losses(0)
    assert first == losses(0)
    assert first != losses(1)
    assert first[0] != first[1]


def test_the_loss_falls() -> None:
    session = tiny_session(adapter(rotation="expand", augment=False), Optimiser(lr=0.1))
    losses = [
        entry[2]["rotation"].item() for entry in list(session.trajectory(random_images(), 4))[:-1]
    ]
    assert losses[-1] < losses[0]


def test_a_linear_head() -> None:
    head = adapter(hidden=0).build(tiny_net(adapter()).model, TASKS)
    assert isinstance(head, nn.Linear)
    assert head.weight.shape == (4, sum(CHANNELS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"copies": -1}, "greater than or equal to 0"),
        ({"hidden": -1}, "greater than or equal to 0"),
        ({"rotation": "all"}, "'rand' or 'expand'"),
        ({"norm_adapt": "batch"}, "'ema' or 'running'"),
        ({"threshold": 1}, "Extra inputs"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TTTOptions(**options)


def test_options_that_shape_the_source_model() -> None:
    assert TTTOptions.source_fields() == ("hidden",)


def test_settings() -> None:
    assert_settings(TTT, lr=1e-3, steps=10, options={"copies": 0})
    original = TTT(TTTOptions(**TTT.original.options))
    original.bind(tiny_net(original), {}, Target(batch=8, size=(64, 64)))
    assert original.passes(8) == Passes(32, 32), "32 views share a batch of 8 images"
    assert original.passes(1) == Passes(32, 32)
