"""The largest differences between the numbers of two cells of one configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt_bench.results import store

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """How a table is compared.

    Attributes:
        key: the columns that identify a number.
        groups: those of the columns that name a quantity.
        value: the column of numbers, or of lists of numbers.
    """

    key: tuple[str, ...]
    groups: tuple[str, ...]
    value: str = "values"


_IMAGES = _Shape(key=("step", "batch", "image", "task"), groups=("task",))
_SHAPES = {
    "rows": _Shape(
        key=("step", "task", "metric", "class"), groups=("task", "metric"), value="value"
    ),
    "statistics": _IMAGES,
    "source": _IMAGES,
    "totals": _Shape(key=("step", "task"), groups=("task",)),
    "signals": _Shape(
        key=("step", "batch", "task", "signal"), groups=("task", "signal"), value="value"
    ),
    "losses": _Shape(key=("batch", "step", "term"), groups=("term",), value="value"),
}


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The largest difference of one quantity.

    Attributes:
        table: name of the table.
        quantity: its task and metric, its task, or the name of a loss.
        numbers: how many entries were compared.
        largest: the largest absolute difference; infinite if one of two numbers is missing.
    """

    table: str
    quantity: str
    numbers: int
    largest: float


def cell_differences(first: Path, second: Path) -> list[Difference]:
    """Return the differences between the numbers of two cells, given their folders.

    Every row of the scores, the statistics of images, the totals, the signals and the losses is
    compared. The order of rows does not count.

    Raises:
        DamagedError: a table is damaged.
    """
    return [
        difference
        for name in _SHAPES
        if (first / f"{name}.parquet").exists() or (second / f"{name}.parquet").exists()
        for difference in table_differences(name, _table(first, name), _table(second, name))
    ]


def table_differences(name: str, first: pd.DataFrame, second: pd.DataFrame) -> Iterator[Difference]:
    """Yield the difference of every quantity of a table.

    Args:
        name: the table, such as rows or losses.
        first: the table of one cell.
        second: that of the other one.
    """
    shape = _SHAPES[name]
    key, value = list(shape.key), shape.value
    both = first[[*key, value]].merge(
        second[[*key, value]], on=key, how="outer", suffixes=("_a", "_b"), indicator=True
    )
    pairs = zip(both[f"{value}_a"], both[f"{value}_b"], both["_merge"] == "both", strict=True)
    both["difference"] = [_distance(a, b) if known else float("inf") for a, b, known in pairs]
    for names, own in both.groupby(list(shape.groups)):
        yield Difference(
            table=name,
            quantity=" ".join(map(str, names)),
            numbers=len(own),
            largest=float(own["difference"].max()),
        )


def _table(folder: Path, name: str) -> pd.DataFrame:
    """Return a table of a cell; an empty one if the cell does not have it."""
    import pandas as pd

    if not (folder / f"{name}.parquet").exists():
        return pd.DataFrame(columns=[*_SHAPES[name].key, _SHAPES[name].value])
    return store.read_table(folder, name)


def _distance(first: Any, second: Any) -> float:
    """Return the largest absolute difference of two numbers or lists; NaN equals NaN."""
    import numpy as np

    a, b = np.atleast_1d(first).astype(float), np.atleast_1d(second).astype(float)
    if a.shape != b.shape:
        return float("inf")
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    difference = np.abs(np.where(equal, 0.0, a) - np.where(equal, 0.0, b))
    return float(np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max(initial=0.0))
