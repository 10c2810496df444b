"""Detect data files that have changed since the source models of a folder were trained.

Checkpoints are keyed by the data's fingerprint, among others. If the files change, a second source
model would be trained without notice and one table could mix both. This module detects that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ttt_bench.errors import DamagedError
from ttt_bench.results.checkpoints.trained_data import read_trained_data, write_trained_data
from ttt_bench.util import tensor_file
from ttt_bench.util.quarantine import set_damaged_aside


def data_change(folder: Path, label: str, fingerprint: str) -> str | None:
    """Return the problem if models in the folder were trained on other data of this label, or None.

    Args:
        folder: the folder of checkpoints.
        label: the training data: domain, size, variant and classes.
        fingerprint: identifies the data that the label has now.

    Raises:
        DataError: a file in the folder cannot be read.
    """
    try:
        before = read_trained_data(folder).get(label)
    except DamagedError:
        return None  # `remember_data` sets the file aside, and says so
    if before in (None, fingerprint) or not _has_models(folder, str(before)):
        return None
    return (
        f"the data of {label} have the fingerprint {fingerprint}, but the source models in "
        f"{folder} were trained on data with the fingerprint {before}: restore the files, or "
        "train in another folder (--results)"
    )


def remember_data(folder: Path, label: str, fingerprint: str) -> str | None:
    """Store the fingerprint of the data that a label has now; see `data_change`.

    Returns:
        A message if the file was damaged and set aside; None otherwise.

    Raises:
        BenchError: the file cannot be written.
    """
    message, known = None, {}
    try:
        known = read_trained_data(folder)
    except DamagedError as error:
        message = (
            f"{set_damaged_aside(error, folder.parent)}. Source models of {folder} that were "
            "trained on other data are no longer noticed"
        )
    if known.get(label) != fingerprint:
        write_trained_data(folder, {**known, label: fingerprint})
    return message


def _has_models(folder: Path, fingerprint: str) -> bool:
    """Return whether the folder has a checkpoint trained on data with this fingerprint."""
    return any(_data_of(path) == fingerprint for path in folder.glob("*.safetensors"))


def _data_of(path: Path) -> Any:
    """Return the fingerprint of a checkpoint's training data; None if the file is damaged."""
    try:
        return tensor_file.description(path).get("data")
    except DamagedError:
        return None  # training finds it, and sets it aside
