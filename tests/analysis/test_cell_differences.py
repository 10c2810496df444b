"""The largest differences between the tables of two cells."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from ttt_bench.analysis.comparing.cell_differences import table_differences


def rows(values: list[float]) -> pd.DataFrame:
    """Return scores of two tasks at two steps."""
    tasks = ["depth", "depth", "edge", "edge"]
    return pd.DataFrame(
        {"step": [0, 1, 0, 1], "task": tasks, "metric": "rmse", "class": "", "value": values}
    )


def largest(name: str, first: pd.DataFrame, second: pd.DataFrame) -> dict[str, float]:
    return {one.quantity: one.largest for one in table_differences(name, first, second)}


def test_the_largest_difference_of_each_quantity_whatever_the_order_of_rows() -> None:
    first, second = rows([1.0, 2.0, 3.0, math.nan]), rows([1.0, 1.5, 3.0, math.nan])
    assert largest("rows", first, second[::-1]) == {"depth rmse": 0.5, "edge rmse": 0.0}
    assert largest("rows", first, rows([1.0, 2.0, math.nan, math.nan]))["edge rmse"] == math.inf


def test_a_missing_number_is_an_infinite_difference() -> None:
    found = largest("rows", rows([1.0, 2.0, 3.0, 4.0]), rows([1.0, 2.0, 3.0, 4.0])[:3])
    assert found == {"depth rmse": 0.0, "edge rmse": math.inf}


@pytest.mark.parametrize(
    ("other", "expected"), [([1.0, 2.0], 0.0), ([1.0, 2.5], 0.5), ([1.0], math.inf)]
)
def test_lists_are_compared_number_by_number(other: list[float], expected: float) -> None:
    def table(values: list[float]) -> pd.DataFrame:
        return pd.DataFrame({"step": [0], "task": ["depth"], "values": [np.array(values)]})

    assert largest("totals", table([1.0, 2.0]), table(other)) == {"depth": expected}
