"""The complete settings of a method, written out in its own test."""

from __future__ import annotations

from typing import Any

from ttt_bench.adapter import Adapter, Hparams

UNSET: dict[str, Any] = {
    "optimiser": "sgd",
    "momentum": 0.0,
    "nesterov": False,
    "weight_decay": 0.0,
    "beta1": 0.9,
    "beta2": 0.999,
    "lr_per_sample": False,
    "rates": {},
}
"""PyTorch's defaults of the settings that an author's script leaves out."""
PAPER: dict[str, Any] = {**UNSET, "lr": 2e-5, "weight_decay": 1e-6, "steps": 40, "options": {}}
"""S4T, section 4.1: SGD, learning rate 2e-5, weight decay 1e-6, 40 steps, for every method."""


def settings(hparams: Hparams) -> dict[str, Any]:
    """Return every setting of the optimiser, the steps and the changed options."""
    return {
        **hparams.optimiser.model_dump(),
        "steps": hparams.steps,
        "options": dict(hparams.options),
    }


def assert_settings(method: type[Adapter], **original: Any) -> None:
    """Assert that a method's `paper` is S4T's protocol, and every value of its `original`."""
    assert settings(method.paper) == PAPER
    assert settings(method.original) == {**UNSET, "options": {}, **original}
    method.Options(**method.original.options)  # raises if an option or its value is invalid
