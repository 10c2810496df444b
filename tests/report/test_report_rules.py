"""The table of step rules: its numbers by hand, and its notes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.generated import generate
from support.synthetic import add_cell, compared, gains

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.report.render import Rendered
from ttt_bench.report.rules.table import rules_table
from ttt_bench.report.tables import DASH, Number, Table
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import STEP_RULES, Indices, StepRule, Trajectories


class First(StepRule):
    """The first step."""

    name = "first"
    heading = "first step"
    detail = "the first one"

    def choose(self, trajectories: Trajectories) -> Indices:
        return np.broadcast_to(np.minimum(trajectories.last, 1), trajectories.deltas.shape[:-1])


def cells(table: Table, section: str) -> dict[str, dict]:
    (found,) = [one for one in table.sections if one.key == section]
    return {row.label: row.cells for row in found.rows}


def notes(table: Table) -> dict[str, str]:
    return dict(table.notes)


def test_numbers_of_the_table(rendered: Rendered) -> None:
    path = next(path for path in rendered.paths if path.name == "step_rules.csv")
    frame = pd.read_csv(path).set_index(["selection", "method"])
    assert frame.loc[("delta_ttt", "tent"), ["fixed", "oracle"]].tolist() == pytest.approx([7, 12])
    assert frame.loc[("step", "tent"), "oracle"] == pytest.approx(5 / 3)
    assert frame.loc[("regret", "tent"), "fixed"] == pytest.approx(5)
    # seed 0, which all four have: 0, 2, 0 and 0
    assert frame.loc[("regret", "mean of 4 rows"), "fixed"] == pytest.approx(0.5)
    page = rendered.page.read_text(encoding="utf-8")
    assert ">Step rules</h3>" in page


def test_notes_name_what_is_missing(comparison: Comparison) -> None:
    table = rules_table(Evidence(comparison))
    assert [column.key for column in table.columns] == ["fixed", "oracle"]
    found = notes(table)
    assert found["Oracle, held out"] == "not estimated: statistics of images are missing"
    absent = [text for about, text in table.notes if about == "No step"]
    assert absent == [
        "under *loss flattens* for any row, so it has no column. It needs an auxiliary loss",
        "under *most agreement* for any row, so it has no column. It needs agreement under "
        "augmentation, stored by `run --agreement`",
        "under *change settles* for any row, so it has no column. It needs the change of "
        "predictions per step",
    ]
    assert cells(table, "step")["norm"].get("oracle", DASH) == DASH, "all steps are equal"
    assert cells(table, "step")["norm"]["fixed"] == Number(mean=3, decimals=1)


def test_statistics_and_losses_add_columns(tmp_path: Path) -> None:
    options = {"methods": ("base", "tent", "actmad"), "seeds": 2, "steps": 3, "images": 8}
    (only,) = compared(generate(tmp_path, batch=2, classes=3, workers=1, **options))
    with STEP_RULES.extended({"first": First()}):
        table = rules_table(Evidence(only))
    keys = [column.key for column in table.columns]
    assert keys == ["fixed", "loss", "first", "oracle", "oracle_held_out"]
    regret = cells(table, "regret")
    assert list(regret) == ["tent", "actmad", "mean of 2 rows"], "no frozen controls"
    assert regret["actmad"]["first"].interval is not None
    both = [regret[label]["first"].mean for label in ("tent", "actmad")]
    assert regret["mean of 2 rows"]["first"].mean == pytest.approx(sum(both) / 2)
    assert "4 batches" in notes(table)["Oracle, held out"]
    assert "each of 4 folds" in notes(table)["Oracle, held out"], "a batch is a fold"
    assert "±" not in notes(table)["Oracle, held out"], "there is one partition"
    assert regret["actmad"]["oracle_held_out"].sd is None


def test_no_table_without_base(tmp_path: Path) -> None:
    add_cell(tmp_path, "tent", gains(1, 2, 3))
    (only,) = compared(tmp_path)
    assert rules_table(Evidence(only)) is None


class Signalled(First):
    """A rule that reads a signal."""

    name = "signalled"
    needs = "a signal"


def test_rules_that_read_a_signal_compare_no_row_with_its_control(tmp_path: Path) -> None:
    add_cell(tmp_path, "base", gains(0, 0, 0), config="b")
    add_cell(tmp_path, "tent", gains(1, 2, 3), config="t")
    add_cell(tmp_path, "tent", gains(1, 1, 1), config="f", control="frozen")
    (comparison,) = compared(tmp_path)
    evidence = Evidence(comparison, rules=(First(), Signalled()))
    assert set(evidence.differences("first")["reference"]) == {"base", "frozen"}
    assert set(evidence.differences("signalled")["reference"]) == {"base"}
