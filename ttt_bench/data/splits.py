"""Names of the splits of every data set. Imports no torch."""

from __future__ import annotations

from ttt_bench.errors import unknown

SPLITS: dict[str, str] = {
    "train": "images of the source to train on",
    "val": "images of the source that no model is trained on",
    "test": "images of the target",
    "tune": "other images of the target, to choose settings on",
}
"""Every split by name, with its use."""


def require_split(split: str) -> None:
    """Raise a BenchError that lists the splits if `split` is not one of them."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
