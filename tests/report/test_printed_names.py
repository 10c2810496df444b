"""Names of methods in the tables of a report: proper in print, short in CSV and commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from support import synthetic

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.report import attribution_table, main_table, more_table, sync_table
from ttt_bench.report.formats.csv_text import to_csv
from ttt_bench.report.formats.latex.table import to_latex
from ttt_bench.report.formats.markdown import to_markdown
from ttt_bench.report.rules.table import rules_table
from ttt_bench.report.settings import hyperparameters
from ttt_bench.report.tables import Table
from ttt_bench.results.method_names import PROPER, MethodNames

COMMAND = re.compile(r"`[^`]*`")
SHORT = re.compile(rf"(?<![\w.])(?:{'|'.join(PROPER)})(?![\w=.])")


@pytest.fixture(scope="module")
def evidence(results: Path) -> Evidence:
    (comparison,) = synthetic.compared(results)
    return Evidence(comparison)


def tables(evidence: Evidence) -> Iterator[Table]:
    """Yield the tables of a comparison that name methods."""
    comparison = evidence.comparison
    parts = attribution_table.parts(evidence)
    found = (
        main_table.build(evidence, {}).table,
        attribution_table.build(evidence, parts),
        more_table.build(comparison),
        rules_table(evidence),
        sync_table.build(evidence),
        hyperparameters.build(comparison),
    )
    yield from (table for table in found if table is not None)


def test_no_table_or_note_prints_a_short_name(evidence: Evidence) -> None:
    for table in tables(evidence):
        text = COMMAND.sub("", to_markdown(table))
        assert not SHORT.findall(text), (table.title, SHORT.findall(text))
        assert "TENT" in to_markdown(table)
        assert "TENT" in to_latex(table, "tab:x")


def test_csv_has_the_short_names(evidence: Evidence, tmp_path: Path) -> None:
    for place, table in enumerate(tables(evidence)):
        path = tmp_path / f"{place}.csv"
        path.write_text(to_csv(table), encoding="utf-8")
        methods = pd.read_csv(path)["method"]
        assert "tent" in set(methods)
        assert not methods.str.contains("TENT").any()


def test_other_names_may_be_given(evidence: Evidence) -> None:
    names = MethodNames({**PROPER, "tent": "Tent of 2021", "norm": "BN"})
    renamed = Evidence(replace(evidence.comparison, names=names))
    table = main_table.build(renamed, {}).table
    assert "Tent of 2021" in {row.head for row in table.rows()}
    assert "− BN" in {line for column in table.columns for line in column.head}
    assert "better than BN" in dict(table.notes)["Bold, ▼"]
