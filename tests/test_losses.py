"""Task losses compared with plain numpy, and targets without a valid pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ttt_bench import losses
from ttt_bench.losses import RECIPES


def draw(channels: int, seed: int = 0) -> Tensor:
    return torch.randn(
        2, channels, 5, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def holes(seed: int = 9) -> Tensor:
    return torch.rand(2, 1, 5, 6, generator=torch.Generator().manual_seed(seed)) < 0.3


def test_l1_of_normalised_normals_in_numpy() -> None:
    prediction, target, hole = draw(3).numpy(), draw(3, 1).numpy(), holes().numpy()
    unit = prediction / np.sqrt((prediction**2).sum(1, keepdims=True))
    wanted = np.abs(unit - target).sum(1)[~hole[:, 0]].mean()
    masked = torch.from_numpy(np.where(hole, 255.0, target))
    assert losses.l1_loss(
        torch.from_numpy(prediction), masked, normalize=True
    ).item() == pytest.approx(wanted)


def test_balanced_cross_entropy_in_numpy_stays_finite_for_large_logits() -> None:
    logits, hole = draw(1).numpy(), holes().numpy()
    target = (draw(1, 2).numpy() > 0.5).astype(float)
    probability = 1 / (1 + np.exp(-logits))
    terms = -0.95 * target * np.log(probability) - 0.05 * (1 - target) * np.log(1 - probability)
    masked = torch.from_numpy(np.where(hole, 255.0, target))
    got = losses.balanced_binary_cross_entropy(torch.from_numpy(logits), masked, pos_weight=0.95)
    assert got.item() == pytest.approx(terms[~hole].mean())
    huge = losses.balanced_binary_cross_entropy(
        torch.tensor([[[[900.0, -900.0]]]]), torch.tensor([[[[0.0, 1.0]]]])
    )
    assert huge.item() == pytest.approx(450.0)


def test_cosine_loss_over_channels_in_numpy() -> None:
    p, t, hole = draw(3).numpy(), draw(3, 1).numpy(), holes().numpy()
    cosine = (p * t).sum(1) / np.sqrt((p**2).sum(1)) / np.sqrt((t**2).sum(1))
    masked = torch.from_numpy(np.where(hole, 255.0, t))
    got = losses.cosine_normal_loss(torch.from_numpy(p), masked, dim=1)
    assert got.item() == pytest.approx((1 - cosine)[~hole[:, 0]].mean(), rel=1e-5)


def test_the_official_loss_on_taskonomys_normals_runs_along_the_width_and_masks_nothing() -> None:
    p, t = draw(3).numpy(), np.where(holes().numpy(), 255.0, draw(3, 1).numpy())
    cosine = (p * t).sum(3) / np.sqrt((p**2).sum(3)) / np.sqrt((t**2).sum(3))
    got = RECIPES["taskonomy_official"].losses["normals"](torch.from_numpy(p), torch.from_numpy(t))
    assert got.item() == pytest.approx((1 - cosine).mean(), rel=1e-5)


def masked(*tasks: str) -> list[tuple[str, str]]:
    """Return (recipe, task) of every loss with a mask; that of the public code has no mask."""
    return [
        (name, task)
        for name in RECIPES
        for task in tasks
        if (name, task) != ("taskonomy_official", "normals")
    ]


@pytest.mark.parametrize(("recipe", "task"), masked("semseg", "depth", "normals", "edge"))
def test_a_batch_without_a_valid_pixel_has_loss_and_gradient_zero(recipe: str, task: str) -> None:
    channels = {"semseg": 4, "normals": 3}.get(task, 1)
    prediction = draw(channels).requires_grad_()
    target = (
        torch.full((2, 5, 6), 255)
        if task == "semseg"
        else torch.full((2, channels, 5, 6), 255.0).double()
    )
    loss = RECIPES[recipe].losses[task](prediction, target)
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert loss.item() == 0.0
    assert not gradient.any()


@pytest.mark.parametrize(("recipe", "task"), masked("depth", "normals", "edge"))
def test_ignored_pixels_have_no_gradient(recipe: str, task: str) -> None:
    channels = 3 if task == "normals" else 1
    prediction, hole = draw(channels).requires_grad_(), holes()
    target = torch.where(hole, 255.0, draw(channels, 1).sigmoid())
    (gradient,) = torch.autograd.grad(RECIPES[recipe].losses[task](prediction, target), prediction)
    assert not gradient[hole.expand_as(gradient)].any()
    assert gradient[~hole.expand_as(gradient)].any()


def test_the_weighted_recipe_multiplies_with_its_weights() -> None:
    terms = {
        task: torch.tensor(value)
        for task, value in zip(("semseg", "normals", "edge"), (2.0, 0.3, 0.01), strict=True)
    }
    assert RECIPES["weighted"].combine(terms).item() == pytest.approx(2.0 + 10 * 0.3 + 50 * 0.01)


def test_the_uncertainty_recipe_follows_its_formula_and_needs_its_parameters() -> None:
    terms = {"semseg": torch.tensor(2.0), "depth": torch.tensor(0.5)}
    params = torch.tensor([0.7, 1.3])
    wanted = 2.0 / (2 * 0.49) + math.log(1 + 0.49) + 0.5 / (2 * 1.69) + math.log(1 + 1.69)
    assert RECIPES["taskonomy"].combine(terms, params).item() == pytest.approx(wanted, rel=1e-6)
    with pytest.raises(ValueError, match="needs the trained uncertainties"):
        RECIPES["taskonomy"].combine(terms)
