"""Plugins: found without importing, and named when they do not fit."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from ttt_bench import registry
from ttt_bench.errors import BenchError
from ttt_bench.registry import load_method, registered
from ttt_bench.util.hashing import code_hash, hash_of, hash_source


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Adds entry points of modules written on the spot."""
    real = list(registry.entry_points(group=registry.GROUP))
    monkeypatch.syspath_prepend(tmp_path)

    def add(name: str, module: str, text: str) -> None:
        (tmp_path / f"{module}.py").write_text(text)
        real.append(EntryPoint(name, f"{module}:Method", registry.GROUP))
        monkeypatch.setattr(registry, "entry_points", lambda group: real)

    return add


GOOD = "from support.toy import Toy\nclass Method(Toy):\n    name = 'mine'\n"


def test_a_new_entry_point_is_enough(plugins: Any) -> None:
    plugins("mine", "a_plugin", GOOD)
    assert list(registered())[-1] == "mine", "the papers' rows come first"
    assert load_method("mine").name == "mine"


def test_a_listing_imports_no_plugin(plugins: Any) -> None:
    plugins("mine", "broken_plugin", "raise RuntimeError('imported')")
    assert "mine" in registered()
    with pytest.raises(
        BenchError, match=r"'mine' \(broken_plugin:Method, .*does not import: imported"
    ):
        load_method("mine")


def test_what_is_no_adapter_is_refused(plugins: Any) -> None:
    plugins("mine", "odd_plugin", "class Method: pass")
    with pytest.raises(BenchError, match="no subclass"):
        load_method("mine")
    plugins("other", "misnamed_plugin", GOOD)
    with pytest.raises(BenchError, match=r"'other' .*calls itself 'mine'"):
        load_method("other")


def test_a_clash_names_both_sides(plugins: Any) -> None:
    plugins("tent", "rival_plugin", GOOD)
    with pytest.raises(
        BenchError, match=r"two methods are called 'tent': .*tent:Tent.*rival_plugin:Method"
    ):
        registered()


def test_code_is_hashed_without_comments_and_docstrings() -> None:
    plain = "def f(x):\n    return x + 1\n"
    talkative = '"""Module."""\n\n\ndef f(x):  # a comment\n    """Says."""\n    return (x +\n            1)\n'
    assert hash_source(plain) == hash_source(talkative)
    assert hash_source(plain) != hash_source(plain.replace("1", "2"))
    assert hash_of({"a": 1, "b": [2]}) == hash_of({"b": [2], "a": 1})


def test_the_code_of_a_private_module_beside_a_method_counts(plugins: Any, tmp_path: Path) -> None:
    plugins("mine", "split_plugin", f"from _split_part import VALUE\nimport support.toy\n{GOOD}")
    part, other = tmp_path / "_split_part.py", tmp_path / "_no_part.py"
    hashes = []
    for text in ("VALUE = 1\n", "VALUE = 1  # a comment\n", "VALUE = 2\n"):
        part.write_text(text)
        other.write_text(text)
        hashes.append(code_hash(load_method("mine")))
    assert hashes[0] == hashes[1] != hashes[2]
    plugins("whole", "whole_plugin", GOOD.replace("mine", "whole"))
    assert code_hash(load_method("whole")) == hash_source(GOOD.replace("mine", "whole"))
