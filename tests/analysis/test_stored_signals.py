"""Stored signals become arrays; their means are worked by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from support.trajectories import made

from ttt_bench.analysis.signals import CellSignals, mean_signals, signals_of

nan = np.nan


def stored(folder: Path, **tables: list[tuple]) -> Path:
    """Write the tables of signals and losses into a cell's folder."""
    columns = {
        "losses": ["batch", "step", "term", "value"],
        "signals": ["batch", "step", "task", "signal", "value"],
    }
    folder.mkdir()
    for name, rows in tables.items():
        table = pd.DataFrame(rows, columns=columns[name])
        table.to_parquet(folder / f"{name}.parquet", write_page_checksum=True)
    return folder


def read(*folders: Path) -> tuple[CellSignals, ...]:
    found = made([[0, 0, 0]] * len(folders))
    paths = dict(zip(found.cells, map(str, folders), strict=True))
    return signals_of(SimpleNamespace(folders=paths), found)


LOSSES = [
    # two terms in batch 0, of which one has no value at step 1
    *[(0, 0, "a", 1.0), (0, 0, "b", 2.0), (0, 1, "a", 5.0)],
    *[(1, 0, "a", 10.0), (1, 1, "a", 20.0)],
]
SIGNALS = [
    *[(0, 1, "depth", "change", 0.2), (0, 1, "edge", "change", 0.4)],
    *[(0, 2, "depth", "change", 0.1), (0, 2, "edge", "change", 0.1)],
    *[(1, 1, "depth", "change", 0.6), (1, 1, "edge", "change", 0.6)],
    *[(1, 2, "depth", "change", 0.0), (1, 2, "edge", "change", 0.2)],
]


def test_terms_are_added_and_tasks_averaged(tmp_path: Path) -> None:
    (cell,) = read(stored(tmp_path / "a", losses=LOSSES, signals=SIGNALS))
    np.testing.assert_allclose(cell["loss"], [[3, 5, nan], [10, 20, nan]])
    np.testing.assert_allclose(cell["change"], [[nan, 0.3, 0.1], [nan, 0.6, 0.1]])
    assert set(cell) == {"loss", "change"}


def test_means_over_batches_and_over_drawn_batches(tmp_path: Path) -> None:
    cells = read(
        stored(tmp_path / "a", losses=LOSSES, signals=SIGNALS),
        stored(tmp_path / "b", signals=SIGNALS, losses=[]),
        stored(tmp_path / "c"),
    )
    observed = mean_signals(cells, 3)
    missing = [nan] * 3
    np.testing.assert_allclose(observed["loss"], [[6.5, 12.5, nan], missing, missing])
    np.testing.assert_allclose(observed["change"][1], [nan, 0.45, 0.1])
    drawn = np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    again = mean_signals(cells, 3, drawn)
    assert again["loss"].shape == (3, 3, 3)
    np.testing.assert_allclose(again["loss"][:, 0, :2], [[3, 5], [10, 20], [6.5, 12.5]])
    np.testing.assert_allclose(again["change"][2], observed["change"])


def test_a_cell_that_adapts_on_one_batch_is_the_same_in_every_replicate(tmp_path: Path) -> None:
    cells = read(stored(tmp_path / "a", losses=LOSSES[:3]))
    again = mean_signals(cells, 3, np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]]))
    np.testing.assert_allclose(again["loss"][:, 0], [[3, 5, nan], [3, 5, nan]])


@pytest.mark.parametrize("content", [b"", b"not a table"])
def test_a_damaged_file_is_like_a_missing_one(tmp_path: Path, content: bytes) -> None:
    folder = stored(tmp_path / "a", signals=SIGNALS)
    (folder / "losses.parquet").write_bytes(content)
    (cell,) = read(folder)
    assert set(cell) == {"change"}


def test_nothing_is_read_of_no_cells() -> None:
    empty: tuple[Mapping, ...] = ()
    assert mean_signals(empty, 3) == {}
