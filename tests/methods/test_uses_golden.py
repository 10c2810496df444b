"""Every function that a golden vector tests is used by its plugin."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
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
    ("norm", "mixed_statistics"): {"share": 0.1},
    ("ttt", "rotate_batch_expand"): {"rotation": "expand"},
    ("tipi", "gaussian_kl"): {"tasks": "all"},
    ("nc_ttt", "batch_summed_noise"): {"noise": "batch_summed"},
    ("s4t", "tbs_loss_auto_weighted"): {"weighting": "uncertainty"},
}
"""Options with which a function is used, if the defaults do not use it."""
BY_HARNESS = {("memo", "prior_batch_norm")}
"""Functions that state what a normalisation mode of the harness computes.

The test of the method compares them with a layer in that mode.
"""
FOLDS = {
    ("actmad", "source_statistics"): "AverageStatistics",
    ("tttpp", "source_statistics"): "Accumulator",
}
"""Functions of a whole data set in memory -> the class through which they fold its batches.

The plugin uses the class directly, batch by batch.
"""


@pytest.mark.parametrize(
    ("method", "function"), [each for each in FUNCTIONS if tuple(each) not in BY_HARNESS]
)
def test_the_plugin_uses_it(method: str, function: str) -> None:
    options = OPTIONS.get((method, function), {})
    assert counted(method, function) in used(method, tuple(options.items()))


@pytest.mark.parametrize(("method", "function"), sorted(FOLDS))
def test_a_function_of_a_whole_data_set_folds_through_its_class(method: str, function: str) -> None:
    module = importlib.import_module(f"{PREFIX}{method}")
    features = torch.rand(4, 3, 5, 6) if method == "actmad" else torch.rand(4, 3)
    with counting(method, [FOLDS[method, function]]) as calls:
        module.source_statistics([features] * 4)
    assert calls


def counted(method: str, function: str) -> str:
    """Return the name of the function or class whose calls show that a function is used."""
    return FOLDS.get((method, function), function)


@cache
def used(method: str, options: tuple[tuple[str, Any], ...]) -> set[str]:
    """Return which functions a source training and one adaptation step of a method call."""
    names = [counted(method, function) for owner, function in FUNCTIONS if owner == method]
    with counting(method, names) as calls:
        subject = Subject.create(METHODS.load(method), dict(options), BACKBONE, torch.device("cpu"))
        images = subject.images()
        session = subject.session(begin=images)
        _ = session.adapt(images) if session.moved else session.predict(images)
    return calls


@contextmanager
def counting(method: str, names: Iterable[str]) -> Iterator[set[str]]:
    """Yield a set that gets the name of every function or class of a method that is called.

    A function is replaced in each module of the package that uses it: some are the harness's. Of a
    class its construction counts, or its `add` if it is one of `FOLDS`.
    """
    calls: set[str] = set()
    module = importlib.import_module(f"{PREFIX}{method}")
    users = [user for name, user in sys.modules.items() if name.startswith("ttt_bench.")]
    with pytest.MonkeyPatch.context() as patch:
        for user in users:
            for value in vars(user).values():
                if hasattr(value, "cache_clear"):  # an earlier test's results would hide calls
                    value.cache_clear()
        for name in names:
            original = getattr(module, name)
            if isinstance(original, type):
                attribute = "add" if name in FOLDS.values() else "__init__"
                inner = getattr(original, attribute)
                patch.setattr(original, attribute, recording(calls, name, inner))
                continue
            for user in users:
                if vars(user).get(name) is original:
                    patch.setattr(user, name, recording(calls, name, original))
        yield calls


def recording(calls: set[str], name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that adds `name` to `calls` and calls `inner`."""

    def outer(*args: Any, **kwargs: Any) -> Any:
        calls.add(name)
        return inner(*args, **kwargs)

    return outer
