"""The network of the paper preset, compared with torchvision's ResNet-50 and the weights' card."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import nn
from torchvision.models import resnet50
from torchvision.models.feature_extraction import create_feature_extractor

from ttt_bench.adapt.optimiser import make_optimiser
from ttt_bench.adapter import Optimiser
from ttt_bench.config.preset import resolve_preset
from ttt_bench.model.architecture import build_model
from ttt_bench.model.normalisation import NORMALISATIONS

MODEL = resolve_preset("paper", {}).model
STAGES = ("layer1", "layer2", "layer3", "layer4")


def test_it_computes_what_torchvisions_resnet_50_computes() -> None:
    """Compare all stages with equal weights, in both modes, with the statistics that they leave."""
    torch.manual_seed(0)
    reference = resnet50(weights=None)
    ours = build_model(MODEL.untrained(), {"depth": 1}).backbone
    state = {k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")}
    ours.load_state_dict(state)
    images = torch.randn(2, 3, 64, 96)
    stages = create_feature_extractor(reference, list(STAGES))
    with torch.no_grad():
        for training in (True, False):
            expected = stages.train(training)(images)
            for name, found in zip(STAGES, ours.train(training)(images), strict=True):
                torch.testing.assert_close(found, expected[name], rtol=1e-4, atol=1e-5)
    left = stages.state_dict()
    for name, buffer in ours.named_buffers():
        torch.testing.assert_close(buffer, left[name], rtol=1e-4, atol=1e-5)


def test_its_weights_are_torchvisions_first_ones_with_their_normalisation() -> None:
    card = timm.get_pretrained_cfg(MODEL.backbone)
    assert card.url == torchvision.models.ResNet50_Weights.IMAGENET1K_V1.url
    assert (card.mean, card.std) == NORMALISATIONS["imagenet"]


@pytest.mark.parametrize(
    "settings",
    [
        Optimiser(lr=0.1, weight_decay=0.3),
        Optimiser(lr=0.1, weight_decay=0.3, momentum=0.9),
        Optimiser(lr=0.1, weight_decay=0.3, momentum=0.9, nesterov=True),
        Optimiser(optimiser="adam", lr=0.1, weight_decay=0.3, beta1=0.8, beta2=0.9),
    ],
    ids=["plain", "momentum", "nesterov", "adam"],
)
def test_optimisers_update_as_their_equations_state(settings: Optimiser) -> None:
    weight = nn.Parameter(torch.tensor([0.5, -2.0, 1e-6], dtype=torch.float64))
    optimiser = make_optimiser({"weight": weight}, settings)
    expected = weight.detach().clone()
    first = second = torch.zeros_like(expected)
    for step in range(1, 5):
        optimiser.zero_grad()
        (weight.sin().sum() * step).backward()
        gradient = expected.cos() * step + settings.weight_decay * expected
        if settings.optimiser == "adam":
            first = settings.beta1 * first + (1 - settings.beta1) * gradient
            second = settings.beta2 * second + (1 - settings.beta2) * gradient**2
            mean = first / (1 - settings.beta1**step)
            spread = (second / (1 - settings.beta2**step)).sqrt()
            update = mean / (spread + 1e-8)
        else:
            first = settings.momentum * first + gradient
            update = gradient + settings.momentum * first if settings.nesterov else first
        expected = expected - settings.lr * update
        optimiser.step()
        torch.testing.assert_close(weight.detach(), expected, rtol=1e-12, atol=1e-14)
