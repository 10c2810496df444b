"""Figures on the page: SVG markup whose points are the numbers of the tables, in both schemes."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import pytest
from matplotlib.figure import Figure
from support.synthetic import BASE, add_cell, compared, constant, gains

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.analysis.verdicts import verdicts
from ttt_bench.report.figures import curves, forest
from ttt_bench.report.figures.drawing import pdf, svg
from ttt_bench.report.figures.end_labels import spread
from ttt_bench.report.figures.inline import inline
from ttt_bench.report.figures.interval_marks import draw_intervals, limits
from ttt_bench.stats.summary import curve_frame

PAIR = re.compile(r"[ML]\s*(\S+)\s+(\S+)")


@pytest.fixture(scope="module")
def drawn(evidence: Evidence) -> curves.Sketch:
    return curves.sketch(evidence.comparison)


@pytest.fixture(scope="module")
def file(drawn: curves.Sketch) -> bytes:
    return svg(drawn.figure)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Return three seeds in which s4t is above norm, ttt below it, and tent neither."""
    root = tmp_path_factory.mktemp("results")
    for seed in range(3):
        percents = {
            "norm": 10.0,
            "tent": 9.8 + 0.3 * seed,
            "s4t": 20 + 0.2 * seed,
            "ttt": 5 + 0.2 * seed,
        }
        add_cell(root, "base", constant(BASE), config=f"b{seed}", seed=seed)
        for method, percent in percents.items():
            curve = gains(1, 2 + 0.1 * seed, 4, percent)
            add_cell(root, method, curve, config=f"{method}{seed}", seed=seed)
        frozen = gains(1, 1.5, 2, 3)
        add_cell(root, "s4t", frozen, config=f"f{seed}", seed=seed, control="frozen")
    return Evidence(compared(root)[0])


def tipped(markup: str) -> dict[str, Element]:
    """Map the gid of each group with tips to the group."""
    root = ElementTree.fromstring(markup)
    groups = [group for group in root.iter("g") if "data-tips" in group.attrib]
    return {group.attrib["id"].removeprefix("one-"): group for group in groups}


def test_every_point_of_the_svg_is_a_number_of_the_curves(
    evidence: Evidence, drawn: curves.Sketch, file: bytes
) -> None:
    comparison = evidence.comparison
    groups = tipped(inline(file, "one", "Curves", drawn.tips))
    frame = curve_frame(comparison.scores, comparison.base)
    panels = ["delta_ttt", *comparison.tasks]
    labels = ["base", "norm", "tent", "ttt", "s4t"]
    names = {f"s{place}-curve-": label for place, label in enumerate(labels)}
    names["sf-curve-"] = "s4t (frozen)"
    assert len(groups) == len(panels) * len(names)
    heights: dict[str, list[tuple[float, float]]] = {panel: [] for panel in panels}
    for own, group in groups.items():
        start, _, panel = own.partition("curve-")
        label, quantity = names[f"{start}curve-"], panels[int(panel.split("_")[0])]
        rows = frame[(frame["label"] == label) & (frame["quantity"] == quantity)]
        (path,) = group.findall("path")
        ys = [float(y) for _, y in PAIR.findall(path.attrib["d"])]
        tips = json.loads(group.attrib["data-tips"])
        assert len(ys) == len(tips) == len(rows) == 4
        heights[quantity] += zip(rows["mean"], ys, strict=True)
        for step, (tip, mean) in enumerate(zip(tips, rows["mean"], strict=True)):
            words = re.search(r"step (\d+): (\S+)", tip)
            assert words is not None
            assert int(words[1]) == step
            assert float(words[2].replace("−", "-")) == pytest.approx(mean, abs=0.006)
    for points in heights.values():
        # the vertical axis is one line: equal numbers for equal heights in the whole panel
        means, ys = np.array(points).T
        slope, start = np.polyfit(means, ys, 1)
        assert slope < 0
        assert ys == pytest.approx(start + slope * means, abs=1e-3)


