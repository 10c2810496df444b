"""Tables and figures of a study of learning rates, of a made map with known peaks."""

from __future__ import annotations

import csv
import io

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from support.rates import example_map

from ttt_bench.report.figures.drawing import png, svg
from ttt_bench.report.formats.csv_text import to_csv
from ttt_bench.report.rates.maps import figure
from ttt_bench.report.rates.tables import grid_frame, peaks_table, rate_records, summary_table


def test_tables_have_the_peaks_their_distance_and_the_plateau() -> None:
    shown = [example_map()]
    peaks = list(csv.DictReader(io.StringIO(to_csv(peaks_table(shown, "how")))))
    assert [(row["quantity"], row["best_lr"], row["best_steps"]) for row in peaks] == [
        ("delta_ttt", "0.001", "3.0"),
        ("semseg", "0.0001", "1.0"),
        ("depth", "0.01", "3.0"),
        ("edge", "0", "1.0"),
    ]
    assert [row["frozen_change_percent"] for row in peaks] == ["0.0", "0.0", "0.0", "1.0"]
    assert [row["chosen_change_percent"] for row in peaks] == ["3.0", "-3.0", "4.0", "0.2"]
    (row,) = csv.DictReader(io.StringIO(to_csv(summary_table(shown, "how"))))
    assert (row["not_improved"], row["plateau_low"], row["plateau_high"]) == (
        "edge",
        "0.0001",
        "0.01",
    )
    notes = {note.about: note.text for note in peaks_table(shown, "how").notes}
    assert notes["No score"].endswith("TENT at 0.1, 3 steps")


def test_every_point_is_in_the_grid_and_every_quantity_in_the_records() -> None:
    shown = [example_map()]
    frame = grid_frame(shown)
    assert len(frame) == 4 * 6 * 2
    assert frame["change_percent"].isna().sum() == 4
    assert [record["quantity"] for record in rate_records(shown)] == list(shown[0].changes)


def _stars(ax: Axes) -> list[tuple[float, float]]:
    return [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in ax.lines
        if line.get_marker() == "*"
    ]


def test_a_figure_marks_the_best_the_chosen_and_the_diverged_points() -> None:
    one = example_map()
    shown = figure(one, "how")
    panels = [ax for ax in shown.axes if ax.get_title(loc="left")]
    assert len(panels) == 4
    for ax, name in zip(panels, one.changes, strict=True):
        peak = one.peak(name)
        assert peak is not None
        ((x, y),) = _stars(ax)
        assert (int(x), int(y)) == (one.rates.index(peak.lr), one.steps.index(peak.steps))
        hatched = [patch.get_xy() for patch in ax.patches if patch.get_hatch()]
        assert hatched == [(5, 1)]
        framed = {patch.get_xy() for patch in ax.patches if not patch.get_fill()}
        assert framed == {(3, 1)}
        assert len(ax.texts) == 11
    assert png(shown).startswith(b"\x89PNG")
    assert svg(figure(one, "how")) == svg(figure(one, "how"))


def test_no_change_is_the_middle_of_the_scale_and_lightness_rises_with_the_change() -> None:
    bars = [ax for ax in figure(example_map(), "how").axes if not ax.get_title(loc="left")]
    limits = [ax.get_ylim() for ax in bars]
    assert limits == [(-3.0, 3.0), (-2.0, 2.0), (-6.0, 6.0), (-1.006, 1.006)]
    panel = figure(example_map(), "how").axes[0]
    colours = panel.collections[0].to_rgba([-3.0, 0.0, 3.0])
    lightness = [0.299 * r + 0.587 * g + 0.114 * b for r, g, b, _ in map(to_rgba, colours)]
    assert lightness[0] + 0.2 < lightness[1] < lightness[2] - 0.2
