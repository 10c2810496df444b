"""What has been found out about a data set's files, kept beside them. Imports no torch.

`data check` and `data prepare` write it; loaders read it. It is a JSON file in the data set's folder; entries that this
version does not know are kept as they are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ttt_bench.data.normals import EVERY_AXES
from ttt_bench.errors import DataError

NAME = "ttt-bench.json"
"""The file's name."""


@dataclass(frozen=True)
class Manifest:
    """What loaders go by.

    Attributes:
        normal_axes: the axes of the normal maps as measured on the files, such as "left / up / backward"; None where
            nobody has measured them.
        derived: targets that were made here instead of being the published ones: of each task, how.
    """

    normal_axes: str | None = None
    derived: Mapping[str, str] = field(default_factory=dict)


def read_manifest(folder: Path) -> Manifest:
    """The manifest in a data set's folder; an empty one where there is none.

    Raises:
        DataError: it is damaged, or holds what cannot be.
    """
    entries = _entries(folder)
    axes, derived = entries.get("normal_axes"), entries.get("derived", {})
    if axes is not None and axes not in EVERY_AXES:
        raise _damaged(folder, f"normal_axes is {axes!r}")
    if not isinstance(derived, dict) or not all(isinstance(how, str) for how in derived.values()):
        raise _damaged(folder, f"derived is {derived!r}")
    return Manifest(axes, derived)


def update_manifest(folder: Path, entries: Mapping[str, Any]) -> None:
    """Set these entries and keep the others; the file is replaced whole.

    Raises:
        DataError: the file that is there is damaged, or it cannot be written.
    """
    merged = {**_entries(folder), **entries}
    path = folder / NAME
    temporary = folder / f".{NAME}.tmp-{os.getpid()}"
    try:
        temporary.write_text(json.dumps(merged, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}); make the folder writable") from error
    finally:
        temporary.unlink(missing_ok=True)


def _entries(folder: Path) -> dict[str, Any]:
    try:
        entries = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _damaged(folder, str(error)) from error
    if not isinstance(entries, dict):
        raise _damaged(folder, "it is no JSON object")
    return entries


def _damaged(folder: Path, why: str) -> DataError:
    return DataError(f"{folder / NAME} is damaged ({why}); delete it and run `ttt-bench data check` again")
