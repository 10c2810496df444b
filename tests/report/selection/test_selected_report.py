"""Reports that leave something out, and those of several folders."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from support.command import call, refused
from support.synthetic import BASE, add_cell, constant, gains

from ttt_bench import write_report
from ttt_bench.report.selection import watching


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a folder with base and tent with its control, and one with base and s4t."""
    first, second = (tmp_path_factory.mktemp(name) for name in ("first", "second"))
    for seed in (0, 1):
        for root in (first, second):
            add_cell(root, "base", constant(BASE), config=f"b{seed}", seed=seed)
        add_cell(first, "tent", gains(0, 5, 6, 7 + seed), config=f"t{seed}", seed=seed)
        control = {"config": f"f{seed}", "seed": seed, "control": "frozen"}
        add_cell(first, "tent", gains(0, 1, 1, 1), **control)
        add_cell(second, "s4t", gains(0, 2, 3, 4 + seed), config=f"s{seed}", seed=seed)
    return first, second


@pytest.fixture(scope="module")
def report(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of the first folder without controls, with the main table alone."""
    out = tmp_path_factory.mktemp("report")
    rendered = write_report(
        folders[0], out, controls=False, tables=["main"], names={"tent": "Tent of 2021"}
    )
    assert {path.suffix for path in rendered.paths} == {".html", ".md", ".tex", ".csv"}
    return out


def test_only_the_chosen_tables_have_files(report: Path) -> None:
    stems = {path.stem.partition("_")[0] for path in report.rglob("*") if path.is_file()}
    assert stems == {"index", "main", "intervals"}


def test_rows_of_controls_are_left_out_and_remain_references(report: Path) -> None:
    frame = pd.read_csv(next(report.rglob("main.csv"))).set_index(["selection", "method"])
    assert set(frame.loc["fixed"].index) == {"base", "tent"}
    assert frame.loc[("fixed", "tent"), "delta_ttt_minus_frozen"] == pytest.approx(6.5)


def test_the_page_and_the_table_say_what_is_left_out(report: Path) -> None:
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "Shown: no rows of frozen controls" in page
    assert "tables: main" in page
    table = next(report.rglob("main.md")).read_text(encoding="utf-8")
    assert "- **Shown.** no rows of frozen controls" in table
    assert "| Tent of 2021 " in table


def test_cells_of_several_folders_are_shown_together(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    first, second = folders
    arguments = ("--results", first, "--results", second, "--out", tmp_path)
    done = call("report", *arguments, "--tables", "main", "--rule", "oracle", "--json")
    assert done.returncode == 0, done.stderr
    assert "2 cells are in several folders with equal scores" in done.stderr
    records = json.loads(done.stdout)
    deltas = {
        one["label"]: one["mean"]
        for one in records
        if one["quantity"] == "delta_ttt" and not one["reference"]
    }
    assert deltas == pytest.approx({"base": 0, "tent": 7.5, "tent (frozen)": 1, "s4t": 4.5})
    estimates = [one for one in records if one["quantity"] == "delta_ttt"]
    assert {one["selection"] for one in estimates} == {"oracle"}


def test_nothing_is_written_if_a_name_is_unknown(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("--results", folders[0], "--out", out)
    assert "did you mean sync?" in refused("report", *arguments, "--tables", "snyc")
    assert not out.exists()
    message = refused("report", *arguments, "--rule", "loss")
    assert "no row of rooms → rooms-mix" in message
    assert not any(out.iterdir())


def test_a_report_is_not_written_among_cells(folders: tuple[Path, Path]) -> None:
    for out in (folders[0], folders[0] / "cells"):
        arguments = ("--results", folders[0], "--out", out)
        assert "is the results folder" in refused("report", *arguments)
        assert not (out / "index.html").exists()


def test_a_damaged_cell_is_named_on_the_console_and_at_the_top_of_the_page(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    results = tmp_path / "results"
    shutil.copytree(folders[0], results)
    rows = next(iter(sorted(results.glob("cells/*/*/rows.parquet"))))
    rows.write_bytes(b"damaged")
    arguments = ("--results", results, "--out", tmp_path / "out", "--tables", "main")
    done = call("report", *arguments)
    assert done.returncode == 0, done.stderr
    (note,) = (line for line in done.stderr.splitlines() if rows.parent.name in line)
    header = (tmp_path / "out" / "index.html").read_text(encoding="utf-8").partition("</header>")[0]
    assert note in html.unescape(header)


def test_options_without_a_value_are_refused(folders: tuple[Path, Path]) -> None:
    arguments = ("--results", folders[0], "--methods", "", "--tables", ",")
    message = refused("report", *arguments)
    assert [line.split(";")[0] for line in message.splitlines()] == [
        "error: --methods is empty",
        "--tables is empty",
    ]


def test_the_console_ends_with_the_page_s_answer(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    arguments = ("--results", folders[0], "--out", tmp_path, "--tables", "main")
    done = call("report", *arguments)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    (answer,) = re.findall(r'<div class="answer">(.*?)</div>', page, flags=re.DOTALL)
    text = html.unescape(" ".join(re.sub("<[^>]+>", " ", answer).split()))
    assert text
    assert " ".join(done.stdout.split()).endswith(text)


def test_watching_says_a_line_per_update_and_ends_with_code_130(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([frozenset({("cell", 1)})])

    def look(folders: Sequence[Path]) -> frozenset[tuple[str, int]]:
        if (found := next(looks, None)) is None:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(watching, "stamp", look)
    monkeypatch.setattr(watching, "SECONDS", 0.0)
    arguments = ("--results", folders[1], "--out", tmp_path, "--tables", "main", "--watch")
    done = call("report", *arguments)
    assert done.returncode == 130
    line, _ = done.stderr.strip().splitlines()
    assert "1 comparison, 4 of 4 cells with numbers" in line
    assert line.endswith(f"report: {tmp_path / 'index.html'}")
