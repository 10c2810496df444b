"""Hashes of code cover every private module that a method uses, and the whole harness."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import ttt_bench
from ttt_bench.util import hashing
from ttt_bench.util.hashing import (
    code_hash,
    entry_texts,
    harness_hash,
    hash_of,
    hash_of_entries,
    package_hash,
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


def test_a_package_s_hash_covers_every_layer_without_the_subfolder(tmp_path: Path) -> None:
    for name in ("errors.py", "adapt/session.py", "methods/tent.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("A = 1\n")
    before = package_hash(tmp_path, without="methods")
    (tmp_path / "methods" / "tent.py").write_text("A = 2\n")
    assert package_hash(tmp_path, without="methods") == before
    (tmp_path / "adapt" / "session.py").write_text("A = 2\n")
    changed = package_hash(tmp_path, without="methods")
    assert changed != before
    (tmp_path / "adapt" / "session.py").rename(tmp_path / "session.py")
    assert package_hash(tmp_path, without="methods") not in (before, changed)


def test_the_harness_s_hash_reads_its_own_package(monkeypatch: pytest.MonkeyPatch) -> None:
    roots: list[tuple[Path, str]] = []
    monkeypatch.setattr(
        hashing, "package_hash", lambda root, without: roots.append((root, without))
    )
    harness_hash.__wrapped__()
    assert roots == [(Path(ttt_bench.__file__).parent, "methods")]


def test_the_hash_of_entries_is_that_of_their_dictionary() -> None:
    shared = {"b": [1.5, None, {"z": 1, "a": "é\n"}], "B": (2, True), 'quoted "': Path("a")}
    own = {"a": 1, "b": "another value"}
    assert hash_of_entries({**entry_texts(shared), **entry_texts(own)}) == hash_of(shared | own)
    assert hash_of_entries({}) == hash_of({})
