"""RoTTA: a whole adaptation by hand and by its authors, its bank, and its views."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.author_net import author_session
from support.fakes import CHANNELS, TARGET, TASKS, random_images, tiny_net, tiny_session
from support.golden_cases import assert_close, cases
from support.plain import PlainNet, assert_same_predictions
from support.settings import assert_settings
from torch import Tensor

from ttt_bench.adapt.context import Stream
from ttt_bench.adapter import Norm, Optimiser
from ttt_bench.methods import rotta
from ttt_bench.methods._rotta_views import blur, mirror_back, strong_view
from ttt_bench.methods.rotta import RoTTA, RoTTAOptions, image_summary

SGD = Optimiser(lr=0.1)
SIZE = TARGET.size


def moves(name: str) -> bool:
    return ".norms." in name


def second_mirrored(images: Tensor, draws: Any) -> tuple[Tensor, Tensor]:
    """Return fixed views, of which the second is mirrored."""
    views = 0.7 * images + 0.2
    mirrored = torch.arange(len(images)) == 1
    return torch.stack([v.flip(-1) if m else v for v, m in zip(views, mirrored, strict=True)]), (
        mirrored
    )


def outputs(plain: PlainNet, images: Tensor) -> dict[str, Tensor]:
    return plain.outputs(plain.stages(images, "robust"), SIZE)


def mirrored_back(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Mirror the second image's outputs, and negate the x of its normals."""
    back = {task: torch.stack([out[0], out[1].flip(-1)]) for task, out in found.items()}
    sign = torch.tensor([[1.0, 1, 1], [-1, 1, 1]]).view(2, 3, 1, 1)
    back["normals"] = back["normals"] * sign
    return back


@pytest.mark.parametrize("tasks", ["semseg", "all"])
def test_two_steps_by_hand(monkeypatch: pytest.MonkeyPatch, tasks: str) -> None:
    monkeypatch.setattr(rotta, "strong_view", second_mirrored)
    images = random_images(2, *SIZE)
    adapter = RoTTA(RoTTAOptions(bank=4, rate=0.1, norm_momentum=0.1, tasks=tasks))
    session = tiny_session(adapter, SGD, images=images)
    student, teacher = PlainNet(tiny_net(adapter)), PlainNet(tiny_net(adapter))
    labels = teacher.predict(images, "running")["semseg"].softmax(dim=1).mean(dim=(2, 3)).argmax(1)
    order = [0, 1] if labels[0] <= labels[1] else [1, 0]
    held, ages = images[order], [[2, 1][i] for i in order]
    for k, predictions, losses in session.trajectory(images, 2):
        assert_same_predictions(predictions, teacher.predict(images, "running"))
        if k == 2:
            break
        z = mirrored_back(outputs(student, second_mirrored(held, None)[0]))
        with torch.no_grad():
            t = outputs(teacher, held)
        p = t["semseg"].exp() / t["semseg"].exp().sum(dim=1, keepdim=True)
        q = z["semseg"] - z["semseg"].exp().sum(dim=1, keepdim=True).log()
        entropies = -(p * q).sum(dim=1).mean(dim=(1, 2))
        loss = sum(h / (1 + math.exp(a / 4)) for h, a in zip(entropies, ages, strict=True)) / 2
        assert losses["semseg"].item() == pytest.approx(loss.item(), rel=1e-10)
        for task in ("depth", "normals", "edge") if tasks == "all" else ():
            term = 0.5 * ((z[task] - t[task]) ** 2).sum(dim=1).mean()
            assert losses[task].item() == pytest.approx(term.item(), rel=1e-9)
            loss = loss + term
        student.descend(loss, moves, lr=0.1)
        with torch.no_grad():
            for name in filter(moves, teacher.p):
                teacher.p[name].mul_(0.9).add_(0.1 * student.p[name])
    extra = session.net.extra
    for name, value in session.net.model.state_dict().items():
        own = {**student.p, **student.b}[f"model.{name}"].detach()
        torch.testing.assert_close(value, own, rtol=1e-8, atol=1e-10)
    for name, value in {**extra.affine.by_name(), **extra.statistics.by_name()}.items():
        own = {**teacher.p, **teacher.b}[f"model.{name}"].detach()
        torch.testing.assert_close(value, own, rtol=1e-8, atol=1e-10)


