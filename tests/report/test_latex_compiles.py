"""The tables in LaTeX, set by pdflatex in a two-column document: nothing may be too wide or high.

`nox -s latex` installs TeX and runs these tests; those named `short` take two seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
import pytest
from support.made_studies import Made
from support.made_tables import long_table, main_table, sync_table, wide_table
from support.paths import ROOT
from support.synthetic import add_cell, gains
from support.tex import document, missing_program, run, typeset

from ttt_bench.analysis.results import open_results
from ttt_bench.designs.declared_studies import find_study
from ttt_bench.report.formats.latex.files import latex_files
from ttt_bench.report.formats.latex.text import latex
from ttt_bench.report.formats.latex.widths import width
from ttt_bench.report.render import report
from ttt_bench.report.studies.sections import study_sections
from ttt_bench.report.timing.table import timing_sections
from ttt_bench.results.measurements import Measurement
from ttt_bench.results.method_names import PROPER
from ttt_bench.results.published import for_pair

pytestmark = [
    pytest.mark.tex,
    pytest.mark.skipif(bool(missing_program()), reason=missing_program()),
]
PAIRS = ("taskonomy:nyud", "nyud:taskonomy", "taskonomy:pascal")
TEXTS = (
    *("−12.46", "0.6952", "[−14.97, −7.21]", "±0.0078", "±8e-05", "▼", "†", "§‡", "≥ 3"),
    *(
        "TTTFlow (frozen)",
        "NC-TTT",
        "S4T (masking=disjoint)",
        "Delta_TTT",
        "− frozen ↑",
        "mErr ° ↓",
    ),
    *("method", "oracle step: the best average Delta_TTT over steps, chosen per seed with labels"),
)


def labels_of(texts: Iterable[str]) -> set[str]:
    return {label for text in texts for label in re.findall(r"\\label\{([^}]*)\}", text)}


def check(folder: Path, texts: Mapping[str, str]) -> None:
    """Set all files, and look for faults and for tables that are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    found = typeset(folder, texts)
    assert found.faults == {}
    assert found.labels == labels_of(texts.values())
    assert found.pages >= len(texts)


def written(folder: Path) -> dict[str, str]:
    """Return the LaTeX files of a report; labels differ between folders."""
    return {
        # LaTeX reads some signs of the folders' names as commands
        f"{number}/{path.name}": path.read_text(encoding="utf-8")
        for number, own in enumerate(sorted(path for path in folder.iterdir() if path.is_dir()))
        for path in sorted(own.glob("*.tex"))
    }


def test_short_main_and_synchronisation(tmp_path: Path) -> None:
    texts = latex_files("main", main_table(), "tab:a+b_c-main")
    texts |= latex_files("sync", sync_table(), "tab:a+b_c-sync")
    assert {"main_compact.tex", "sync_compact.tex", "main_notes.tex"} <= set(texts)
    check(tmp_path, texts)


def test_a_table_that_is_too_wide_or_high_is_noticed(tmp_path: Path) -> None:
    wide = "\\begin{table}\\begin{tabular}{l}" + "m" * 60 + "\\end{tabular}\\end{table}"
    high = "\\begin{table*}[p]\\rule{1pt}{9in}\\end{table*}"
    found = typeset(tmp_path, {"wide.tex": wide, "high.tex": high})
    assert set(found.faults) == {"wide.tex", "high.tex"}


def test_long_and_wide_tables(tmp_path: Path) -> None:
    tables = {f"wide_{count}": wide_table(count) for count in (1, 7, 19, 40)}
    tables |= {f"long_{rows}": long_table(rows) for rows in (1, 30, 60, 150)}
    texts: dict[str, str] = {}
    for name, table in tables.items():
        texts |= latex_files(name, table, f"tab:{name}")
    check(tmp_path, texts)


