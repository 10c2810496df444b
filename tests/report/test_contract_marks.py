"""Rows of methods that failed the checks of the contract, or were not checked, are marked."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.synthetic import add_cell, compared, constant, gains

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.report import main_table
from ttt_bench.report.marks.conditions import with_conditions
from ttt_bench.report.marks.contract import MARK, doubts, marked
from ttt_bench.report.render import Rendered, report, summary_rows, summary_tables
from ttt_bench.results.contract import Kind, State, Verdict

EXACT = {"exact": "claims exact predictions, but the depth of a step differs"}
FAILED = Verdict(state=State.FAILED, failed=EXACT, kit="0.1 (abc)", package="other 1.0")
UNCHECKED = Verdict(state=State.UNCHECKED, name="mine")
PASSED = Verdict(state=State.PASSED, kit="0.1 (abc)", package="good 2.0")
SCORES = {"semseg": 20.0, "depth": 0.8, "normals": 40.0, "edge": 0.2}


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return results of a method that failed, one that was not checked, and one that passed."""
    root = tmp_path_factory.mktemp("doubtful")
    add_cell(root, "base", constant(SCORES))
    for name, verdict in (("wrong", FAILED), ("new", UNCHECKED), ("good", PASSED)):
        about = {"contract": replace(verdict, name=name).record()}
        add_cell(root, name, gains(0, 1, 2, 3), config=name, manifest=about)
    stopped = {"contract": FAILED.record()}
    add_cell(root, "halt", state="diverged", reason="a loss", config="halt", manifest=stopped)
    return root


@pytest.fixture(scope="module")
def written(doubtful: Path, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    return report(doubtful, tmp_path_factory.mktemp("reports"))


def texts(written: Rendered, suffix: str) -> list[str]:
    """Return the texts of all tables of a format."""
    names = [f"{name}{suffix}" for name in ("main", "attribution", "more", "each_class", "sync")]
    return [path.read_text(encoding="utf-8") for path in written.paths if path.name in names]


def test_every_table_has_the_marks_and_the_reasons_in_every_format(
    written: Rendered, doubtful: Path
) -> None:
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(*summary_tables(doubtful))
    shown = [*texts(written, ".md"), console.export_text()]
    assert len(shown) == 6
    for text in shown:
        assert f"wrong {MARK}" in text
        assert f"new {MARK}" in text
        assert f"good {MARK}" not in text
        assert f"Base {MARK}" not in text
        assert "(failed: exact); `ttt-bench methods check wrong` shows why" in text
        assert "new was not checked against the contract" in text
    page = written.page.read_text(encoding="utf-8")
    assert page.count(f'<th scope="row">wrong {MARK}</th>') == 10
    assert page.count('<th scope="row">good</th>') == 10
    for text in texts(written, "_notes.tex"):
        assert "\\textbf{Contract $^\\ddagger$.} wrong breaks the contract" in text
    for text in texts(written, ".tex"):
        assert "wrong$^\\ddagger$ &" in text


def test_a_row_without_numbers_is_marked_too(written: Rendered) -> None:
    assert f"halt {MARK}: diverged" in texts(written, ".md")[0]


def test_csv_and_records_have_the_verdict_in_words(written: Rendered, doubtful: Path) -> None:
    for text in texts(written, ".csv"):
        verdicts = {row["method"]: row["contract"] for row in csv.DictReader(text.splitlines())}
        assert verdicts["wrong"] == "failed: exact"
        assert verdicts["new"] == "unchecked"
        assert verdicts["good"] == ""
    records = summary_rows(doubtful)
    json.dumps(records)
    found = {record["label"]: record["contract"] for record in records}
    assert found["wrong"] == "failed: exact"
    assert found["base"] is None


def test_reports_without_doubtful_methods_have_no_mark(rendered: Rendered) -> None:
    everything = "".join(
        path.read_text("utf-8") for path in rendered.paths if path.suffix not in (".png", ".pdf")
    )
    assert MARK not in everything
    assert ",contract\n" not in everything


def test_one_failed_cell_marks_the_row_of_all_seeds(tmp_path: Path) -> None:
    for seed, verdict in enumerate((PASSED, FAILED, UNCHECKED)):
        about = {"contract": replace(verdict, name="mine").record()}
        add_cell(tmp_path, "mine", gains(0, 1), config=f"c{seed}", seed=seed, manifest=about)
    (comparison,) = compared(tmp_path)
    assert doubts(comparison) == {"mine": [replace(FAILED, name="mine")]}


def test_a_network_that_breaks_its_contract_marks_the_rows_of_every_method(tmp_path: Path) -> None:
    network = replace(FAILED, name="pyramid", kind=Kind.NETWORK)
    about = {"network_contract": network.record()}
    add_cell(tmp_path, "base", constant(SCORES), manifest=about)
    both = about | {"contract": UNCHECKED.record()}
    add_cell(tmp_path, "mine", gains(0, 1), config="mine", manifest=both)
    (comparison,) = compared(tmp_path)
    assert doubts(comparison) == {"base": [network], "mine": [UNCHECKED, network]}
    table = marked(main_table.build(Evidence(comparison), {}).table, comparison)
    notes = [note.text for note in table.notes if MARK in note.about]
    assert len(notes) == 2
    assert "`ttt-bench networks check pyramid` shows why" in notes[0]
    found = {record["label"]: record["contract"] for record in summary_rows(tmp_path)}
    assert found["mine"] == "unchecked; network pyramid failed: exact"


def test_a_plugin_of_this_process_is_checked_in_python() -> None:
    assert "assert_conforms" in UNCHECKED.explanation()
    assert "assert_network_conforms" in replace(UNCHECKED, kind=Kind.NETWORK).explanation()
    assert "methods check mine" in replace(FAILED, name="mine").explanation()


def test_a_long_list_of_failed_checks_is_shortened() -> None:
    many = Verdict(state=State.FAILED, failed={str(number): "a" for number in range(15)})
    assert many.text == "failed: 0, 1, 2, 3, 4, 5 and 9 more"


def test_published_rows_have_no_marks_of_this_run(tmp_path: Path) -> None:
    common = {"pair": "taskonomy:nyud", "preset": "paper"}
    add_cell(tmp_path, "base", constant(SCORES), **common)
    for seed, device in ((0, "cpu"), (1, "cuda")):
        about = {"contract": FAILED.record(), "provenance": {"device": device}}
        cell = {"config": f"t{seed}", "seed": seed, "manifest": about}
        add_cell(tmp_path, "tent", gains(0, 1), **cell, **common)
    (comparison,) = compared(tmp_path)
    table = main_table.build(Evidence(comparison), {}).table
    table = marked(with_conditions(table, comparison), comparison)
    heads = {
        section.key: row.head for section in table.sections for row in section.rows if row.contract
    }
    assert heads == {"fixed": f"TENT §{MARK}", "oracle": f"TENT §{MARK}"}
    (published,) = (section for section in table.sections if section.key == "published")
    assert [row.head for row in published.rows] == ["Base", "TENT"]
    found = [r for r in summary_rows(tmp_path) if r["label"] == "tent"]
    verdicts = {r["selection"]: r["contract"] for r in found}
    assert verdicts["fixed"] == FAILED.text
    assert verdicts["published"] is None
