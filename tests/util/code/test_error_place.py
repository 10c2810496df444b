"""The place of an error in a plugin's code."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from ttt_bench.util.code.error_place import describe, where

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


def test_an_error_without_a_message_is_described_by_its_type() -> None:
    assert describe(AssertionError()) == "AssertionError (an unknown line)"
