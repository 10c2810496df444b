"""Measurements that are no cells, on disk."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ttt_bench.results import measurements

ROWS = pd.DataFrame({"phase": ["predict", "step"], "median": [0.25, 1.5], "repeats": [5, 7]})


def _write(folder: Path, key: str = "0123456789ab", notices: list[str] | None = None) -> Path:
    return measurements.write(
        folder,
        "timings",
        name="tent",
        key=key,
        manifest={"method": "tent", "device": "cpu"},
        rows=ROWS,
        notice=(notices if notices is not None else []).append,
    )


def test_a_measurement_is_read_as_it_was_written(tmp_path: Path) -> None:
    _write(tmp_path)
    (found,), problems = measurements.read(tmp_path, "timings")
    assert not problems
    assert (found.key, found.manifest["device"]) == ("0123456789ab", "cpu")
    pd.testing.assert_frame_equal(found.rows, ROWS)
    assert measurements.is_stored(tmp_path, "timings", name="tent", key="0123456789ab")
    assert not measurements.is_stored(tmp_path, "timings", name="tent", key="ffffffffffff")


def test_a_damaged_measurement_is_named_and_left_out(tmp_path: Path) -> None:
    damaged, whole = _write(tmp_path), _write(tmp_path, "aaaaaaaaaaaa")
    content = bytearray((damaged / "rows.parquet").read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / "rows.parquet").write_bytes(content)
    found, problems = measurements.read(tmp_path, "timings")
    assert [one.key for one in found] == ["aaaaaaaaaaaa"]
    assert len(problems) == 1
    assert str(damaged / "rows.parquet") in problems[0]
    assert not measurements.is_stored(tmp_path, "timings", name="tent", key="0123456789ab")
    notices: list[str] = []
    _write(tmp_path, notices=notices)
    assert measurements.is_stored(tmp_path, "timings", name="tent", key="0123456789ab")
    assert whole.is_dir()
    assert [str(damaged / "rows.parquet") in notice for notice in notices] == [True]
    kept = tmp_path / "quarantine" / damaged.relative_to(tmp_path)
    assert (kept / "rows.parquet").read_bytes() == content


def test_a_folder_without_measurements_has_none(tmp_path: Path) -> None:
    assert measurements.read(tmp_path, "timings") == ([], [])
