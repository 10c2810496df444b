"""Which files there are: (building, point, view) -> the path of each part, in any known folder
layout.

Parts are joined by name, never by position. A frame's image and targets are its *parts*: `rgb` and
the tasks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttt_bench.errors import DataError
from ttt_bench.tasks import TASKS
from ttt_bench.util.progress import Progress

IMAGE = "rgb"
PARTS: dict[str, tuple[str, ...]] = {
    IMAGE: ("rgb",),
    "semseg": ("segment_semantic", "segmentsemantic"),
    "depth": ("depth_zbuffer",),
    "normals": ("normal",),
    "edge": ("edge_occlusion",),
}
"""The native names of each part, in folders and in file names; either spelling of the semantic
one is about.
"""

LAYOUTS: dict[str, str] = {
    "A": "{domain}/taskonomy/{building}/point_P_view_V_domain_{domain}.png (omnidata-tools)",
    "B": "{domain}/{building}/point_...png",
    "C": "{building}_{domain}/{domain}/point_...png (archives as extracted)",
    "D": "{domain}/point_...png (one building)",
    "E": "{building}/{domain}/point_...png",
}
UNNAMED = "unnamed"
"""The building of layout D, which does not say."""

ENDINGS: dict[str, tuple[str, ...]] = {
    part: tuple(f"{name}.png" for name in names) for part, names in PARTS.items()
}
"""How file names of each part end; the original files are all PNG, a cache of smaller ones may
keep images as JPEG.
"""
ENDINGS[IMAGE] += ("rgb.jpg",)

_PART_OF = {name: part for part, names in PARTS.items() for name in names}
_PART_OF_ENDING = {ending: part for part, endings in ENDINGS.items() for ending in endings}
_BIT_OF = {ending: 1 << bit for bit, ending in enumerate(_PART_OF_ENDING)}
_FILE = re.compile(r"(point_(?:0|[1-9]\d*)_view_(?:0|[1-9]\d*))_domain_(\w+\.(?:png|jpg))")
_PIECES = re.compile(r"point_(\d+)_view_(\d+)")


@dataclass(frozen=True)
class Folders:
    """Where each building's parts lie.

    Attributes:
        root: the folder that was looked in.
        layouts: the names of the layouts that were found.
        paths: of each (building, part) its folder.
        leftovers: temporary folders of interrupted extractions; they are not read.
    """

    root: Path
    layouts: tuple[str, ...]
    paths: dict[tuple[str, str], Path]
    leftovers: tuple[Path, ...]

    @property
    def buildings(self) -> tuple[str, ...]:
        return tuple(sorted({building for building, _ in self.paths}))

    @property
    def notices(self) -> list[str]:
        """What the user should know of this root."""
        said = [
            f"{folder}: temporary folder left over from an interrupted extraction; ignored, delete it"
            for folder in self.leftovers
        ]
        if len(self.layouts) > 1:
            said.append(
                f"{self.root}: files lie in several layouts ({', '.join(self.layouts)}); all are read"
            )
        return said


@dataclass(frozen=True, eq=False)
class Frames:
    """An ordered set of frames, eleven bytes a frame.

    Attributes:
        buildings: names; `building` (N,) uint16 points into them.
        point, view: (N,) int32.
        have: (N,) uint8, a bit for each of `ENDINGS` that has a file.
        folders: of each (building, part) its folder.
        strays: how many files in those folders are no frame's, and one of them.
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
        return self.buildings[self.building[index]]

    def stem(self, index: int) -> str:
        """`point_P_view_V`."""
        return f"point_{self.point[index]}_view_{self.view[index]}"

    def name(self, index: int) -> str:
        """`building/point_P_view_V`, whatever the layout."""
        return f"{self.building_of(index)}/{self.stem(index)}"

    def path(self, index: int, part: str) -> Path:
        """The file of a part that the frame has."""
        ending = next(ending for ending in ENDINGS[part] if self.have[index] & _BIT_OF[ending])
        return Path(
            self.folders[self.building_of(index), part], f"{self.stem(index)}_domain_{ending}"
        )

    def has(self, part: str) -> NDArray[np.bool_]:
        """(N,): which frames have a file of that part."""
        return (self.have & sum(_BIT_OF[ending] for ending in ENDINGS[part])) != 0

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that any frame has a target for, in canonical order."""
        return tuple(task for task in TASKS if self.has(task).any())

    def counts(self) -> dict[str, int]:
        """Frames of each building."""
        numbers = np.bincount(self.building, minlength=len(self.buildings))
        return {name: int(number) for name, number in zip(self.buildings, numbers, strict=True)}

    def select(self, indices: ArrayLike) -> Frames:
        """The frames at these indices (or where this mask holds), in that order."""
        at = np.asarray(indices)
        arrays = {name: getattr(self, name)[at] for name in ("building", "point", "view", "have")}
        return replace(self, **arrays)


def find_folders(root: Path) -> Folders:
    """Look for the layouts below a folder (or below its `data/`, where S4T's public code keeps
    them).

    Raises:
        DataError: no such folder, or nothing in it that is known; says what was looked for, where,
        and what to do.
    """
    if not root.is_dir():
        raise DataError(
            f"Taskonomy: looked for the folder {root}, which does not exist; --data-root (or the environment variable "
            "TTT_BENCH_DATA) must name the folder that holds taskonomy/"
        )
    try:
        # data/ first: from above, it would look like a building of layout E
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
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    hints = [
        f"{name} is no Taskonomy domain, did you mean {near[0]}?"
        for name in names
        if name not in _PART_OF and (near := get_close_matches(name, _PART_OF, n=1, cutoff=0.8))
    ]
    known = "; ".join(f"{key} {form}" for key, form in LAYOUTS.items())
    return DataError(
        f"Taskonomy: no known layout below {root}, which holds {listed or 'nothing'}. "
        + "".join(f"{hint} " for hint in hints)
        + f"Domains: {', '.join(_PART_OF)}. Known layouts: {known}. --data-root (or TTT_BENCH_DATA) must name the "
        "folder that holds taskonomy/ in one of these"
    )


def list_frames(folders: Folders, buildings: Iterable[str], progress: Progress) -> Frames:
    """All frames of these buildings: building by building in the order given, each in string order
    of the stem.

    Raises:
        DataError: a folder cannot be read.
    """
    names = tuple(buildings)
    strays = _Strays()
    columns: list[list[int]] = [[], [], [], []]
    with progress.bar("listing Taskonomy's files", len(names)) as bar:
        for number, building in enumerate(names):
            stems = _stems(folders, building, strays)
            for stem in sorted(stems):
                pieces = _PIECES.fullmatch(stem)
                assert pieces is not None
                for column, value in zip(
                    columns, (number, int(pieces[1]), int(pieces[2]), stems[stem]), strict=True
                ):
                    column.append(value)
            bar.advance(note=building)
    return Frames(
        names,
        {key: str(path) for key, path in folders.paths.items() if key[0] in names},
        np.array(columns[0], dtype=np.uint16),
        np.array(columns[1], dtype=np.int32),
        np.array(columns[2], dtype=np.int32),
        np.array(columns[3], dtype=np.uint8),
        (strays.count, strays.example),
    )


@dataclass
class _Strays:
    count: int = 0
    example: str = ""

    def add(self, path: str) -> None:
        self.count += 1
        self.example = self.example or path


@dataclass
class _Search:
    """Folders met while looking, less those that are not to be read."""

    leftovers: list[Path] = field(default_factory=list)

    def below(self, folder: Path) -> list[Path]:
        folders = sorted(
            path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
        )
        self.leftovers += [path for path in folders if path.name.startswith("tmp")]
        return [path for path in folders if not path.name.startswith("tmp")]


def _look(root: Path) -> Folders:
    search = _Search()
    layouts = set()
    paths: dict[tuple[str, str], Path] = {}
    # a part that lies in two layouts is read from the first
    for layout, building, part, path in sorted(_holdings(root, search)):
        layouts.add(layout)
        paths.setdefault((building, part), path)
    return Folders(root, tuple(sorted(layouts)), paths, tuple(search.leftovers))


def _holdings(root: Path, search: _Search) -> Iterator[tuple[str, str, str, Path]]:
    """(layout, building, part, folder) of everything that looks like Taskonomy."""
    for child in search.below(root):
        archive = _archive(child)
        if child.name in _PART_OF:
            yield from _below_domain(child, search)
        elif archive is not None:
            yield "C", archive[0], _PART_OF[archive[1]], child / archive[1]
        else:
            for inner in search.below(child):
                if inner.name in _PART_OF:
                    yield "E", child.name, _PART_OF[inner.name], inner


def _below_domain(folder: Path, search: _Search) -> Iterator[tuple[str, str, str, Path]]:
    part = _PART_OF[folder.name]
    inner = search.below(folder)
    if any(path.name == "taskonomy" for path in inner):
        yield from (("A", path.name, part, path) for path in search.below(folder / "taskonomy"))
    elif inner:
        yield from (("B", path.name, part, path) for path in inner)
    elif any(_FILE.fullmatch(path.name) for path in folder.iterdir()):
        yield "D", UNNAMED, part, folder


def _archive(folder: Path) -> tuple[str, str] | None:
    """(building, native domain) of an extracted archive's folder."""
    for name in _PART_OF:
        if folder.name.endswith(f"_{name}") and (folder / name).is_dir():
            return folder.name.removesuffix(f"_{name}"), name
    return None


def _stems(folders: Folders, building: str, strays: _Strays) -> dict[str, int]:
    """The bits of each stem of a building."""
    stems: dict[str, int] = {}
    for part in PARTS:
        folder = folders.paths.get((building, part))
        if folder is None:
            continue
        try:
            names = os.listdir(folder)
        except OSError as error:
            raise DataError(
                f"Taskonomy: cannot read {folder}: {error.strerror}; check its permissions"
            ) from error
        for name in names:
            match = _FILE.fullmatch(name)
            if match is None or _PART_OF_ENDING.get(match[2]) != part:
                strays.add(str(folder / name))
            else:
                stems[match[1]] = stems.get(match[1], 0) | _BIT_OF[match[2]]
    return stems
