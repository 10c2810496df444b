"""The Python interface does the same as the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

import ttt_bench
from ttt_bench.errors import BenchError


def test_run_and_report(tmp_path: Path) -> None:
    settings = {"methods": ("base", "norm"), "preset": "smoke", "device": "cpu", "seeds": (0, 1)}
    rows = ttt_bench.run(**settings, results=tmp_path / "results")
    assert set(rows.method) == {"base", "norm"}
    assert set(rows.seed) == {0, 1}
    assert rows.equals(ttt_bench.read_results(tmp_path / "results"))
    rendered = ttt_bench.write_report(tmp_path / "results", tmp_path / "report")
    assert rendered.page.is_file()


def test_the_package_lists_its_public_names() -> None:
    assert dir(ttt_bench) == ["__version__", "read_results", "run", "write_report"]


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="did you mean methods"):
        ttt_bench.run(method="base", results=tmp_path)
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        ttt_bench.walk()
