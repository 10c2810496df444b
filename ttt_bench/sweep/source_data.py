"""The check that the source's files are those that a folder's source models were trained on."""

from __future__ import annotations

from pathlib import Path

from ttt_bench.sweep.opened import OpenedPair
from ttt_bench.train.changed_data import data_change, remember_data
from ttt_bench.util.hashing import hash_of


def source_change(opened: OpenedPair, checkpoints: Path) -> str | None:
    """Return the problem if the source's data have changed since models were trained, or None.

    Raises:
        BenchError: a file in the folder of checkpoints is damaged.
    """
    if opened.pair.source.embedded:  # the code determines these data
        return None
    return data_change(checkpoints, _label(opened), opened.source_data.fingerprint)


def remember_source(opened: OpenedPair, checkpoints: Path) -> None:
    """Store the fingerprint of the source's data next to the checkpoints.

    Raises:
        BenchError: a file in the folder is damaged, or cannot be written.
    """
    if not opened.pair.source.embedded:
        remember_data(checkpoints, _label(opened), opened.source_data.fingerprint)


def _label(opened: OpenedPair) -> str:
    """Return everything that the fingerprint depends on besides the files, for one line."""
    height, width = opened.source_data.size
    label = f"{opened.source_data.domain} at {height}x{width}, variant {opened.variant.name}"
    if opened.labels is None:
        return label
    # another custom label space may have the same name
    return f"{label}, classes of {opened.labels.name} ({hash_of(opened.labels.record(), 4)})"
