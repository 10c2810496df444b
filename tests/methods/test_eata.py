"""EATA: a whole adaptation by hand and by its authors, skipped updates, and padded pixels."""

from __future__ import annotations

import math

import pytest
import torch
from support.author_net import author_session
from support.fakes import CHANNELS, TARGET, random_images, tiny_net, tiny_session
from support.golden_cases import assert_close, cases
from support.plain import PlainNet, assert_same_predictions
from support.settings import assert_settings
from torch import Tensor

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Norm, Optimiser
from ttt_bench.losses import RECIPES
from ttt_bench.methods.eata import Eata, EataOptions, Weights, fisher_diagonal

SGD = Optimiser(lr=0.1, momentum=0.9)
SIZE = (64, 64)


def statistics(adapter: Eata, batches: list[Tensor]) -> dict[str, Tensor]:
    """Return the method's source statistics on the tiny network."""
    net = tiny_net(adapter)
    with torch.no_grad():
        return adapter.source_statistics(
            net, iter(batches), HarnessContext(net, RECIPES["weighted"])
        )


def moves(name: str) -> bool:
    return ".norms." in name


def entropies(plain: PlainNet, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probabilities (B, K, H, W) and entropies (B, H, W) by their formulas."""
    logits = plain.outputs(plain.stages(images, "batch"), SIZE)["semseg"]
    total = logits.exp().sum(dim=1, keepdim=True)
    return logits.exp() / total, (logits.exp() / total * (total.log() - logits)).sum(dim=1)


def fisher_by_hand(batches: list[Tensor]) -> dict[str, Tensor]:
    plain = PlainNet(tiny_net(Eata()))
    names = [name for name in plain.p if moves(name)]
    squares = {name: torch.zeros_like(plain.p[name]) for name in names}
    for images in batches:
        probabilities, _ = entropies(plain, images)
        loss = -probabilities.amax(dim=1).log().mean()  # the label is the most probable class
        for name, gradient in zip(
            names, torch.autograd.grad(loss, [plain.p[name] for name in names]), strict=True
        ):
            squares[name] += gradient**2 / len(batches)
    return squares


def test_the_fisher_information_by_hand() -> None:
    batches = [random_images(seed=3), random_images(3, seed=4)]
    found = statistics(Eata(), batches)
    for name, wanted in fisher_by_hand(batches).items():
        torch.testing.assert_close(found[name.removeprefix("model.")], wanted, rtol=1e-8, atol=0)


def test_steps_by_hand() -> None:
    images, source = random_images(), [random_images(seed=3)]
    options = EataOptions(margin=0.97, redundancy_absolute=0.98, fisher_weight=300.0)
    adapter = Eata(options)
    session = tiny_session(adapter, SGD, statistics=statistics(adapter, source))
    plain, fisher = PlainNet(tiny_net(adapter)), fisher_by_hand(source)
    anchor = {name: plain.p[name].detach().clone() for name in fisher}
    velocity = {name: torch.zeros_like(value) for name, value in anchor.items()}
    average, kept_share = torch.zeros(3, dtype=torch.float64), []
    limit = 0.97 * math.log(3)
    for k, predictions, losses in session.trajectory(images, 3):
        assert_same_predictions(predictions, plain.predict(images, "batch"))
        if k == 3:
            break
        probabilities, entropy = entropies(plain, images)
        cosine = (probabilities.detach() * average.view(1, 3, 1, 1)).sum(dim=1) / (
            (probabilities.detach() ** 2).sum(dim=1) * max((average**2).sum().item(), 1e-16)
        ).sqrt()
        kept = (entropy < limit) & (cosine < 0.98)
        kept_share.append(kept.float().mean().item())
        loss = ((limit - entropy[kept]).exp().detach() * entropy[kept]).mean()
        mean = probabilities.detach().movedim(1, -1)[kept].mean(dim=0)
        average = mean if not average.any() else 0.9 * average + 0.1 * mean
        penalty = sum(
            300 * (fisher[name] * (plain.p[name] - anchor[name]) ** 2).sum() for name in fisher
        )
        assert losses["entropy"].item() == pytest.approx(loss.item(), rel=1e-10)
        assert losses["fisher"].item() == pytest.approx(penalty.item(), rel=1e-8)
        gradients = plain.descend(loss + penalty, moves, lr=0.0)
        with torch.no_grad():
            for name, gradient in gradients.items():
                velocity[name] = 0.9 * velocity[name] + gradient
                plain.p[name] -= 0.1 * velocity[name]
        plain.b["extra.average"] = average
    plain.assert_equal(session.net)
    assert 0 < kept_share[1] < kept_share[0] < 1, f"both filters select {kept_share}"


def test_the_authors_trajectory() -> None:
    case = cases("trajectories/eata")[0]
    given, classes = case.inputs, len(case.inputs["net"]["6.weight"])
    options = EataOptions(
        margin=given["e_margin"] / math.log(classes),
        redundancy_absolute=given["d_margin"],
        fisher_weight=given["fisher_weight"],
    )
    session = author_session(
        Eata(options),
        given["net"],
        given["images"],
        Optimiser(lr=given["lr"], momentum=given["momentum"]),
        source=given["fisher_images"],
    )
    outputs = []
    for number, images in enumerate(given["images"]):
        session.begin_batch(number, images)
        outputs.append(session.predict(images)["semseg"])
        session.adapt(images)
    assert_close(outputs, case.outputs["logits"], case)
    own = dict(session.net.model.layers.named_parameters())
    assert_close({n: own[n] for n in given["parameters"]}, case.outputs["parameters"], case)
    assert_close(session.net.extra.average, case.outputs["average"], case)


def moved_state(session: Session) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in session.state().items()}


def test_without_a_reliable_pixel_nothing_moves_not_even_by_momentum() -> None:
    images = random_images()
    session = tiny_session(Eata(EataOptions(margin=1.1, fisher_weight=0)), SGD)
    session.adapt(images)
    before = moved_state(session)
    sure = session.net.model.tasks["semseg"] * [0.0]
    session.adapter.options = EataOptions(margin=1e-9, fisher_weight=0)
    out = session.step(images)
    assert out.update is not None
    assert not out.update
    assert out.losses["entropy"].item() == 0.0
    session.adapt(images)
    after = moved_state(session)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert session.net.extra.average.tolist() != sure


def test_padded_pixels_are_not_kept() -> None:
    images = random_images()
    valid = torch.zeros(2, 1, *SIZE, dtype=torch.bool)
    valid[:, :, 10:30, :40] = True
    session = tiny_session(Eata(EataOptions(margin=1.1, fisher_weight=0)), SGD)
    session.begin_batch(0, images, valid)
    loss = session.step(images).losses["entropy"]
    _, entropy = entropies(PlainNet(tiny_net(Eata())), images)
    inside = entropy[:, 10:30, :40]
    wanted = ((1.1 * math.log(3) - inside).exp() * inside).mean()
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-10)


def test_a_reset_clears_the_average() -> None:
    images = random_images()
    session = tiny_session(Eata(EataOptions(margin=1.1, fisher_weight=0)), SGD)
    session.adapt(images)
    assert session.net.extra.average.sum().item() == pytest.approx(1)
    session.reset()
    assert not session.net.extra.average.any()


def test_without_the_regulariser_there_is_no_pass_over_the_source() -> None:
    eta = Eata(EataOptions(fisher_weight=0))
    assert eta.source_pass() is None
    wanted = Eata().source_pass()
    assert wanted is not None
    assert (wanted.images, wanted.batch) == (2000, 8)
    assert set(tiny_session(eta, SGD).step(random_images()).losses) == {"entropy"}


def test_only_scale_and_shift_of_batch_norm_move() -> None:
    adapter = Eata()
    plan = adapter.bind(tiny_net(adapter), {}, TARGET)
    assert plan.adapt is plan.predict is Norm.BATCH
    assert plan.exact
    assert sorted(plan.moves) == sorted(
        f"model.backbone.norms.{n}.{kind}"
        for n in range(len(CHANNELS))
        for kind in ("weight", "bias")
    )
    assert Eata().needs().batchnorm
    assert Eata(EataOptions(affine="any")).needs().affine


def test_parameters_that_do_not_act_on_the_logits_have_no_fisher_information() -> None:
    parameters = {
        name: torch.full((2, 1, 1), 0.5, dtype=torch.float64, requires_grad=True)
        for name in ("used", "of another task")
    }

    def forward(images: Tensor, weights: Weights) -> Tensor:
        return images[:, :2] * weights["used"]

    found = fisher_diagonal(forward, parameters, [random_images()])
    assert set(found) == {"used"}
    assert (found["used"] > 0).all()


def test_settings() -> None:
    assert_settings(Eata, lr=2.5e-4, momentum=0.9, steps=1)
