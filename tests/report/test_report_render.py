"""The whole report: its files, the self-contained page, and refusals."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console
from support.synthetic import add_cell, gains, statistics_frame

from ttt_bench.analysis.results import open_results
from ttt_bench.errors import BenchError
from ttt_bench.metrics.base import metrics_of
from ttt_bench.report.figures.curves import sketch
from ttt_bench.report.figures.drawing import svg
from ttt_bench.report.figures.line_styles import colour
from ttt_bench.report.render import Rendered, report, summary_rows, summary_tables
from ttt_bench.report.truth import truth_of
from ttt_bench.results import store
from ttt_bench.stats.comparison import Comparison

FILES = [
    "index.html",
    *("ranking.png", "ranking.svg", "ranking.pdf"),
    *("main.md", "main.tex", "main_notes.tex", "main_compact.tex", "main.csv", "intervals.csv"),
    *("curves.csv", "curves.png", "curves.svg", "curves.pdf"),
    *("attribution.md", "attribution.tex", "attribution_notes.tex", "attribution.csv"),
    *("attribution.png", "attribution.svg", "attribution.pdf"),
    *("sync.md", "sync.tex", "sync_notes.tex", "sync_compact.tex", "sync.csv"),
    *("sync.png", "sync.svg", "sync.pdf"),
    *(f"pictures{task}.png" for task in ("", "_semseg", "_depth", "_normals", "_edge")),
    *("more.md", "more.tex", "more_notes.tex", "more.csv"),
    *("each_class.md", "each_class.tex", "each_class_notes.tex", "each_class.csv"),
    *("classes.md", "classes.tex", "classes_notes.tex", "classes.csv"),
    *("step_rules.md", "step_rules.tex", "step_rules_notes.tex", "step_rules.csv"),
    "hyperparameters.md",
    *("hyperparameters.tex", "hyperparameters_notes.tex", "hyperparameters.csv"),
]


class Links(HTMLParser):
    """A parser that keeps the addresses that a page would fetch, and its anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        fetched = ("src", "href", "srcset", "data", "action")
        self.sources += [value or "" for name, value in attrs if name in fetched]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_everything_is_written(rendered: Rendered) -> None:
    assert [path.name for path in rendered.paths] == FILES
    assert rendered.page == rendered.paths[0]
    assert all(path.stat().st_size for path in rendered.paths)
    folder = rendered.page.parent
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted(rendered.paths)
    with Image.open(next(path for path in rendered.paths if path.name == "curves.png")) as image:
        assert image.width > 1000


def test_the_page_is_self_contained(rendered: Rendered) -> None:
    text = rendered.page.read_text(encoding="utf-8")
    links = Links()
    links.feed(text)
    assert links.open == []
    files = {path.relative_to(rendered.page.parent).as_posix() for path in rendered.paths[1:]}
    inside = [source for source in links.sources if source.startswith(("data:image/", "#"))]
    assert set(links.sources) - set(inside) == files
    assert {source[1:] for source in links.sources if source.startswith("#")} <= set(links.ids)
    assert text.count("<script") == text.count("<script>") == 1
    assert not re.search(r"url\((?!#)", text)
    assert "@import" not in text
    for words in (
        "not applicable: needs normals",
        "seed 1: diverged",
        "S4T (mask_ratio=0.5)",
        "oracle step",
    ):
        assert words in text


def test_csv_has_the_numbers_of_the_table(rendered: Rendered) -> None:
    frame = pd.read_csv(next(path for path in rendered.paths if path.name == "main.csv")).set_index(
        ["selection", "method"]
    )
    assert frame.loc[("oracle", "tent"), "delta_ttt_percent"] == pytest.approx(12.0)
    assert frame.loc[("fixed", "tent"), "delta_ttt_percent_sd"] == pytest.approx(7**0.5)
    assert frame.loc[("constant", "best constant"), "semseg_miou_percent"] == pytest.approx(80 / 3)
    assert frame.loc[("missing", "tipi"), "state"] == "not applicable"
    pixels = pd.read_csv(
        next(path for path in rendered.paths if path.name == "classes.csv")
    ).set_index("class")
    assert pixels["pixels"].to_dict() == {"wall": 80, "box": 20, "lamp": 0}
    assert pixels["share_percent"].tolist() == [80, 20, 0]
    page = rendered.page.read_text(encoding="utf-8")
    assert '<th scope="row">lamp</th><td data-column="pixels" data-value="0.0">0</td>' in page
    assert "lamp: the target has no such pixels" in page


