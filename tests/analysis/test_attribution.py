"""The parts of Delta_TTT of stored cells, compared with numbers worked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t
from support.parted import small
from support.synthetic import add_cell, gains

from ttt_bench import open_results

ANGLES = np.random.default_rng(1).uniform(0, 4, (3, 64))
"""Angles below Base's of 64 images: own source model, frozen control, and method."""
BASE_ANGLE = 40.0


def parts(found: pd.DataFrame, label: str, quantity: str = "delta_ttt") -> dict[str, list[float]]:
    """Return the values of each seed by part."""
    own = found[(found["label"] == label) & (found["quantity"] == quantity)]
    return {
        part: list(values.values()) for part, values in zip(own["part"], own["values"], strict=True)
    }


def test_parts_of_each_seed(tmp_path: Path) -> None:
    found = open_results(small(tmp_path)).attribution()
    assert set(found["label"]) == {"norm", "tent", "s4t"}
    for quantity in ("semseg", "normals", "delta_ttt", "delta_ttt_no_edge"):
        assert parts(found, "s4t", quantity) == {
            "source_training": pytest.approx([2, -2]),
            "normalisation": pytest.approx([7, 11]),
            "updates": pytest.approx([1, 1]),
            "total": pytest.approx([10, 10]),
        }
    assert parts(found, "norm") == {
        "source_training": [0, 0],
        "normalisation": pytest.approx([5, 5]),
        "updates": [0, 0],
        "total": pytest.approx([5, 5]),
    }
    assert parts(found, "tent") == {
        "source_training": [0, 0],
        "adaptation": pytest.approx([7, 8]),
        "total": pytest.approx([7, 8]),
    }


def test_the_control_is_taken_at_the_step_of_its_method(tmp_path: Path) -> None:
    found = open_results(small(tmp_path)).attribution("oracle")
    # s4t is best at step 1, where its control has 8; the control alone is best at step 2
    assert parts(found, "s4t")["normalisation"] == pytest.approx([6, 10])
    assert parts(found, "s4t")["updates"] == pytest.approx([3, 3])


def test_a_part_that_is_0_by_definition_has_no_interval(tmp_path: Path) -> None:
    found = open_results(small(tmp_path)).attribution().set_index(["label", "part", "quantity"])
    for label, part in (("norm", "updates"), ("tent", "source_training")):
        row = found.loc[(label, part, "delta_ttt")]
        assert row[["low", "high", "p", "p_holm"]].isna().all()
    assert np.isfinite(found.loc[("s4t", "source_training", "delta_ttt"), "low"])


def test_seeds_without_a_control_are_left_out(tmp_path: Path) -> None:
    small(tmp_path)
    add_cell(tmp_path, "base", gains(0, 0, 0), config="b2", seed=2)
    add_cell(tmp_path, "tent", gains(5, 6, 9), config="t2", seed=2)
    frozen = {"config": "g2", "seed": 2, "control": "frozen"}
    add_cell(tmp_path, "tent", gains(4, 4, 4), **frozen)
    assert parts(open_results(tmp_path).attribution(), "tent") == {
        "source_training": [0],
        "normalisation": pytest.approx([4]),
        "updates": pytest.approx([5]),
        "total": pytest.approx([9]),
    }


def statistics(angles: np.ndarray, steps: int = 1) -> pd.DataFrame:
    """Return the image sums of one task, one image per batch, the same at all steps."""
    return pd.DataFrame(
        [
            {"step": step, "batch": i, "image": i, "task": "normals", "values": [10.0, 10 * a]}
            for step in range(steps)
            for i, a in enumerate(angles)
        ]
    )


def measured(root: Path, *, source: bool) -> Path:
    """Write one seed of base and s4t with statistics of 64 images; Base's angle is constant."""
    steps = 2
    own, frozen, method = BASE_ANGLE - ANGLES
    about = {"source_model": "s4t", "own_source_scores": {"normals": own.mean()}}
    cells = {
        ("base", "none"): np.full(64, BASE_ANGLE),
        ("s4t", "none"): method,
        ("s4t", "frozen"): frozen,
    }
    for (name, control), angles in cells.items():
        add_cell(
            root,
            name,
            {"normals": [angles.mean()] * steps},
            config=f"{name}{control}",
            control=control,
            manifest=about if name == "s4t" else {"optimiser": None},
            statistics=statistics(angles, steps),
            source=statistics(own) if source and name == "s4t" else None,
        )
    return root


@pytest.mark.parametrize("rule", ["fixed", "oracle"])
def test_intervals_of_parts_are_paired_by_image(tmp_path: Path, rule: str) -> None:
    found = open_results(measured(tmp_path, source=True)).attribution(rule)
    found = found[found["quantity"] == "normals"].set_index("part")
    own, frozen, method = 100 * ANGLES / BASE_ANGLE
    expected = {"source_training": own, "normalisation": frozen - own, "updates": method - frozen}
    for part, change in {**expected, "total": method}.items():
        row = found.loc[part]
        half = t.ppf(0.975, 63) * change.std(ddof=1) / 8
        assert (row["mean"], row["units"]) == (pytest.approx(change.mean()), 64)
        assert (row["high"] - row["low"]) / 2 == pytest.approx(half, rel=0.1)


def test_without_statistics_of_the_source_model_its_parts_have_no_images(tmp_path: Path) -> None:
    found = open_results(measured(tmp_path, source=False)).attribution()
    units = found[found["quantity"] == "normals"].set_index("part")["units"]
    assert units.to_dict() == {
        "source_training": 0,
        "normalisation": 0,
        "updates": 64,
        "total": 64,
    }
