"""The rows of many cells as one frame."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.paths import HISTORIC
from support.synthetic import add_cell, gains

import ttt_bench
from ttt_bench.errors import BenchError
from ttt_bench.results import schema, store
from ttt_bench.results.load import load, plain


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a results folder with cells of two pairs, and one without numbers."""
    add_cell(tmp_path, "base", gains(0, 0), config="a", finished="2025-01-01T10:00:00+00:00")
    add_cell(tmp_path, "tent", gains(1, 2, 3, 4), pair="rooms:dim", seed=3, config="b")
    add_cell(tmp_path, "tipi", state="failed", reason="out of memory", config="c")
    return tmp_path


def one_by_one(folder: Path) -> pd.DataFrame:
    """Return the rows of all done cells, each read by pandas alone."""
    paths = sorted(folder.rglob("rows.parquet"))
    return pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)


def test_all_readers_give_the_stored_rows(folder: Path) -> None:
    expected = one_by_one(folder)
    pd.testing.assert_frame_equal(ttt_bench.read_results(folder), expected)
    rows = load(folder).rows
    assert all(rows[name].dtype == "category" for name in ("pair", "metric", "folder"))
    columns = list(schema.ROW_COLUMNS)
    pd.testing.assert_frame_equal(plain(rows)[columns], expected, check_dtype=False)
    assert set(rows["folder"]) == {str(path.parent) for path in folder.rglob("rows.parquet")}


def test_rows_of_version_1_have_an_empty_class() -> None:
    rows = load(HISTORIC / "schema_1").rows
    assert set(rows["class"]) == {""}
    assert rows["value"].tolist() == one_by_one(HISTORIC / "schema_1")["value"].tolist()


def test_a_column_of_another_type_is_damage(folder: Path) -> None:
    cell = add_cell(folder, "norm", gains(1, 2), config="d")
    rows = store.read_table(cell, "rows").assign(step="first")
    files = store.CellFiles(manifest=store.read_cell(cell) or {}, attempts={}, rows=rows)
    store.write_cell(cell, files)
    with pytest.raises(BenchError, match=r"rows\.parquet is damaged .*first"):
        ttt_bench.read_results(folder)
    loaded = load(folder)
    assert len(loaded.problems) == 1
    pd.testing.assert_frame_equal(
        plain(loaded.rows)[["value"]], one_by_one(folder).query("method != 'norm'")[["value"]]
    )
