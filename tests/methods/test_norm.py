"""Base and norm: nothing moves, and the statistics are those that their equations name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fakes import random_images, tiny_net, tiny_session
from torch import Tensor, nn
from torch.nn import functional as F

from ttt_bench.adapter import Norm, Optimiser
from ttt_bench.methods.base import Base
from ttt_bench.methods.norm import NormAdapt
from ttt_bench.norm import NormController


def by_hand(model: Any, images: Tensor, own_statistics: bool) -> dict[str, Tensor]:
    """Every output in plain tensor code, with batch statistics or the stored ones."""
    x = (images - model.mean) / model.std
    stages = []
    for number, (convolution, norm) in enumerate(zip(model.backbone.convolutions, model.backbone.norms, strict=True)):
        x = F.conv2d(x, convolution.weight, stride=4 if number == 0 else 2, padding=1)
        mean, var = norm.running_mean, norm.running_var
        if not own_statistics:
            mean = x.mean(dim=(0, 2, 3))
            var = ((x - mean[:, None, None]) ** 2).mean(dim=(0, 2, 3))
        x = norm.weight[:, None, None] * (x - mean[:, None, None]) / (var[:, None, None] + norm.eps).sqrt()
        x = (x + norm.bias[:, None, None]).clamp(min=0)
        stages.append(x)
    resized = [F.interpolate(s, size=stages[0].shape[-2:], mode="bilinear") for s in stages]
    hypercolumn = torch.cat(resized, dim=1)
    return {
        task: F.interpolate(F.conv2d(hypercolumn, head.weight, head.bias), size=images.shape[-2:], mode="bilinear")
        for task, head in model.heads.items()
    }


@pytest.mark.parametrize(("adapter", "own"), [(Base(), True), (NormAdapt(), False)])
def test_predictions_by_hand(adapter: Any, own: bool) -> None:
    images = random_images(3, 64, 96)
    session = tiny_session(adapter, Optimiser())
    predictions = session.predict(images)
    wanted = by_hand(tiny_net(adapter).model, images, own)
    for task, prediction in predictions.items():
        torch.testing.assert_close(prediction, wanted[task])


@pytest.mark.parametrize("adapter", [Base(), NormAdapt()])
def test_nothing_moves_and_the_step_shows_what_is_predicted(adapter: Any) -> None:
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
    assert all(torch.equal(tensor, before[name]) for name, tensor in session.net.state_dict().items())


def test_norm_is_base_with_the_batchs_statistics_in_the_buffers() -> None:
    images = random_images()
    norm, base = tiny_session(NormAdapt(), Optimiser()), tiny_session(Base(), Optimiser())
    # one exponential step of momentum 1 copies the batch's mean and unbiased variance
    controller = NormController(base.net.model)
    controller.set_momentum(1.0)
    controller.set(Norm.EMA)
    inputs: list[int] = []
    hooks = [
        n.register_forward_hook(lambda _, x, __: inputs.append(x[0].numel() // x[0].shape[1])) for n in layers(base)
    ]
    base.net.model(images)
    for hook, layer, count in zip(hooks, layers(base), inputs, strict=True):
        hook.remove()
        layer.running_var.mul_((count - 1) / count)
    for task, prediction in base.predict(images).items():
        torch.testing.assert_close(prediction, norm.predict(images)[task])


def layers(session: Any) -> list[Any]:
    return [m for m in session.net.model.modules() if isinstance(m, nn.BatchNorm2d)]
