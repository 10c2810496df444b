"""The check that the source's files are those that a folder's source models were trained on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ttt_bench.sweep.opened import OpenedPair
from ttt_bench.train.changed_data import data_change, remember_data
from ttt_bench.util.hashing import hash_of


def source_change(opened: OpenedPair, checkpoints: Path) -> str | None:
    """Return the problem if the source's data have changed since models were trained, or None.

    Raises:
        DataError: a file in the folder of checkpoints cannot be read.
    """
    if opened.pair.source.embedded:  # the code determines these data
        return None
    return data_change(checkpoints, _label(opened), opened.source_data.fingerprint)


def remember_source(opened: OpenedPair, checkpoints: Path, notice: Callable[[str], None]) -> None:
    """Store the fingerprint of the source's data next to the checkpoints.

    Args:
        opened: the pair.
        checkpoints: the folder of checkpoints.
        notice: called with a message if the file of the fingerprints was damaged.

    Raises:
        BenchError: a file in the folder cannot be written.
    """
    if opened.pair.source.embedded:
        return
    message = remember_data(checkpoints, _label(opened), opened.source_data.fingerprint)
    if message:
        notice(message)


def _label(opened: OpenedPair) -> str:
    """Return everything that the fingerprint depends on in addition to the files, for one line."""
    height, width = opened.source_data.size
    label = f"{opened.source_data.domain} at {height}x{width}, variant {opened.variant.name}"
    if opened.labels is None:
        return label
    # another custom label space may have the same name
    return f"{label}, classes of {opened.labels.name} ({hash_of(opened.labels.record(), 4)})"
