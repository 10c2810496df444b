"""The whole report: from a results folder to a folder of tables, figures and one page.

The folder that `report` writes:

    index.html                      everything on one self-contained page
    <comparison>/main.{md,tex,csv}  the main table: each task's primary metric
    <comparison>/more.{md,tex,csv}  the other metrics, at the last step
    <comparison>/each_class.{md,tex,csv}  the metrics of each semantic class, at the last step
    <comparison>/sync.{md,tex,csv}  step variance, DTW and cosine similarity
    <comparison>/classes.csv        pixels of each semantic class in the target
    <comparison>/curves.{csv,png,svg}  every task's score and Delta_TTT over steps
    <comparison>/pictures.png       example images, where the results hold some

A comparison's folder is named by what its cells share (`Comparison.slug`). A comparison without any
numbers has the main table alone, with the reasons. Files are replaced one by one, each as a whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from ttt_bench.report import classes, main_table, more_table, sync_table, tables
from ttt_bench.report.console import ConsoleTable
from ttt_bench.report.page import PageSection, html
from ttt_bench.report.tables import Table
from ttt_bench.results import store
from ttt_bench.results.load import load
from ttt_bench.stats import summary
from ttt_bench.stats.comparison import Comparison, comparisons
from ttt_bench.tasks import TASKS
from ttt_bench.util.atomic import atomic_file, require_writable

RECORD_KEYS = (
    *("selection", "label", "quantity", "task", "metric", "class"),
    *("mean", "sd", "seeds", "seed", "state", "reason"),
)
"""Keys of `summary_rows` beside what the comparison shares."""

HINT = "choose another report folder with --out"


@dataclass(frozen=True)
class Rendered:
    """What was written.

    Attributes:
        page: `index.html`.
        paths: every file, the page first.
        tables: the tables for a console, of every comparison: main, other metrics, each class,
        synchronisation.
    """

    page: Path
    paths: tuple[Path, ...]
    tables: tuple[RenderableType, ...]


def report(results: Path, out: Path) -> Rendered:
    """Write the report of a results folder.

    Raises:
        BenchError: no such folder, no results in it, a damaged file (named), or `out` cannot be
        written.
    """
    found = _comparisons(Path(results))
    out = Path(out)
    require_writable(out, HINT)
    paths: list[Path] = []
    sections: list[PageSection] = []
    shown: list[RenderableType] = []
    for comparison in found:
        section = _section(comparison)
        sections.append(section)
        shown += [ConsoleTable(table) for table in section.tables.values()]
        paths += [
            _write(out / comparison.slug, name, content)
            for name, content in _files(section).items()
        ]
    page = _write(out, "index.html", html(sections, str(results)).encode())
    return Rendered(page, (page, *paths), tuple(shown))


def summary_tables(results: Path) -> list[RenderableType]:
    """The main table of every comparison of a results folder, for a console; writes nothing.

    Raises:
        BenchError: no such folder, no results in it, or a damaged file (named).
    """
    return [ConsoleTable(_main(comparison)) for comparison in _comparisons(Path(results))]


def summary_rows(results: Path) -> list[dict[str, Any]]:
    """The numbers of the tables of scores as plain records, one a number, full precision; writes
    nothing.

    Keys: what the comparison shares, `selection` (oracle, fixed, constant or missing), `label`,
    `quantity` (a task for its primary metric, the name of any other metric, `delta_ttt` and so on),
    `task`, `metric` and `class` where they apply, `mean`, `sd` and `seeds`, and for cells without
    numbers `seed`, `state` and `reason`; None where there is none. Metrics that are not primary
    stand there for the fixed step alone.

    Raises:
        BenchError: no such folder, no results in it, or a damaged file (named).
    """
    return [record for comparison in _comparisons(Path(results)) for record in _records(comparison)]


def _records(comparison: Comparison) -> list[dict[str, Any]]:
    truth = _truth(comparison)
    found = main_table.build(comparison, truth.constants).summary.astype(object).to_dict("records")
    for task, value in truth.constants.items():
        found.append(
            {"selection": "constant", "label": "best constant", "quantity": task, "mean": value}
        )
    for entry in found:
        if entry["quantity"] in TASKS:
            entry |= {"task": entry["quantity"], "metric": TASKS[entry["quantity"]].metric}
    for entry in summary.other_metrics(comparison.rows).astype(object).to_dict("records"):
        found.append(
            {
                **entry,
                "selection": summary.FIXED,
                "quantity": entry["metric"],
                "class": entry["class"] or None,
            }
        )
    missing = comparison.cells[comparison.cells["state"] != "done"][
        ["label", "seed", "state", "reason"]
    ]
    found += [
        {"selection": "missing", **entry} for entry in missing.astype(object).to_dict("records")
    ]
    return [
        {**comparison.key._asdict(), **{key: _finite(entry.get(key)) for key in RECORD_KEYS}}
        for entry in found
    ]


def _finite(value: Any) -> Any:
    """The value, None in place of a number that JSON has no word for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _comparisons(results: Path) -> list[Comparison]:
    loaded = load(results)
    return comparisons(loaded.cells, loaded.rows)