def test_csv_has_the_numbers_of_the_curves(rendered: Rendered, comparison: Comparison) -> None:
    path = next(path for path in rendered.paths if path.name == "curves.csv")
    frame = pd.read_csv(path, float_precision="round_trip")  # the default may round the last digit
    assert list(frame.columns) == ["method", "quantity", "step", "mean", "sd", "seeds"]
    keys = frame.set_index(["method", "quantity", "step"]).sort_index()
    assert keys.index.is_unique
    tent = keys.loc[("tent", "delta_ttt_percent")]
    assert tent["mean"].tolist() == pytest.approx([1, 9, 28 / 3, 7])
    assert tent.loc[3].tolist() == pytest.approx([7, 7**0.5, 3])
    s4t = keys.loc[("s4t", "depth_rmse", 2)]
    assert s4t["mean"] == pytest.approx(0.8 * 0.85)
    assert np.isnan(s4t["sd"])
    # every line of the figure, point for point
    drawn = [line for ax in sketch(comparison).figure.axes if ax.axison for line in ax.get_lines()]
    shown = frame[frame["quantity"] != "delta_ttt_without_edge_percent"]
    assert sorted(value for line in drawn for value in line.get_ydata()) == sorted(shown["mean"])


def test_summary_for_a_console_and_for_programs(results: Path) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    for table in summary_tables(results):
        console.print(table)
    text = console.export_text()
    assert "oracle step" in text
    assert "S4T (mask_ratio=0.5)" in text
    records = summary_rows(results)
    assert len({tuple(record) for record in records}) == 1
    found = {(r["selection"], r["label"], r["quantity"]): r for r in records if not r["reference"]}
    assert found["oracle", "tent", "delta_ttt"]["mean"] == pytest.approx(12.0)
    assert found["oracle", "s4t", "delta_ttt"]["sd"] is None
    assert found["missing", "s4t", None]["reason"].startswith("loss not finite")
    assert (
        found["oracle", "tent", "depth"]["task"],
        found["oracle", "tent", "depth"]["metric"],
    ) == ("depth", "rmse")
    assert found["constant", "best constant", "depth"]["metric"] == "rmse"
    assert found["oracle", "tent", "delta_ttt"]["task"] is None
    json.dumps(records, allow_nan=False)


def test_json_is_json_without_base_and_without_a_pixel(tmp_path: Path) -> None:
    statistics = statistics_frame()
    statistics["values"] = [[0.0] * len(values) for values in statistics["values"]]
    add_cell(tmp_path, "tent", gains(1, 2, 3, 4), statistics=statistics)
    add_cell(tmp_path, "tipi", state="failed", reason="out of memory", config="b")
    records = summary_rows(tmp_path)
    json.dumps(records, allow_nan=False)
    found = {(r["selection"], r["label"], r["quantity"]): r for r in records}
    assert found["fixed", "tent", "semseg"]["mean"] == pytest.approx(20.8)
    assert found["constant", "best constant", "depth"]["mean"] is None


def test_only_the_first_step_of_the_statistics_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = statistics_frame()
    folder = add_cell(
        tmp_path, "base", gains(0, 0), statistics=pd.concat([first, first.assign(step=1)])
    )
    assert len(store.read_table(folder, "statistics")) == 2 * len(first)
    assert set(store.read_table(folder, "statistics", step=1)["step"]) == {1}
    asked, whole = [], store.read_parquet

    def read(path: Path, **options: object) -> pd.DataFrame:
        asked.append((path.stem, options["filters"]))
        return whole(path, **options)

    monkeypatch.setattr(store, "read_parquet", read)
    truth_of(open_results(tmp_path).comparisons[0])
    assert asked == [("statistics", [("step", "==", 0)])]


