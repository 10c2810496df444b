"""Rows of data frames, without pandas' types of their values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd


def named_rows(frame: pd.DataFrame) -> Iterator[Any]:
    """Yield each row of a frame as a tuple with the columns as attributes, and `Index`."""
    yield from frame.itertuples()
