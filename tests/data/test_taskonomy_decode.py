from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.files.scenes import scene
from support.files.taskonomy_files import cut, rewrite

from ttt_bench.data.taskonomy import decode
from ttt_bench.errors import DataError

NATIVE = scene(64).native
DOMAIN = {
    "rgb": "rgb",
    "semseg": "segment_semantic",
    "depth": "depth_zbuffer",
    "normals": "normal",
    "edge": "edge_occlusion",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "point_0_view_0_domain_x.png"


def fails(path: Path, part: str, *words: str) -> None:
    with pytest.raises(DataError) as caught:
        decode.read(path, part)
    for word in (str(path), *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("part", DOMAIN)
def test_every_part_reads_back_exactly(path: Path, part: str) -> None:
    rewrite(path, NATIVE[DOMAIN[part]])
    read = decode.read(path, part)
    assert read.dtype == NATIVE[DOMAIN[part]].dtype
    assert np.array_equal(read, NATIVE[DOMAIN[part]])
    assert decode.size_of(path, part) == (64, 64)


@pytest.mark.parametrize("part", DOMAIN)
def test_a_truncated_file(path: Path, part: str) -> None:
    noise = (
        np.random.default_rng(0)
        .integers(0, 200, NATIVE[DOMAIN[part]].shape)
        .astype(NATIVE[DOMAIN[part]].dtype)
    )
    rewrite(path, noise)
    cut(path)
    fails(path, part, "truncated or damaged")


def test_empty_missing_and_foreign_files(path: Path) -> None:
    fails(path, "rgb", "no such file")
    path.touch()
    fails(path, "rgb", "empty file (0 bytes)")
    path.write_text("<html>not found</html>")
    fails(path, "rgb", "not a PNG or JPEG image")


def test_eight_bit_depth_is_refused(path: Path) -> None:
    rewrite(path, (NATIVE["depth_zbuffer"] // 256).astype(np.uint8))
    fails(path, "depth", "8-bit grey, expected 16-bit grey")
    fails(path, "edge", "8-bit grey, expected 16-bit grey")


def test_other_modes_are_refused(path: Path) -> None:
    rewrite(path, NATIVE["rgb"])
    fails(path, "semseg", "8-bit RGB, expected 8-bit with one channel")
    rewrite(path, NATIVE["rgb"][..., 0])
    fails(path, "rgb", "8-bit grey, expected 8-bit RGB")
    rewrite(path, NATIVE["depth_zbuffer"])
    fails(path, "semseg", "16-bit grey, expected 8-bit")
    Image.fromarray(NATIVE["rgb"]).convert("RGBA").save(path)
    fails(path, "normals", "with alpha, expected 8-bit RGB")


def test_palette_labels_read_as_indices(path: Path) -> None:
    picture = Image.fromarray(NATIVE["segment_semantic"]).convert("P")
    picture.putdata(NATIVE["segment_semantic"].ravel().tolist())
    picture.putpalette([value for colour in range(256) for value in (255 - colour, colour, 7)])
    picture.save(path)
    assert Image.open(path).mode == "P"
    assert np.array_equal(decode.read(path, "semseg"), NATIVE["segment_semantic"])


def test_labels_out_of_range(path: Path) -> None:
    labels = NATIVE["segment_semantic"].copy()
    labels[3, 3] = 18
    rewrite(path, labels)
    fails(path, "semseg", "label 18 is out of range, expected 0..17")


def test_all_sixteen_bit_counts_survive(path: Path) -> None:
    counts = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    rewrite(path, counts)
    assert np.array_equal(decode.read(path, "depth"), counts)
