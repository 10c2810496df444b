"""The gap of affinities, and its section of the report, on made measurements."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ttt_bench.analysis.affinity import entries, gap, gaps, groups
from ttt_bench.report.affinity.section import affinity_sections
from ttt_bench.results import measurements
from ttt_bench.results.measurements import Measurement

MATRICES = {
    "before": [[0.5, 0.1], [0.2, 0.5]],
    "after": [[0.4, 0.3], [0.3, 0.4]],
    "fine-tuned": [[0.1, 0.4], [0.4, 0.1]],
}
"""By hand: gaps (0.3 + 0.2) / 2 = 0.25 before and 0.1 after; with the diagonal 0.325 and 0.2."""


def made(method: str = "tent", seed: int = 0, finished: str = "2026-01-01") -> Measurement:
    rows = pd.DataFrame(
        [
            {"point": point, "of": of, "on": on, "affinity": matrix[i][j]}
            for point, matrix in MATRICES.items()
            for i, of in enumerate(("semseg", "depth"))
            for j, on in enumerate(("semseg", "depth"))
        ]
    )
    manifest = {
        "pair": "rooms:rooms-mix",
        "preset": "smoke",
        "hparams": "paper",
        "data_variant": "paper",
        "settings": "",
        "method": method,
        "seed": seed,
        "images": 8,
        "iterations": 4,
        "step": 1e-3,
        "finished": finished,
    }
    return Measurement(key=f"{method}{seed}", manifest=manifest, rows=rows)


def test_gaps_by_hand():
    (row,) = gaps(entries([made()])).to_dict("records")
    assert [row[name] for name in ("before", "after", "before_all", "after_all")] == pytest.approx(
        [0.25, 0.1, 0.325, 0.2]
    )


def test_one_task_has_no_gap_without_the_diagonal():
    assert np.isnan(gap(np.ones((1, 1)), np.zeros((1, 1))))
    assert gap(np.ones((1, 1)), np.zeros((1, 1)), diagonal=True) == 1


def test_the_newest_measurement_of_a_label_and_seed_is_kept():
    old, new = made(finished="2026-01-01"), made(finished="2026-01-02")
    (kept,) = groups([new, old]).values()
    assert kept == [new]


def test_section_has_the_gaps_in_percent_and_says_that_it_uses_labels(tmp_path):
    for one in (made(), made(seed=1), made("base")):
        measurements.write(
            tmp_path,
            "affinity",
            name="x",
            key=one.key,
            manifest=one.manifest,
            rows=one.rows,
            notice=print,
        )
    (section,) = affinity_sections(measurements.read(tmp_path, "affinity")[0])
    files = section.files()
    assert {f"gap.{kind}" for kind in ("md", "tex", "csv", "png", "svg")} <= files.keys()
    assert len(files["entries.csv"].splitlines()) == 1 + 3 * 12
    assert "uses target labels" in section.title
    base, tent = section.parts[0].table.rows()
    assert (base.label, tent.label) == ("base", "tent")
    assert tent.cells["gap_before_percent"].mean == pytest.approx(25)
    assert tent.cells["gap_change_percent"].mean == pytest.approx(-60)
