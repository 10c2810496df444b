"""Cells that share a variant: their keys are those of their complete configurations."""

from __future__ import annotations

import pytest
from support.runs import plan

from ttt_bench.sweep.cell import Cell
from ttt_bench.sweep.settings import source_spec
from ttt_bench.train.chain import statistics_key, training_chain
from ttt_bench.util.hashing import hash_of

SEEDS = (0, 1, 7)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Cell]:
    """Cells of methods with and without own source training and statistics."""
    return plan(
        tmp_path_factory.mktemp("results"),
        methods=("base", "tent", "ttt", "actmad"),
        seeds=SEEDS,
        protocol=("online", "episodic"),
        control=("none", "frozen"),
    ).cells


def test_a_key_is_the_hash_of_the_whole_configuration(cells: list[Cell]) -> None:
    assert [hash_of(cell.config) for cell in cells] == [cell.hash for cell in cells]
    assert len({cell.hash for cell in cells}) == len(cells)


def test_the_source_model_is_that_of_the_seed(cells: list[Cell]) -> None:
    for cell in cells:
        adapter = cell.settings.adapter
        spec = source_spec(cell.opened, cell.seed, adapter)
        assert (cell.spec, list(cell.chain)) == (spec, training_chain(spec, adapter))
        wanted = statistics_key(cell.parent, spec, adapter, cell.opened.target_data.size)
        assert cell.config["statistics"] == wanted
    assert {cell.method for cell in cells if cell.config["statistics"]} == {"actmad"}


def test_the_rows_of_a_cell_state_its_choices(cells: list[Cell]) -> None:
    wanted = {
        (method, control, protocol, seed)
        for method in ("base", "tent", "ttt", "actmad")
        for control in ("none", "frozen")
        for protocol in ("online", "episodic")
        for seed in SEEDS
        if (method, control) != ("base", "frozen")
    }
    names = ("method", "control", "protocol", "seed")
    assert {tuple(cell.identity[name] for name in names) for cell in cells} == wanted
    assert [cell.identity["config"] for cell in cells] == [cell.hash for cell in cells]


def test_cells_of_equal_source_models_share_them(cells: list[Cell]) -> None:
    models = {id(cell.source): cell.parent for cell in cells}
    assert len(models) == len(set(models.values())) == len({cell.parent for cell in cells})
