"""Every function that a golden vector tests is one that its plugin computes with."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from support.golden_cases import CONTRACTS

from ttt_bench.conformance import BACKBONE
from ttt_bench.conformance.subject import Subject
from ttt_bench.registry import METHODS

PREFIX = "ttt_bench.methods."
FUNCTIONS = sorted(
    c.removeprefix(PREFIX).rsplit(".", 1) for c in CONTRACTS.values() if c.startswith(PREFIX)
)
OPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("ttt", "rotate_batch_expand"): {"rotation": "expand"},
    ("tipi", "gaussian_kl"): {"tasks": "all"},
    ("nc_ttt", "batch_summed_noise"): {"noise": "batch_summed"},
    ("s4t", "tbs_loss_auto_weighted"): {"weighting": "uncertainty"},
}
"""Options under which a function is used, where the defaults do without it."""
FOLDS = {
    ("actmad", "source_statistics"): "AverageStatistics",
    ("tttpp", "source_statistics"): "Accumulator",
}
"""Functions of a whole data set in memory: the plugin feeds what they fold through, batch by
batch.
"""


@pytest.mark.parametrize(("method", "function"), FUNCTIONS)
def test_the_plugin_uses_it(method: str, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"{PREFIX}{method}")
    calls: list[str] = []
    counting(module, FOLDS.get((method, function), function), calls, monkeypatch)
    if (method, function) in FOLDS:
        features = torch.rand(4, 3, 5, 6) if method == "actmad" else torch.rand(4, 3)
        module.source_statistics([features] * 4)
        assert calls, "the function itself folds through it"
        calls.clear()
    for value in vars(module).values():
        if hasattr(
            value, "cache_clear"
        ):  # what an earlier test computed would not be computed again
            value.cache_clear()
    subject = Subject.create(
        METHODS.load(method), OPTIONS.get((method, function), {}), BACKBONE, torch.device("cpu")
    )
    images = subject.images()
    subject.session(begin=images).adapt(images)
    assert calls


def counting(module: Any, name: str, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes every call of a module's function, construction of its class, or `add` of what it
    folds through.
    """
    original = getattr(module, name)
    owner, attribute = (module, name) if not isinstance(original, type) else (original, "__init__")
    if name in FOLDS.values():
        attribute = "add"
    inner = getattr(owner, attribute)
    monkeypatch.setattr(owner, attribute, lambda *a, **k: (calls.append(name), inner(*a, **k))[1])
