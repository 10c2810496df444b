"""The tables of parameters and hyperparameters of made comparisons, by hand."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from support.synthetic import BASE, add_cell, compared, constant

from ttt_bench.adapter import Optimiser
from ttt_bench.report.formats.csv_text import to_csv
from ttt_bench.report.formats.latex.table import notes_latex
from ttt_bench.report.formats.markdown import to_markdown
from ttt_bench.report.notes.run import optimisers
from ttt_bench.report.settings import hyperparameters, parameters
from ttt_bench.report.settings.values import (
    OPTIMISER_NAMES,
    WITHOUT_EFFECT,
    Settings,
    shared_options,
)
from ttt_bench.report.tables import Number, Table

SGD = {
    "optimiser": "sgd",
    "lr": 2e-5,
    "lr_per_sample": False,
    "momentum": 0.0,
    "nesterov": False,
    "beta1": 0.9,
    "beta2": 0.999,
    "weight_decay": 1e-6,
}
ADAM = {**SGD, "optimiser": "adam", "lr": 0.00025 / 64, "lr_per_sample": True}
RESNET = {
    "model": {"backbone": "resnet50.tv_in1k"},
    "tasks": ["semseg", "depth", "normals", "edge"],
}
PRESET = {"batch": 8, "training": {"batch": 8, "iterations": 60000, "lr": 2e-5}}
COUNTS = {"total": 29_236_632, "backbone": 23_508_032, "heads": 46_092, "added": 5_682_508}
OF_BASE = {"total": 23_554_124, "backbone": 23_508_032, "heads": 46_092, "added": 0, "moved": 0}


def manifest(counts: dict[str, int] | None, optimiser: Any, **options: Any) -> dict[str, Any]:
    """Return the entries of a manifest that the tables read."""
    return {
        "configuration": RESNET,
        "parameters": counts,
        "optimiser": optimiser,
        "preset_values": PRESET,
        "options": {"norm_momentum": 0.1, **options},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return results of base, tipi and s4t, the last with a frozen control and two settings."""
    root = tmp_path_factory.mktemp("settings")
    still = constant(BASE, 40)
    s4t = {**COUNTS, "moved": 29_189_760}
    add_cell(root, "base", still, config="b", manifest=manifest(OF_BASE, None))
    add_cell(root, "tipi", still, config="t", manifest=manifest(None, ADAM, reverse=True))
    own = manifest(s4t, SGD, mask_ratio=0.8, lambda_tp=1.0)
    add_cell(root, "s4t", still, config="s", manifest=own)
    frozen = {**own, "optimiser": {**SGD, "lr": 0.0}}
    add_cell(root, "s4t", still, config="f", control="frozen", manifest=frozen)
    half = manifest(s4t, SGD, mask_ratio=0.5, lambda_tp=1.0)
    add_cell(root, "s4t", still, config="m", settings="s4t.mask_ratio=0.5", manifest=half)
    wide = manifest({**s4t, "added": 6_000_000}, SGD, latent=128)
    add_cell(root, "s4t", still, config="w", settings="s4t.latent=128", manifest=wide)
    return root


def table(folder: Path, kind: Any) -> Table:
    (only,) = compared(folder)
    found = kind.build(only)
    assert isinstance(found, Table)
    return found


def test_adamw_has_its_name_and_the_settings_that_it_uses(tmp_path: Path) -> None:
    still = constant(BASE, 40)
    settings = {**SGD, "optimiser": "adamw", "momentum": 0.9, "rates": {"model.backbone.*": 0.1}}
    add_cell(tmp_path, "base", still, config="b", manifest=manifest(OF_BASE, None))
    add_cell(tmp_path, "tent", still, config="t", manifest=manifest(COUNTS, settings))
    add_cell(tmp_path, "s4t", still, config="s", manifest=manifest(COUNTS, SGD))
    found = table(tmp_path, hyperparameters)
    tent = {row.label: row for row in found.sections[0].rows}["tent"]
    assert tent.cells["optimiser"] == "AdamW"
    assert not {"momentum", "nesterov"} & tent.cells.keys()
    (comparison,) = compared(tmp_path)
    assert "TENT: AdamW, learning rate 2e-05, times 0.1 for model.backbone.*, betas 0.9 and " in (
        "; ".join(optimisers(comparison))
    )


