"""Data sets whose splits are lists of ids: where their files lie, found by looking. Imports no
torch.

Files are joined to ids by name, never by position. An image and its targets are the *parts* of a
frame.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ttt_bench.errors import BenchError, DataError, unknown

SPLITS: dict[str, str] = {"train": "train", "val": "val", "test": "val", "tune": "train"}
"""Which published list each split is.

Training takes the whole `train` list and the target is the whole `val` list, as published, and
there are no further images. So `val`, images that a source model was not trained on, is the `val`
list, and `tune`, target images that no result uses, is the `train` list. The two lists share no
image.
"""


@dataclass(frozen=True)
class PartFolder:
    """A folder that holds files of a part, each named by its id and one of these suffixes, the
    preferred one first.
    """

    folder: str
    suffixes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.folder}/ID{' or '.join(self.suffixes)}"


@dataclass(frozen=True)
class ListedLayout:
    """How a data set lies on the disk.

    Attributes:
        title: what messages call it.
        folder: the data root's folder that holds it.
        archives: the top folders of its published archives, the preferred one first.
        lists: the folder of the lists, which also shows that the data set is there.
        parts: of each part the places that may have a file, the preferred one first.
        tasks: what targets may be made for, in canonical order.
        published: how many ids each published list has.
        other_form: what is wrong with a folder that is another form of the data set; None where it is
        none.
        absent: what to say where no image has a file of a part, if there is more to say than that.
        remedies: what to do where an image lacks a file of a part, if it is not to complete the
        archive.
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
        """Where a part's files are looked for, in words."""
        return ", or ".join(str(place) for place in self.parts[part])


@dataclass(frozen=True, eq=False)
class Listing:
    """The ids of a list and what files they have.

    Attributes:
        root: the folder that holds the lists.
        list_name: train or val.
        ids: in the list's order.
        files: of each part, the files of those ids that have one.
    """

    layout: ListedLayout
    root: Path
    list_name: str
    ids: tuple[str, ...]
    files: Mapping[str, Mapping[str, Path]]

    def __len__(self) -> int:
        return len(self.ids)

    def name(self, index: int) -> str:
        return self.ids[index]

    def path(self, index: int, part: str) -> Path:
        """The file of a part that the frame has."""
        return self.files[part][self.ids[index]]

    def lacking(self, part: str) -> list[str]:
        """The ids without a file of that part."""
        return [name for name in self.ids if name not in self.files[part]]

    def require(self, part: str) -> None:
        """See that every id has a file of that part.

        Raises:
            DataError: one has none; says how many, names one and the hint.
        """
        absent = self.lacking(part)
        if absent:
            layout = self.layout
            hint = layout.hints.get(part, "complete the archive, or take these ids out of the list")
            raise DataError(
                f"{layout.title}: {len(absent)} of {len(self)} images of {layout.lists}/{self.list_name}.txt have no "
                f"{part} file, such as {absent[0]} (looked for {layout.places(part)} below {self.root}); {hint}"
            )


def find_root(layout: ListedLayout, root: Path) -> Path:
    """The folder that holds a data set's lists: `root`, or a folder in it, the preferred archive's
    first.

    Raises:
        DataError: no such folder, nothing in it that is known, or another form of the data set;
        says what to do.
    """
    if not root.is_dir():
        raise DataError(
            f"{layout.title}: looked for the folder {root}, which does not exist; --data-root (or the environment "
            f"variable TTT_BENCH_DATA) must name the folder that holds {layout.folder}/"
        )
    try:
        inside = sorted(
            path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")
        )
        order = {name: place for place, name in enumerate(layout.archives)}
        inside.sort(key=lambda path: order.get(path.name, len(order)))
        for folder in (root, *inside):
            if (folder / layout.lists).is_dir():
                return folder
        strange = [message for folder in (root, *inside) if (message := layout.other_form(folder))]
        if strange:
            raise DataError(f"{layout.title}: {strange[0]}")
        raise _unrecognised(layout, root)
    except OSError as error:
        raise _unreadable(layout, error) from error


def find_listing(layout: ListedLayout, root: Path, split: str) -> Listing:
    """The files of a split below a folder.

    Raises:
        BenchError: no such split.
        DataError: the folder is not the data set's, or has no such list, or an empty one.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    folder = find_root(layout, root)
    ids = read_ids(layout, folder, SPLITS[split])
    try:
        files = {part: _files(folder, places) for part, places in layout.parts.items()}
    except OSError as error:
        raise _unreadable(layout, error) from error
    return Listing(layout, folder, SPLITS[split], ids, files)


def read_ids(layout: ListedLayout, folder: Path, name: str) -> tuple[str, ...]:
    """The ids of a published list, each once, in order.

    Raises:
        DataError: the list is missing, not a text, or empty.
    """
    path = folder / layout.lists / f"{name}.txt"
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise DataError(
            f"{layout.title}: {path}: no such file; it lists the ids of {name}, one a line"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{layout.title}: {path} cannot be read as a list of ids ({error})"
        ) from error
    ids = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not ids:
        raise DataError(
            f"{layout.title}: {path} lists no id; it must hold the ids of {name}, one a line"
        )
    return ids


def same_view(size: Sequence[int], image: Sequence[int]) -> bool:
    """Whether a target of one (H, W) may be an image's of another, resized: equal shapes within
    1 % or a pixel.
    """
    (small_height, small_width), (height, width) = sorted([tuple(size[:2]), tuple(image[:2])])
    expected = height * small_width / width
    return abs(expected - small_height) <= max(1.0, 0.01 * expected)


def _files(folder: Path, places: Iterable[PartFolder]) -> dict[str, Path]:
    """id -> file, from the first place that has one."""
    found: dict[str, Path] = {}
    for place in places:
        below = folder / place.folder
        names = os.listdir(below) if below.is_dir() else []
        for suffix in place.suffixes:
            for name in names:
                if name.endswith(suffix) and not name.startswith("."):
                    found.setdefault(name.removesuffix(suffix), below / name)
    return found


def _unrecognised(layout: ListedLayout, root: Path) -> BenchError:
    names = sorted(path.name for path in root.iterdir())
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    packed = [name for name in names if name.endswith((".tgz", ".tar.gz", ".tar", ".zip"))]
    hint = f"Extract {packed[0]} there. " if packed else ""
    parts = "; ".join(f"{part} in {layout.places(part)}" for part in layout.parts)
    return DataError(
        f"{layout.title}: {root} holds {listed or 'nothing'}, neither {layout.lists}/ nor a folder with it. {hint}"
        f"--data-root (or TTT_BENCH_DATA) must name the folder that holds {layout.folder}/, and that the contents of "
        f"{' or '.join(layout.archives)}: ids in {layout.lists}/train.txt and val.txt; {parts}"
    )


def _unreadable(layout: ListedLayout, error: OSError) -> DataError:
    return DataError(
        f"{layout.title}: cannot read {error.filename}: {error.strerror}; check its permissions"
    )
