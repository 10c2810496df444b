"""Results on disk: atomic, versioned, and damage is named."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.paths import HISTORIC, ROOT

import ttt_bench
from ttt_bench.errors import BenchError
from ttt_bench.metrics.base import all_metrics, metrics_of
from ttt_bench.results import schema, store
from ttt_bench.tasks import PAPER_TASKS

MANIFEST = {
    "state": "done",
    "reason": None,
    "schema_version": schema.SCHEMA_VERSION,
    "method": "tent",
}
ROW = {
    **dict.fromkeys(schema.ROW_COLUMNS, "x"),
    **dict.fromkeys(["seed", "steps", "step", "n"], 1),
    "value": 1.5,
    "schema_version": schema.SCHEMA_VERSION,
}


def written(root: Path, value: float = 1.5, **manifest: Any) -> Path:
    folder = store.cell_folder(root, "a:b", "tent", "hash")
    rows = pd.DataFrame([{**ROW, "value": value}])
    store.write_cell(
        folder,
        store.CellFiles(manifest={**MANIFEST, **manifest}, attempts={"attempts": []}, rows=rows),
    )
    return folder


def test_a_cell_is_replaced_whole(tmp_path: Path) -> None:
    folder = written(tmp_path)
    (folder / "losses.parquet").touch()
    assert written(tmp_path, value=2.5) == folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "attempts.json",
        "manifest.json",
        "rows.parquet",
    ]
    assert ttt_bench.read_results(tmp_path).value.tolist() == [2.5]
    assert ttt_bench.read_results(str(tmp_path)).shape == (1, len(schema.ROW_COLUMNS))
    assert [path.name for path in folder.parent.iterdir()] == [folder.name], (
        "no temporary file is left"
    )


def _write_equal_cells(root: Path, times: int) -> None:
    for _ in range(times):
        written(root)


def test_two_writers_of_equal_cells_and_a_reader_do_not_disturb_each_other(tmp_path: Path) -> None:
    written(tmp_path)
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_write_equal_cells, args=(tmp_path, 30)) for _ in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert ttt_bench.read_results(tmp_path).value.tolist() == [1.5]
    assert [writer.exitcode for writer in writers] == [0, 0]


def test_a_long_pair_has_a_short_folder_and_different_pairs_have_different_ones(
    tmp_path: Path,
) -> None:
    pairs = [f"rooms:rooms{'+gaussian_noise@0.1' * 40}{end}" for end in ("", "+jpeg@20")]
    folders = [store.cell_folder(tmp_path, pair, "m" * 300, "hash") for pair in pairs]
    assert len(set(folders)) == 2
    for folder in folders:
        assert all(len(part.encode()) <= 120 for part in folder.parts)
        folder.mkdir(parents=True)


def test_a_write_that_fails_leaves_the_previous_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with pytest.raises(BenchError, match=r"cannot be written .*No space left"):
        written(tmp_path, value=9)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_cells_without_numbers_give_no_rows(tmp_path: Path) -> None:
    written(tmp_path, state="diverged", reason="step 3")
    rows = ttt_bench.read_results(tmp_path)
    assert rows.empty
    assert list(rows.columns) == list(schema.ROW_COLUMNS)


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    written(tmp_path, schema_version=99)
    with pytest.raises(
        BenchError, match="schema version 99, but this version of ttt-bench reads 1, 2, 3"
    ):
        ttt_bench.read_results(tmp_path)


def test_results_of_schema_version_1_are_read_with_today_s_columns() -> None:
    rows = ttt_bench.read_results(HISTORIC / "schema_1")
    assert list(rows.columns) == list(schema.ROW_COLUMNS)
    assert set(rows["schema_version"]) == {1}
    assert set(rows["class"]) == {""}
    assert set(zip(rows.task, rows.metric, strict=True)) == {
        (m.task, m.name) for m in all_metrics() if m.primary and m.task in PAPER_TASKS
    }
    assert len(rows) == 2 * 21 * 4
    assert len(ttt_bench.read_results(HISTORIC.parents[1] / "results" / "example"))


def test_today_s_scores_of_old_statistics_are_the_old_rows() -> None:
    for folder, _ in store.cells(HISTORIC / "schema_1"):
        statistics = store.read_table(folder, "statistics")
        old = store.read_table(folder, "rows").set_index(["step", "task"])["value"]
        for (step, task), group in statistics.groupby(["step", "task"]):
            batches = [np.stack(list(values)) for _, values in group.groupby("batch")["values"]]
            assert metrics_of(str(task)).score(batches) == pytest.approx(old[step, task], rel=1e-12)


def test_old_and_new_cells_may_share_a_folder(tmp_path: Path) -> None:
    written(tmp_path)
    shutil.copytree(HISTORIC / "schema_1", tmp_path, dirs_exist_ok=True)
    rows = ttt_bench.read_results(tmp_path)
    assert set(rows["schema_version"]) == {1, schema.SCHEMA_VERSION}
    assert set(rows["class"]) == {"", "x"}


def test_the_schema_page_names_every_column() -> None:
    page = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    for column in (
        *schema.ROW_COLUMNS,
        *schema.STATISTICS_COLUMNS,
        *schema.TOTALS_COLUMNS,
        *schema.LOSS_COLUMNS,
    ):
        assert f"`{column}`" in page
    for metric in all_metrics():
        assert f"| `{metric.task}` | `{metric.name}`" in page, metric
        assert metric.about in page, metric
