"""The graph of a sweep's work."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.runs import plan

from ttt_bench.sweep.cell import Cell
from ttt_bench.sweep.shared.units import Kind, Unit, pending_units
from ttt_bench.train.chain import checkpoint_path


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory, room_cache: Path) -> list[Cell]:
    """Return the cells of methods without and with their own training and statistics."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TTT_BENCH_CACHE", str(room_cache))
        return plan(tmp_path_factory.mktemp("plan"), methods="base,tent,ttt,actmad").cells


def _names(units: list[Unit]) -> list[tuple[Kind, str]]:
    return [
        (unit.kind, unit.cell.method if unit.stage is None else unit.stage.name) for unit in units
    ]


def test_every_stage_and_statistic_is_one_unit_before_those_that_need_it(
    tmp_path: Path, cells: list[Cell]
) -> None:
    units = pending_units(cells, tmp_path)
    assert _names(units) == [
        (Kind.TRAINING, "shared"),
        (Kind.TRAINING, "base"),
        (Kind.CELL, "base"),
        (Kind.CELL, "tent"),
        (Kind.TRAINING, "ttt"),
        (Kind.CELL, "ttt"),
        (Kind.STATISTICS, "actmad"),
        (Kind.CELL, "actmad"),
    ]
    places = {unit.name: place for place, unit in enumerate(units)}
    assert all(places[need] < places[unit.name] for unit in units for need in unit.needs)
    needs = {unit.cell.method: unit.needs for unit in units if unit.kind is Kind.CELL}
    base = cells[0].chain[-1].key
    assert needs["base"] == needs["tent"] == (base,)
    (statistics,) = needs["actmad"]
    assert units[places[statistics]].needs == (base,)


def test_stages_before_a_checkpoint_are_not_trained(tmp_path: Path, cells: list[Cell]) -> None:
    base = cells[0].chain[-1].key
    checkpoint_path(tmp_path, base).touch()
    units = pending_units([one for one in cells if one.method != "ttt"], tmp_path)
    assert [unit.kind for unit in units if unit.kind is Kind.TRAINING] == []
    ttt = pending_units([one for one in cells if one.method == "ttt"], tmp_path)
    assert _names(ttt)[:2] == [(Kind.TRAINING, "shared"), (Kind.TRAINING, "ttt")]
