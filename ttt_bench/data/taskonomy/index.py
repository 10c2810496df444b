"""Taskonomy's files: (building, point, view) -> the path of each part, in any known folder layout.

Parts are joined by name, never by position. A frame's image and targets are its *parts*: `rgb` and
the tasks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttt_bench.data.file_system import contents_of, folders_in
from ttt_bench.data.taskonomy.splits import KNOWN
from ttt_bench.errors import DataError, printable
from ttt_bench.tasks import PAPER_TASKS
from ttt_bench.util.atomic import TEMPORARY_MARK
from ttt_bench.util.os_errors import explained_reading
from ttt_bench.util.progress import Progress
from ttt_bench.util.text import listed

IMAGE = "rgb"
PARTS: dict[str, tuple[str, ...]] = {
    IMAGE: ("rgb",),
    "semseg": ("segment_semantic", "segmentsemantic"),
    "depth": ("depth_zbuffer",),
    "normals": ("normal",),
    "edge": ("edge_occlusion",),
}
"""The native names of each part, in folders and in file names; both spellings of the semantic
one occur.
"""

LAYOUTS: dict[str, str] = {
    "A": "{domain}/taskonomy/{building}/point_P_view_V_domain_{domain}.png (omnidata-tools)",
    "B": "{domain}/{building}/point_...png",
    "C": "{building}_{domain}/{domain}/point_...png (archives as extracted)",
    "D": "{domain}/point_...png (one building)",
    "E": "{building}/{domain}/point_...png",
}
UNNAMED = "unnamed"
"""The name of the building in layout D, which has no folder with its name."""

ENDINGS: dict[str, tuple[str, ...]] = {
    part: tuple(map("{}.png".format, names)) for part, names in PARTS.items()
}
"""The ends of file names of each part. The original files are all PNG; a cache of smaller ones may
have images as JPEG.
"""
ENDINGS[IMAGE] += ("rgb.jpg",)

_PART_OF = {name: part for part, names in PARTS.items() for name in names}
_PART_OF_ENDING = {ending: part for part, endings in ENDINGS.items() for ending in endings}
_BIT_OF = {ending: 1 << bit for bit, ending in enumerate(_PART_OF_ENDING)}
_NUMBER = r"(?:0|[1-9]\d{0,8})"  # fits into 32 bits
_FILE = re.compile(rf"(point_{_NUMBER}_view_{_NUMBER})_domain_(\w+\.(?:png|jpg))", re.ASCII)
_PIECES = re.compile(r"point_(\d+)_view_(\d+)")


@dataclass(frozen=True, kw_only=True)
class Folders:
    """The folders of each building's parts.

    Attributes:
        root: the folder that was searched.
        layouts: the names of the layouts that were found.
        paths: (building, part) -> its folders, one per layout that has the part.
        leftovers: temporary folders of interrupted extractions; they are not read.
        unread: messages on folders that cannot be read and need not be Taskonomy's.
    """

    root: Path
    layouts: tuple[str, ...]
    paths: dict[tuple[str, str], tuple[Path, ...]]
    leftovers: tuple[Path, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def buildings(self) -> tuple[str, ...]:
        """The names of all buildings, sorted."""
        return tuple(sorted({building for building, _ in self.paths}))

    @property
    def notices(self) -> list[str]:
        """Notices on leftovers, on unreadable folders and on several layouts."""
        notices = [
            f"{folder}: temporary folder of an interrupted extraction; ignored, delete it"
            for folder in self.leftovers
        ]
        notices += [f"{message}; passed over" for message in self.unread]
        if len(self.layouts) > 1:
            names = ", ".join(self.layouts)
            notices.append(f"{self.root}: files in several layouts ({names}); all are read")
        return notices


@dataclass(frozen=True, eq=False, kw_only=True)
class Frames:
    """An ordered set of frames, in eleven bytes per frame.

    Attributes:
        buildings: names; `building` (N,) uint16 holds indices into them.
        folders: (building, part) -> folders; the first one with a frame's file counts.
        point, view: (N,) int32.
        have: (N,) uint8, one bit per entry of `ENDINGS`, set if the frame has that file.
        strays: number of entries of those folders that belong to no frame, and one of them.
        doubles: number of files that several folders have, and one that is not used.
    """

    buildings: tuple[str, ...]
    folders: dict[tuple[str, str], tuple[str, ...]]
    building: NDArray[np.uint16]
    point: NDArray[np.int32]
    view: NDArray[np.int32]
    have: NDArray[np.uint8]
    strays: tuple[int, str] = (0, "")
    doubles: tuple[int, str] = (0, "")

    def __len__(self) -> int:
        return len(self.building)

    def building_of(self, index: int) -> str:
        """Return the name of a frame's building."""
        found: str = self.buildings[self.building[index]]
        return found

    def stem(self, index: int) -> str:
        """Return `point_P_view_V`."""
        return f"point_{self.point[index]}_view_{self.view[index]}"

    def name(self, index: int) -> str:
        """Return `building/point_P_view_V`, in every layout."""
        return f"{printable(self.building_of(index))}/{self.stem(index)}"

    def path(self, index: int, part: str) -> Path:
        """Return the file of a part, which the frame must have."""
        ending = next(ending for ending in ENDINGS[part] if self.have[index] & _BIT_OF[ending])
        name = f"{self.stem(index)}_domain_{ending}"
        folders = self.folders[self.building_of(index), part]
        if len(folders) == 1:
            return Path(f"{folders[0]}/{name}")
        with_it = (folder for folder in folders if os.path.isfile(f"{folder}/{name}"))
        return Path(next(with_it, folders[0]), name)

    def has(self, part: str) -> NDArray[np.bool_]:
        """Return (N,): whether each frame has a file of a part."""
        found: NDArray[np.bool_] = (
            self.have & sum(_BIT_OF[ending] for ending in ENDINGS[part])
        ) != 0
        return found

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that any frame has a target for, in canonical order."""
        return tuple(task for task in PAPER_TASKS if self.has(task).any())

    def counts(self) -> dict[str, int]:
        """Return the number of frames of each building."""
        numbers = np.bincount(self.building, minlength=len(self.buildings))
        return {name: int(number) for name, number in zip(self.buildings, numbers, strict=True)}

    def select(self, indices: ArrayLike) -> Frames:
        """Return the frames at these indices (or where this mask is true), in that order."""
        at = np.asarray(indices)
        arrays = {name: getattr(self, name)[at] for name in ("building", "point", "view", "have")}
        return replace(self, **arrays)


def find_folders(root: Path) -> Folders:
    """Return the folders of the known layouts below a folder, or below its `data/`.

    S4T's public code keeps the files below `data/`.

    Raises:
        DataError: the folder does not exist or has no known layout; says what was looked for,
            where, and what to do.
    """
    with explained_reading(root, "Taskonomy"):
        there = root.is_dir()
    if not there:
        raise DataError(
            f"Taskonomy: the folder {root} does not exist; --data-root (or the environment "
            "variable TTT_BENCH_DATA) must name the folder that contains taskonomy/"
        )
    with explained_reading(root, "Taskonomy"):
        # data/ first: from its parent, it would look like a building of layout E
        below = (root / "data").is_dir()
    for folder in ([root / "data"] if below else []) + [root]:
        found = _look(folder)
        if found.paths:
            return found
    raise _unrecognised(root)


def _unrecognised(root: Path) -> DataError:
    with explained_reading(root, "Taskonomy"):
        names = sorted(path.name for path in root.iterdir())
    hints = [
        f"{name} is not a Taskonomy domain, did you mean {near[0]}?"
        for name in names
        if name not in _PART_OF and (near := get_close_matches(name, _PART_OF, n=1, cutoff=0.8))
    ]
    known = "; ".join(f"{key} {form}" for key, form in LAYOUTS.items())
    return DataError(
        f"Taskonomy: no known layout below {root}, which contains "
        f"{listed(names, 8) or 'nothing'}. "
        + "".join(f"{hint} " for hint in hints)
        + f"Domains: {', '.join(_PART_OF)}. Known layouts: {known}. --data-root (or "
        "TTT_BENCH_DATA) must name the folder that contains taskonomy/ in one of these"
    )


def list_frames(folders: Folders, buildings: Iterable[str], progress: Progress) -> Frames:
    """Return all frames of these buildings, in the order given, each in string order of the stem.

    Raises:
        DataError: a folder cannot be read.
    """
    names = tuple(buildings)
    rows: list[tuple[int, int, int, int]] = []
    strays: list[str] = []
    doubles: list[str] = []
    with progress.bar("listing Taskonomy's files", len(names)) as bar:
        for number, building in enumerate(names):
            found = _files_of(folders, building)
            strays += found.strays
            doubles += found.doubles
            rows += _rows(number, found.stems)
            bar.advance(note=printable(building))
    # (N, 4) -> four columns (N,)
    building_of, point, view, have = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return Frames(
        buildings=names,
        folders={
            key: tuple(map(str, paths)) for key, paths in folders.paths.items() if key[0] in names
        },
        building=building_of.astype(np.uint16),
        point=point.astype(np.int32),
        view=view.astype(np.int32),
        have=have.astype(np.uint8),
        strays=(len(strays), strays[0] if strays else ""),
        doubles=(len(doubles), doubles[0] if doubles else ""),
    )


def _rows(building: int, stems: dict[str, int]) -> Iterator[tuple[int, int, int, int]]:
    """Yield (building, point, view, bits) of each stem, in string order."""
    for stem in sorted(stems):
        pieces = _PIECES.fullmatch(stem)
        assert pieces is not None
        yield building, int(pieces[1]), int(pieces[2]), stems[stem]


class _PartPath(NamedTuple):
    """A folder with files of a part of a building, in a layout."""

    layout: str
    building: str
    part: str
    path: Path


class _Unread(NamedTuple):
    """A folder that cannot be read and need not be Taskonomy's."""

    message: str


