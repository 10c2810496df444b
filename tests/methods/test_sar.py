"""SAR: a whole adaptation by hand and by its authors, recovery, and padded pixels."""

from __future__ import annotations

import math

import pytest
import torch
from support.author_net import author_session
from support.fakes import TARGET, random_images, tiny_net, tiny_session
from support.golden_cases import assert_close, cases
from support.plain import PlainNet, assert_same_predictions
from support.settings import assert_settings
from torch import Tensor

from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Norm, Optimiser
from ttt_bench.config.preset import ModelConfig
from ttt_bench.methods.sar import Sar, SarOptions
from ttt_bench.model import build_model
from ttt_bench.network import Net

SGD = Optimiser(lr=0.1, momentum=0.9)
SIZE = (64, 64)
LIMIT = 0.97 * math.log(3)


def moves(name: str) -> bool:
    return ".norms." in name


def entropies(plain: PlainNet, images: Tensor) -> Tensor:
    """Return the entropies (B, H, W) by their formula."""
    logits = plain.outputs(plain.stages(images, "batch"), SIZE)["semseg"]
    total = logits.exp().sum(dim=1, keepdim=True)
    return (logits.exp() / total * (total.log() - logits)).sum(dim=1)


def test_two_steps_by_hand() -> None:
    images = random_images()
    session = tiny_session(Sar(SarOptions(margin=0.97, rho=0.5)), SGD)
    plain = PlainNet(tiny_net(Sar()))
    velocity = {name: torch.zeros_like(value) for name, value in plain.p.items() if moves(name)}
    average = 0.0
    for k, predictions, losses in session.trajectory(images, 2):
        assert_same_predictions(predictions, plain.predict(images, "batch"))
        if k == 2:
            break
        first = entropies(plain, images)
        gradients = plain.descend(first[first < LIMIT].mean(), moves, lr=0.0)
        length = math.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
        here = {name: plain.p[name].detach().clone() for name in gradients}
        with torch.no_grad():
            for name, gradient in gradients.items():
                plain.p[name] += 0.5 * gradient / length
        second = entropies(plain, images)
        loss = second[(first < LIMIT) & (second < LIMIT)].mean()
        gradients = plain.descend(loss, moves, lr=0.0)
        with torch.no_grad():
            for name, gradient in gradients.items():
                velocity[name] = 0.9 * velocity[name] + gradient
                plain.p[name].copy_(here[name] - 0.1 * velocity[name])
        assert losses["entropy"].item() == pytest.approx(loss.item(), rel=1e-10)
        average = loss.item() if not average else 0.9 * average + 0.1 * loss.item()
        assert 0 < int((first < LIMIT).sum()) < first.numel()
        plain.b["extra.average"] = torch.tensor(average, dtype=torch.float64)
    plain.assert_equal(session.net)


def test_the_authors_trajectory() -> None:
    case = cases("trajectories/sar_official_reset")[0]
    given, classes = case.inputs, len(case.inputs["net"]["6.weight"])
    options = SarOptions(
        margin=given["margin"] / math.log(classes),
        rho=given["rho"],
        reset_absolute=given["threshold"],
        clear_average=False,
    )
    optimiser = Optimiser(lr=given["lr"], momentum=given["momentum"])
    session = author_session(Sar(options), given["net"], given["images"], optimiser)
    outputs, averages = [], []
    for number, images in enumerate(given["images"]):
        session.begin_batch(number, images)
        outputs.append(session.predict(images)["semseg"])
        session.adapt(images)
        averages.append(session.net.extra.average.clone())
    assert_close(outputs, case.outputs["logits"], case)
    assert_close(torch.stack(averages), case.outputs["averages"], case)
    own = dict(session.net.model.layers.named_parameters())
    assert_close({n: own[n] for n in given["parameters"]}, case.outputs["parameters"], case)


def moved(session: Session) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in session.moved.items()}


def momenta(session: Session) -> list[Tensor]:
    assert session.optimiser is not None
    return [state["momentum_buffer"] for state in session.optimiser.state.values()]


@pytest.mark.parametrize("reset_optimiser", [False, True])
def test_a_low_average_restores_the_source_before_the_next_prediction(
    reset_optimiser: bool,
) -> None:
    images = random_images()
    options = SarOptions(margin=1.1, reset_absolute=10.0, reset_optimiser=reset_optimiser)
    session = tiny_session(Sar(options), SGD)
    source, before = moved(session), session.predict(images)
    session.adapt(images)
    assert all(torch.equal(value, source[name]) for name, value in session.moved.items())
    assert torch.equal(session.predict(images)["depth"], before["depth"])
    assert session.net.extra.average == 0, "it begins again"
    assert any(momentum.any() for momentum in momenta(session)) is not reset_optimiser


def test_a_high_average_restores_nothing() -> None:
    images = random_images()
    session = tiny_session(Sar(SarOptions(margin=1.1)), SGD)
    source = moved(session)
    session.adapt(images)
    assert not any(torch.equal(value, source[name]) for name, value in session.moved.items())
    assert session.net.extra.average > 0.029 * math.log(3)


def test_without_a_reliable_pixel_only_the_momentum_moves_the_weights() -> None:
    images = random_images()
    session = tiny_session(Sar(SarOptions(margin=1.1)), SGD)
    session.adapt(images)
    before, average = moved(session), session.net.extra.average.clone()
    kept = [momentum.clone() for momentum in momenta(session)]
    session.adapter.options = SarOptions(margin=1e-9)
    assert session.adapt(images)["entropy"] == 0
    for (name, value), momentum in zip(before.items(), kept, strict=True):
        torch.testing.assert_close(session.moved[name].detach(), value - 0.1 * 0.9 * momentum)
    assert torch.equal(session.net.extra.average, average)


def test_padded_pixels_are_left_out() -> None:
    images = random_images()
    valid = torch.zeros(2, 1, *SIZE, dtype=torch.bool)
    valid[:, :, 10:30, :40] = True
    session = tiny_session(Sar(SarOptions(margin=1.1, rho=1e-12)), SGD)
    session.begin_batch(0, images, valid)
    loss = session.step(images).losses["entropy"]
    wanted = entropies(PlainNet(tiny_net(Sar())), images)[:, 10:30, :40].mean()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-9)


def test_a_reset_clears_the_average() -> None:
    session = tiny_session(Sar(SarOptions(margin=1.1)), SGD)
    session.adapt(random_images())
    session.reset()
    assert session.net.extra.average == 0


def moved_numbers(backbone: str) -> list[int]:
    """Return how many numbers move up to stages 3 and 4."""
    with torch.device("meta"):
        net = Net(build_model(ModelConfig(backbone=backbone), {"semseg": 7}), None)
    own = dict(net.named_parameters())
    plans = [Sar(SarOptions(stages=stages)).bind(net, {}, TARGET) for stages in (3, 4)]
    assert all(plan.adapt is plan.predict is Norm.BATCH for plan in plans)
    return [sum(own[name].numel() for name in plan.moves) for plan in plans]


def test_resnet50_moves_the_layers_below_its_last_stage() -> None:
    assert moved_numbers("resnet50") == [30_592, 53_120]


def test_layer_norm_moves_without_batch_norm() -> None:
    below, all_stages = moved_numbers("test_convnext")
    assert 0 < below < all_stages


def test_settings() -> None:
    assert_settings(Sar, lr=2.5e-4, momentum=0.9, steps=1)
