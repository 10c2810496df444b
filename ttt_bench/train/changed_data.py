"""Detect data files that have changed since the source models of a folder were trained.

Checkpoints are keyed by the data's fingerprint, among others. If the files change, a second source
model would be trained without notice and one table could mix both. This module detects that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ttt_bench.errors import DamagedError
from ttt_bench.util import tensor_file
from ttt_bench.util.atomic import atomic_file
from ttt_bench.util.os_errors import explained_reading

_KNOWN = TypeAdapter(dict[str, str])
NAME = "data.json"
"""The file next to the checkpoints: label of the training data -> their fingerprint."""


def data_change(folder: Path, label: str, fingerprint: str) -> str | None:
    """Return the problem if models in the folder were trained on other data of this label, or None.

    Args:
        folder: the folder of checkpoints.
        label: the training data: domain, size, variant and classes.
        fingerprint: identifies the data that the label has now.

    Raises:
        BenchError: a file in the folder is damaged.
    """
    before = _read(folder / NAME).get(label)
    if before in (None, fingerprint) or not _has_models(folder, str(before)):
        return None
    return (
        f"the data of {label} have the fingerprint {fingerprint}, but the source models in "
        f"{folder} were trained on data with the fingerprint {before}: restore the files, or "
        "train in another folder (--results)"
    )


def remember_data(folder: Path, label: str, fingerprint: str) -> None:
    """Store the fingerprint of the data that a label has now; see `data_change`.

    Raises:
        BenchError: the file is damaged, or cannot be written.
    """
    known = _read(folder / NAME)
    if known.get(label) != fingerprint:
        _write(folder / NAME, {**known, label: fingerprint})


def _has_models(folder: Path, fingerprint: str) -> bool:
    """Return whether the folder has a checkpoint trained on data with this fingerprint."""
    return any(_data_of(path) == fingerprint for path in folder.glob("*.safetensors"))


def _data_of(path: Path) -> Any:
    """Return the fingerprint of a checkpoint's training data; None if the file is damaged."""
    try:
        return tensor_file.description(path).get("data")
    except DamagedError:
        return None  # training finds it, and sets it aside


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    with explained_reading(path):
        content = path.read_bytes()
    try:
        return _KNOWN.validate_json(content)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise DamagedError(path, reason, "delete it and run again") from error


def _write(path: Path, known: dict[str, str]) -> None:
    with atomic_file(path, "choose another folder with --results") as temporary:
        temporary.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