def test_the_authors_trajectory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        rotta,
        "strong_view",
        lambda x, _: ((0.7 * x + 0.2).flip(-1), torch.ones(len(x), dtype=torch.bool)),
    )
    case = cases("trajectories/rotta_pooled")[0]
    given = case.inputs
    options = RoTTAOptions(
        bank=given["capacity"], rate=given["rate"], norm_momentum=given["momentum"]
    )
    optimiser = Optimiser(optimiser="adam", lr=given["lr"])
    session = author_session(RoTTA(options), given["net"], given["images"], optimiser, pooled=True)
    found = []
    for number, images in enumerate(given["images"]):
        session.begin_batch(number, images)
        found.append(session.predict(images)["semseg"][:, :, 0, 0])
        session.adapt(images)
    assert_close(found, case.outputs["outputs"], case)
    extra, model = session.net.extra, session.net.model
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    teacher = {**extra.affine.by_name(), **extra.statistics.by_name()}
    for values, who in ((own, "student"), (teacher, "teacher")):
        named = {name.removeprefix("layers."): value for name, value in values.items()}
        for name, wanted in case.outputs[who].items():
            assert_close(named[name], wanted, case)
        for name, wanted in case.outputs[f"{who}_statistics"].items():
            assert_close(named[name.replace("source", "running")], wanted, case)


def test_the_bank_outlives_a_batch_and_a_reset_empties_it() -> None:
    session = tiny_session(RoTTA(RoTTAOptions(bank=16)), SGD, images=random_images(2, *SIZE))
    extra = session.net.extra
    first = extra.images[: int(extra.count)].clone()
    assert len(first) == 2
    session.begin_batch(1, random_images(2, *SIZE, seed=5))
    held = extra.images[: int(extra.count)]
    assert len(held) == 4
    assert any(torch.equal(image, first[0]) for image in held)
    assert torch.equal(session.ctx.batch["images"], held)
    session.reset()
    assert extra.count == 0
    assert not extra.images.any()


def test_the_lifted_class_exceeds_its_usual_share_most() -> None:
    shares = torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.1, 0.4]])
    logits = shares.log().view(2, 3, 1, 1)
    assert image_summary(logits)[0].tolist() == [0, 0]
    assert image_summary(logits, torch.tensor([0.55, 0.2, 0.25]))[0].tolist() == [1, 2]
    lifted = RoTTA(RoTTAOptions(bank=4, category="lift"))
    session = tiny_session(lifted, SGD, images=random_images(2, *SIZE))
    assert session.net.extra.seen == 2
    assert session.net.extra.shares.sum().item() == pytest.approx(2)
    assert session.net.extra.labels[0] != session.net.extra.labels[1], "they differ from the mean"


def test_a_view_is_a_colour_change_within_the_bounds() -> None:
    images = random_images(8, 12, 14).float()
    views, mirrored = strong_view(images, Stream(torch.device("cpu"), 0))
    assert views.shape == images.shape
    assert 0 <= views.min() < views.max() <= 1
    assert 0 < mirrored.sum() < 8
    aligned = mirror_back({"rgb": views}, mirrored)["rgb"]
    for image, view, other in zip(images, aligned, aligned.flip(-1), strict=True):
        together = torch.stack([one.flatten() for one in (image, view, other)])
        correlation = torch.corrcoef(together)
        assert correlation[0, 1] > 0.6 > abs(correlation[0, 2])


def test_blur_is_a_weighted_mean_of_the_neighbours() -> None:
    images = torch.zeros(2, 1, 9, 9, dtype=torch.float64)
    images[:, :, 4, 4] = 1
    blurred = blur(images, torch.tensor([1.0, 1e-3], dtype=torch.float64))
    weights = [math.exp(-(i**2) / 2) for i in range(-2, 3)]
    assert blurred[0, 0, 4, 5].item() == pytest.approx(weights[2] * weights[3] / sum(weights) ** 2)
    torch.testing.assert_close(blurred[1], images[1])
    even = torch.full((1, 3, 6, 7), 0.3)
    torch.testing.assert_close(blur(even, torch.tensor([0.5])), even)


def test_what_moves_and_what_it_needs() -> None:
    adapter = RoTTA(RoTTAOptions(bank=4))
    net = tiny_net(adapter, TASKS)
    plan = adapter.bind(net, {}, TARGET)
    assert (plan.adapt, plan.predict, plan.exact) == (Norm.ROBUST, Norm.RUNNING, False)
    assert len(plan.moves) == 2 * len(CHANNELS)
    assert net.extra.images.shape == (4, 3, *TARGET.size)
    assert adapter.passes(2) == (8, 4, 4)
    assert adapter.needs().batchnorm


def test_settings() -> None:
    assert_settings(RoTTA, optimiser="adam", lr=1e-3, steps=1)
