"""The files of a declared data set: patterns, names and splits. Imports no torch.

A pattern is a path with slashes. `{split}` is replaced by the folder of the split, `*` stands for
any text without a slash, and `{name}` for the name of a frame, which may contain slashes. Files of
one frame have the same name in all patterns.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

from ttt_bench.data.declared.declaration import FILE, Declaration
from ttt_bench.data.file_system import is_stray
from ttt_bench.data.images.files import read_text
from ttt_bench.data.images.sample import IMAGE
from ttt_bench.errors import DataError
from ttt_bench.util.os_errors import explained_reading
from ttt_bench.util.text import listed


@dataclass(frozen=True, kw_only=True)
class Frames:
    """The frames of a split, in order.

    Attributes:
        names: their names.
        files: the image or a task -> name -> file.
    """

    names: tuple[str, ...]
    files: Mapping[str, Mapping[str, Path]]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """Return the name of a frame."""
        return self.names[index]

    def path(self, index: int, part: str) -> Path:
        """Return a file of a frame."""
        return self.files[part][self.names[index]]


def find_frames(folder: Path, declaration: Declaration, split: str, tasks: Sequence[str]) -> Frames:
    """Return the frames of a split, each with its image and a file of every task.

    Args:
        folder: the folder of the `dataset.toml`.
        declaration: its content.
        split: a split.
        tasks: tasks that the declaration describes.

    Raises:
        DataError: the declaration lacks the split, or files are missing or ambiguous; names the
            entry of `dataset.toml` and what to do.
    """
    toml, root = folder / FILE, folder / declaration.root
    if split not in declaration.splits:
        raise DataError(
            f"{toml}: has no split {split}, only {', '.join(declaration.splits)}; add it to "
            "[splits]"
        )
    chosen = declaration.splits[split]
    patterns = {IMAGE: declaration.images}
    patterns |= {task: declaration.files(task).files for task in tasks}
    files = {
        part: _matches(root, pattern, chosen.folder, f"{toml}: {_entry(part)}")
        for part, pattern in patterns.items()
    }
    names = tuple(sorted(files[IMAGE]))
    if chosen.list is not None:
        names = _listed_names(root / chosen.list)
    for part, pattern in patterns.items():
        _require(names, files[part], f"{toml}: {_entry(part)} = {pattern!r}", split)
    return Frames(names=names, files=files)


def _entry(part: str) -> str:
    return "images" if part == IMAGE else f"{part}.files"


def _matches(root: Path, pattern: str, split: str, where: str) -> dict[str, Path]:
    """Return name -> file of the files below a folder that a pattern describes."""
    path = PurePosixPath(pattern.replace("{split}", split))
    below = root.joinpath(*takewhile(_is_fixed, path.parts[:-1]))
    with explained_reading(below, where):
        there = below.is_dir()
    if not there:
        raise DataError(
            f"{where}: the folder {below} does not exist; correct the pattern, `root` or [splits]"
        )
    expression = re.compile(_expression(str(path)))
    found: dict[str, Path] = {}
    for file in _walk(below, where):
        match = expression.fullmatch(file.relative_to(root).as_posix())
        if match is None:
            continue
        other = found.setdefault(match["name"], file)
        if other != file:
            raise DataError(
                f"{where}: {other} and {file} have the same name {match['name']!r}; replace the * "
                "by a part of {name}, so that names differ"
            )
    return found


def _is_fixed(part: str) -> bool:
    """Return whether a part of a pattern is the name of one folder."""
    return "*" not in part and "{name}" not in part


def _expression(pattern: str) -> str:
    """Return the regular expression of a pattern."""
    parts = re.split(r"(\*|\{name\})", pattern)
    words = {"*": "[^/]*", "{name}": "(?P<name>.+)"}
    return "".join(words.get(part, re.escape(part)) for part in parts)


def _walk(folder: Path, where: str) -> list[Path]:
    """Return the files below a folder, sorted, without those of hidden and stray folders."""
    files: list[Path] = []
    with explained_reading(folder, where):
        for here, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
            folders[:] = sorted(name for name in folders if not is_stray(name))
            files += [Path(here, name) for name in sorted(names) if not name.startswith(".")]
    return files


def _raise(error: OSError) -> None:
    raise error


def _listed_names(path: Path) -> tuple[str, ...]:
    lines = read_text(path).splitlines()
    return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))


def _require(names: Sequence[str], files: Mapping[str, Path], where: str, split: str) -> None:
    """Raise a DataError if a split is empty, or if one of its frames has no file."""
    if not names:
        raise DataError(f"{where}: no file in the split {split}; correct the pattern or [splits]")
    lacking = [name for name in names if name not in files]
    if lacking:
        raise DataError(
            f"{where}: {len(lacking)} of {len(names)} frames of the split {split} have no such "
            f"file, such as {listed(lacking)}; add the files, or name the other frames in a list"
        )
