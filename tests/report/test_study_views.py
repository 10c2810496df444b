"""Tables and figures of studies, against the evidence, the papers and numbers made by hand."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.made_studies import PAIR, Made
from support.synthetic import BASE

from ttt_bench.analysis.studies import StudyResults
from ttt_bench.designs.declared_studies import find_study
from ttt_bench.report.columns import DELTA_KEY, task_key
from ttt_bench.report.published_rows import PUBLISHED
from ttt_bench.report.studies import cost, curves, losses
from ttt_bench.report.studies.table import TOGETHER, arms_table
from ttt_bench.report.tables import Cell, Number, Row, Table
from ttt_bench.results.measurements import Measurement

SETTINGS = {
    "TRL": "s4t.mask_ratio=0.0; s4t.projection=shared",
    "TRL + TP": "s4t.mask_ratio=0.0",
    "TRL + masking, image reconstruction": "s4t.projection=shared; s4t.target=image",
    "TRL + TP + masking": "",
    "random": "s4t.masking=random",
    "not overlapping": "s4t.masking=disjoint",
    "hide tasks": "s4t.hidden_tasks=1; s4t.masking=tasks",
    "same for all tasks": "",
}
"""Arm of `components` or `masking` -> the settings of its cells."""
LOSSES = [
    *((0, 0, "a", 1.0), (0, 0, "b", 2.0), (0, 1, "a", 0.5), (0, 1, "b", 1.5)),
    *((1, 0, "a", 5.0), (1, 0, "b", 0.0), (1, 1, "a", 3.0), (1, 1, "b", 1.0)),
]
"""Batch, step, term, value: the sums before the first and the last update are 3, 2 and 5, 4."""


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "results")


def _rows(table: Table, section: str) -> dict[str, Row]:
    (found,) = [one for one in table.sections if one.key == section]
    return {row.label: row for row in found.rows}


def _mean(cell: Cell) -> float:
    assert isinstance(cell, Number)
    return cell.mean


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings")


@cache
def _with_settings(root: Path, name: str) -> StudyResults:
    made, arms = Made(root / name), {}
    for place, arm in enumerate(find_study(name).all_arms):
        own = made.cells("s4t", 0, 2 + place, 1, 1 + place, settings=SETTINGS[arm.label])
        arms[arm.label] = (*made.cells("base"), *own)
    return made.study(name, arms)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        (
            "components",
            {
                "TRL": 26.16,
                "TRL + TP": 33.79,
                "TRL + masking, image reconstruction": 26.76,
                "TRL + TP + masking": 34.94,
            },
        ),
        ("masking", {"random": 32.76, "not overlapping": 32.56, "same for all tasks": 34.94}),
    ],
)
def test_an_arm_has_its_estimate_and_its_published_number(
    folder: Path, name: str, published: dict[str, float]
) -> None:
    found = _with_settings(folder, name)
    rows = _rows(arms_table(found), "oracle")
    assert list(rows) == ["base", *(arm.arm.label for arm in found.arms)]
    for place, arm in enumerate(found.arms):
        # the best step of each seed is the first one, with one percent more in seed 1
        assert _mean(rows[arm.arm.label].cells[DELTA_KEY]) == pytest.approx(2.5 + place)
    shown = {label: row.cells.get(PUBLISHED.key) for label, row in rows.items()}
    assert {label: _mean(cell) for label, cell in shown.items() if cell} == published


def test_published_rows_are_named_after_the_arms(folder: Path) -> None:
    rows = _rows(arms_table(_with_settings(folder, "components")), "published")
    assert _mean(rows["TRL + TP [TR-TTT, Table 3]"].cells[DELTA_KEY]) == 33.79
    assert _mean(rows["TRL + TP + masking [TR-TTT, Table 1]"].cells[task_key("semseg")]) == 59.37


def _single_tasks(made: Made) -> StudyResults:
    arms = {}
    for percent, task in enumerate(BASE, start=1):
        settings = f"s4t.tasks=single:{task}"
        own = made.cells("s4t", 0, 2 * percent, percent, tasks=(task,), settings=settings)
        arms[f"{task} alone"] = (*made.cells("base"), *own)
    arms["all tasks"] = (*made.cells("base"), *made.cells("s4t", 0, 20, 10))
    return made.study("single-task", arms)


def test_networks_of_one_task_are_in_one_row(made: Made) -> None:
    table = arms_table(_single_tasks(made))
    # gains 1, 2, 3, 4 at the last step and twice that at the best one; 1 more in seed 1
    for section, factor in (("fixed", 1), ("oracle", 2)):
        rows = _rows(table, section)
        alone = [_mean(rows[f"{task} alone"].cells[DELTA_KEY]) for task in BASE]
        assert alone == pytest.approx([factor * gain + 0.5 for gain in (1, 2, 3, 4)])
        together = rows[TOGETHER].cells
        assert _mean(together[DELTA_KEY]) == pytest.approx(2.5 * factor + 0.5)
        for task in BASE:
            score = rows[f"{task} alone"].cells[task_key(task)]
            assert _mean(together[task_key(task)]) == _mean(score)
    printed = _rows(table, "published")[f"{TOGETHER} [S4T, Table 5]"].cells
    assert [_mean(printed[task_key(task)]) for task in BASE] == [56.56, 1.065, 47.32, 0.1444]


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    """Return a study of three levels of noise, in which s4t loses 1 percent per 0.1."""
    made, arms = Made(tmp_path_factory.mktemp("noise")), {}
    for value in (0.0, 0.1, 0.4):
        pair = f"{PAIR}+gaussian_noise@{value:g}" if value else PAIR
        own = (made.cells(m, 0, g, g, pair=pair) for m, g in (("norm", 5), ("s4t", 9 - 10 * value)))
        arms[f"alpha {value:g}"] = (*made.cells("base", pair=pair), *(c for o in own for c in o))
    return made.study("noise", arms)


def test_each_noise_has_the_published_number_of_its_own(noise: StudyResults) -> None:
    rows = _rows(arms_table(noise), "oracle")
    shown = [rows[f"alpha {v}: s4t"].cells[PUBLISHED.key] for v in ("0", "0.1", "0.4")]
    assert [_mean(cell) for cell in shown] == [34.94, 32.15, 19.73]
    assert PUBLISHED.key not in rows["alpha 0.1: norm"].cells


def test_the_lines_of_the_curve_are_the_estimates(noise: StudyResults) -> None:
    frame = curves.axis_frame(noise)
    ax = curves.axis_figure(noise, frame).axes[4]
    lines = {line.get_label(): line for line in ax.lines}
    assert set(lines) == {"Base", "Norm", "S4T", "S4T,\npublished"}
    heights = {label: list(line.get_ydata()) for label, line in lines.items()}
    assert heights["Base"] == pytest.approx([0, 0, 0])
    assert heights["Norm"] == pytest.approx([5.5, 5.5, 5.5])
    assert heights["S4T"] == pytest.approx([9.5, 8.5, 5.5])
    assert heights["S4T,\npublished"] == [34.94, 32.15, 19.73]
    width = 0.4 * curves.DODGE
    assert np.allclose(lines["S4T"].get_xdata(), [0, 0.1, 0.4], atol=width)
    own = frame[(frame["method"] == "s4t") & (frame["quantity"] == "delta_ttt")]
    _, bars = ax.collections  # norm and s4t
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends == own[["low", "high"]].to_numpy().tolist()


def test_an_arm_without_cells_is_named(made: Made) -> None:
    arms = {"alpha 0": (*made.cells("base"), *made.cells("s4t", 0, 1)), "alpha 0.1": ("x", "y")}
    table = arms_table(made.study("noise", arms))
    assert _rows(table, "missing")["alpha 0.1"].state == "not computed yet"
    (note,) = [note.text for note in table.notes if note.about == "Not computed"]
    assert note.startswith("cells of alpha 0.1 (2)")


def _with_losses(made: Made, ratio: float, factor: float) -> tuple[str, ...]:
    """Return the cells of a masking ratio: the losses are 3 and 2 in batch 0, 5 and 4 in batch 1,
    times the factor."""
    own = made.cells("s4t", 0, 1, 2, settings=f"s4t.mask_ratio={ratio}")
    stored = pd.DataFrame(LOSSES, columns=["batch", "step", "term", "value"])
    stored["value"] *= factor
    for config in own:
        (folder,) = (made.root / "cells").glob(f"*/s4t-{config}")
        stored.to_parquet(folder / "losses.parquet", index=False)
    return (*made.cells("base"), *own)


def test_losses_are_means_of_sums_over_batches(made: Made) -> None:
    arms = {
        f"masking ratio {ratio}": _with_losses(made, ratio, factor)
        for ratio, factor in ((0.5, 1.0), (0.7, 10.0))
    }
    found = made.study("tbs-loss", arms)
    frame = losses.losses_frame(found)
    means = frame.groupby("value")[["first", "last"]].mean()
    assert means.to_numpy().tolist() == [[4, 3], [40, 30]]
    rows = _rows(losses.losses_table(found, frame), "losses")
    assert [_mean(row.cells["loss_change_percent"]) for row in rows.values()] == [-25, -25]
    (ax,) = losses.losses_figure(found, frame).axes
    heights = [list(container.lines[0].get_ydata()) for container in ax.containers]
    assert heights == [[4, 40], [3, 30]]


MTI_NET = "model.architecture=mti_net; model.backbone=hrnet_w48"
MTI_ARM = "NC-TTT on MTI-Net (HRNet-W48)"
TASKS_OF = ["semseg", "depth", "normals", "edge"]


def _network(architecture: str, backbone: str, total: int) -> dict[str, Any]:
    """Return the entries of a manifest that state the network and its parameters."""
    model = {"architecture": architecture, "backbone": backbone, "backbone_args": {}}
    parts = {"backbone": total, "heads": 0, "added": 0, "moved": 1_000_000, "total": total}
    configuration = {"model": model, "tasks": TASKS_OF}
    return {"configuration": configuration, "parameters": parts, "options": {}}


@pytest.fixture
def strong(made: Made) -> StudyResults:
    own = _network("hypercolumn", "resnet50", 29_000_000)
    other = _network("mti_net", "hrnet_w48", 165_423_973)
    on_mti_net = {"settings": MTI_NET, "manifest": other, "comparison": "m"}
    arms = {
        "S4T": (*made.cells("base"), *made.cells("s4t", 0, 2, manifest=own)),
        MTI_ARM: (
            *made.cells("base", **on_mti_net),
            *made.cells("nc_ttt", 0, 4, **on_mti_net),
        ),
    }
    return made.study("strong-baseline", arms)


def test_each_network_is_compared_with_its_own_base(strong: StudyResults) -> None:
    table = arms_table(strong)
    rows = _rows(table, "oracle")
    assert list(rows) == ["S4T: base", "S4T", f"{MTI_ARM}: base", MTI_ARM]
    # gains of 2 and 4 percent for the first seed, one more for the second
    deltas = [_mean(rows[name].cells[DELTA_KEY]) for name in ("S4T", MTI_ARM)]
    assert deltas == pytest.approx([2.5, 4.5])
    shown = [_mean(rows[name].cells[PUBLISHED.key]) for name in ("S4T", MTI_ARM)]
    assert shown == [34.94, 32.5]


def _timing(architecture: str, method: str, seconds: float, device: str) -> Measurement:
    backbone = {"hypercolumn": "resnet50", "mti_net": "hrnet_w48"}[architecture]
    rows = pd.DataFrame(
        [
            {"phase": phase, "steps": steps, "median": seconds, "q1": seconds, "q3": seconds}
            for phase, steps in (("predict", 0), ("step", 1), ("steps", 40))
        ]
    )
    manifest = {
        "method": method,
        "options": {},
        "architecture": architecture,
        "model": {"backbone": backbone, "backbone_args": {}},
        "steps": 40,
        "device": device,
        "processor": "",
        "threads": 2,
        "batch": 8,
        "image": [448, 576],
    }
    return Measurement(key="0", manifest=manifest, rows=rows.assign(settled=True))


def test_the_cost_of_the_arms(strong: StudyResults) -> None:
    timings = [
        _timing("mti_net", "nc_ttt", 9.0, "other device"),
        _timing("mti_net", "nc_ttt", 0.5, "cuda"),
        _timing("hypercolumn", "s4t", 0.25, "cuda"),
        _timing("hypercolumn", "nc_ttt", 7.0, "cuda"),
    ]
    table = cost.cost_table(strong, timings)
    rows = _rows(table, "counted")
    assert [_mean(rows[name].cells["step_seconds"]) for name in ("S4T", MTI_ARM)] == [0.25, 0.5]
    assert _mean(rows[MTI_ARM].cells["published_seconds"]) == 0.3208
    assert _mean(rows[MTI_ARM].cells["total_millions"]) == pytest.approx(165.423973)
    assert _mean(rows[MTI_ARM].cells["published_millions"]) == 165.0
    assert any("cuda" in note.text for note in table.notes)
    without = cost.cost_table(strong, [])
    assert "step_seconds" not in {column.key for column in without.columns}
    assert any("`ttt-bench time`" in note.text for note in without.notes)
