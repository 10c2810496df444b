"""Base and norm: nothing moves, and the statistics follow their equations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.fakes import random_images, tiny_net, tiny_session
from support.plain import PlainNet, assert_same_predictions
from support.settings import assert_settings
from torch import nn

from ttt_bench.adapter import Adapter, Norm, Optimiser
from ttt_bench.methods.base import Base
from ttt_bench.methods.norm import NormAdapt, NormOptions
from ttt_bench.model.batchnorm import NormController


@pytest.mark.parametrize(("adapter", "mode"), [(Base(), "running"), (NormAdapt(), "batch")])
def test_predictions_by_hand(adapter: Any, mode: str) -> None:
    images = random_images(3, 64, 96)
    session = tiny_session(adapter, Optimiser())
    assert_same_predictions(
        session.predict(images), PlainNet(tiny_net(adapter)).predict(images, mode)
    )


def test_accumulated_statistics_move_once_a_batch_and_are_predicted_with() -> None:
    adapter = NormAdapt(NormOptions(accumulate=True))
    first, second = random_images(seed=1), random_images(seed=2)
    session = tiny_session(adapter, Optimiser(), images=first)
    plain = PlainNet(tiny_net(adapter))
    for number, images in enumerate((first, second)):
        if number:
            session.begin_batch(number, images)
        plain.stages(images, "ema")
        for _ in range(2):
            assert_same_predictions(session.predict(images), plain.predict(images, "running"))
    plain.assert_equal(session.net)
    session.reset()
    PlainNet(tiny_net(adapter)).assert_equal(session.net)


@pytest.mark.parametrize(
    ("options", "share"),
    [({"share": 0.3}, 0.3), ({"prior": 6}, 2 / 8), ({"prior": 0}, 1.0)],
)
def test_alpha_bn_predicts_with_mixed_statistics_by_hand(
    options: dict[str, Any], share: float
) -> None:
    adapter = NormAdapt(NormOptions(**options))
    first, second = random_images(seed=1), random_images(seed=2)
    session = tiny_session(adapter, Optimiser(), images=first)
    assert session.plan.share == share
    plain = PlainNet(tiny_net(adapter))
    for number, images in enumerate((first, second)):
        session.begin_batch(number, images)
        assert_same_predictions(session.predict(images), plain.predict(images, "mix", share))
    plain.assert_equal(session.net)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"share": 0.1, "prior": 16}, "give one of them"),
        ({"share": 0.1, "accumulate": True}, "norm.norm_momentum"),
        ({"prior": 16, "accumulate": True}, "norm.norm_momentum"),
    ],
)
def test_two_ways_to_mix_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NormOptions(**options)


@pytest.mark.parametrize("adapter", [Base(), NormAdapt()])
def test_nothing_moves_and_a_step_returns_the_predictions(adapter: Any) -> None:
    session = tiny_session(adapter, Optimiser())
    assert session.plan.moves == ()
    assert session.plan.exact
    before = {name: tensor.clone() for name, tensor in session.net.state_dict().items()}
    images = random_images()
    predictions = session.predict(images)
    session.ctx.norms.set(session.plan.adapt)
    out = adapter.step(session.net, images, session.ctx)
    assert out.losses == {}
    assert all(torch.equal(predictions[task], out.predictions[task]) for task in predictions)
    assert all(
        torch.equal(tensor, before[name]) for name, tensor in session.net.state_dict().items()
    )


def test_norm_is_base_with_the_batchs_statistics_in_the_buffers() -> None:
    images = random_images()
    norm, base = tiny_session(NormAdapt(), Optimiser()), tiny_session(Base(), Optimiser())
    # one exponential step of momentum 1 copies the batch's mean and unbiased variance
    controller = NormController(base.net.model)
    controller.set_momentum(1.0)
    controller.set(Norm.EMA)
    inputs: list[int] = []
    hooks = [
        n.register_forward_hook(lambda _, x, __: inputs.append(x[0].numel() // x[0].shape[1]))
        for n in layers(base)
    ]
    base.net.model(images)
    for hook, layer, count in zip(hooks, layers(base), inputs, strict=True):
        hook.remove()
        layer.running_var.mul_((count - 1) / count)
    for task, prediction in base.predict(images).items():
        torch.testing.assert_close(prediction, norm.predict(images)[task])


def layers(session: Any) -> list[Any]:
    return [m for m in session.net.model.modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize("method", [Base, NormAdapt])
def test_settings(method: type[Adapter]) -> None:
    assert_settings(method, lr=2e-5, weight_decay=1e-6, steps=40)