@pytest.mark.parametrize("size", [6, 7, 8])
def test_widths_are_those_of_tex(tmp_path: Path, size: int) -> None:
    body = f"\\fontsize{{{size}}}{{9}}\\selectfont" + "".join(
        f"\\sbox0{{{latex(text)}}}\\typeout{{WIDTH \\the\\wd0}}" for text in TEXTS
    )
    log = run(tmp_path, document(body, ["% needs \\usepackage{amssymb}"])).log
    measured = [float(points) for points in re.findall(r"WIDTH ([\d.]+)pt", log)]
    for text, points in zip(TEXTS, measured, strict=True):
        assert 0.97 * points <= width(text, size) <= 1.15 * points, text


def test_the_report_of_the_example(tmp_path: Path) -> None:
    report(ROOT / "results" / "example", tmp_path / "report")
    texts = written(tmp_path / "report")
    assert len(texts) > 10
    check(tmp_path / "tex", texts)


def test_comparisons_with_published_numbers(tmp_path: Path) -> None:
    for pair in PAIRS:
        _add_published(tmp_path / "results", pair)
    report(tmp_path / "results", tmp_path / "report")
    texts = written(tmp_path / "report")
    assert sum("TR-TTT, Table" in text for text in texts.values()) >= len(PAIRS)
    assert sum(name.endswith("ranks.tex") for name in texts) == len(PAIRS)
    check(tmp_path / "tex", texts)


def _add_published(results: Path, pair: str) -> None:
    """Add cells of every method with a published row, with frozen controls."""
    table = for_pair(pair)
    assert table is not None
    base = {task: table.rows[0].scores[task].value for task in table.tasks}
    for seed in range(3):
        for place, method in enumerate(PROPER):
            scores = gains(0, 10 * place + seed, 5 + seed, base=base)
            shared = {"pair": pair, "seed": seed, "comparison": pair}
            add_cell(results, method, scores, config=f"{pair}{method}{seed}", **shared)


def test_studies_and_timings(tmp_path: Path) -> None:
    made, arms = Made(tmp_path / "results"), {}
    for place, arm in enumerate(find_study("masking").all_arms):
        own = made.cells("s4t", 0, 2 + place, 1, settings=f"s4t.mask_ratio=0.{place}")
        arms[arm.label] = (*made.cells("base"), *own)
    files = [made.file("masking", arms)]
    sections = study_sections(open_results(tmp_path / "results"), files, [])
    sections += timing_sections([_timing(method) for method in PROPER if method != "base"])
    texts = {
        f"{number}/{name}": content.decode()
        for number, section in enumerate(sections)
        for name, content in section.files().items()
        if name.endswith(".tex")
    }
    assert {name.partition("/")[2] for name in texts} >= {"arms.tex", "timing.tex"}
    check(tmp_path / "tex", texts)


def _timing(method: str) -> Measurement:
    seconds = 0.1 + len(method)
    quartiles = {"median": seconds, "q1": 0.9 * seconds, "q3": 1.1 * seconds, "settled": False}
    phases = (("predict", 0), ("step", 1), ("steps", 10), ("reset", 0))
    rows = [{"phase": phase, "steps": steps, **quartiles} for phase, steps in phases]
    manifest = {
        "method": method,
        "preset": "paper",
        "architecture": "hypercolumn",
        "backbone": "resnet50",
        "steps": 40,
        "device": "cpu",
        "processor": "a processor with a long name at 2.10 GHz",
        "threads": 2,
        "precision": "float32",
        "batch": 8,
        "image": [448, 576],
        "channels": {"semseg": 18, "depth": 1, "normals": 3, "edge": 1},
        "step_flops": 2.0e12,
        "product_flops": 1.5e14,
        "peak_memory_bytes": 2**34,
        "parameters": {"total": 29_000_000, "moved": 26_560},
        "clock_mhz": 2100,
        "versions": {"torch": "2.8.0"},
    }
    return Measurement(key=method, manifest=manifest, rows=pd.DataFrame(rows))
