from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image
from support.files.pascal_files import CONTEXT, view, voc_palette, write_labels
from support.files.taskonomy_files import cut

from ttt_bench.data.pascal import decode, ids
from ttt_bench.errors import DataError


def fails(path: Path, part: str, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        decode.read(path, part)
    for word in (str(path), *words):
        assert word in str(caught.value)


@pytest.fixture
def mat(tmp_path: Path) -> Any:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"LabelMap": view().context}, do_compression=True)
    return path


def test_the_palette_is_that_of_voc() -> None:
    palette = np.array(voc_palette()).reshape(256, 3)
    assert palette[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert palette[15].tolist() == [192, 128, 128]
    assert palette[255].tolist() == [224, 224, 192]


def test_palette_pictures_give_their_indices(tmp_path: Path) -> None:
    write_labels(tmp_path, "a", view().voc, voc=True)
    path = tmp_path / "semseg" / "VOC12" / "a.png"
    assert Image.open(path).mode == "P"
    read = decode.read(path, "semseg")
    assert np.array_equal(read[2:-2, 2:-2], view().voc[2:-2, 2:-2])
    assert (read[0] == 255).all()
    with Image.open(path) as picture:
        picture.convert("RGB").save(path)
    fails(path, "semseg", "8-bit RGB, expected 8-bit with one channel")
    Image.fromarray(np.array([[3, 21]], np.uint8)).save(path)
    fails(path, "semseg", "label 21 is out of range, expected 0..20 or 255")


def test_label_maps_read_back(mat: Any) -> None:
    read = decode.read(mat, "context")
    assert read.dtype == np.uint16
    assert np.array_equal(read, view().context)
    assert set(np.unique(read)) == set(CONTEXT)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64])
def test_label_maps_of_any_number_type(tmp_path: Path, dtype: Any) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"LabelMap": np.array([[1, 7], [0, 200]], dtype)})
    assert decode.read(tmp_path / "a.mat", "context").tolist() == [[1, 7], [0, 200]]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.array([[1, 460]], np.uint16), "LabelMap holds 460, expected whole numbers 0..459"),
        (np.array([[0.5]]), "whole numbers"),
        (np.ones((2, 2, 3), np.uint16), "of shape (2, 2, 3), expected integers (H, W)"),
        (np.array([["a"]]), "expected integers"),
    ],
)
def test_invalid_label_maps_are_refused(tmp_path: Path, labels: np.ndarray, words: str) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"LabelMap": labels})
    fails(tmp_path / "a.mat", "context", words)


def test_label_files_that_are_damaged(mat: Any, tmp_path: Path) -> None:
    whole = mat.read_bytes()
    cut(mat)
    fails(mat, "context", "truncated")
    mat.write_bytes(whole[:200] + bytes(100) + whole[300:])
    fails(mat, "context")
    mat.write_text("<html>404</html>")
    fails(mat, "context", "not a MATLAB 5 file")
    mat.write_bytes(b"")
    fails(mat, "context", "empty file")
    mat.unlink()
    fails(mat, "context", "no such file")
    scipy.io.savemat(mat, {"labels": view().context})
    fails(mat, "context", "no variable LabelMap")


def test_the_ids_are_as_published() -> None:
    assert len(ids.CONTEXT_OF_VOC) == 21
    assert len(ids.NORMALS_VALID) == len(set(ids.NORMALS_VALID)) == 170
    assert list(ids.NORMALS_VALID) == sorted(ids.NORMALS_VALID)
    table = ids.voc_table()
    assert {context: int(table[context]) for context in (397, 427, 34, 368, 308, 72, 408, 431)} == {
        397: 11, 427: 20, 34: 5, 368: 18, 308: 16, 72: 9, 408: 0, 431: 0
    }  # fmt: skip
    valid = ids.normals_valid()
    assert valid.shape == (460,)
    assert valid[[23, 59, 65, 113, 284, 427, 440, 158, 408]].all(), (
        "bicycle, car, cat, dog, person, tv, ..."
    )
    assert not valid[[0, 308, 360, 431]].any(), "pottedplant, sky, unknown"
