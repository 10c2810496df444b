"""Colours of figures: contrast to both grounds, and styles that do not depend on colour."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from ttt_bench.report.figures.attribution import _STYLES
from ttt_bench.report.figures.curves import coinciding
from ttt_bench.report.figures.inline import INK
from ttt_bench.report.figures.line_styles import method_styles, task_styles
from ttt_bench.results.method_names import METHOD_ORDER
from ttt_bench.tasks import TASKS

DARK = "#15171a"
"""The dark ground of the page."""


def _luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2.1."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(colour: str) -> float:
    """Return the lower of the contrast ratios to white and to the dark ground.

    Ink has the colour of the page's text in both schemes.
    """
    if colour == INK:
        return 1.05 / (_luminance(colour) + 0.05)
    light, own, dark = (_luminance(one) + 0.05 for one in ("#ffffff", colour, DARK))
    return min(light / own, own / dark)


@pytest.mark.parametrize("styles", [method_styles(METHOD_ORDER), task_styles(list(TASKS))])
def test_lines_have_contrast_and_differ_without_colour(styles: dict[str, dict[str, str]]) -> None:
    assert min(_contrast(style["color"]) for style in styles.values()) >= 3
    shapes = {(str(style["linestyle"]), style["marker"]) for style in styles.values()}
    assert len(shapes) == len(styles)


def test_bars_have_contrast() -> None:
    assert min(_contrast(style["facecolor"]) for style in _STYLES.values()) >= 3


def test_labels_coincide_only_if_their_lines_do_in_every_panel() -> None:
    lines = {
        ("a", "depth"): [1.0, 2.0],
        ("b", "depth"): [1.0, 2.001],
        ("c", "depth"): [1.0, 2.0],
        ("a", "edge"): [5.0, 6.0],
        ("b", "edge"): [5.0, 6.0],
        ("c", "edge"): [5.0, 5.5],
    }
    rows = [
        {"label": label, "quantity": quantity, "step": step, "mean": mean}
        for (label, quantity), means in lines.items()
        for step, mean in enumerate(means)
    ]
    assert coinciding(pd.DataFrame(rows)) == [["a", "b"]]
