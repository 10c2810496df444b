"""The study of learning rates through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from support.command import call, refused

from ttt_bench import open_results
from ttt_bench.results import store

SMALL = ("--preset", "smoke", "--device", "cpu", "--set", "data.rendered_target=2")
STUDY = ("study", "rate", "--methods", "tent", *SMALL, "--rates", "1e-5", "--steps", "2,1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, room_cache: Path) -> Path:
    """Run a grid of two rates by two numbers of steps, and the frozen control."""
    path = tmp_path_factory.mktemp("rates")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TTT_BENCH_CACHE", str(room_cache))
        arguments = ("--results", path / "results", "--out", path / "report")
        done = call(*STUDY, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    (path / "shown.json").write_text(done.stdout, encoding="utf-8")
    return path


def test_the_grid_consists_of_ordinary_cells(folder: Path) -> None:
    cells = [manifest for _, manifest in store.cells(folder / "results")]
    tent = {
        (m["control"], m["optimiser"]["lr"], m["steps"]) for m in cells if m["method"] == "tent"
    }
    rates = [("none", rate) for rate in (1e-5, 1e-3)]
    assert tent == {(*point, steps) for point in (*rates, ("frozen", 0.0)) for steps in (1, 2)}
    assert len(cells) == 6 + 1


def test_the_grid_has_the_numbers_of_the_cells(folder: Path) -> None:
    grid = pd.read_csv(folder / "report" / "rates-rooms+rooms-mix" / "grid.csv")
    deltas = grid[grid["quantity"] == "delta_ttt"].set_index(["lr", "steps"])["change_percent"]
    table = open_results(folder / "results").delta()
    shown = dict(zip(table["label"], table["delta_ttt"], strict=True))
    assert deltas[0.0, 2] == pytest.approx(shown["tent (frozen)"])
    assert deltas[1e-3, 2] == pytest.approx(shown["tent"])
    assert deltas[1e-5, 1] == pytest.approx(shown["tent (lr=1e-05, 1 step)"])
    tasks = grid[grid["quantity"] != "delta_ttt"].groupby(["lr", "steps"])["change_percent"].mean()
    pd.testing.assert_series_equal(tasks, deltas.sort_index())


def test_the_folder_has_tables_maps_and_the_shown_numbers(folder: Path) -> None:
    report = folder / "report" / "rates-rooms+rooms-mix"
    names = {path.name for path in report.iterdir()}
    assert names == {
        *("rates.md", "peaks.csv", "summary.csv", "grid.csv", "rates.json"),
        *("tent.png", "tent.svg"),
    }
    records = json.loads((report / "rates.json").read_text())
    shown = json.loads((folder / "shown.json").read_text())
    assert records == shown
    assert {one["chosen_lr"] for one in shown} == {1e-3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rates", "1e-3,x"), "--rates takes numbers above 0, joined by commas, got 'x'"),
        (("--rates", "0"), "--rates takes numbers above 0"),
        (("--steps", "1.5"), "--steps takes whole numbers from 1"),
        (("--protocol", "online,episodic"), "one protocol"),
        (("--methods", "norm"), "none of the methods has a learning rate"),
        (("--set", "tent.lr=0"), "tent.lr is 0"),
    ],
)
def test_what_cannot_be_studied_is_refused(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused("study", "rate", "--methods", "tent", *SMALL, *arguments)


def test_the_default_grid_is_planned_around_each_rate(tmp_path: Path) -> None:
    arguments = ("--methods", "tent", *SMALL, "--results", tmp_path, "--plan", "--json")
    done = call("study", "rate", *arguments)
    cells = [one for one in json.loads(done.stdout) if one["method"] == "tent"]
    assert len(cells) == 7 * 2 + 2  # seven rates, 1 and 3 steps, and the frozen control
    assert not list(tmp_path.iterdir())
