"""The published numbers: the tables of TR-TTT (the earlier version of S4T) and S4T, with checks."""

from ttt_bench.results.published.numbers import (
    ARCHITECTURE,
    STRONG_BASELINE,
    PublishedNumber,
    numbers,
    published_parameters,
    published_seconds,
)
from ttt_bench.results.published.tables import (
    IMAGES,
    STEPS,
    TIMING_DEVICE,
    PublishedRow,
    PublishedTable,
    for_pair,
    other_tables,
)

__all__ = [
    "ARCHITECTURE",
    "IMAGES",
    "STEPS",
    "STRONG_BASELINE",
    "TIMING_DEVICE",
    "PublishedNumber",
    "PublishedRow",
    "PublishedTable",
    "for_pair",
    "numbers",
    "other_tables",
    "published_parameters",
    "published_seconds",
]
