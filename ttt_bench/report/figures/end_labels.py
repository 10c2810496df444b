"""Labels at the ends of lines, moved apart so that they do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.text import Annotation

from ttt_bench.report.figures.inline import gid
from ttt_bench.report.figures.line_styles import Style

GAP = 8.0
"""Distance of labels in points."""
LONGEST = 18
"""Letters of a label; longer ones are cut, because the legend has the whole."""
_X = 1.06
"""Where labels begin, as a share of the width of the panel."""


@dataclass(frozen=True, kw_only=True)
class End:
    """The end of a line: its name, its point, and the style and series of the line."""

    name: str
    point: tuple[float, float]
    style: Style
    series: int


def add_labels(ax: Axes, ends: Sequence[End]) -> list[Annotation]:
    """Return labels to the right of a panel, at the heights of the ends of lines."""
    return [_label(ax, end) for end in ends]


def _label(ax: Axes, end: End) -> Annotation:
    name = end.name if len(end.name) <= LONGEST else f"{end.name[: LONGEST - 1]}…"
    leader = {"arrowstyle": "-", "color": end.style["color"], "linewidth": 0.6}
    ends = {"relpos": (0, 0.5), "patchA": None, "shrinkA": 1, "shrinkB": 0}
    label = ax.annotate(
        name,
        end.point,
        (_X, end.point[1]),
        textcoords=ax.get_yaxis_transform(),
        arrowprops=leader | ends,
        verticalalignment="center",
        annotation_clip=False,
        gid=gid(end.series, "end"),
    )
    if label.arrow_patch is not None:
        label.arrow_patch.set_gid(gid(end.series, "leader"))
    return label


def move_apart(ax: Axes, labels: Sequence[Annotation]) -> None:
    """Move labels so that they do not overlap; the layout of the figure must be final."""
    low, high = ax.get_ylim()
    height = ax.get_window_extent().height * 72 / ax.figure.dpi
    places = spread([label.xy[1] for label in labels], GAP * (high - low) / height, (low, high))
    for label, place in zip(labels, places, strict=True):
        label.set_y(place)


def spread(places: Sequence[float], gap: float, limits: tuple[float, float]) -> list[float]:
    """Return places at least `gap` apart that are closest to the given ones, in their order.

    The squared distances are least (isotonic regression by pooling adjacent violators). Places
    are within the limits as far as the gap allows it.
    """
    order = sorted(range(len(places)), key=places.__getitem__)
    blocks: list[list[float]] = []
    for rank, place in enumerate(order):
        blocks.append([places[place] - rank * gap])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    shifts = [_mean(block) for block in blocks for _ in block]
    low, high = limits[0], max(limits[0], limits[1] - gap * (len(places) - 1))
    found = dict.fromkeys(order, 0.0)
    for rank, (place, shift) in enumerate(zip(order, shifts, strict=True)):
        found[place] = min(max(shift, low), high) + rank * gap
    return [found[place] for place in range(len(places))]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
