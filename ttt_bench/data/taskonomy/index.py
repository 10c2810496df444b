"""Taskonomy's files: (building, point, view) -> the path of each part, in any known folder layout.

Parts are joined by name, never by position. A frame's image and targets are its *parts*: `rgb` and
the tasks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttt_bench.errors import DataError
from ttt_bench.tasks import TASKS
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
_FILE = re.compile(r"(point_(?:0|[1-9]\d*)_view_(?:0|[1-9]\d*))_domain_(\w+\.(?:png|jpg))")
_PIECES = re.compile(r"point_(\d+)_view_(\d+)")


@dataclass(frozen=True, kw_only=True)
class Folders:
    """The folders of each building's parts.

    Attributes:
        root: the folder that was searched.
        layouts: the names of the layouts that were found.
        paths: (building, part) -> folder.
        leftovers: temporary folders of interrupted extractions; they are not read.
    """

    root: Path
    layouts: tuple[str, ...]
    paths: dict[tuple[str, str], Path]
    leftovers: tuple[Path, ...]

    @property
    def buildings(self) -> tuple[str, ...]:
        """The names of all buildings, sorted."""
        return tuple(sorted({building for building, _ in self.paths}))

    @property
    def notices(self) -> list[str]:
        """Notices on leftovers and on several layouts."""
        notices = [
            f"{folder}: temporary folder of an interrupted extraction; ignored, delete it"
            for folder in self.leftovers
        ]
        if len(self.layouts) > 1:
            names = ", ".join(self.layouts)
            notices.append(f"{self.root}: files in several layouts ({names}); all are read")
        return notices


@dataclass(frozen=True, eq=False, kw_only=True)
class Frames:
    """An ordered set of frames, in eleven bytes per frame.

    Attributes:
        buildings: names; `building` (N,) uint16 holds indices into them.
        folders: (building, part) -> folder.
        point, view: (N,) int32.
        have: (N,) uint8, one bit per entry of `ENDINGS`, set if the frame has that file.
        strays: number of files in those folders that belong to no frame, and one of them.
    """

    buildings: tuple[str, ...]
    folders: dict[tuple[str, str], str]
    building: NDArray[np.uint16]
    point: NDArray[np.int32]
    view: NDArray[np.int32]
    have: NDArray[np.uint8]
    strays: tuple[int, str] = (0, "")

    def __len__(self) -> int:
        return len(self.building)

    def building_of(self, index: int) -> str:
        """Return the name of a frame's building."""
        return self.buildings[self.building[index]]

    def stem(self, index: int) -> str:
        """Return `point_P_view_V`."""
        return f"point_{self.point[index]}_view_{self.view[index]}"

    def name(self, index: int) -> str:
        """Return `building/point_P_view_V`, in every layout."""
        return f"{self.building_of(index)}/{self.stem(index)}"

    def path(self, index: int, part: str) -> Path:
        """Return the file of a part, which the frame must have."""
        ending = next(ending for ending in ENDINGS[part] if self.have[index] & _BIT_OF[ending])
        return Path(
            self.folders[self.building_of(index), part], f"{self.stem(index)}_domain_{ending}"
        )

    def has(self, part: str) -> NDArray[np.bool_]:
        """Return (N,): whether each frame has a file of a part."""
        return (self.have & sum(_BIT_OF[ending] for ending in ENDINGS[part])) != 0

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that any frame has a target for, in canonical order."""
        return tuple(task for task in TASKS if self.has(task).any())

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
    if not root.is_dir():
        raise DataError(
            f"Taskonomy: the folder {root} does not exist; --data-root (or the environment "
            "variable TTT_BENCH_DATA) must name the folder that contains taskonomy/"
        )
    try:
        # data/ first: from its parent, it would look like a building of layout E
        found = _look(root / "data") if (root / "data").is_dir() else _look(root)
        if not found.paths:
            found = _look(root)
        if not found.paths:
            raise _unrecognised(root)
    except OSError as error:
        raise DataError(
            f"Taskonomy: cannot read {error.filename}: {error.strerror}; check its permissions"
        ) from error
    return found


def _unrecognised(root: Path) -> DataError:
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
    with progress.bar("listing Taskonomy's files", len(names)) as bar:
        for number, building in enumerate(names):
            stems, found = _stems(folders, building)
            strays += found
            rows += _rows(number, stems)
            bar.advance(note=building)
    # (N, 4) -> four columns (N,)
    building_of, point, view, have = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return Frames(
        buildings=names,
        folders={key: str(path) for key, path in folders.paths.items() if key[0] in names},
        building=building_of.astype(np.uint16),
        point=point.astype(np.int32),
        view=view.astype(np.int32),
        have=have.astype(np.uint8),
        strays=(len(strays), strays[0] if strays else ""),
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


def _look(root: Path) -> Folders:
    """Return the folders of all known layouts below a folder."""
    found = list(_part_paths(root))
    paths: dict[tuple[str, str], Path] = {}
    # a part in two layouts is read from the first
    for one in sorted(found):
        paths.setdefault((one.building, one.part), one.path)
    layouts = tuple(sorted({one.layout for one in found}))
    return Folders(root=root, layouts=layouts, paths=paths, leftovers=tuple(_leftovers(root)))


def _part_paths(root: Path) -> Iterator[_PartPath]:
    """Yield every folder that looks like Taskonomy's."""
    for child in _folders_in(root):
        archive = _archive(child)
        if child.name in _PART_OF:
            yield from _below_domain(child)
        elif archive is not None:
            yield _PartPath("C", archive[0], _PART_OF[archive[1]], child / archive[1])
        else:
            for inner in _folders_in(child):
                if inner.name in _PART_OF:
                    yield _PartPath("E", child.name, _PART_OF[inner.name], inner)