def test_every_optimiser_has_a_name_in_print() -> None:
    names = set(get_args(Optimiser.model_fields["optimiser"].annotation))
    assert names == OPTIMISER_NAMES.keys() == WITHOUT_EFFECT.keys()


def notes(found: Table) -> dict[str, str]:
    return dict(found.notes)


def test_parameters_are_shown_once_per_method_and_count(folder: Path) -> None:
    found = table(folder, parameters)
    (section,) = found.sections
    rows = {row.label: row for row in section.rows}
    assert list(rows) == ["base", "tipi", "s4t", "s4t (latent=128)"]
    cells = {
        name: cell.mean for name, cell in rows["s4t"].cells.items() if isinstance(cell, Number)
    }
    assert cells == pytest.approx(
        {
            "total_millions": 29.236632,
            "published_millions": 29.24,
            "difference_percent": 100 * (29.236632 - 29.24) / 29.24,
            "backbone_millions": 23.508032,
            "heads_millions": 0.046092,
            "added_millions": 5.682508,
            "moved_millions": 29.18976,
        }
    )
    assert "published_millions" not in rows["s4t (latent=128)"].cells
    assert set(rows["tipi"].cells.values()) == {"–"}
    assert notes(found)["Not counted"].startswith("TIPI: ")


def test_cells_of_earlier_versions_have_no_table_of_parameters(tmp_path: Path) -> None:
    add_cell(tmp_path, "base", constant(BASE))
    (only,) = compared(tmp_path)
    assert parameters.build(only) is None
    assert hyperparameters.build(only) is not None


def test_hyperparameters_that_differ_are_columns_and_the_others_a_note(folder: Path) -> None:
    found = table(folder, hyperparameters)
    assert [column.key for column in found.printed] == [
        "optimiser",
        "lr",
        "lr_per_sample",
        "steps",
    ]
    assert notes(found)["Same in all rows"] == (
        "wherever it applies: momentum 0, beta1 0.9, beta2 0.999, "
        "weight_decay 1e-06, batch 8, norm_momentum 0.1"
    )


def test_rows_that_differ_from_the_published_protocol_are_marked(folder: Path) -> None:
    found = table(folder, hyperparameters)
    run, published = found.sections
    heads = ["Base", "TIPI *", "S4T", "S4T (latent=128)", "S4T (mask_ratio=0.5) *"]
    assert [row.head for row in run.rows] == heads
    (every,) = published.rows
    assert every.cells["lr"] == run.rows[2].cells["lr"] == "2e-05"
    assert run.rows[1].cells["lr"] == "3.90625e-06"
    assert [row.cells.get("lr_per_sample") for row in run.rows[:3]] == [None, "yes", "no"]
    assert "lr" not in run.rows[0].cells
    differ = [note.text for note in found.notes if note.about == "Differs *"]
    assert differ == [
        "TIPI: optimiser adam (published: sgd), lr 3.90625e-06 (published: 2e-05)",
        "S4T (mask_ratio=0.5): mask_ratio 0.5 (published: 0.8)",
    ]


def test_options_are_notes_and_whole_in_csv(folder: Path) -> None:
    found = table(folder, hyperparameters)
    assert notes(found)["Options of S4T"] == (
        "lambda_tp 1, mask_ratio 0.8; S4T (latent=128): latent 128; "
        "S4T (mask_ratio=0.5): mask_ratio 0.5; "
        "published (S4T): lambda_tp 1, lambda_tbs 1, mask_ratio 0.8"
    )
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(to_csv(found)))}
    assert json.loads(rows["tipi"]["settings"])["lr"] == 0.00025 / 64
    assert json.loads(rows["s4t"]["settings"])["mask_ratio"] == 0.8
    for text in (to_markdown(found), notes_latex(found)):
        assert "3.90625e-06" in text
        assert "60000 (S4T), 40000 (TR-TTT, section 4.1), 60000 (TR-TTT, appendix)" in text


def test_an_option_is_shared_if_every_row_has_its_value() -> None:
    def row(method: str, **options: Any) -> Settings:
        return Settings(
            label=method, title=method, method=method, adapts=True, values={}, options=options
        )

    assert shared_options([row("a", x=1, y=2), row("b", x=1, y=3)]) == {"x": 1}
    assert shared_options([row("a", x=1), row("b")]) == {}
    assert shared_options([row("a", x=1), row("a", x=1)]) == {}
