"""The domains that the folders of a data root declare. Imports no torch."""

from __future__ import annotations

import re
from pathlib import Path

from ttt_bench.data.declared.declaration import FILE, read_declaration
from ttt_bench.data.domains import Domain
from ttt_bench.data.file_system import folders_in, is_folder
from ttt_bench.errors import BenchError

_NAME = re.compile(r"[a-z0-9_-]{1,64}")


def declared_names(data_root: Path | None) -> tuple[str, ...]:
    """Return the names of the folders of a data root that contain a `dataset.toml`, sorted."""
    if data_root is None or not is_folder(data_root):
        return ()
    return tuple(folder.name for folder in folders_in(data_root) if (folder / FILE).is_file())


def declared_domain(folder: Path) -> Domain:
    """Return the domain that the `dataset.toml` of a folder describes.

    Raises:
        BenchError: the file or the name of the folder is invalid.
    """
    if not _NAME.fullmatch(folder.name):
        raise BenchError(
            f"{folder}: the folder's name is the data set's name, which may have a-z, 0-9, _ and - "
            "only, at most 64 of them; rename the folder"
        )
    declaration = read_declaration(folder)
    return Domain(
        name=folder.name,
        description=declaration.description,
        tasks=declaration.tasks,
        folder=folder.name,
        opener="ttt_bench.data.declared.dataset:DeclaredDataset.open",
        open_options=("tasks",),
        class_ids=declaration.semseg.classes if declaration.semseg else {},
    )
