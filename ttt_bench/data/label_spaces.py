"""Label spaces as data: which classes there are, and which native ids of each data set mean them.
Imports no torch.

Whatever a space does not name, background and void included, becomes 255.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.errors import BenchError, unknown
from ttt_bench.tasks import IGNORE

MAX_IDS: dict[str, int] = {
    "taskonomy": 17,
    "nyud": 40,
    "pascal": 20,
    "pascal_context": 459,
    "rooms": 6,
}
"""The largest native id of each data set. NYUD's are those of the 40-class maps as stored, 1..40;
PASCAL-Context has the ids of the 21-class maps and, as `pascal_context`, those of the 459-label
maps, which take precedence.
"""

_MAX_ID = 254  # of any other data set, whose maps are bytes


@dataclass(frozen=True)
class LabelSpace:
    """Classes that several data sets share.

    Attributes:
        name: what rows and options call it.
        classes: class names, in label order.
        native: of each data set, the native ids that mean each class, in the order of `classes`;
            several ids may fold into one class, and a class may have none.
        footnote: what a reader of scores over these classes should know; empty where there is
        nothing.

    Raises:
        BenchError: there are no classes, or names occur twice; a data set's ids are not one entry a
            class, none at all, out of range, or mean two classes.
    """

    name: str
    classes: tuple[str, ...]
    native: Mapping[str, tuple[tuple[int, ...], ...]]
    footnote: str = ""

    def __post_init__(self) -> None:
        if not 0 < len(self.classes) < IGNORE:
            raise BenchError(
                f"label space {self.name}: {len(self.classes)} classes; give 1 to {IGNORE - 1}"
            )
        for label in self.classes:
            if self.classes.count(label) > 1:
                raise BenchError(
                    f"label space {self.name}: class {label} is given twice; names must differ"
                )
        for dataset, groups in self.native.items():
            self._check(dataset, groups, f"label space {self.name}, data set {dataset}")

    def _check(self, dataset: str, groups: tuple[tuple[int, ...], ...], where: str) -> None:
        if len(groups) != len(self.classes):
            raise BenchError(
                f"{where}: {len(groups)} entries for {len(self.classes)} classes; give one a class"
            )
        ids = [native for group in groups for native in group]
        if not ids:
            raise BenchError(f"{where}: no class has a native id; leave the data set out")
        largest = MAX_IDS.get(dataset, _MAX_ID)
        for native in ids:
            if not 0 <= native <= largest:
                raise BenchError(f"{where}: native id {native} is not in 0..{largest}")
            if ids.count(native) > 1:
                raise BenchError(
                    f"{where}: native id {native} is given twice; an id means one class"
                )

    def table(self, dataset: str) -> NDArray[np.uint8]:
        """(256,) or longer: the class index of each native id of a data set, 255 where it means
        none.

        Raises:
            BenchError: the space has no ids for that data set.
        """
        if dataset not in self.native:
            raise unknown(f"data set of label space {self.name}", dataset, self.native)
        table = np.full(max(256, MAX_IDS.get(dataset, 0) + 1), IGNORE, dtype=np.uint8)
        for index, group in enumerate(self.native[dataset]):
            table[list(group)] = index
        return table

    def record(self, only: Collection[str] | None = None) -> dict[str, Any]:
        """Everything that a label depends on, as JSON-like values; of every data set, or only of
        these.
        """
        native = {
            dataset: [list(group) for group in groups]
            for dataset, groups in self.native.items()
            if only is None or dataset in only
        }
        return {"name": self.name, "classes": list(self.classes), "native": native}


def _ids(*groups: int | None) -> tuple[tuple[int, ...], ...]:
    """One id a class, None where a class has none."""
    return tuple(() if native is None else (native,) for native in groups)


LABEL_SPACES: dict[str, LabelSpace] = {
    space.name: space
    for space in (
        # the ids of S4T's public code
        LabelSpace(
            "taskonomy_nyud_7",
            ("refrigerator", "table", "toilet", "sofa", "bed", "sink", "chair"),
            {
                "taskonomy": _ids(14, 7, 8, 4, 6, 13, 3),
                "nyud": _ids(24, 7, 33, 6, 4, 34, 5),
                "rooms": _ids(0, 1, 2, 3, 4, 5, 6),
            },
        ),
        LabelSpace(
            "taskonomy_pascal_6",
            ("table", "tv", "bottle", "sofa", "potted plant", "chair"),
            {"taskonomy": _ids(7, 9, 2, 4, 5, 3), "pascal": _ids(11, 20, 5, 18, 16, 9)},
            "The papers and their code print the class bottle as toilet; the ids on both sides are those of bottles, "
            "and PASCAL's 21 classes have no toilet.",
        ),
        LabelSpace(
            "taskonomy_pascal_6_toilet",
            ("table", "tv", "toilet", "sofa", "potted plant", "chair"),
            {
                "taskonomy": _ids(7, 9, 8, 4, 5, 3),
                "pascal": _ids(11, 20, None, 18, 16, 9),
                "pascal_context": _ids(None, None, 408, None, None, None),
            },
            "Toilets are those of the 459 Context labels, where the published numbers have bottles under that name; "
            "not comparable with published numbers.",
        ),
        LabelSpace(
            "nyud_pascal_4",
            ("person", "sofa", "chair", "table"),
            {"nyud": _ids(31, 6, 5, 7), "pascal": _ids(15, 18, 9, 11)},
        ),
    )
}
"""Every label space that ships with the harness."""


def find_label_space(name: str) -> LabelSpace:
    """The label space of that name.

    Raises:
        BenchError: there is none.
    """
    if name not in LABEL_SPACES:
        raise unknown("label space", name, LABEL_SPACES)
    return LABEL_SPACES[name]


def label_space_from(name: str, table: Mapping[str, Any]) -> LabelSpace:
    """A label space of the user's own, from a table of a config file such as

        classes = ["seat", "bed"]
        taskonomy = [[3, 4], 6]
        nyud = [[5, 6], 4]

    The entries beside `classes` and `footnote` are data sets, each with a native id or a list of
    them for each class.

    Raises:
        BenchError: what is wrong with it, and where.
    """
    where = f"label space {name}"
    if name in LABEL_SPACES:
        raise BenchError(f"{where} ships with the harness; give yours another name")
    if not isinstance(table, Mapping):
        raise BenchError(
            f"{where}: {table!r} is no table; write classes = [...] and a list of ids for each data set"
        )
    classes, footnote = table.get("classes"), table.get("footnote", "")
    if not isinstance(classes, list | tuple) or not all(
        isinstance(label, str) and label for label in classes
    ):
        raise BenchError(f"{where}: classes must be a list of names, got {classes!r}")
    if not isinstance(footnote, str):
        raise BenchError(f"{where}: footnote must be a text, got {footnote!r}")
    native = {
        dataset: _groups(entries, f"{where}, data set {dataset}")
        for dataset, entries in table.items()
        if dataset not in ("classes", "footnote")
    }
    if not native:
        raise BenchError(
            f"{where}: no data set; give the native ids of each one, such as taskonomy = [[3, 4], 6]"
        )
    return LabelSpace(name, tuple(classes), native, footnote)


def _groups(entries: Any, where: str) -> tuple[tuple[int, ...], ...]:
    if not isinstance(entries, list | tuple):
        raise BenchError(
            f"{where}: {entries!r} is no list; give a native id, or a list of them, for each class"
        )
    groups = [tuple(entry) if isinstance(entry, list | tuple) else (entry,) for entry in entries]
    for native in (native for group in groups for native in group):
        if not isinstance(native, int) or isinstance(native, bool):
            raise BenchError(f"{where}: {native!r} is no native id; ids are whole numbers")
    return tuple(groups)
