"""Data sets whose splits are lists of ids: their folders and files. Imports no torch.

Files are joined to ids by name, never by position. An image and its targets are the *parts* of a
frame.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ttt_bench.data.splits import require_split
from ttt_bench.errors import DataError
from ttt_bench.util.text import listed

LIST_OF: dict[str, str] = {"train": "train", "val": "val", "test": "val", "tune": "train"}
"""The published list of each split.

As published, training takes the whole `train` list and the target is the whole `val` list. There
are no further images. So `val` (images that a source model was not trained on) is the `val` list,
and `tune` (target images that no result uses) is the `train` list. The lists share no image.
"""


@dataclass(frozen=True)
class PartFolder:
    """A folder with files of a part: the id and one of the suffixes, the preferred one first."""

    folder: str
    suffixes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.folder}/ID{' or '.join(self.suffixes)}"


@dataclass(frozen=True, kw_only=True)
class ListedLayout:
    """The folders and files of a data set.

    Attributes:
        title: name of the data set in messages.
        folder: folder of the data root that contains it.
        archives: top folders of its published archives, the preferred one first.
        lists: folder of the lists; it also shows that the data set is present.
        parts: folders of each part, the preferred one first.
        tasks: tasks that can have targets, in canonical order.
        published: number of ids in each published list.
        other_form: returns a message if a folder has another form of the data set, else None.
        missing_notes: messages for parts that no image has, if the default message says too little.
        hints: what to do if an image lacks a file of a part, if not completing the archive.
    """

    title: str
    folder: str
    archives: tuple[str, ...]
    lists: str
    parts: Mapping[str, tuple[PartFolder, ...]]
    tasks: tuple[str, ...]
    published: Mapping[str, int]
    other_form: Callable[[Path], str | None]
    missing_notes: Mapping[str, str] = field(default_factory=dict)
    hints: Mapping[str, str] = field(default_factory=dict)

    def places(self, part: str) -> str:
        """Return the folders of a part's files, in words."""
        return ", or ".join(str(place) for place in self.parts[part])


@dataclass(frozen=True, eq=False, kw_only=True)
class Listing:
    """The ids of a list and their files.

    Attributes:
        root: the folder that contains the lists.
        list_name: train or val.
        ids: in the list's order.
        files: part -> id -> file, for the ids that have one.
    """

    layout: ListedLayout
    root: Path
    list_name: str
    ids: tuple[str, ...]
    files: Mapping[str, Mapping[str, Path]]

    def __len__(self) -> int:
        return len(self.ids)

    def name(self, index: int) -> str:
        """Return the id of a frame."""
        return self.ids[index]

    def path(self, index: int, part: str) -> Path:
        """Return the file of a part, which the frame must have."""
        return self.files[part][self.ids[index]]

    def lacking(self, part: str) -> list[str]:
        """Return the ids without a file of a part."""
        return [name for name in self.ids if name not in self.files[part]]

    def require(self, part: str) -> None:
        """Check that every id has a file of a part.

        Raises:
            DataError: some have none; names one of them and what to do.
        """
        absent, layout = self.lacking(part), self.layout
        if not absent:
            return
        default = "complete the archive, or take these ids out of the list"
        raise DataError(
            f"{layout.title}: {len(absent)} of {len(self)} images of {layout.lists}/"
            f"{self.list_name}.txt have no {part} file, such as {absent[0]} (looked for "
            f"{layout.places(part)} below {self.root}); {layout.hints.get(part, default)}"
        )


