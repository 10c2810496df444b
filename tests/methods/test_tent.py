"""TENT: golden vectors, a whole adaptation by hand, what moves, and which statistics it predicts with."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from fakes import CHANNELS, random_images, tiny_net, tiny_session
from golden_cases import Case, assert_close, cases
from torch import Tensor
from torch.nn import functional as F

from ttt_bench.adapter import Norm, Optimiser
from ttt_bench.config import ModelConfig
from ttt_bench.methods.base import Base
from ttt_bench.methods.norm import NormAdapt
from ttt_bench.methods.tent import Tent, TentOptions, entropy_loss, softmax_entropy
from ttt_bench.model import Net, build_model


@pytest.mark.parametrize("case", cases("tent_softmax_entropy"))
def test_golden_softmax_entropy(case: Case) -> None:
    assert_close(softmax_entropy(**case.inputs), case.outputs["entropy"], case)


@pytest.mark.parametrize("case", cases("tent_entropy_loss"))
def test_golden_entropy_loss_and_gradient(case: Case) -> None:
    logits = case.inputs["logits"].clone().requires_grad_()
    loss = entropy_loss(logits)
    assert_close(loss, case.outputs["loss"], case)
    assert_close(torch.autograd.grad(loss, logits)[0], case.outputs["grad"], case)


def test_entropy_of_even_odds_is_the_logarithm_and_of_certainty_zero() -> None:
    logits = torch.zeros(1, 5, 2, 2)
    torch.testing.assert_close(softmax_entropy(logits), torch.full((1, 2, 2), 5.0).log())
    logits[:, 2] = 1e4
    assert not softmax_entropy(logits).any()


class ByHand:
    """The tiny network in plain tensors: leaves for scale and shift, everything else constant."""

    def __init__(self, model: Any) -> None:
        self.mean, self.std = model.mean.clone(), model.std.clone()
        self.kernels = [c.weight.detach().clone() for c in model.backbone.convolutions]
        self.affine = [p.detach().clone().requires_grad_() for n in model.backbone.norms for p in (n.weight, n.bias)]
        self.head = [p.detach().clone() for p in model.heads["semseg"].parameters()]

    def entropy(self, images: Tensor) -> Tensor:
        """Mean over pixels of sum_c p_c (logsumexp(l) - l_c), with batch statistics at every layer."""
        x, stages = (images - self.mean) / self.std, []
        for number, kernel in enumerate(self.kernels):
            x = F.conv2d(x, kernel, stride=4 if number == 0 else 2, padding=1)
            centred = x - x.mean(dim=(0, 2, 3), keepdim=True)
            x = centred / ((centred**2).mean(dim=(0, 2, 3), keepdim=True) + 1e-5) ** 0.5
            scale, shift = self.affine[2 * number : 2 * number + 2]
            x = F.relu(x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1))
            stages.append(x)
        size = stages[0].shape[-2:]
        hypercolumn = torch.cat([F.interpolate(s, size=size, mode="bilinear") for s in stages], dim=1)
        logits = F.interpolate(F.conv2d(hypercolumn, *self.head), size=images.shape[-2:], mode="bilinear")
        total = logits.exp().sum(dim=1, keepdim=True)
        return (logits.exp() / total * (total.log() - logits)).sum(dim=1).mean()

    def descend(self, images: Tensor, lr: float, weight_decay: float) -> float:
        loss = self.entropy(images)
        gradients = torch.autograd.grad(loss, self.affine)
        with torch.no_grad():
            for parameter, gradient in zip(self.affine, gradients, strict=True):
                parameter -= lr * (gradient + weight_decay * parameter)
        return loss.item()


def test_two_steps_of_descent_by_hand() -> None:
    images = random_images(2, 64, 96)
    session = tiny_session(Tent(), Optimiser(lr=0.5, weight_decay=1e-2))
    reference = ByHand(tiny_net(Tent()).model)
    start = [p.detach().clone() for p in reference.affine]
    entries = list(session.trajectory(images, 2))
    for _, _, losses in entries[:2]:
        assert losses["entropy"].item() == pytest.approx(reference.descend(images, 0.5, 1e-2), rel=1e-10)
    moved = [p for n in session.net.model.backbone.norms for p in (n.weight, n.bias)]
    for got, want, before in zip(moved, reference.affine, start, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)
        assert not torch.allclose(want, before, rtol=1e-3), "the steps are large enough to tell something"


def test_only_scale_and_shift_of_batch_norm_move_and_its_statistics_stay() -> None:
    session = tiny_session(Tent(), Optimiser(lr=0.1))
    before = {name: tensor.clone() for name, tensor in session.net.state_dict().items()}
    list(session.trajectory(random_images(), 2))
    moved = {name for name, tensor in session.net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {f"model.backbone.norms.{n}.{kind}" for n in range(len(CHANNELS)) for kind in ("weight", "bias")}


def test_step_0_equals_norm_bit_for_bit_and_differs_from_base() -> None:
    images = random_images()
    first = next(tiny_session(Tent(), Optimiser()).trajectory(images, 1))[1]
    norm, base = (tiny_session(adapter, Optimiser()).predict(images) for adapter in (NormAdapt(), Base()))
    for task, prediction in first.items():
        assert torch.equal(prediction, norm[task])
        assert not torch.allclose(prediction, base[task], rtol=1e-2)


def test_the_steps_predictions_equal_separate_ones() -> None:
    images = random_images()
    session = tiny_session(Tent(), Optimiser(lr=0.1))
    assert session.plan.exact
    for k, predictions, _ in session.trajectory(images, 2):
        if k < 2:
            separate = session.predict(images)
            assert all(torch.equal(predictions[task], separate[task]) for task in separate)


def test_entropy_falls() -> None:
    session = tiny_session(Tent(), Tent.original.optimiser)
    losses = [entry[2]["entropy"].item() for entry in list(session.trajectory(random_images(), 8))[:-1]]
    assert losses[-1] < losses[0]
    assert Tent.original.steps == 1


def test_what_it_needs() -> None:
    assert Tent().needs().tasks == {"semseg"}
    assert Tent().needs().batchnorm
    assert not Tent(TentOptions(affine="any")).needs().batchnorm


def moved_numbers(backbone: str, options: TentOptions) -> int:
    with torch.device("meta"):
        net = Net(build_model(ModelConfig(backbone=backbone), {"semseg": 7}), None)
    adapter = Tent(options)
    plan = adapter.bind(net, {})
    assert plan.adapt is plan.predict is Norm.BATCH
    return sum(dict(net.named_parameters())[name].numel() for name in plan.moves)


def test_resnet50_moves_53120_numbers() -> None:
    assert moved_numbers("resnet50", TentOptions()) == 53_120


def test_fused_batch_norm_counts_and_other_norms_do_where_asked_for() -> None:
    fused = timm.create_model("test_efficientnet", features_only=True)
    norms = [m for m in fused.modules() if "BatchNorm" in type(m).__name__]
    assert moved_numbers("test_efficientnet", TentOptions()) == sum(2 * m.num_features for m in norms)
    assert moved_numbers("test_convnext", TentOptions()) == 0
    assert Tent().needs().batchnorm
    assert Tent(TentOptions(affine="any")).needs().affine
    assert moved_numbers("test_convnext", TentOptions(affine="any")) > 0