def _look(root: Path) -> Folders:
    """Return the folders of all known layouts below a folder."""
    found = list(_part_paths(root))
    paths: dict[tuple[str, str], tuple[Path, ...]] = {}
    for one in sorted(one for one in found if isinstance(one, _PartPath)):
        key = (one.building, one.part)
        paths[key] = (*paths.get(key, ()), one.path)
    return Folders(
        root=root,
        layouts=tuple(sorted({one.layout for one in found if isinstance(one, _PartPath)})),
        paths=paths,
        leftovers=tuple(_leftovers(root)),
        unread=tuple(one.message for one in found if isinstance(one, _Unread)),
    )


def _part_paths(root: Path) -> Iterator[_PartPath | _Unread]:
    """Yield every folder with files of Taskonomy, and those that may be none of its."""
    for child in _folders_in(root):
        archive = _archive(child)
        if child.name in _PART_OF:
            yield from _below_domain(child)
        elif archive is not None:
            building, domain = archive
            yield from _with_frames("C", building, _PART_OF[domain], child / domain, known=True)
        else:
            yield from _below_building(child)


def _below_domain(folder: Path) -> Iterator[_PartPath | _Unread]:
    """Yield the folders of layouts A, B and D, which may be mixed."""
    part = _PART_OF[folder.name]
    for path in _folders_in(folder):
        if path.name == "taskonomy":
            for building in _folders_in(path):
                yield from _with_frames("A", building.name, part, building)
        else:
            yield from _with_frames("B", path.name, part, path)
    yield from _with_frames("D", UNNAMED, part, folder, known=True)


