"""Listings on consoles of different widths."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ttt_bench.cli import output


@pytest.mark.parametrize("width", [20, 80])
def test_numbers_and_names_are_whole(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(output, "stdout", Console(width=width, file=file))
    row = {"method": "nc_ttt", "published": 165.0, "total": 165_423_973, "moved": 65_325_120}
    output.show([row], list(row), title="parameters", as_json=False)
    lines = file.getvalue().splitlines()
    assert all(len(line.split()) in (1, 4) for line in lines), "no name is broken"
    assert lines[-1].split() == ["nc_ttt", "165", "165,423,973", "65,325,120"]
    assert ["method", "published", "total", "moved"] in [line.split() for line in lines]
