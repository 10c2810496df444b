"""Errors of the operating system become one line with the file, the real cause and advice."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
import torch

from ttt_bench.errors import BenchError, DataError
from ttt_bench.util.os_errors import (
    advice,
    explained,
    explained_reading,
    is_out_of_memory,
    out_of_memory,
    unusable,
)

SPACE = ("free some space", "make room")


def error_of(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("EACCES", "permissions"),
        ("EPERM", "permissions"),
        ("EROFS", "read-only"),
        ("ENAMETOOLONG", "shorter names"),
        ("EISDIR", "it is a folder"),
        ("ENOTDIR", "a part of its path is a file"),
        ("EMLINK", "as many entries"),
        ("ESTALE", "network file system"),
        ("EIO", "disk"),
        ("EAGAIN", "another program"),
        ("EBUSY", "another program"),
        ("ENOLCK", "locks"),
        ("ELOOP", "link"),
        ("EEXIST", "exists already"),
        ("ENOENT", "missing"),
        ("EMFILE", "ulimit -n"),
    ],
)
def test_each_cause_has_its_own_advice_and_none_is_taken_for_a_full_disk(
    tmp_path: Path, name: str, words: str
) -> None:
    error = error_of(getattr(errno, name), tmp_path / "file")
    with pytest.raises(BenchError, match=words) as caught, explained(tmp_path, "use --out"):
        raise error
    message = str(caught.value)
    assert os.strerror(error.errno) in message
    assert str(tmp_path / "file") in message
    assert not any(word in message for word in SPACE)
    assert message.endswith(", or use --out")
    assert "\n" not in message


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT"])
def test_space_is_asked_for_if_the_disk_or_the_quota_is_full(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(BenchError, match=r"free some space; the rest stays$"),
        explained(tmp_path, note="the rest stays"),
    ):
        raise error_of(getattr(errno, name), tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I/O error: No space left on device (os error 28)", "free some space"),
        ("unable to lock file, errno = 11, error message = ...", "another program"),
        ("[Errno 5] Input/output error", "disk"),
    ],
)
def test_the_number_in_the_text_of_a_library_s_error_counts(text: str, words: str) -> None:
    assert words in advice(ValueError(text))


def test_an_error_without_a_number_keeps_its_text(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchError, match=r"cannot be written \(encoder error -2\); use --out$"),
        explained(tmp_path, "use --out"),
    ):
        raise OSError("encoder error -2")


def test_a_failed_read_names_the_file_that_the_system_names(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with (
        pytest.raises(DataError, match=rf"^Rooms: {file} cannot be read \(Permission denied\); "),
        explained_reading(tmp_path, "Rooms"),
    ):
        raise error_of(errno.EACCES, file)
    with pytest.raises(DataError, match=rf"^{file}: no such file$"), explained_reading(tmp_path):
        file.read_bytes()
    with pytest.raises(DataError, match="it is a folder"), explained_reading(file):
        tmp_path.read_bytes()


def test_an_error_that_nothing_else_explains_names_its_file(tmp_path: Path) -> None:
    message = str(unusable(error_of(errno.EROFS, tmp_path / "a")))
    assert message.startswith(f"{tmp_path / 'a'} cannot be used (Read-only file system); ")


def test_other_exceptions_pass(tmp_path: Path) -> None:
    with pytest.raises(KeyError), explained(tmp_path):
        raise KeyError
    with pytest.raises(ValueError, match="x"), explained_reading(tmp_path):
        raise ValueError("x")


def test_memory_that_is_refused_is_one_line() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 60, dtype=torch.uint8)
    for error in (refused.value, MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")):
        assert is_out_of_memory(error)
        assert re.fullmatch(r"out of memory \(\S.*\); .*--set batch=N.*", out_of_memory(error))
    assert not is_out_of_memory(RuntimeError("shapes differ"))
