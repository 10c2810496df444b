"""Optimisers from settings: kinds, learning rates by name, rates per sample."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ttt_bench.adapt.optimiser import make_optimiser, set_batch
from ttt_bench.adapter import Optimiser
from ttt_bench.errors import BenchError


def named() -> dict[str, nn.Parameter]:
    return {
        name: nn.Parameter(torch.ones(2)) for name in ("heads.depth", "heads.edge", "backbone.one")
    }


def descend(parameters: dict[str, nn.Parameter], settings: Optimiser, images: int = 1) -> None:
    optimiser = make_optimiser(parameters, settings)
    set_batch(optimiser, settings, images)
    for parameter in parameters.values():
        parameter.grad = torch.ones(2)
    optimiser.step()


def test_rates_are_factors_and_the_first_pattern_counts() -> None:
    parameters = named()
    rates = {"heads.depth": 0.0, "heads.*": 10.0}
    descend(parameters, Optimiser(lr=0.01, rates=rates))
    found = [float(parameter[0].detach()) for parameter in parameters.values()]
    assert found == pytest.approx([1.0, 0.9, 0.99])


def test_rates_and_rates_per_sample_multiply() -> None:
    parameters = named()
    descend(parameters, Optimiser(lr=0.01, lr_per_sample=True, rates={"heads.*": 2.0}), images=3)
    assert float(parameters["heads.edge"][0].detach()) == pytest.approx(1 - 0.01 * 2 * 3)
    assert float(parameters["backbone.one"][0].detach()) == pytest.approx(1 - 0.01 * 3)


def test_a_pattern_without_parameters_is_refused() -> None:
    with pytest.raises(BenchError, match="setting rates: 'bones' matches no parameter"):
        make_optimiser(named(), Optimiser(rates={"bones": 2.0}))


def test_weight_decay_is_apart_from_the_gradient_in_adamw_alone() -> None:
    for kind, expected in (("adam", 1 - 0.1), ("adamw", 1 * (1 - 0.1 * 0.5) - 0.1)):
        parameters = named()
        settings = Optimiser(optimiser=kind, lr=0.1, weight_decay=0.5)  # type: ignore[arg-type]
        descend(parameters, settings)
        assert float(parameters["heads.edge"][0].detach()) == pytest.approx(expected)
