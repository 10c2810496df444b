"""Rows of cells that were computed under different conditions have a note and a mark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.synthetic import BASE, add_cell, compared, constant, gains

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.report import main_table
from ttt_bench.report.formats.latex.table import to_latex
from ttt_bench.report.formats.markdown import to_markdown
from ttt_bench.report.marks.conditions import MARK, with_conditions
from ttt_bench.report.render import report, summary_rows
from ttt_bench.report.tables import Table

SAME = {
    "device": "cpu",
    "precision": "fp32",
    "harness": "aaaa",
    "method": "bbbb",
    "versions": {"torch": "2.8.0", "timm": "1.0.15", "ttt-bench": "0.1.0"},
}


def made(root: Path, tent: dict[int, dict[str, Any]], base: dict[str, Any] | None = None) -> Path:
    """Write base and tent for some seeds, tent with other conditions per seed."""
    for seed, other in tent.items():
        for method, own in (("base", base or {}), ("tent", other)):
            scores = constant(BASE) if method == "base" else gains(0, 1, 2, 3)
            # the code of a method differs from that of another one
            provenance = {**SAME, "method": method, **own}
            add_cell(
                root,
                method,
                scores,
                config=f"{method}{seed}",
                seed=seed,
                manifest={"provenance": provenance},
            )
    return root


def shown(root: Path) -> Table:
    """Return the main table of the only comparison."""
    (comparison,) = compared(root)
    return with_conditions(main_table.build(Evidence(comparison), {}).table, comparison)


def different(table: Table) -> dict[str, str]:
    return {note.about: note.text for note in table.notes if note.about.startswith("Different")}


def marks(table: Table) -> dict[str, str]:
    return {row.label: row.mark for row in table.rows()}


def test_equal_conditions_need_no_note(tmp_path: Path) -> None:
    table = shown(made(tmp_path, {0: {}, 1: {}}))
    assert different(table) == {}
    assert "Not recorded" not in dict(table.notes)
    assert dict(table.notes)["Computed"] == "with default kernels, on cpu, torch 2.8.0"
    assert set(marks(table).values()) == {""}


def test_seeds_of_different_devices_are_marked_and_named(tmp_path: Path) -> None:
    table = shown(made(tmp_path, {0: {}, 1: {"device": "H200"}, 2: {"device": "H200"}}))
    (text,) = different(table).values()
    assert list(different(table)) == [f"Different device {MARK}"]
    assert text.startswith("cpu: Base, TENT seed 0; H200: TENT seeds 1, 2. ")
    assert "The numbers of TENT are means over seeds that differ in it" in text
    assert marks(table) == {"base": "", "tent": MARK}
    assert f"TENT {MARK}" in to_markdown(table)
    assert "TENT$^\\S$" in to_latex(table, "tab:x")


def test_methods_of_different_devices_are_named_without_a_mark(tmp_path: Path) -> None:
    table = shown(made(tmp_path, {0: {"device": "H200"}, 1: {"device": "H200"}}))
    assert different(table) == {
        "Different device": "cpu: Base; H200: TENT. A difference between these cells can come "
        "from it"
    }
    assert set(marks(table).values()) == {""}


@pytest.mark.parametrize(
    ("other", "about"),
    [
        ({"versions": {**SAME["versions"], "torch": "2.9.0"}}, "version of torch"),  # type: ignore[dict-item]
        ({"versions": {**SAME["versions"], "ttt-bench": "0.2"}}, "version of ttt-bench"),  # type: ignore[dict-item]
        ({"versions": {}}, "version of torch"),
        ({"precision": "bf16"}, "precision"),
        ({"kernels": "deterministic"}, "kernels"),
        ({"harness": "cccc"}, "code of ttt-bench"),
        ({"method": "dddd"}, "code of tent"),
    ],
)
def test_every_condition_is_compared(tmp_path: Path, other: dict[str, Any], about: str) -> None:
    table = shown(made(tmp_path, {0: {}, 1: other}))
    assert f"Different {about} {MARK}" in different(table)
    assert marks(table)["tent"] == MARK


def test_cells_without_conditions_are_read_and_named(tmp_path: Path) -> None:
    add_cell(tmp_path, "base", constant(BASE), config="a")
    add_cell(tmp_path, "tent", gains(0, 1, 2, 3), config="b", manifest={"provenance": SAME})
    table = shown(tmp_path)
    assert dict(table.notes)["Not recorded"].startswith("the cells of Base state no device")
    assert different(table)["Different device"].startswith("not recorded: Base; cpu: TENT")


def test_formats_of_the_harness_are_never_in_one_table(tmp_path: Path) -> None:
    for number, form in enumerate((2, 3)):
        manifest = {"comparison": "abcdefgh", "configuration": {"evaluation": form}}
        add_cell(tmp_path, "base", constant(BASE), config=f"a{number}", manifest=manifest)
        add_cell(tmp_path, "tent", gains(0, 1, 2, 3), config=f"b{number}", manifest=manifest)
    first, second = compared(tmp_path)
    assert (first.slug[-8:], second.slug[-8:]) == ("2-abcdef", "3-abcdef")
    for comparison in (first, second):
        assert comparison.labels == ["base", "tent"]
        note = dict(main_table.build(Evidence(comparison), {}).table.notes)["Not comparable"]
        assert "format (the number before a dash)" in note


def test_all_tables_and_the_page_have_the_note(tmp_path: Path) -> None:
    made(tmp_path / "results", {0: {}, 1: {"device": "H200"}})
    rendered = report(tmp_path / "results", tmp_path / "out")
    tables = [path for path in rendered.paths if path.suffix == ".md"]
    assert len(tables) > 2
    for path in (rendered.page, *tables):
        assert "Different device §" in path.read_text(encoding="utf-8"), path.name
    assert summary_rows(tmp_path / "results")
