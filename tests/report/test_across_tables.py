"""The tables over comparisons, from made numbers and from generated results of two pairs."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.across import numbers
from support.generated import generate

import ttt_bench
from ttt_bench.analysis.across.groups import groups
from ttt_bench.analysis.across.numbers import Numbers, numbers_of
from ttt_bench.errors import BenchError
from ttt_bench.report.across.sections import across_sections
from ttt_bench.report.across.tables import GroupNumbers, delta_table
from ttt_bench.report.formats.html import to_html
from ttt_bench.report.formats.latex.table import to_latex
from ttt_bench.report.formats.markdown import to_markdown
from ttt_bench.report.tables import Column, Number, Row, Section, Table

PAIRS = ("taskonomy:nyud", "nyud:taskonomy")
DELTAS = {"base": 0.0, "tent": 4.0, "s4t": 10.0, "s4t (frozen)": 3.0}


def test_a_row_that_a_value_lacks_has_a_dash_and_a_note() -> None:
    (group,) = groups([numbers(DELTAS, pair=pair) for pair in PAIRS[:1]] + [_without_tent()])
    table = delta_table(GroupNumbers(group))
    cells = {row.label: row.cells for row in table.sections[0].rows}
    assert "all delta_ttt" not in cells["tent"]
    assert "all rank" not in cells["s4t (frozen)"]
    assert isinstance(cells["s4t"]["all rank"], Number)
    notes = dict(table.notes)
    assert notes["Missing"].startswith("TENT: ")


def test_groups_of_columns_have_a_head() -> None:
    columns = [Column(key=f"{g}{k}", head=(k,), group=g) for g in "PQ" for k in "ab"]
    last = Column(key="mean", head=("mean",))
    row = Row(label="s4t", cells={"Pa": Number(mean=1.0, sd=0.5)})
    section = Section(key="fixed", heading="fixed", rows=(row,))
    table = Table(title="t", subtitle="s", columns=(*columns, last), sections=(section,))
    assert table.groups == (("P", 2), ("Q", 2), ("", 1))
    # in LaTeX the deviation of the first column has a separate cell
    latex = to_latex(table, "tab:t")
    assert r"\multicolumn{3}{c}{P} & \multicolumn{2}{c}{Q}" in latex
    assert r"\cmidrule(lr){2-4} \cmidrule(lr){5-6}" in latex
    assert '<th scope="colgroup" colspan="2">P</th>' in to_html(table, "a/b")
    assert "| P b |" in to_markdown(table)


def test_two_pairs_are_side_by_side_with_the_published_scores(tmp_path: Path) -> None:
    methods = ("base", "norm", "s4t", "ttt")
    folder = generate(
        tmp_path, pairs=PAIRS, methods=methods, seeds=2, steps=2, images=4, batch=2, classes=3,
        workers=1,
    )  # fmt: skip
    results = ttt_bench.open_results(folder)
    frame = results.across("pair").set_index(["value", "label", "quantity"])["mean"]
    delta = results.delta().set_index(["pair", "label"])["delta_ttt"]
    both = [delta[pair, "s4t"] for pair in PAIRS]
    assert frame["all", "s4t", "delta_ttt"] == pytest.approx(sum(both) / 2)
    assert results.select(methods=["s4t"]).across("pair")["label"].unique().tolist() == [
        "s4t",
        "s4t (frozen)",
    ]
    with pytest.raises(BenchError, match="available: pair"):
        results.across("protocol")
    (section,) = across_sections([found for one in results.evidence if (found := numbers_of(one))])
    scores = section.files()["scores.md"].decode()
    assert "nyud → taskonomy semseg mIoU" in scores
    assert "29.31" in scores  # Base on NYUD-v2 in TR-TTT, Table 1
    ranks = results.published_ranks()
    assert set(ranks["label"]) == {"base", "s4t", "ttt"}
    assert len(results.rank_correlations()) == 4


def _without_tent() -> Numbers:
    return numbers({k: v for k, v in DELTAS.items() if k != "tent"}, pair=PAIRS[1])
