"""Colours, dashes and markers of the lines in a figure."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from ttt_bench.report.figures.inline import INK
from ttt_bench.results.method_names import MORE, PAPERS

Style = dict[str, Any]
"""Colour, line style and marker, by matplotlib's names."""

_NEUTRAL: dict[str, object] = {"base": INK, "norm": "#7f7f7f"}
# a contrast of at least 3:1 both to white and to the dark ground of the page
_FREE = (
    *("#0173b2", "#b36b00", "#027a59", "#2f8fc9", "#9a55b0"),
    *("#8f6239", "#d6438f", "#857a00", "#d3213d"),
)
_MORE = ("#4f6fd0", "#c2562b", "#5a8a1e", "#8560d6", "#a8606f")
_COLOURS = {
    **_NEUTRAL,
    **dict(zip(PAPERS[2:], _FREE, strict=True)),
    **dict(zip(MORE, _MORE, strict=True)),
}
_TASK_COLOURS = ("#0072b2", "#b34700", "#00795a", INK, "#a3478a", "#7d6b00")
_DASHES: tuple[object, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 2)))
_MARKERS = "osD^vPX*<>hp"


def colour(method: str) -> Any:
    """Return a method's colour, the same in every figure."""
    if method in _COLOURS:
        return _COLOURS[method]
    # the colour of another method depends on its name alone, not on the methods of the figure
    return _FREE[zlib.crc32(method.encode()) % len(_FREE)]


def line_styles(methods: Mapping[str, str]) -> dict[str, Style]:
    """Map each label to its style.

    Args:
        methods: map each label to its method, in table order.
    """
    variants: dict[str, int] = {}
    styles: dict[str, Style] = {}
    for label, method in methods.items():
        variant = variants[method] = variants.get(method, -1) + 1
        styles[label] = _style(method, variant, position=len(styles))
    return styles


def method_styles(methods: Sequence[str]) -> dict[str, Style]:
    """Map each method to the style of its default label."""
    return {name: _style(name, 0, position=place) for place, name in enumerate(methods)}


def task_styles(tasks: Sequence[str]) -> dict[str, Style]:
    """Map each task to its style, for figures in which a line is a task."""
    return {
        task: {
            "color": _TASK_COLOURS[place % len(_TASK_COLOURS)],
            "linestyle": _DASHES[place % len(_DASHES)],
            "marker": _MARKERS[place % len(_MARKERS)],
        }
        for place, task in enumerate(tasks)
    }


def _style(method: str, variant: int, *, position: int) -> Style:
    """Return the style of a method's n-th label, which is at this position in the figure."""
    if method == "base":
        return {"color": colour(method), "linestyle": "--", "marker": ""}
    # markers repeat in a figure of many labels, with other dashes
    dashes = _DASHES[(variant + position // len(_MARKERS)) % len(_DASHES)]
    marker = _MARKERS[position % len(_MARKERS)]
    return {"color": colour(method), "linestyle": dashes, "marker": marker}
