"""The figure of each task's curve and peak, against the synchronisation table and by hand."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from support.synthetic import BASE, add_cell, compared, constant, gains

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.report.figures.synchronisation import figure
from ttt_bench.report.sync_table import build
from ttt_bench.report.tables import Number


def _evidence(root: Path) -> Evidence:
    for seed in range(2):
        add_cell(root, "base", constant(BASE), config=f"b{seed}", seed=seed)
        add_cell(root, "norm", constant(BASE), config=f"n{seed}", seed=seed)
        add_cell(root, "tent", gains(0, 5, 4, 3 + 3 * seed), config=f"t{seed}", seed=seed)
        add_cell(root, "tent", gains(0, 1, 2, 3), config=f"f{seed}", seed=seed, control="frozen")
        parted = gains(0, 1, 2, 3) | {"depth": [0.7, 0.8, 0.75, 0.78]}
        add_cell(root, "s4t", parted | {"edge": [0.2] * 4}, config=f"s{seed}", seed=seed)
    return Evidence(compared(root)[0])


def _xs(ax: Axes, gid: str) -> list[float]:
    return [float(np.asarray(line.get_xdata())[0]) for line in ax.lines if line.get_gid() == gid]


def _panels(shown: Figure) -> dict[str, Axes]:
    return {ax.get_title(loc="left").split("\n")[0]: ax for ax in shown.axes if ax.axison}


def test_every_peak_of_the_figure_is_that_of_the_table(tmp_path: Path) -> None:
    evidence = _evidence(tmp_path)
    tasks = evidence.comparison.tasks
    shown = figure(evidence.comparison, evidence.observed)
    assert shown is not None
    axes = _panels(shown)
    assert list(axes) == ["TENT", "S4T"]
    rows = {row.label: row.cells for row in build(evidence).sections[0].rows}
    for label, ax in zip(("tent", "s4t"), axes.values(), strict=True):
        curves = [line.get_label() for line in ax.lines if line.get_gid() == "curve"]
        # the flat task of s4t has no curve
        assert curves == [task for task in tasks if (label, task) != ("s4t", "edge")]
        cells = [rows[label][f"peak_step_{task}"] for task in curves]
        means = [cell.mean for cell in cells if isinstance(cell, Number)]
        assert _xs(ax, "peak") == _xs(ax, "lane") == pytest.approx(means)
        (bar,) = (line for line in ax.lines if line.get_gid() == "spread")
        assert np.asarray(bar.get_xdata()).tolist() == pytest.approx([min(means), max(means)])
        assert len(_xs(ax, "seed")) == 2 * len(curves)
    # tent peaks at steps 1 and 3; depth of s4t is best before adapting, then at step 2
    assert _xs(axes["TENT"], "peak") == [2.0] * 4
    assert _xs(axes["S4T"], "peak") == [3.0, 2.0, 3.0]
    assert "1.0 steps apart" in axes["S4T"].get_title(loc="left")
    assert (_xs(axes["TENT"], "early"), _xs(axes["S4T"], "early")) == ([], [0.0])
    assert shown.get_suptitle().endswith("no task moves: Norm")


def test_curves_are_from_the_worst_to_the_best_score(tmp_path: Path) -> None:
    evidence = _evidence(tmp_path)
    shown = figure(evidence.comparison, evidence.observed)
    assert shown is not None
    lines = {line.get_label(): line for line in _panels(shown)["S4T"].lines}
    assert np.asarray(lines["depth"].get_ydata()).tolist() == pytest.approx([1.0, 0.0, 0.5, 0.2])
    assert np.asarray(lines["semseg"].get_ydata()).tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])


def test_no_panel_without_a_task_that_moves(tmp_path: Path) -> None:
    add_cell(tmp_path, "tent", constant(BASE))
    evidence = Evidence(compared(tmp_path)[0])
    assert figure(evidence.comparison, evidence.observed) is None


def test_one_task_that_moves_has_no_distance_to_another(tmp_path: Path) -> None:
    add_cell(tmp_path, "tent", constant(BASE) | {"depth": [0.8, 0.7, 0.75, 0.8]})
    evidence = Evidence(compared(tmp_path)[0])
    shown = figure(evidence.comparison, evidence.observed)
    assert shown is not None
    assert [ax.get_title(loc="left") for ax in shown.axes if ax.axison] == ["TENT"]


def test_texts_do_not_overlap_in_one_column_of_print(tmp_path: Path) -> None:
    evidence = _evidence(tmp_path)
    shown = figure(evidence.comparison, evidence.observed)
    assert shown is not None
    assert shown.get_size_inches()[0] * 25.4 == pytest.approx(88, abs=0.2)
    axes = _panels(shown).values()
    texts = [one for ax in axes for one in ax.get_children() if isinstance(one, Text)]
    texts += [tick for ax in axes for tick in ax.get_xticklabels()]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    boxes.append(shown.legends[0].get_window_extent())
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(float(text.get_fontsize()) >= 6 for text in texts)
