"""TENT: a whole adaptation by hand, moved parameters, and the statistics of predictions."""

from __future__ import annotations

import pytest
import timm
import torch
from support.fakes import CHANNELS, TARGET, random_images, tiny_net, tiny_session
from support.plain import PlainNet, assert_same_predictions
from support.settings import assert_settings

from ttt_bench.adapter import Norm, Optimiser
from ttt_bench.config.preset import ModelConfig
from ttt_bench.methods.base import Base
from ttt_bench.methods.norm import NormAdapt
from ttt_bench.methods.tent import Tent, TentOptions, softmax_entropy
from ttt_bench.model.architecture import build_model
from ttt_bench.network import Net


def test_entropy_of_even_odds_is_the_logarithm_and_of_certainty_zero() -> None:
    logits = torch.zeros(1, 5, 2, 2)
    torch.testing.assert_close(softmax_entropy(logits), torch.full((1, 2, 2), 5.0).log())
    logits[:, 2] = 1e4
    assert not softmax_entropy(logits).any()


def test_two_steps_by_hand() -> None:
    images = random_images(2, 64, 96)
    session = tiny_session(Tent(), Optimiser(lr=0.5, weight_decay=1e-2))
    plain = PlainNet(tiny_net(Tent()))
    for k, predictions, losses in session.trajectory(images, 2):
        assert_same_predictions(predictions, plain.predict(images, "batch"))
        if k < 2:
            logits = plain.outputs(plain.stages(images, "batch"), (64, 96))["semseg"]
            total = logits.exp().sum(dim=1, keepdim=True)
            # sum_c p_c (log of the sum - l_c), the mean over images and pixels
            entropy = (logits.exp() / total * (total.log() - logits)).sum(dim=1).mean()
            assert losses["entropy"].item() == pytest.approx(entropy.item(), rel=1e-10)
            plain.descend(entropy, lambda name: ".norms." in name, lr=0.5, weight_decay=1e-2)
    plain.assert_equal(session.net)
    start = PlainNet(tiny_net(Tent()))
    assert not torch.allclose(
        start.predict(images, "batch")["depth"], predictions["depth"], rtol=1e-3
    ), "it moved"


def test_only_scale_and_shift_of_batch_norm_move_and_its_statistics_stay() -> None:
    session = tiny_session(Tent(), Optimiser(lr=0.1))
    before = {name: tensor.clone() for name, tensor in session.net.state_dict().items()}
    list(session.trajectory(random_images(), 2))
    moved = {
        name
        for name, tensor in session.net.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert moved == {
        f"model.backbone.norms.{n}.{kind}"
        for n in range(len(CHANNELS))
        for kind in ("weight", "bias")
    }


def test_step_0_equals_norm_bit_for_bit_and_differs_from_base() -> None:
    images = random_images()
    first = next(tiny_session(Tent(), Optimiser()).trajectory(images, 1))[1]
    norm, base = (
        tiny_session(adapter, Optimiser()).predict(images) for adapter in (NormAdapt(), Base())
    )
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
    losses = [
        entry[2]["entropy"].item() for entry in list(session.trajectory(random_images(), 8))[:-1]
    ]
    assert losses[-1] < losses[0]


def test_settings() -> None:
    assert_settings(Tent, optimiser="adam", lr=1e-3, steps=1)


def test_requirements() -> None:
    assert Tent().needs().tasks == {"semseg"}
    assert Tent().needs().batchnorm
    assert not Tent(TentOptions(affine="any")).needs().batchnorm


def moved_numbers(backbone: str, options: TentOptions) -> int:
    with torch.device("meta"):
        net = Net(build_model(ModelConfig(backbone=backbone), {"semseg": 7}), None)
    adapter = Tent(options)
    plan = adapter.bind(net, {}, TARGET)
    assert plan.adapt is plan.predict is Norm.BATCH
    return sum(dict(net.named_parameters())[name].numel() for name in plan.moves)


def test_resnet50_moves_53120_numbers() -> None:
    assert moved_numbers("resnet50", TentOptions()) == 53_120


def test_fused_batch_norm_counts_and_other_norms_do_where_asked_for() -> None:
    fused = timm.create_model("test_efficientnet", features_only=True)
    norms = [m for m in fused.modules() if "BatchNorm" in type(m).__name__]
    assert moved_numbers("test_efficientnet", TentOptions()) == sum(
        2 * m.num_features for m in norms
    )
    assert moved_numbers("test_convnext", TentOptions()) == 0
    assert Tent().needs().batchnorm
    assert Tent(TentOptions(affine="any")).needs().affine
    assert moved_numbers("test_convnext", TentOptions(affine="any")) > 0