def _below_domain(folder: Path) -> Iterator[_PartPath]:
    part = _PART_OF[folder.name]
    inner = _folders_in(folder)
    if any(path.name == "taskonomy" for path in inner):
        for path in _folders_in(folder / "taskonomy"):
            yield _PartPath("A", path.name, part, path)
    elif inner:
        yield from (_PartPath("B", path.name, part, path) for path in inner)
    elif any(_FILE.fullmatch(path.name) for path in folder.iterdir()):
        yield _PartPath("D", UNNAMED, part, folder)


def _leftovers(root: Path) -> Iterator[Path]:
    """Yield the temporary folders among those that `_part_paths` looks into."""
    yield from _temporary_in(root)
    for child in _folders_in(root):
        if child.name not in _PART_OF and _archive(child) is not None:
            continue
        yield from _temporary_in(child)
        if child.name in _PART_OF and (child / "taskonomy").is_dir():
            yield from _temporary_in(child / "taskonomy")


def _folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden and temporary ones."""
    return [path for path in _visible(folder) if not path.name.startswith("tmp")]


def _temporary_in(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.name.startswith("tmp")]


def _visible(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _archive(folder: Path) -> tuple[str, str] | None:
    """Return (building, native domain) of an extracted archive's folder, or None for others."""
    for name in _PART_OF:
        if folder.name.endswith(f"_{name}") and (folder / name).is_dir():
            return folder.name.removesuffix(f"_{name}"), name
    return None


def _stems(folders: Folders, building: str) -> tuple[dict[str, int], list[str]]:
    """Return stem -> bits of a building, and the files that belong to no frame."""
    stems: dict[str, int] = {}
    strays: list[str] = []
    for part in PARTS:
        folder = folders.paths.get((building, part))
        for name in [] if folder is None else _names_in(folder):
            match = _FILE.fullmatch(name)
            if match is None or _PART_OF_ENDING.get(match[2]) != part:
                strays.append(f"{folder}/{name}")
            else:
                stems[match[1]] = stems.get(match[1], 0) | _BIT_OF[match[2]]
    return stems, strays


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        raise DataError(
            f"Taskonomy: cannot read {folder}: {error.strerror}; check its permissions"
        ) from error
