"""`--control frozen`: the effect of a method's normalisation without updates of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.runs import plan, run

import ttt_bench
from ttt_bench.config.merging import make_request
from ttt_bench.errors import BenchError
from ttt_bench.report.render import summary_rows
from ttt_bench.results import store


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory, room_cache: Path) -> Path:
    """Return the results of a run without and with the control `frozen`."""
    results = tmp_path_factory.mktemp("frozen")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TTT_BENCH_CACHE", str(room_cache))
        run(results, methods="base,norm,tent,clust3", control="none,frozen", protocol="episodic")
    return results


def values(rows: pd.DataFrame, method: str, control: str) -> Any:
    chosen = rows[(rows.method == method) & (rows.control == control)]
    return chosen.set_index(["step", "task", "metric", "class"]).value


def test_frozen_tent_is_norm_at_every_step(frozen: Path) -> None:
    rows = ttt_bench.read_results(frozen)
    assert values(rows, "tent", "frozen").equals(values(rows, "norm", "none"))
    assert not values(rows, "tent", "none").equals(values(rows, "norm", "none"))


def test_statistics_move_though_parameters_are_frozen(frozen: Path) -> None:
    rows = ttt_bench.read_results(frozen)
    found = values(rows, "clust3", "frozen")
    assert found.loc[0, "depth", "rmse", ""] != found.loc[3, "depth", "rmse", ""]
    assert not found.equals(values(rows, "clust3", "none"))


def test_methods_without_moves_are_not_run_twice(frozen: Path) -> None:
    controls = {(m["method"], m["control"]) for _, m in store.cells(frozen)}
    moving = {(method, control) for method in ("tent", "clust3") for control in ("none", "frozen")}
    assert controls == {("base", "none"), ("norm", "none")} | moving


def test_it_has_its_own_row_and_its_rate_is_not_a_changed_setting(frozen: Path) -> None:
    labels = {record["label"] for record in summary_rows(frozen)}
    assert {"tent", "tent (frozen)", "clust3", "clust3 (frozen)"} <= labels
    assert set(ttt_bench.read_results(frozen).settings) == {""}
    rates = {(m["method"], m["control"]): m["optimiser"] for _, m in store.cells(frozen)}
    assert rates["tent", "frozen"]["lr"] == 0.0
    assert rates["tent", "none"]["lr"] > 0.0


def test_a_frozen_run_alone_still_has_base(tmp_path: Path) -> None:
    cells = plan(tmp_path, methods="base,tent", control="frozen").cells
    assert [(cell.method, cell.control) for cell in cells] == [("base", "none"), ("tent", "frozen")]


def test_an_unknown_control_is_refused() -> None:
    with pytest.raises(BenchError, match="unknown control 'frosen'; did you mean frozen"):
        make_request({}, {"control": "frosen"})
