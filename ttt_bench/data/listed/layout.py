"""Data sets whose splits are lists of ids: their folders and files. Imports no torch.

Files are joined to ids by name, never by position. An image and its targets are the *parts* of a
frame.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ttt_bench.data.file_system import Contents, contents_of, folders_in, is_folder
from ttt_bench.data.images.files import read_text
from ttt_bench.data.splits import require_split
from ttt_bench.errors import DataError
from ttt_bench.util.os_errors import explained_reading
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
        extra: parts that only tasks outside `PAPER_TASKS` need, so that archives may lack them.
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
    extra: tuple[str, ...] = ()

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
        near = near_files(self, part, absent[0])
        found = f", found {near}" if near else ""
        default = "complete the archive, or take these ids out of the list"
        raise DataError(
            f"{layout.title}: {len(absent)} of {len(self)} images of {layout.lists}/"
            f"{self.list_name}.txt have no {part} file, such as {absent[0]!r} (looked for "
            f"{layout.places(part)} below {self.root}{found}); {layout.hints.get(part, default)}"
        )


def near_files(listing: Listing, part: str, wanted: str) -> str:
    """Return what the folders of a part have instead of the file of an id, in words.

    These are entries whose names differ in case or suffix, or that are not regular files. Without
    any, it is the name of a regular file, as an example; empty if the folders have none.
    """
    stem = wanted.split()[0].partition(".")[0].casefold()
    near: list[str] = []
    examples: list[str] = []
    for folder in dict.fromkeys(place.folder for place in listing.layout.parts[part]):
        found = _contents(listing.root / folder, listing.layout.title)
        names = [*found.files]
        names += [f"{name} (a folder)" for name in found.folders]
        names += [f"{name} (not a regular file)" for name in found.others]
        near += [f"{folder}/{name}" for name in names if name.partition(".")[0].casefold() == stem]
        examples += [f"{folder}/{name}" for name in names if not name.startswith(".")]
    return listed(near) if near else "".join(examples[:1])


def find_root(layout: ListedLayout, root: Path) -> Path:
    """Return the folder that contains a data set's lists: `root`, or a folder in it.

    The preferred archive's folder comes first. Folders that cannot be read are passed over, unless
    they have the name of an archive.

    Raises:
        DataError: the folder does not exist, or contains nothing known, or another form of the
            data set; says what to do.
    """
    with explained_reading(root, layout.title):
        there = root.is_dir()
    if not there:
        raise DataError(
            f"{layout.title}: the folder {root} does not exist; --data-root (or the environment "
            f"variable TTT_BENCH_DATA) must name the folder that contains {layout.folder}/"
        )
    folders = [root, *_inner_folders(layout, root)]
    for folder in folders:
        if _has_lists(layout, folder):
            return folder
    with explained_reading(root, layout.title):
        readable = [folder for folder in folders if os.access(folder, os.R_OK | os.X_OK)]
        others = [message for folder in readable if (message := layout.other_form(folder))]
    raise DataError(f"{layout.title}: {others[0]}") if others else _unrecognised(layout, root)


def _has_lists(layout: ListedLayout, folder: Path) -> bool:
    """Return whether a folder contains the lists; a stray folder may be unreadable."""
    if folder.name not in layout.archives:
        return is_folder(folder / layout.lists)
    with explained_reading(folder, layout.title):
        return (folder / layout.lists).is_dir()


def _inner_folders(layout: ListedLayout, root: Path) -> list[Path]:
    """Return the folders in `root`, those of known archives first."""
    order = {name: place for place, name in enumerate(layout.archives)}
    inside = folders_in(root, layout.title)
    return sorted(inside, key=lambda path: order.get(path.name, len(order)))


def find_listing(layout: ListedLayout, root: Path, split: str) -> Listing:
    """Return the files of a split below a folder.

    Raises:
        BenchError: the split is unknown.
        DataError: the folder is not the data set's, or its list is missing or empty.
    """
    require_split(split)
    folder = find_root(layout, root)
    ids = read_ids(layout, folder, LIST_OF[split])
    files = {part: _files(layout, folder, part) for part in layout.parts}
    return Listing(layout=layout, root=folder, list_name=LIST_OF[split], ids=ids, files=files)


def read_ids(layout: ListedLayout, folder: Path, name: str) -> tuple[str, ...]:
    """Return the ids of a published list, each once, in order.

    Raises:
        DataError: the list is missing, empty, or not a text file.
    """
    path = folder / layout.lists / f"{name}.txt"
    if not os.path.lexists(path):
        raise DataError(
            f"{layout.title}: {path}: no such file; it lists the ids of {name}, one per line"
        )
    try:
        lines = read_text(path).splitlines()
    except DataError as error:
        raise DataError(f"{layout.title}: {error}. It must list ids, one per line") from error
    ids = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not ids:
        raise DataError(
            f"{layout.title}: {path} lists no id; it must list the ids of {name}, one per line"
        )
    return ids


def require_disjoint(layout: ListedLayout, folder: Path) -> None:
    """Check that the published lists share no ids.

    Raises:
        DataError: they share some; names them.
    """
    lists: list[set[str]] = []
    for name in layout.published:
        with suppress(DataError):  # a list that is not used may be missing
            lists.append(set(read_ids(layout, folder, name)))
    shared = sorted(set.intersection(*lists)) if len(lists) > 1 else []
    if shared:
        raise DataError(
            f"{layout.title}: {' and '.join(f'{name}.txt' for name in layout.published)} in "
            f"{folder / layout.lists} share {len(shared)} ids ({listed(shared)}), so that a model "
            "would be tested on images it was trained on; take the published lists from the archive"
        )


def same_view(size: Sequence[int], image: Sequence[int]) -> bool:
    """Return whether a target of one (H, W) can belong to an image of another, after resizing.

    The shapes must be equal within 1 % or a pixel.
    """
    (small_height, small_width), (height, width) = sorted([tuple(size[:2]), tuple(image[:2])])
    expected = height * small_width / width
    return abs(expected - small_height) <= max(1.0, 0.01 * expected)


def _files(layout: ListedLayout, folder: Path, part: str) -> dict[str, Path]:
    """Return id -> regular file of a part, from the first folder that has one."""
    found: dict[str, Path] = {}
    for place in layout.parts[part]:
        below = folder / place.folder
        names = _contents(below, layout.title).files
        for suffix in place.suffixes:
            for name in names:
                if name.endswith(suffix) and not name.startswith("."):
                    found.setdefault(name.removesuffix(suffix), below / name)
    return found


def _contents(folder: Path, title: str) -> Contents:
    """Return the names in a folder; none if it is missing."""
    with explained_reading(folder, title):
        there = folder.is_dir()
    return contents_of(folder, title) if there else Contents((), (), ())


def _unrecognised(layout: ListedLayout, root: Path) -> DataError:
    with explained_reading(root, layout.title):
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