def _main(comparison: Comparison) -> Table:
    truth = _truth(comparison)
    return main_table.build(comparison, truth.constants, truth.pixels).table


@dataclass(frozen=True)
class _Truth:
    """What the target alone tells: the best constant's scores, task -> score, and class ->
    pixels.
    """

    constants: dict[str, float] = field(default_factory=dict)
    pixels: dict[str, float] = field(default_factory=dict)


def _truth(comparison: Comparison) -> _Truth:
    """From the statistics of Base before adapting, or of any cell: they depend on the truth
    alone.
    """
    done = comparison.cells[comparison.cells["state"] == "done"]
    if done.empty:
        return _Truth()
    preferred = done[done["label"] == comparison.base] if comparison.base is not None else done
    statistics = store.read_table(Path(preferred["folder"].iloc[0]), "statistics", step=0)
    pixels = classes.named(summary.class_pixels(statistics), comparison.classes)
    return _Truth(summary.constant_predictor(statistics), pixels)


def _section(comparison: Comparison) -> PageSection:
    truth = _truth(comparison)
    main = main_table.build(comparison, truth.constants, truth.pixels).table
    if comparison.rows.empty:
        return PageSection(comparison, main)
    # drawing takes seconds to import, and a console's tables do without it
    from ttt_bench.report import curves, pictures

    shown = curves.figure(comparison)
    stored = pictures.examples_of(comparison)
    seed, picture = (
        (stored[0], pictures.png(pictures.compose(stored[1], comparison.classes)))
        if stored
        else (None, b"")
    )
    return PageSection(
        comparison,
        main,
        more_table.build(comparison),
        more_table.build_classes(comparison),
        sync_table.build(comparison),
        classes.build(comparison, truth.pixels),
        curves_png=curves.png(shown),
        curves_svg=curves.svg(shown),
        pictures_png=picture,
        pictures_seed=seed,
        pictures_caption=pictures.CAPTION,
    )


def _files(section: PageSection) -> dict[str, bytes]:
    """Name -> content of every file of a comparison; what is empty is left out."""
    texts: dict[str, str] = {}
    for name, table in section.tables.items():
        texts[f"{name}.md"] = tables.to_markdown(table)
        texts[f"{name}.tex"] = tables.to_latex(
            table, f"tab:{section.slug}-{name.replace('_', '-')}"
        )
        texts[f"{name}.csv"] = tables.to_csv(table)
    if section.classes is not None:
        texts["classes.csv"] = tables.to_csv(section.classes)
    if section.curves_svg:
        texts["curves.csv"] = _curves_csv(section.comparison)
    contents = {name: text.encode() for name, text in texts.items()}
    images = {
        "curves.png": section.curves_png,
        "curves.svg": section.curves_svg,
        "pictures.png": section.pictures_png,
    }
    return contents | {name: image for name, image in images.items() if image}


def _curves_csv(comparison: Comparison) -> str:
    """What the curves show, tidy: one mean a row; quantities are named as in the main table's
    CSV.
    """
    frame = summary.curve_frame(comparison.rows, comparison.base).rename(
        columns={"label": "method"}
    )
    return frame.assign(quantity=frame["quantity"].map(main_table.quantity_key)).to_csv(index=False)


def _write(folder: Path, name: str, content: bytes) -> Path:
    """Write a file in one rename.

    Raises:
        BenchError: it cannot be written.
    """
    path = folder / name
    with atomic_file(path, HINT) as temporary:
        temporary.write_bytes(content)
    return path
