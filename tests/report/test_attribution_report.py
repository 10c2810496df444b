"""The table and the figure of the parts of Delta_TTT."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from support.parted import small
from support.synthetic import add_cell, gains

from ttt_bench import open_results
from ttt_bench.analysis.evidence import Evidence
from ttt_bench.report import attribution_table
from ttt_bench.report.figures import attribution
from ttt_bench.report.formats.csv_text import to_csv
from ttt_bench.report.formats.markdown import to_markdown
from ttt_bench.report.tables import Number, Table


def built(evidence: Evidence) -> Table:
    table = attribution_table.build(evidence, attribution_table.parts(evidence))
    assert table is not None
    return table


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    return open_results(small(tmp_path)).evidence[0]


def test_rows_have_their_parts_and_add_up(evidence: Evidence) -> None:
    table = built(evidence)
    rows = {row.label: row.cells for row in table.printed_sections[0].rows}
    means = {
        label: {key: cell.mean for key, cell in cells.items() if isinstance(cell, Number)}
        for label, cells in rows.items()
    }
    assert means["s4t"] == {
        "source_training_percent": pytest.approx(0),
        "normalisation_percent": pytest.approx(9),
        "updates_percent": pytest.approx(1),
        "total_percent": pytest.approx(10),
    }
    assert means["tent"]["adaptation_percent"] == pytest.approx(7.5)
    for values in means.values():
        total = values.pop("total_percent")
        assert sum(values.values()) == pytest.approx(total)


def test_a_part_that_is_0_by_definition_is_printed_as_a_bare_0(evidence: Evidence) -> None:
    (norm,) = (line for line in to_markdown(built(evidence)).splitlines() if "| Norm  " in line)
    source, normalisation, updates, _, _ = (cell.strip() for cell in norm.split("|")[2:-1])
    assert (source, updates) == ("0", "0")
    assert normalisation.startswith("**5.00** [")


def test_only_the_csv_file_has_the_tasks(evidence: Evidence) -> None:
    table = built(evidence)
    assert [section.key for section in table.printed_sections] == ["delta_ttt_percent"]
    lines = [line.split(",")[:2] for line in to_csv(table).splitlines()[1:]]
    assert ["semseg_miou_percent", "s4t"] in lines
    assert to_markdown(table).count("| S4T") == 1


def test_notes_name_missing_controls_and_seeds(tmp_path: Path) -> None:
    small(tmp_path)
    add_cell(tmp_path, "base", gains(0, 0, 0), config="b2", seed=2)
    add_cell(tmp_path, "s4t", gains(7, 8, 9), config="s2", seed=2)
    notes = dict(built(open_results(tmp_path).evidence[0]).notes)
    assert notes["No frozen control"].startswith("TENT: ")
    assert "`--methods tent --control none,frozen`" in notes["No frozen control"]
    assert notes["Seeds left out"].startswith("S4T: 2. ")


def test_without_base_there_is_no_table(tmp_path: Path) -> None:
    add_cell(tmp_path, "tent", gains(1, 2, 3))
    evidence = open_results(tmp_path).evidence[0]
    assert attribution_table.build(evidence, attribution_table.parts(evidence)) is None


def test_bars_of_gains_and_losses_are_stacked_apart(tmp_path: Path) -> None:
    add_cell(tmp_path, "base", gains(0, 0), config="b")
    own = {task: values[0] for task, values in gains(-4).items()}
    about = {"source_model": "s4t", "own_source_scores": own}
    add_cell(tmp_path, "s4t", gains(0, 5), config="s", manifest=about)
    add_cell(tmp_path, "s4t", gains(0, 6), config="f", control="frozen", manifest=about)
    evidence = open_results(tmp_path).evidence[0]
    shown = attribution.figure(evidence.comparison, attribution_table.parts(evidence))
    bars = [bar for bar in shown.axes[0].patches if isinstance(bar, Rectangle)]
    spans = [(bar.get_x(), bar.get_width()) for bar in bars if bar.get_width()]
    # source training -4, normalisation 10, updates -1 after the other loss
    np.testing.assert_allclose(sorted(spans), [(-4, -1), (0, -4), (0, 10)], atol=1e-9)
    # one seed without statistics has no interval, so the panel ends just beyond the bars
    assert shown.axes[0].get_xlim() == pytest.approx((-5.75, 10.75))
    assert [ax.get_title(loc="left") for ax in shown.axes if ax.axison] == [
        "Delta_TTT",
        *evidence.comparison.tasks,
    ]


def test_the_legend_is_within_the_figure(evidence: Evidence) -> None:
    comparison = evidence.comparison
    # without frozen controls methods have one part, and norm has its usual two
    labels = [label for label in comparison.labels if "frozen" not in label]
    kept = replace(
        comparison,
        cells=comparison.cells[comparison.cells["label"].isin(labels)],
        rows=comparison.rows[comparison.rows["label"].isin(labels)],
    )
    shown = attribution.figure(kept, attribution_table.parts(Evidence(kept)))
    (legend,) = shown.legends
    assert len(legend.get_texts()) == 5
    extent = legend.get_window_extent()
    assert extent.x0 >= 0
    assert extent.x1 <= shown.bbox.x1
