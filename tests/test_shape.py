"""Bounds on the shape of the source that CONTRIBUTING states."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median, quantiles

import pytest
from support import shape
from support.paths import ROOT
from support.shape import Source, sources

SOURCES = {folder: sources(folder) for folder in ("ttt_bench", "methods")}
MOST_LINES = {"ttt_bench": 500, "methods": 400, "tests": 500, "benchmarks": 500}


@pytest.mark.parametrize("folder", SOURCES)
def test_functions_are_short(folder: str) -> None:
    found = shape.lengths(SOURCES[folder])
    assert median(found) <= 8
    assert quantiles(found, n=10)[-1] <= 20


@pytest.mark.parametrize("folder", MOST_LINES)
def test_modules_are_short(folder: str) -> None:
    long = {str(m.path): m.lines for m in sources(folder) if m.lines > MOST_LINES[folder]}
    assert not long


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
def test_no_line_hides_what_it_does(places_of: Callable[[list[Source]], list[str]]) -> None:
    assert places_of([*SOURCES["ttt_bench"], *SOURCES["methods"]]) == []
