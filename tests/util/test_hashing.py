"""Hashes of code cover every private module that a method uses, and the whole harness."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from ttt_bench.util import hashing
from ttt_bench.util.hashing import (
    code_hash,
    entry_texts,
    harness_hash,
    hash_of,
    hash_of_entries,
    hash_source,
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A method whose private module imports another private module."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "hashed_method.py").write_text("from _hashed_net import A\nclass Method: pass\n")
    (tmp_path / "_hashed_net.py").write_text("import _hashed_options\nA = 1\n")
    (tmp_path / "_hashed_options.py").write_text("B = 1\n")
    return tmp_path


def test_private_modules_count_through_each_other(package: Path) -> None:
    method = importlib.import_module("hashed_method").Method
    before = code_hash(method)
    (package / "_hashed_options.py").write_text("B = 1  # a comment\n")
    assert code_hash(method) == before
    (package / "_hashed_options.py").write_text("B = 2\n")
    assert code_hash(method) != before


def test_the_harness_s_hash_covers_every_layer_without_the_methods(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[str] = []

    def recording(source: str) -> str:
        read.append(source)
        return hash_source(source)

    monkeypatch.setattr(hashing, "hash_source", recording)
    harness_hash.__wrapped__()
    package = Path(hashing.__file__).parents[1]
    for module in ("errors.py", "util/hashing.py", "adapt/session.py"):
        assert (package / module).read_text(encoding="utf-8") in read
    assert (package / "methods" / "tent.py").read_text(encoding="utf-8") not in read


def test_the_hash_of_entries_is_that_of_their_dictionary() -> None:
    shared = {"b": [1.5, None, {"z": 1, "a": "é\n"}], "B": (2, True), 'quoted "': Path("a")}
    own = {"a": 1, "b": "another value"}
    assert hash_of_entries({**entry_texts(shared), **entry_texts(own)}) == hash_of(shared | own)
    assert hash_of_entries({}) == hash_of({})