def test_markup_follows_the_scheme_and_shares_no_id(drawn: curves.Sketch, file: bytes) -> None:
    first, second = (inline(file, name, "Curves", drawn.tips) for name in ("one", "two"))
    ids = [set(re.findall(r'\bid="([^"]+)"', markup)) for markup in (first, second)]
    assert not ids[0] & ids[1]
    referred = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', first))
    assert {one or other for one, other in referred} <= ids[0]
    assert not re.search(r"#ffffff|#000000|#1b1b1b|<style|<metadata|http", first)
    assert "currentColor" in first
    assert ">TENT</text>" in first
    document = pdf(drawn.figure)
    assert document.startswith(b"%PDF")
    assert b"CreationDate" not in document
    assert b"/Type3" not in document


def test_the_ranking_has_the_numbers_and_verdicts_of_the_evidence(evidence: Evidence) -> None:
    ranking = forest.sketch(evidence)
    assert ranking is not None
    left, right = ranking.figure.axes
    rows = [tick.get_text() for tick in left.get_yticklabels()]
    assert rows == ["S4T", "TENT", "Norm", "TTT"]
    estimates = evidence.estimates("fixed").set_index(["label", "quantity"])
    found = evidence.differences("fixed")
    found = found.assign(verdict=verdicts(found))
    found = found[found["reference"] == "norm"].set_index(["label", "quantity"])
    for ax, numbers in ((left, estimates), (right, found)):
        marks = [line for line in ax.lines if "-mark-" in str(line.get_gid())]
        for mark in marks:
            label = rows[int(np.asarray(mark.get_ydata())[0])].lower()
            expected = numbers.loc[label, "delta_ttt"]
            assert float(np.asarray(mark.get_xdata())[0]) == pytest.approx(expected["mean"])
            if ax is right:
                assert (mark.get_markerfacecolor() != "#ffffff") == bool(expected["verdict"])
    assert [bool(found.loc[name, "delta_ttt"]["verdict"]) for name in ("s4t", "ttt")] == [True] * 2
    assert not found.loc["tent", "delta_ttt"]["verdict"]


def test_no_ranking_without_base_and_one_panel_without_norm(tmp_path: Path) -> None:
    add_cell(tmp_path / "a", "tent", gains(1, 2, 3, 4), config="t")
    assert forest.sketch(Evidence(compared(tmp_path / "a")[0])) is None
    for seed in range(2):
        root = tmp_path / "b"
        add_cell(root, "base", constant(BASE), config=f"b{seed}", seed=seed)
        add_cell(root, "tent", gains(1, 2, 3, 4 + seed), config=f"t{seed}", seed=seed)
    ranking = forest.sketch(Evidence(compared(tmp_path / "b")[0]))
    assert ranking is not None
    assert len(ranking.figure.axes) == 1


def test_a_very_long_interval_is_cut_with_an_arrow() -> None:
    low, high = np.array([-500.0, 0.5, np.nan]), np.array([500.0, 1.5, np.nan])
    ends = limits(np.array([0.0, 1.0, 3.0]), low, high)
    assert ends == pytest.approx((-3.45, 6.45))
    ax = Figure().subplots()
    ax.set_xlim(*ends)
    draw_intervals(ax, low, high, colors="black")
    cuts = [line for line in ax.lines if line.get_gid() == "cut"]
    assert [line.get_marker() for line in cuts] == ["<", ">"]
    assert [list(line.get_ydata()) for line in cuts] == [[0], [0]]
    assert tuple(ax.get_xlim()) == pytest.approx(ends)


def test_labels_are_moved_apart_as_little_as_possible() -> None:
    places = [5.0, 0.0, 5.1, 9.9]
    moved = spread(places, 1.0, (0.0, 10.0))
    assert moved == pytest.approx([4.55, 0.0, 5.55, 9.9])
    assert all(b - a >= 1 - 1e-9 for a, b in pairwise(sorted(moved)))
    # at the edge they move into the panel
    assert spread([9.8, 9.9], 1.0, (0.0, 10.0)) == pytest.approx([9.0, 10.0])
