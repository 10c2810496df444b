"""Paths that a person writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ttt_bench.errors import BenchError
from ttt_bench.util.paths import path_from_environment, user_path


def test_a_leading_tilde_is_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert user_path("~") == Path("/home/someone")
    assert user_path("~/a/~b") == Path("/home/someone/a/~b")
    assert user_path(Path("~/a")) == Path("/home/someone/a")
    assert user_path("a/~b") == Path("a/~b")


def test_a_folder_whose_name_begins_with_a_tilde_can_be_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    path = user_path("./~a")
    assert path == tmp_path / "~a"
    assert path.expanduser() == path, "a library that expands ~ finds the same folder"


@pytest.mark.parametrize("written", ["", "a\0b", "~no-such-user-of-this-machine/a", "s3://b/a"])
def test_what_is_no_path_is_refused(written: str) -> None:
    with pytest.raises(BenchError, match=r"is not a path|home folder is unknown|is a URL"):
        user_path(written)


def test_an_environment_variable_that_is_empty_names_no_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("SOME_FOLDER", "")
    assert path_from_environment("SOME_FOLDER") is None
    monkeypatch.setenv("SOME_FOLDER", "~/a")
    assert path_from_environment("SOME_FOLDER") == Path("/home/someone/a")
