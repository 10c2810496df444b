"""BatchNorm modes against PyTorch's `batch_norm` and against the formulas written out."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ttt_bench.adapter import Norm
from ttt_bench.model.batchnorm import NormController, running_statistics

EPS = 1e-5


@pytest.fixture
def layer() -> nn.BatchNorm2d:
    torch.manual_seed(0)
    layer = nn.BatchNorm2d(3).double()
    for tensor in (layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var):
        assert tensor is not None
        tensor.uniform_(0.5, 2.0)
    return layer


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def buffers(layer: Any) -> tuple[Tensor, Tensor]:
    return layer.running_mean.clone(), layer.running_var.clone()


def normalised(layer: Any, x: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """Return the layer's output by its formula."""
    shape = (1, -1, 1, 1)
    unit = (x - mean.view(shape)) / (var.view(shape) + EPS).sqrt()
    return layer.weight.view(shape) * unit + layer.bias.view(shape)


def moments(x: Tensor, unbiased: bool) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each channel over batch and pixels, from sums."""
    count = x.numel() / x.shape[1]
    mean = x.sum(dim=(0, 2, 3)) / count
    squares = ((x - mean.view(1, -1, 1, 1)) ** 2).sum(dim=(0, 2, 3))
    return mean, squares / (count - 1 if unbiased else count)


def test_running_uses_the_stored_statistics(layer: nn.BatchNorm2d, x: Tensor) -> None:
    before = buffers(layer)
    NormController(nn.Sequential(layer)).set(Norm.RUNNING)
    y = layer(x)
    torch.testing.assert_close(y, normalised(layer, x, *before))
    torch.testing.assert_close(
        y, F.batch_norm(x, *before, layer.weight, layer.bias, training=False)
    )
    assert all(torch.equal(a, b) for a, b in zip(before, buffers(layer), strict=True))


def test_batch_uses_the_batchs_statistics_and_moves_nothing(
    layer: nn.BatchNorm2d, x: Tensor
) -> None:
    before = buffers(layer)
    NormController(nn.Sequential(layer)).set(Norm.BATCH)
    y = layer(x)
    torch.testing.assert_close(y, normalised(layer, x, *moments(x, unbiased=False)))
    torch.testing.assert_close(
        y, F.batch_norm(x, None, None, layer.weight, layer.bias, training=True)
    )
    assert all(torch.equal(a, b) for a, b in zip(before, buffers(layer), strict=True))
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize("momentum", [0.1, 0.3])
def test_ema_moves_the_buffers_by_the_momentum_with_the_unbiased_variance(
    layer: nn.BatchNorm2d, x: Tensor, momentum: float
) -> None:
    before = buffers(layer)
    controller = NormController(nn.Sequential(layer))
    controller.set_momentum(momentum)
    controller.set(Norm.EMA)
    y = layer(x)
    torch.testing.assert_close(y, normalised(layer, x, *moments(x, unbiased=False)))
    for old, new, batch in zip(before, buffers(layer), moments(x, unbiased=True), strict=True):
        torch.testing.assert_close(new, (1 - momentum) * old + momentum * batch)


def test_batch_and_ema_give_the_same_output_bit_for_bit(layer: nn.BatchNorm2d, x: Tensor) -> None:
    controller = NormController(nn.Sequential(layer))
    controller.set(Norm.BATCH)
    batch = layer(x)
    controller.set(Norm.EMA)
    assert torch.equal(batch, layer(x))


@pytest.mark.parametrize("outer", Norm)
@pytest.mark.parametrize("inner", Norm)
def test_a_block_ends_as_it_began_even_after_an_error(
    layer: nn.BatchNorm2d, outer: Norm, inner: Norm
) -> None:
    controller = NormController(nn.Sequential(layer))
    controller.set(outer)
    before, own = (layer.training, layer.track_running_stats), layer.running_mean
    stats = {
        name: tensor.clone() for name, tensor in running_statistics(nn.Sequential(layer)).items()
    }
    inside: list[bool] = []

    def work() -> None:
        with controller.within(inner, stats):
            inside.append(layer.training)
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        work()
    assert inside == [inner in (Norm.BATCH, Norm.EMA)]
    assert (layer.training, layer.track_running_stats) == before
    assert layer.running_mean is own


def test_a_second_set_of_statistics_is_used_and_moved_while_the_own_ones_stay(
    layer: nn.BatchNorm2d, x: Tensor
) -> None:
    controller = NormController(nn.Sequential(layer))
    assert running_statistics(nn.Sequential(layer)).keys() == {"0.running_mean", "0.running_var"}
    stats = {
        "0.running_mean": torch.full((3,), 0.3).double(),
        "0.running_var": torch.full((3,), 4.0).double(),
    }
    start = {name: tensor.clone() for name, tensor in stats.items()}
    own = buffers(layer)
    with controller.within(Norm.RUNNING, stats):
        torch.testing.assert_close(
            layer(x), normalised(layer, x, start["0.running_mean"], start["0.running_var"])
        )
    with controller.within(Norm.EMA, stats):
        layer(x)
    for name, batch in zip(stats, moments(x, unbiased=True), strict=True):
        torch.testing.assert_close(stats[name], 0.9 * start[name] + 0.1 * batch)
    assert all(torch.equal(a, b) for a, b in zip(own, buffers(layer), strict=True))
    controller.set(Norm.RUNNING)
    torch.testing.assert_close(layer(x), normalised(layer, x, *own))


def test_only_batch_norm_layers_change_and_fused_ones_count() -> None:
    model = timm.create_model("test_efficientnet", features_only=True).eval()
    controller = NormController(model)
    kinds = {type(layer) for layer in controller.layers.values()}
    assert any(kind is not nn.BatchNorm2d and issubclass(kind, _BatchNorm) for kind in kinds)
    controller.set(Norm.BATCH)
    assert all(m.training == isinstance(m, _BatchNorm) for m in model.modules())
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        batch = model(images)[-1]
        controller.set(Norm.RUNNING)
        assert not torch.allclose(batch, model(images)[-1], atol=1e-3)


@pytest.mark.parametrize("stats", [None, "second"])
def test_mix_uses_stored_statistics_mixed_with_those_of_the_batch(
    layer: nn.BatchNorm2d, x: Tensor, stats: str | None
) -> None:
    model = nn.Sequential(layer)
    controller = NormController(model)
    controller.share = 0.3
    other = {name: tensor * 2 + 1 for name, tensor in running_statistics(model).items()}
    stored = other if stats else {n: t.clone() for n, t in running_statistics(model).items()}
    mean = 0.7 * stored["0.running_mean"] + 0.3 * x.mean((0, 2, 3))
    var = 0.7 * stored["0.running_var"] + 0.3 * x.var((0, 2, 3), unbiased=True)
    expected = F.batch_norm(x, mean, var, layer.weight, layer.bias, eps=layer.eps)
    before = {name: tensor.clone() for name, tensor in running_statistics(model).items()}
    with controller.within(Norm.MIX, other if stats else None):
        assert torch.allclose(layer(x), expected, rtol=1e-12, atol=1e-12)
    for name, tensor in running_statistics(model).items():
        assert torch.equal(tensor, before[name])
    assert not controller.moved_statistics


def test_mixed_statistics_have_no_gradient(layer: nn.BatchNorm2d, x: Tensor) -> None:
    controller = NormController(nn.Sequential(layer))
    controller.share = 0.5
    controller.set(Norm.MIX)
    images = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(layer(images).square().sum(), images)
    mean = 0.5 * layer.running_mean + 0.5 * x.mean((0, 2, 3))
    var = 0.5 * layer.running_var + 0.5 * x.var((0, 2, 3), unbiased=True)
    scale = (layer.weight * (var + layer.eps).rsqrt()).view(1, -1, 1, 1)
    made = (x - mean.view(1, -1, 1, 1)) * scale + layer.bias.view(1, -1, 1, 1)
    assert torch.allclose(gradient, 2 * made * scale, rtol=1e-10)


def test_robust_moves_first_and_its_statistics_have_a_gradient(
    layer: nn.BatchNorm2d, x: Tensor
) -> None:
    controller = NormController(nn.Sequential(layer))
    controller.set_momentum(0.05)
    old = layer.running_mean.clone(), layer.running_var.clone()
    images = x.clone().requires_grad_()
    mean = 0.95 * old[0] + 0.05 * images.mean((0, 2, 3))
    var = 0.95 * old[1] + 0.05 * images.var((0, 2, 3), unbiased=False)
    shape = (1, -1, 1, 1)
    expected = (images - mean.view(shape)) / (var.view(shape) + layer.eps).sqrt()
    expected = expected * layer.weight.view(shape) + layer.bias.view(shape)
    controller.set(Norm.ROBUST)
    made = layer(images)
    assert torch.allclose(made, expected, rtol=1e-10, atol=1e-10)
    assert torch.allclose(layer.running_mean, mean)
    assert torch.allclose(layer.running_var, var)
    weights = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view_as(x)
    (found,) = torch.autograd.grad((made * weights).sum(), images)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), images)
    assert torch.allclose(found, wanted, rtol=1e-8, atol=1e-10)
    assert controller.moved_statistics


def test_an_error_in_a_layer_puts_its_statistics_back(layer: nn.BatchNorm2d, x: Tensor) -> None:
    controller = NormController(nn.Sequential(layer))
    controller.set(Norm.ROBUST)
    own = layer.running_mean
    with pytest.raises(RuntimeError):
        layer(x[:, :2])  # too few channels
    assert layer.running_mean is own
