from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.files.nyud_files import LABELS
from support.files.taskonomy_files import cut

from ttt_bench.data.nyud import decode, targets
from ttt_bench.errors import DataError

DRAW = np.random.default_rng(0)


def fails(path: Path, part: str, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        decode.read(path, part)
    for word in (str(path), *words):
        assert word in str(caught.value)


def saved(path: Path, array: np.ndarray) -> Any:
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        Image.fromarray(array).save(path)
    return path


def test_photographs_of_either_kind(tmp_path: Path) -> None:
    rgb = DRAW.integers(0, 255, (8, 12, 3), dtype=np.uint8)
    assert np.array_equal(decode.read(saved(tmp_path / "a.png", rgb), "image"), rgb)
    assert decode.read(saved(tmp_path / "a.jpg", rgb), "image").shape == (8, 12, 3)
    fails(saved(tmp_path / "g.png", rgb[..., 0]), "image", "8-bit grey, expected 8-bit RGB")
    (tmp_path / "t.jpg").write_text("<html>404</html>")
    fails(tmp_path / "t.jpg", "image", "not a PNG or JPEG image")
    fails(tmp_path / "none.jpg", "image", "no such file")


def test_labels_grey_or_palette(tmp_path: Path) -> None:
    labels = np.array(LABELS, np.uint8).reshape(2, 4)
    path = saved(tmp_path / "l.png", labels)
    assert np.array_equal(decode.read(path, "semseg"), labels)
    picture = Image.fromarray(labels).convert("P")
    picture.putdata(labels.ravel().tolist())
    picture.putpalette([255 - number for number in range(256)] * 3)
    picture.save(path)
    assert np.array_equal(decode.read(path, "semseg"), labels)
    labels[0, 0] = 41
    fails(saved(path, labels), "semseg", "label 41 is out of range, expected 0..40")


@pytest.mark.parametrize("void", [254, 255])
def test_labels_that_were_lowered_already(tmp_path: Path, void: int) -> None:
    lowered = np.array([[0, 3, 39], [void, 6, 23]], np.uint8)
    fails(saved(tmp_path / "l.png", lowered), "semseg", "lowered by one already", "VainF", "1..40")
    # with 40 among them they are not lowered, just wrong
    lowered[0, 0] = 40
    fails(saved(tmp_path / "l.png", lowered), "semseg", f"label {void} is out of range")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("channels", [(), (1,)])
def test_depth_of_any_float_and_either_shape(tmp_path: Path, dtype: Any, channels: Any) -> None:
    metres = np.array([[0.0, 1.5], [9.75, 3.25]])
    read = decode.read(
        saved(tmp_path / "d.npy", metres.reshape(2, 2, *channels).astype(dtype)), "depth"
    )
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, metres)
    np.testing.assert_array_equal(targets.depth(read), [[[255, 1.5], [9.75, 3.25]]])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((2, 2), 2700, np.uint16), "depth as uint16, expected floating-point metres"),
        (np.full((2, 2), 2700.0), "2700 m is out of range, expected 0..100 metres"),
        (np.full((2, 2), -1.0), "-1 m is out of range"),
        (np.array([[1.0, np.nan]]), "not finite"),
        (np.ones((2, 2, 3)), "float64 of shape (2, 2, 3), expected (H, W)"),
        (np.ones((0, 4)), "of shape (0, 4)"),
        (np.ones(4), "of shape (4,)"),
    ],
)
def test_invalid_depth_is_refused(tmp_path: Path, array: np.ndarray, words: str) -> None:
    fails(saved(tmp_path / "d.npy", array), "depth", words)


def test_damaged_arrays_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "d.npy", np.ones((40, 40)))
    cut(path)
    fails(path, "depth", "truncated")
    path.write_bytes(b"")
    fails(path, "depth", "empty file")
    path.write_text("nothing of the kind")
    fails(path, "depth", "not an array in NumPy's format")
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    fails(path, "depth", "not an array")
    path.unlink()
    fails(path, "depth", "no such file")
    with path.open("wb") as file:
        np.savez(file, a=np.ones(3))
    fails(path, "depth", "an archive of arrays")


def test_normals_of_either_form(tmp_path: Path) -> None:
    vectors = np.array([[[0.0, 0.0, 0.0], [0.6, 0.0, -0.8]]])
    read = decode.read(saved(tmp_path / "n.npy", vectors), "normals")
    np.testing.assert_array_equal(read, vectors.astype(np.float32))
    picture = np.rint(127.5 + 127.5 * vectors).astype(np.uint8)
    assert np.array_equal(decode.read(saved(tmp_path / "n.png", picture), "normals"), picture)
    fails(saved(tmp_path / "n.npy", vectors * 255), "normals", "component of 204 is out of range")
    fails(
        saved(tmp_path / "n.npy", vectors[..., 0]),
        "normals",
        "expected floating-point vectors (H, W, 3)",
    )
    fails(saved(tmp_path / "n.npy", picture), "normals", "uint8 of shape (1, 2, 3)")
    fails(saved(tmp_path / "n.npy", vectors + np.inf), "normals", "not finite")


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float32])
def test_edges_of_either_form(tmp_path: Path, dtype: Any) -> None:
    edges = np.array([[0, 1, 1], [1, 0, 0]])
    read = decode.read(saved(tmp_path / "e.npy", edges.astype(dtype)), "edge")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, edges)
    np.testing.assert_array_equal(
        decode.read(saved(tmp_path / "e.png", (edges * 255).astype(np.uint8)), "edge"), edges
    )


def test_invalid_edges_are_refused(tmp_path: Path) -> None:
    fails(saved(tmp_path / "e.npy", np.full((2, 2), 255.0)), "edge", "not all in 0..1")
    fails(saved(tmp_path / "e.npy", np.full((2, 2), "1")), "edge", "not all in 0..1")
    fails(
        saved(tmp_path / "e.png", np.eye(4, dtype=np.uint8)),
        "edge",
        "edges of 0 and 1, expected 0 and 255",
    )


def unit_vectors() -> np.ndarray:
    """Return (40, 60, 3) random unit vectors that point towards the camera."""
    vectors = np.random.default_rng(0).normal(size=(40, 60, 3))
    vectors[..., 2] = -np.abs(vectors[..., 2])
    return vectors / np.linalg.norm(vectors, axis=2, keepdims=True)


@pytest.mark.parametrize(
    "stored",
    [
        (unit_vectors() + 1) / 2,
        unit_vectors() * 0.5,
        np.full((4, 4, 3), 0.2),
    ],
    ids=["between 0 and 1", "half of the length", "one short vector"],
)
def test_vectors_that_are_no_unit_vectors_are_refused(tmp_path: Path, stored: np.ndarray) -> None:
    fails(saved(tmp_path / "n.npy", stored), "normals", "expected 1 (0 for a missing normal)")


def test_unit_vectors_may_be_rounded_resized_and_missing(tmp_path: Path) -> None:
    exact = unit_vectors().astype(np.float32)
    rounded = np.rint(127.5 + 127.5 * exact) / 127.5 - 1  # as from an 8-bit file
    rounded[:30] = 0
    blended = exact.copy()
    blended[:, ::3] = (exact[:, ::3] + exact[:, 1::3]) / 2  # a third of them, at borders
    for stored in (exact, rounded, blended, np.zeros((4, 4, 3))):
        read = decode.read(saved(tmp_path / "n.npy", stored.astype(np.float32)), "normals")
        np.testing.assert_array_equal(read, stored.astype(np.float32))
