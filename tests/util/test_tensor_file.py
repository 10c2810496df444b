"""Files of tensors: equal content gives equal bytes, and damage is found."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ttt_bench.errors import DamagedError, DataError
from ttt_bench.util import tensor_file

TENSORS = {
    "b": torch.arange(6, dtype=torch.float64).reshape(2, 3),
    "a": torch.tensor([True])[0],
    "half": torch.ones(3, dtype=torch.bfloat16),
    "empty": torch.empty(0, 2),
}
ABOUT = {"unit": 3, "losses": [(0, 0.1), (1, 1e-300)], "steps": {1: "x", 10: "y", 9: "z"}}


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    tensor_file.save(path, TENSORS, ABOUT)
    tensors, about = tensor_file.load(path)
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert about == tensor_file.description(path)
    assert about["losses"] == [[0, 0.1], [1, 1e-300]]
    assert "digest" not in about


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / "first.safetensors", tmp_path / "second.safetensors"]
    for path in paths:
        tensor_file.save(path, TENSORS, ABOUT)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with safe_open(paths[0], framework="pt") as file:
        # the order of several entries differs from process to process
        assert list(file.metadata()) == ["about"]


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    tensor_file.save(path, TENSORS, ABOUT)
    whole = path.read_bytes()
    for bit in np.random.default_rng(0).integers(0, 8 * len(whole), 150):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(DamagedError, match=r"file.safetensors is damaged"):
            tensor_file.load(path, ABOUT)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 8, b"\x00" * 100, b"[" * 100])
def test_what_is_no_file_of_tensors_is_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.safetensors"
    path.write_bytes(content)
    for read in (tensor_file.load, tensor_file.description):
        with pytest.raises(DamagedError):
            read(path)


def test_a_file_of_another_key_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    tensor_file.save(path, TENSORS, {"stage": "shared"})
    with pytest.raises(DamagedError, match="something else than its name says"):
        tensor_file.load(path, {"stage": "base"})


def test_a_file_without_a_digest_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    save_file({"a": torch.ones(2)}, path, metadata={"about": '{"unit": 1}'})
    with pytest.raises(DamagedError, match="no digest"):
        tensor_file.load(path, {"unit": 1})


def test_a_missing_file_a_folder_and_a_pipe_are_not_damaged(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path / "nothing", "no such file"),
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is a named pipe"),
    ):
        with pytest.raises(DataError, match=words):
            tensor_file.load(path)