def test_only_failed_cells_still_make_a_page(tmp_path: Path) -> None:
    add_cell(tmp_path / "in", "tent", state="failed", reason="ValueError: <b>bad</b> & worse")
    done = report(tmp_path / "in", tmp_path / "out")
    files = ["main.md", "main.tex", "main_notes.tex", "main.csv"]
    assert [path.name for path in done.paths] == ["index.html", *files]
    page = done.page.read_text(encoding="utf-8")
    assert "failed: ValueError: &lt;b&gt;bad&lt;/b&gt; &amp; worse" in page
    # heading, state and reason are below a head of two columns
    assert '<td class="state" colspan="1"' in page
    assert page.count('<th scope="col"') == 2
    assert len(summary_tables(tmp_path / "in")) == 1
    (record,) = summary_rows(tmp_path / "in")
    assert record["state"] == "failed"


def test_a_second_report_replaces_the_first(tmp_path: Path) -> None:
    add_cell(tmp_path / "in", "tent", state="failed", reason="an old mishap")
    report(tmp_path / "in", tmp_path / "out")
    add_cell(tmp_path / "in", "tent", state="failed", reason="a new mishap")
    page = report(tmp_path / "in", tmp_path / "out").page.read_text(encoding="utf-8")
    assert "a new mishap" in page
    assert "an old mishap" not in page


def test_refusals(results: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="does not exist"):
        report(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BenchError, match="has no results"):
        summary_tables(tmp_path / "empty")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BenchError, match="--out"):
        report(results, tmp_path / "file")
    folder = add_cell(tmp_path / "bad", "tent", state="failed")
    (folder / "manifest.json").write_text('{"schema_version": 1, "state": "failed"}')
    with pytest.raises(BenchError, match=r"manifest\.json is damaged \(no pair, method"):
        report(tmp_path / "bad", tmp_path / "out")


def test_no_torch_and_no_methods(results: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ttt_bench.report.render import report;"
        "import ttt_bench.sync;"
        f"report(Path({str(results)!r}), Path({str(tmp_path / 'out')!r}));"
        "unwanted = ('torch.', 'ttt_bench.methods');"
        "bad = [m for m in sys.modules if m == 'torch' or m.startswith(unwanted)];"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_curves_show_every_task_and_label(comparison: Comparison) -> None:
    shown = sketch(comparison).figure
    panels = [ax for ax in shown.axes if ax.axison]
    titles = [ax.get_title(loc="left").split(":")[0].split(" ")[0] for ax in panels]
    assert titles == ["Delta_TTT", *comparison.tasks]
    (legend,) = shown.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "Base",
        "Norm",
        "TENT",
        "S4T",
        "S4T (mask_ratio=0.5)",
    ]
    tent = panels[0].get_lines()[2]
    assert list(tent.get_xdata()) == [0, 1, 2, 3]
    assert list(tent.get_ydata()) == pytest.approx([1, 9, 28 / 3, 7])
    assert "Horizontally: adaptation step" in shown.get_suptitle()
    assert svg(shown) == svg(sketch(comparison).figure)
    assert colour("tent") != colour("s4t")
    assert colour("another") == colour("another")


def test_pictures_align_depth_for_display_alone() -> None:
    truth = np.array([[1.0, 2.0], [3.0, 255.0]])
    # the truth, on another scale and upside down; the pixel without a truth is 99
    prediction = np.array([[-10.0, -20.0], [-30.0, 99.0]])
    shown, expected = (
        metrics_of("depth").picture(truth, prediction),
        metrics_of("depth").picture(truth),
    )
    assert np.array_equal(shown[:1], expected[:1])
    assert np.array_equal(shown[1, 0], expected[1, 0])
    assert shown[1, 1].tolist() == expected[1, 1].tolist() == [221, 221, 221]
