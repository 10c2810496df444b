"""The manifest of a data set's files: properties that were measured or chosen. Imports no torch.

It is a JSON file in the data set's folder. `data check` and `data prepare` write it, and loaders
read it. Entries that this version does not know are kept.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ttt_bench.data.images.normals import EVERY_AXES
from ttt_bench.errors import DataError
from ttt_bench.util.atomic import atomic_file
from ttt_bench.util.os_errors import explained, explained_reading, file_bytes

NAME = "ttt-bench.json"
"""The file's name."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Properties of a data set's files.

    Attributes:
        normal_axes: the axes of the normal maps as measured on the files, such as "left / up /
            backward"; None if they were not measured.
        derived: task -> how its targets were made, for targets that are not the published ones.
        resized: (H, W) of the files if they are a cache of smaller ones, whose invalid pixels were
            masked before resizing; else None.
        checked: fingerprints of the files that `data check` has checked.
    """

    normal_axes: str | None = None
    derived: Mapping[str, str] = field(default_factory=dict)
    resized: tuple[int, int] | None = None
    checked: tuple[str, ...] = ()

    def notices(self, title: str, tasks: Iterable[str], files_fingerprint: str) -> Iterator[str]:
        """Yield sentences for readers of results on these tasks.

        Args:
            title: name of the data set in messages.
            files_fingerprint: the fingerprint of the files that are used.
        """
        for task in tasks:
            if task in self.derived:
                how = self.derived[task]
                yield f"{title}: {task} targets are derived, not the published ones: {how}"
        if not self.checked:
            yield f"{title}: these files were not checked; run `ttt-bench data check`"
        elif files_fingerprint not in self.checked:
            yield (
                f"{title}: these files are not the ones that were checked; "
                "run `ttt-bench data check` again"
            )


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest in a data set's folder; an empty one if the file is missing.

    Raises:
        DataError: it is damaged, or has invalid entries.
    """
    entries = _entries(folder)
    axes, derived, checked = (
        entries.get("normal_axes"),
        entries.get("derived", {}),
        entries.get("checked", []),
    )
    if axes is not None and axes not in EVERY_AXES:
        raise _damaged(folder, f"normal_axes is {axes!r}")
    if not isinstance(derived, dict) or not all(isinstance(how, str) for how in derived.values()):
        raise _damaged(folder, f"derived is {derived!r}")
    if not isinstance(checked, list) or not all(isinstance(one, str) for one in checked):
        raise _damaged(folder, f"checked is {checked!r}")
    return Manifest(
        normal_axes=axes,
        derived=derived,
        resized=_resized(folder, entries.get("cache")),
        checked=tuple(checked),
    )


def update_manifest(folder: Path, entries: Mapping[str, Any]) -> None:
    """Set these entries of the manifest and keep the others.

    Raises:
        DataError: the existing file is damaged.
        BenchError: the file cannot be written.
    """
    merged = {**_entries(folder), **entries}
    path = folder / NAME
    with explained(path):
        # the superuser could write in spite of the mode, but the folder is marked as read-only
        if not folder.stat().st_mode & 0o222:
            raise PermissionError(errno.EACCES, "the folder is read-only", str(folder))
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(merged, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _resized(folder: Path, cache: Any) -> tuple[int, int] | None:
    if cache is None:
        return None
    size = cache.get("size") if isinstance(cache, dict) else None
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(isinstance(n, int) and n > 0 for n in size)
    ):
        raise _damaged(folder, f"cache is {cache!r}")
    return size[0], size[1]


def _entries(folder: Path) -> dict[str, Any]:
    path = folder / NAME
    if not os.path.lexists(path):
        return {}
    file_bytes(path)  # raises an error if it is not a regular file
    with explained_reading(path):
        content = path.read_bytes()
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, str(error)) from error
    if not isinstance(entries, dict):
        raise _damaged(folder, "it is not a JSON object")
    return entries


def _damaged(folder: Path, why: str) -> DataError:
    return DataError(
        f"{folder / NAME} is damaged ({why}); delete it and run `ttt-bench data check` again"
    )
