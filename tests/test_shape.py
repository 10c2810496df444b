"""Bounds on the shape of the source that CONTRIBUTING states."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median, quantiles

import pytest
from support import shape
from support.paths import ROOT
from support.shape import Source, files, sources

FOLDERS = ("ttt_bench", "methods")
MOST_LINES = {"ttt_bench": 500, "methods": 400, "tests": 500, "benchmarks": 500}


@pytest.fixture(scope="module")
def modules() -> dict[str, list[Source]]:
    return {folder: sources(folder) for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS)
def test_functions_are_short(folder: str, modules: dict[str, list[Source]]) -> None:
    found = shape.lengths(modules[folder])
    assert median(found) <= 8
    assert quantiles(found, n=10)[-1] <= 20


@pytest.mark.parametrize("folder", MOST_LINES)
def test_modules_are_short(folder: str) -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files(folder)}
    assert not {path: count for path, count in lines.items() if count > MOST_LINES[folder]}


def test_folders_are_small() -> None:
    folders = [path for path in (ROOT / "ttt_bench").rglob("*") if path.is_dir()]
    folders = [path for path in folders if not path.is_symlink()]  # methods: one file per method
    crowded = {str(f): n for f in folders if (n := len(list(f.glob("*.py")))) > 16}
    assert not crowded
    assert len(list((ROOT / "ttt_bench").glob("*.py"))) <= 10


@pytest.mark.parametrize(
    "places_of",
    [
        shape.nested_comprehensions,
        shape.nested_conditionals,
        shape.long_calls,
        shape.positional_records,
    ],
)
def test_no_line_hides_what_it_does(
    places_of: Callable[[list[Source]], list[str]], modules: dict[str, list[Source]]
) -> None:
    assert places_of([module for found in modules.values() for module in found]) == []
