"""The Python interface does the same as the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.toy import Toy

import ttt_bench
from ttt_bench.adapter import Adapter
from ttt_bench.errors import BenchError
from ttt_bench.registry import METHODS


def test_run_and_report(tmp_path: Path) -> None:
    settings = {"methods": ("base", "norm"), "preset": "smoke", "device": "cpu", "seeds": (0, 1)}
    rows = ttt_bench.run(**settings, results=tmp_path / "results")
    assert set(rows.method) == {"base", "norm"}
    assert set(rows.seed) == {0, 1}
    assert rows.equals(ttt_bench.read_results(tmp_path / "results"))
    rendered = ttt_bench.write_report(tmp_path / "results", tmp_path / "report")
    assert rendered.page.is_file()


def test_the_package_lists_its_public_names() -> None:
    classes, functions = ["BenchError", "Results", "SweepError"], ["read_results", "run"]
    assert dir(ttt_bench) == [*classes, "__version__", "open_results", *functions, "write_report"]
    assert all(getattr(ttt_bench, name) for name in dir(ttt_bench))


class Raises(Toy):
    """Raises an error in every step."""

    name = "raises"

    def step(self, *args: Any) -> Any:
        raise KeyError("oh no")


SMOKE: dict[str, Any] = {"preset": "smoke", "device": "cpu", "check": False}


def test_failed_cells_end_in_an_error_with_the_rows_of_all_others(tmp_path: Path) -> None:
    with pytest.raises(ttt_bench.SweepError) as caught:
        ttt_bench.run(methods=(Raises, "base", Toy), results=tmp_path, **SMOKE)
    error = caught.value
    assert isinstance(error, BenchError)
    assert error.rows.equals(ttt_bench.read_results(tmp_path))
    assert set(error.rows.method) == {"base", "toy"}
    first, second = str(error).splitlines()
    assert first.startswith("cells without results: 1 failed; the rows of all others are in ")
    assert "raises on rooms:rooms-mix, online (seed 0) failed: KeyError: 'oh no' (test_api.py:" in (
        second
    )
    (cell,) = error.failed
    assert (cell.method, cell.seed) == ("raises", 0)
    assert "oh no" in cell.attempts.read_text(encoding="utf-8")
    assert "raises" not in METHODS.names()


def test_a_class_that_is_registered_is_that_method(tmp_path: Path) -> None:
    rows = ttt_bench.run(methods=METHODS.load("base"), results=tmp_path, **SMOKE)
    assert set(rows.method) == {"base"}


class Other(Toy):
    name = "tent"


class Unfinished(Adapter):
    name = "unfinished"


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Toy(), "give the class Toy, not an instance; set its options with set={'toy.OPTION'"),
        (int, "int must be a subclass of ttt_bench.adapter.Adapter"),
        (Unfinished, "Unfinished does not define bind, step; has no `card`"),
        (Other, "2 methods are called 'tent'"),
        (3, "methods"),
    ],
)
def test_objects_that_are_no_methods_are_refused(tmp_path: Path, method: Any, message: str) -> None:
    with pytest.raises(BenchError, match=re.escape(message)):
        ttt_bench.run(methods=("base", method), results=tmp_path, **SMOKE)


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="did you mean methods"):
        ttt_bench.run(method="base", results=tmp_path)
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        ttt_bench.walk()