def find_root(layout: ListedLayout, root: Path) -> Path:
    """Return the folder that contains a data set's lists: `root`, or a folder in it.

    The preferred archive's folder comes first.

    Raises:
        DataError: the folder does not exist, or contains nothing known, or another form of the
            data set; says what to do.
    """
    if not root.is_dir():
        raise DataError(
            f"{layout.title}: the folder {root} does not exist; --data-root (or the environment "
            f"variable TTT_BENCH_DATA) must name the folder that contains {layout.folder}/"
        )
    try:
        folders = [root, *_inner_folders(layout, root)]
        for folder in folders:
            if (folder / layout.lists).is_dir():
                return folder
        others = [message for folder in folders if (message := layout.other_form(folder))]
        raise DataError(f"{layout.title}: {others[0]}") if others else _unrecognised(layout, root)
    except OSError as error:
        raise _unreadable(layout, error) from error


def _inner_folders(layout: ListedLayout, root: Path) -> list[Path]:
    """Return the folders in `root`, those of known archives first."""
    inside = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    order = {name: place for place, name in enumerate(layout.archives)}
    return sorted(sorted(inside), key=lambda path: order.get(path.name, len(order)))


def find_listing(layout: ListedLayout, root: Path, split: str) -> Listing:
    """Return the files of a split below a folder.

    Raises:
        BenchError: the split is unknown.
        DataError: the folder is not the data set's, or its list is missing or empty.
    """
    require_split(split)
    folder = find_root(layout, root)
    ids = read_ids(layout, folder, LIST_OF[split])
    try:
        files = {part: _files(folder, places) for part, places in layout.parts.items()}
    except OSError as error:
        raise _unreadable(layout, error) from error
    return Listing(layout=layout, root=folder, list_name=LIST_OF[split], ids=ids, files=files)


def read_ids(layout: ListedLayout, folder: Path, name: str) -> tuple[str, ...]:
    """Return the ids of a published list, each once, in order.

    Raises:
        DataError: the list is missing, empty, or not a text file.
    """
    path = folder / layout.lists / f"{name}.txt"
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise DataError(
            f"{layout.title}: {path}: no such file; it lists the ids of {name}, one per line"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{layout.title}: {path} cannot be read as a list of ids ({error}); take it from the "
            "archive again"
        ) from error
    ids = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not ids:
        raise DataError(
            f"{layout.title}: {path} lists no id; it must list the ids of {name}, one per line"
        )
    return ids


def same_view(size: Sequence[int], image: Sequence[int]) -> bool:
    """Return whether a target of one (H, W) can belong to an image of another, after resizing.

    The shapes must be equal within 1 % or a pixel.
    """
    (small_height, small_width), (height, width) = sorted([tuple(size[:2]), tuple(image[:2])])
    expected = height * small_width / width
    return abs(expected - small_height) <= max(1.0, 0.01 * expected)


def _files(folder: Path, places: Iterable[PartFolder]) -> dict[str, Path]:
    """Return id -> file, from the first folder that has one."""
    found: dict[str, Path] = {}
    for place in places:
        below = folder / place.folder
        names = os.listdir(below) if below.is_dir() else []
        for suffix in place.suffixes:
            for name in names:
                if name.endswith(suffix) and not name.startswith("."):
                    found.setdefault(name.removesuffix(suffix), below / name)
    return found


def _unrecognised(layout: ListedLayout, root: Path) -> DataError:
    names = sorted(path.name for path in root.iterdir())
    packed = [name for name in names if name.endswith((".tgz", ".tar.gz", ".tar", ".zip"))]
    hint = f"Extract {packed[0]} there. " if packed else ""
    parts = "; ".join(f"{part} in {layout.places(part)}" for part in layout.parts)
    return DataError(
        f"{layout.title}: {root} contains {listed(names, 8) or 'nothing'}, neither "
        f"{layout.lists}/ nor a folder with it. {hint}--data-root (or TTT_BENCH_DATA) must name "
        f"the folder that contains {layout.folder}/, which has the contents of "
        f"{' or '.join(layout.archives)}: ids in {layout.lists}/train.txt and val.txt; {parts}"
    )


def _unreadable(layout: ListedLayout, error: OSError) -> DataError:
    return DataError(
        f"{layout.title}: cannot read {error.filename}: {error.strerror}; check its permissions"
    )
