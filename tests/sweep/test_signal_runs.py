"""Runs with and without `--agreement`: the same numbers, other cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.runs import interrupt, plan, run, stored_tables
from support.short_form import short_form

from ttt_bench.protocols import PROTOCOLS
from ttt_bench.registry import METHODS
from ttt_bench.results import schema, store
from ttt_bench.results.load import load
from ttt_bench.stats.comparison import comparisons


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, room_cache: Path) -> Path:
    """Return a folder in which the tests of this module share their source models."""
    return tmp_path_factory.mktemp("signals")


def tables_of(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the tables of a cell without its key."""
    found = stored_tables(folder)
    return {name: table.drop(columns="config", errors="ignore") for name, table in found.items()}


def folders(results: Path, protocol: str) -> dict[tuple[str, bool], Path]:
    """Return (method, whether the agreement was measured) -> folder of the cell."""
    return {
        (m["method"], schema.AGREEMENT in m["configuration"]["signals"]): folder
        for folder, m in store.cells(results)
        if m["protocol"] == protocol
    }


@pytest.mark.parametrize(
    ("protocol", "methods"),
    [
        ("online", ("tent", "clust3", "s4t")),
        *(pytest.param(name, METHODS.names(), marks=pytest.mark.slow) for name in PROTOCOLS),
    ],
)
def test_the_agreement_changes_no_number(
    results: Path, protocol: str, methods: tuple[str, ...]
) -> None:
    for agreement in (False, True):
        run(results, methods=methods, protocol=protocol, agreement=agreement)
    found = folders(results, protocol)
    for method in methods:
        without, with_it = (tables_of(found[method, agreement]) for agreement in (False, True))
        signals, more = without.pop("signals"), with_it.pop("signals")
        for name, table in without.items():
            pd.testing.assert_frame_equal(table, with_it[name], check_exact=True)
        changes = more[more["signal"] == schema.CHANGE].reset_index(drop=True)
        pd.testing.assert_frame_equal(signals, changes, check_exact=True)
        assert set(more["signal"]) == set(schema.SIGNALS)


def test_cells_with_and_without_it_may_be_compared(tmp_path: Path) -> None:
    run(tmp_path, methods="base", agreement=True)
    run(tmp_path, methods="norm")
    loaded = load(tmp_path)
    (only,) = comparisons(loaded.cells, loaded.rows)
    assert set(only.cells["method"]) == {"base", "norm"}


@pytest.mark.parametrize("protocol", short_form(PROTOCOLS, ("online",)))
def test_a_killed_run_resumes_to_the_same_signals(
    results: Path, tmp_path: Path, protocol: str
) -> None:
    given: dict[str, Any] = {"methods": "tipi", "protocol": protocol, "agreement": True}
    run(results, **given)
    interrupt(tmp_path, **given)
    assert run(tmp_path, **given).computed == {"done": 1}
    ((folder, _),) = store.cells(tmp_path)
    whole = results / folder.relative_to(tmp_path)
    pd.testing.assert_frame_equal(
        store.read_table(folder, "signals"), store.read_table(whole, "signals"), check_exact=True
    )


def test_cells_of_frozen_controls_keep_statistics_and_signals(tmp_path: Path) -> None:
    run(tmp_path, methods="tent", control="frozen")
    ((folder, _),) = [cell for cell in store.cells(tmp_path) if cell[1]["control"] == "frozen"]
    tables = tables_of(folder)
    assert set(tables["statistics"]["step"]) == {0, 1, 2, 3}
    changes = tables["signals"]
    # the weights stay, and so do tent's batch statistics
    assert (changes["value"] == 0).all()
    assert len(changes) == 2 * 4 * 3


def test_the_key_of_a_cell_covers_its_signals(tmp_path: Path) -> None:
    keys = {
        plan(tmp_path, methods="base", agreement=agreement).cells[0].hash
        for agreement in (False, True)
    }
    assert len(keys) == 2
