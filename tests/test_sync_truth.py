"""The synchronisation measures against the truth of made curves, and the page that reports it."""

from __future__ import annotations

import pandas as pd
import pytest
from support.made_curves import DISAGREEING, LAGGED
from support.paths import ROOT
from support.sync_truth import MEASURES, correlations, table, values

PAGE = ROOT / "docs" / "synchronisation.md"


@pytest.fixture(scope="module")
def found() -> pd.DataFrame:
    return correlations(values())


@pytest.mark.parametrize(
    ("measure", "kinds", "sign"),
    [
        ("SV, scale-free", [*LAGGED, "lag"], 1),
        ("DTW, scale-free", [*LAGGED, *DISAGREEING], 1),
        ("CS, scale-free", [*DISAGREEING, "disagreement"], -1),
    ],
)
def test_scale_free_measures_rank_as_the_truth(
    found: pd.DataFrame, measure: str, kinds: list[str], sign: int
) -> None:
    assert (sign * found.loc[measure, kinds] >= 0.9).all()
    assert abs(found.loc[measure, "gain"]) < 0.15


def test_raw_dtw_ranks_as_the_gain(found: pd.DataFrame) -> None:
    assert found.loc["DTW, raw", "gain"] > 0.8
    assert (found.loc["DTW, raw", [*LAGGED, *DISAGREEING]].abs() < 0.5).all()


def test_the_page_has_these_correlations(found: pd.DataFrame) -> None:
    head, line, *rows = table(found).splitlines()
    text = PAGE.read_text()
    assert f"{head}\n{line}\n" in text
    stated = {_cells(row)[0]: _cells(row)[1:] for row in text.splitlines() if row.startswith("| ")}
    assert len(rows) == len(MEASURES)
    for row in rows:
        name, *numbers = _cells(row)
        # rounding, and random numbers of other versions of NumPy
        assert [float(n) for n in stated[name]] == pytest.approx(
            list(map(float, numbers)), abs=0.02
        )


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]
