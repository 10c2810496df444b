"""The place of an error in a plugin's code."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from ttt_bench.adapter import Optimiser
from ttt_bench.util.code.error_place import describe, where
from ttt_bench.util.input.validation import Strict

SOURCE = """\
import torch


class Parent:
    def step(self, images):
        return torch.cat([images, self.other()])


class Child(Parent):
    def other(self):
        return 1 + [
            "a"
        ]
"""


@pytest.fixture
def plugin() -> ModuleType:
    """Return a module of a plugin."""
    module = ModuleType("plugin.methods.steps")
    exec(compile(SOURCE, "/somewhere/plugin/methods/steps.py", "exec"), module.__dict__)
    return module


def test_the_innermost_line_of_the_plugin_is_named(plugin: ModuleType) -> None:
    with pytest.raises(TypeError) as caught:
        plugin.Child().step(torch.zeros(1))
    assert where(caught.value, plugin.Child) == "steps.py:11 in other"


def test_lines_of_libraries_are_skipped(plugin: ModuleType) -> None:
    def fails(images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(images, images[None])

    child = plugin.Child()
    child.other = lambda: fails(torch.zeros(2, 3))
    with pytest.raises((RuntimeError, ValueError)) as caught:
        child.step(torch.zeros(1))
    assert where(caught.value, plugin.Child) == "steps.py:6 in step"
    assert where(caught.value).startswith("functional.py:")


def test_an_error_that_was_not_raised_has_no_line() -> None:
    assert where(ValueError("a")) == "an unknown line"


class Outer(Strict):
    inner: Optimiser


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Optimiser(name="adamw"),
            r"Optimiser\.name: unknown setting 'name'; available: be",
        ),
        (
            lambda: Optimiser(optimizer="adam", lr=-1.0),
            r"Optimiser\.lr: .* 0, got -1\.0; Optimiser\.optimizer: .* did you mean optimiser\?",
        ),
        (lambda: Optimiser(nesterov=True), "nesterov needs a momentum above 0"),
        (
            lambda: Outer(inner={"rate": 1}),
            r"Outer\.inner\.rate: .* did you mean rates\?",
        ),
    ],
)
def test_wrong_fields_of_a_declaration_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        make()
    found = describe(caught.value)
    assert re.match(message, found)
    assert re.search(r"\(test_error_place\.py:\d+ in <lambda>\)$", found)
    assert "pydantic" not in found


def test_an_error_without_a_message_is_described_by_its_type() -> None:
    assert describe(AssertionError()) == "AssertionError (an unknown line)"
