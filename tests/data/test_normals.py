from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ttt_bench.data.images.normals import (
    EVERY_AXES,
    HARNESS_AXES,
    NYUD_AXES,
    file_vectors,
    to_harness,
    unit_normals,
)
from ttt_bench.data.listed.manifest import NAME, Manifest, read_manifest, update_manifest
from ttt_bench.errors import BenchError, DataError

VECTORS = np.float32([[[1.0]], [[2.0]], [[3.0]]])


def test_every_axes_is_another_signed_permutation() -> None:
    assert len(set(EVERY_AXES)) == 48
    found = {tuple(to_harness(VECTORS, axes)[:, 0, 0]) for axes in EVERY_AXES}
    assert len(found) == 48
    assert {tuple(sorted(map(abs, one))) for one in found} == {(1, 2, 3)}


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        (HARNESS_AXES, (1, 2, 3)),
        (NYUD_AXES, (-1, -2, -3)),
        ("forward / down / right", (3, 2, 1)),  # Ladicky's NYU maps: stored z, y, x
        ("right / up / backward", (1, -2, -3)),
        ("down / backward / left", (-3, 1, -2)),
    ],
)
def test_axes_name_where_the_channels_point(axes: Any, expected: tuple[int, int, int]) -> None:
    assert tuple(to_harness(VECTORS, axes)[:, 0, 0]) == expected


@pytest.mark.parametrize("axes", ["right / down", "right / left / up", "right/down/forward", ""])
def test_invalid_axes_are_refused(axes: str) -> None:
    with pytest.raises(BenchError, match="right / down / forward"):
        to_harness(VECTORS, axes)


def test_vectors_of_any_length_become_unit_vectors() -> None:
    vectors = np.zeros((3, 1, 2), np.float32)
    vectors[:, 0, 0] = (0, 0.3, 0.4)
    normals = unit_normals(vectors, NYUD_AXES)
    np.testing.assert_allclose(normals[:, 0, 0], [0, -0.6, -0.8], rtol=1e-6)
    assert (normals[:, 0, 1] == 255).all()


def test_middle_grey_is_a_missing_vector_by_default() -> None:
    rgb = np.array([[[128, 127, 128], [255, 0, 127]]], np.uint8)
    masked = file_vectors(rgb)
    assert (masked[:, 0, 0] == 0).all()
    np.testing.assert_allclose(masked[:, 0, 1], [1, -1, -0.5 / 127.5], rtol=1e-5)
    assert (file_vectors(rgb, masked=False)[:, 0, 0] != 0).all()


def test_a_manifest_is_stored_next_to_the_data(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) == Manifest()
    (tmp_path / NAME).write_text(json.dumps({"something": "of a later version"}))
    update_manifest(tmp_path, {"normal_axes": NYUD_AXES})
    update_manifest(tmp_path, {"derived": {"edge": "from labels"}})
    assert read_manifest(tmp_path) == Manifest(
        normal_axes=NYUD_AXES, derived={"edge": "from labels"}
    )
    assert json.loads((tmp_path / NAME).read_text())["something"] == "of a later version"
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"normal_axes": "left"}', '{"derived": ["edge"]}']
)
def test_the_message_on_a_damaged_manifest_states_the_remedy(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(DataError, match=r"ttt-bench\.json is damaged.*delete it.*data check"):
        read_manifest(tmp_path)


def test_a_manifest_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="cannot be written"):
        update_manifest(tmp_path / "nowhere", {})
