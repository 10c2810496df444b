"""The statistics of a cell as arrays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.paths import ROOT

from ttt_bench.errors import DamagedError
from ttt_bench.results import store
from ttt_bench.results.sums import image_sums

EXAMPLE = next((ROOT / "results" / "example" / "cells").glob("*/*/statistics.parquet")).parent


def two_batches() -> pd.DataFrame:
    """Return statistics of two steps and three images in two batches."""
    places = [(step, batch, image) for step in (0, 4) for batch, image in ((0, 0), (0, 1), (1, 2))]
    rows = [
        (step, batch, image, task, np.arange(size) + 100.0 * step + 10 * image)
        for step, batch, image in places
        for task, size in (("semseg", 4), ("normals", 2))
    ]
    return pd.DataFrame(rows, columns=["step", "batch", "image", "task", "values"])


def stored(folder: Path, table: pd.DataFrame) -> Path:
    manifest = {"state": "done", "schema_version": 2}
    store.write_cell(folder, store.CellFiles(manifest=manifest, attempts={}, statistics=table))
    return folder


def test_arrays_are_the_rows_of_the_table() -> None:
    found = image_sums(EXAMPLE)
    table = store.read_table(EXAMPLE, "statistics")
    assert sum(values.shape[0] * values.shape[1] for values in found.values.values()) == len(table)
    assert list(found.values) == ["semseg", "depth", "normals", "edge"]
    for row in table.sample(200, random_state=0).itertuples():
        assert (found.values[row.task][row.step, row.image] == row.values).all()
        assert found.batches[row.image] == row.batch
    assert found.steps.tolist() == sorted(table["step"].unique())
    assert found.images.tolist() == sorted(table["image"].unique())


def test_the_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    table = two_batches()
    found = image_sums(stored(tmp_path / "cell", table.sample(frac=1, random_state=0)))
    assert found.steps.tolist() == [0, 4]
    assert found.batches.tolist() == [0, 0, 1]
    expected = np.arange(2) + np.array([[0, 10, 20], [400, 410, 420]])[..., None]
    assert (found.values["normals"] == expected).all()
    assert found.values["semseg"].shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.iloc[1:], "semseg does not have one row per step and image"),
        (lambda table: pd.concat([table, table.iloc[:1]]), "semseg does not have one row per"),
        (lambda table: table.drop(columns="batch"), "no column batch"),
        (lambda table: table.iloc[:0], "it has no rows"),
        (lambda table: table.assign(values=1.5), "its values are double, not lists"),
        (
            lambda table: table.assign(values=[np.zeros(1), *table["values"][1:]]),
            "the statistics of one task have 1 to 4 values",
        ),
    ],
)
def test_tables_that_are_not_whole_are_refused(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    folder = stored(tmp_path / "cell", change(two_batches()))
    with pytest.raises(DamagedError, match=message):
        image_sums(folder)


def test_a_flipped_bit_and_a_missing_file_are_named(tmp_path: Path) -> None:
    folder = stored(tmp_path / "cell", two_batches())
    path = folder / "statistics.parquet"
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"statistics\.parquet"):
        image_sums(folder)
    path.unlink()
    with pytest.raises(DamagedError, match="it is missing"):
        image_sums(folder)