def _below_building(folder: Path) -> Iterator[_PartPath | _Unread]:
    """Yield the folders of a building of layout E."""
    try:
        inner = _folders_in(folder)
    except DataError as error:
        if folder.name in KNOWN:
            raise
        yield _Unread(str(error))
        return
    for path in inner:
        if path.name in _PART_OF:
            yield from _with_frames("E", folder.name, _PART_OF[path.name], path, known=True)


def _with_frames(
    layout: str, building: str, part: str, path: Path, *, known: bool = False
) -> Iterator[_PartPath | _Unread]:
    """Yield the folder of a part if it contains a frame's file.

    Args:
        known: whether a name above or of the folder is Taskonomy's, so that it must be readable.
    """
    try:
        with explained_reading(path, "Taskonomy"), os.scandir(path) as entries:
            if any(_FILE.fullmatch(entry.name) for entry in entries):
                yield _PartPath(layout, building, part, path)
    except DataError as error:
        if known or building in KNOWN:
            raise
        yield _Unread(str(error))


def _leftovers(root: Path) -> Iterator[Path]:
    """Yield the temporary folders among those that `_part_paths` looks into."""
    yield from _temporary_in(root)
    for child in _folders_in(root):
        if child.name not in _PART_OF and _archive(child) is not None:
            continue
        yield from _temporary_in(child)
        if child.name in _PART_OF:
            yield from _temporary_in(child / "taskonomy")


def _folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden, stray and temporary ones."""
    found = folders_in(folder, "Taskonomy")
    return [path for path in found if not path.name.startswith("tmp")]


def _temporary_in(folder: Path) -> list[Path]:
    """Return the temporary folders in a folder; none if it is missing or cannot be read."""
    with suppress(DataError):
        return [path for path in folders_in(folder) if path.name.startswith("tmp")]
    return []


def _archive(folder: Path) -> tuple[str, str] | None:
    """Return (building, native domain) of an extracted archive's folder, or None for others."""
    for name in _PART_OF:
        if folder.name.endswith(f"_{name}"):
            with explained_reading(folder, "Taskonomy"):
                if (folder / name).is_dir():
                    return folder.name.removesuffix(f"_{name}"), name
    return None


class _BuildingFiles(NamedTuple):
    """The files of a building.

    Attributes:
        stems: stem -> bits of the files that it has.
        strays: entries that belong to no frame.
        doubles: files that an earlier folder has, too.
    """

    stems: dict[str, int]
    strays: list[str]
    doubles: list[str]


def _files_of(folders: Folders, building: str) -> _BuildingFiles:
    """Return the files of a building's folders; only regular files are frames."""
    found = _BuildingFiles({}, [], [])
    for part in PARTS:
        for folder in folders.paths.get((building, part), ()):
            names = contents_of(folder, "Taskonomy")
            for name in names.files:
                stem, bit = _frame_file(name, part)
                if name.startswith(".") and TEMPORARY_MARK in name:
                    continue  # left by a killed `data prepare`, which removes it when it resumes
                if not bit:
                    found.strays.append(f"{folder}/{name}")
                elif found.stems.get(stem, 0) & bit:
                    found.doubles.append(f"{folder}/{name}")
                else:
                    found.stems[stem] = found.stems.get(stem, 0) | bit
            odd = [name for name in (*names.folders, *names.others) if _FILE.fullmatch(name)]
            found.strays.extend(f"{folder}/{name}" for name in odd)
    return found


def _frame_file(name: str, part: str) -> tuple[str, int]:
    """Return the stem and the bit of a file of a part; ("", 0) for any other name."""
    match = _FILE.fullmatch(name)
    if match is None or _PART_OF_ENDING.get(match[2]) != part:
        return "", 0
    return match[1], _BIT_OF[match[2]]
