"""`data prepare` and `data check` as commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command import call
from support.files import nyud_files, pascal_files
from support.files.inside import as_picture, inside, stored
from support.files.raw_files import pack, write_classes, write_mat, write_splits
from support.files.taskonomy_files import file_of, folder_of, write


def test_taskonomy_from_archives_to_a_cache(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", ["ihlen"], "B")
    for domain in ("rgb", "depth_zbuffer", "normal", "edge_occlusion", "segment_semantic"):
        pack(
            tmp_path / "tars" / f"ihlen_{domain}.tar", folder_of(raw, "B", "ihlen", domain), domain
        )
    root = tmp_path / "root"
    code, _, err = call("data", "prepare", "taskonomy", tmp_path / "tars", "--data-root", root)
    assert code == 0
    assert f"unpacked 5 archives into {root / 'taskonomy'}" in err
    file_of(root / "taskonomy", "ihlen", "point_0_view_0", "edge_occlusion", "B").unlink()
    code, _, err = call("data", "prepare", "taskonomy", "--edges", "--data-root", root)
    assert code == 0
    assert "made 1 edge files" in err
    code, _, err = call(
        "data",
        "prepare",
        "taskonomy",
        "--size",
        "32",
        "--out",
        tmp_path / "small",
        "--data-root",
        root,
    )
    assert code == 0
    assert "a cache of 4 frames" in err
    assert call("data", "check", tmp_path / "small")[0] == 0
    assert json.loads((tmp_path / "small" / "taskonomy" / "ttt-bench.json").read_text())["cache"][
        "size"
    ] == [32, 32]
    code, _, err = call("data", "prepare", "taskonomy", "--size", "32", "--data-root", root)
    assert code == 2
    assert "give --size and --out together" in err


def test_nyud_in_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = pack(tmp_path / "NYUDv2.tar.gz", nyud_files.write(tmp_path / "source"), "NYUDv2")
    monkeypatch.setenv("TTT_BENCH_DATA", str(tmp_path / "a"))
    code, _, err = call("data", "prepare", "nyud", archive)
    assert code == 0
    assert f"ttt-bench data check {tmp_path / 'a'}" in err
    assert call("data", "check", tmp_path / "a")[0] == 0
    (tmp_path / "b" / "nyud").mkdir(parents=True)
    mat = write_mat(tmp_path / "b" / "nyud" / "nyu_depth_v2_labeled.mat")
    write_splits(mat.with_name("splits.mat"))
    write_classes(mat.with_name("classMapping40.mat"))
    assert call("data", "prepare", "nyud", "--mat", mat, "--data-root", tmp_path / "b")[0] == 0
    assert (tmp_path / "b" / "nyud" / "NYUDv2" / "gt_sets").is_dir()
    nyud_files.write(
        tmp_path / "c" / "nyud" / "NYUD_MT",
        "vandenhende",
        {"train": ["a"], "val": ["b"]},
        (480, 640),
    )
    assert call("data", "prepare", "nyud", "--crop", "--data-root", tmp_path / "c")[0] == 0
    code, _, err = call("data", "prepare", "nyud", archive, "--crop", "--data-root", tmp_path / "c")
    assert code == 2
    assert "give only one of an archive, --crop" in err


def test_pascal_in_three_ways(tmp_path: Path) -> None:
    source = pascal_files.write(tmp_path / "source")
    archive = pack(tmp_path / "PASCALContext.tar.gz", source, "PASCALContext")
    assert call("data", "prepare", "pascal", archive, "--data-root", tmp_path / "a")[0] == 0
    code, _, err = call("data", "prepare", "pascal", "--data-root", tmp_path / "a")
    assert code == 0, "again, on the folder that is there"
    raw = (
        "--voc",
        source,
        "--context",
        source / "pascal-context",
        "--lists",
        source / "ImageSets" / "Context",
    )
    code, _, err = call("data", "prepare", "pascal", *raw, "--data-root", tmp_path / "b")
    assert code == 0
    assert "the task normals is unavailable" in err
    code, _, err = call("data", "prepare", "pascal", archive, *raw, "--data-root", tmp_path / "c")
    assert code == 2
    assert "give an archive or raw sources, not both" in err


def test_a_folder_to_work_in_is_needed(tmp_path: Path) -> None:
    code, _, err = call("data", "prepare", "pascal")
    assert code == 2
    assert "--data-root" in err
    assert "TTT_BENCH_DATA" in err


def test_check_prints_a_table_or_json_and_stores_its_results_by_default(tmp_path: Path) -> None:
    root = nyud_files.write(tmp_path / "nyud")
    code, out, _ = call("data", "check", tmp_path, "--dry-run")
    assert code == 0
    assert not (root / "ttt-bench.json").exists()
    for words in ("level", "check", "finding", "fingerprint", "warning"):
        assert words in out
    code, out, _ = call("data", "check", tmp_path, "--json", "--strict")
    assert code == 1
    assert set(json.loads(out)[0]) == {"level", "check", "message", "path", "count"}
    assert json.loads((root / "ttt-bench.json").read_text())["checked"]
    np.save(nyud_files.file_of(root, "0003", "depth"), np.full((48, 64), -1.0, np.float32))
    assert call("data", "check", tmp_path, "--full")[0] == 2


def test_check_takes_a_single_normal_map(tmp_path: Path) -> None:
    vectors = stored(inside((72, 96)).vectors, "forward / down / right")
    Image.fromarray(as_picture(vectors)).save(tmp_path / "normal.png")
    code, out, _ = call("data", "check", tmp_path / "normal.png", "--json")
    assert code == 0
    assert "the channels are reversed" in json.loads(out)[0]["message"]
    assert call("data", "check", tmp_path / "normal.png", "--strict")[0] == 1
