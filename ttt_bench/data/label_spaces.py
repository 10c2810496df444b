"""Label spaces: the classes that data sets share, with the native ids of each. Imports no torch.

All ids that a space does not name, including background and void, become 255.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
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
"""The largest native id of each data set.

NYUD's ids are those of the 40-class maps as stored, 1..40. PASCAL-Context has the ids of the
21-class maps and, as `pascal_context`, those of the 459-label maps, which take precedence.
"""

CONTEXT = {"pascal": "pascal_context"}
"""Data sets with a second table of ids."""

_MAX_ID = 254  # for all other data sets, whose maps are bytes


@dataclass(frozen=True, kw_only=True)
class LabelSpace:
    """Classes that several data sets share.

    Attributes:
        name: name in rows and options.
        classes: class names, in label order.
        native: data set -> the native ids of each class, in the order of `classes`; a class may
            have several ids, or none.
        footnote: a sentence for readers of scores on these classes; may be empty.

    Raises:
        BenchError: there are fewer than two classes, or names are repeated; the ids of a data set
            are not one entry per class, all missing, out of range, or mean two classes.
    """

    name: str
    classes: tuple[str, ...]
    native: Mapping[str, tuple[tuple[int, ...], ...]]
    footnote: str = ""

    def __post_init__(self) -> None:
        if not 1 < len(self.classes) < IGNORE:
            raise BenchError(
                f"label space {self.name}: {len(self.classes)} classes; give 2 to {IGNORE - 1}, "
                "because a single class is right at every pixel that counts"
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
                f"{where}: {len(groups)} entries for {len(self.classes)} classes; "
                "give one per class"
            )
        ids = list(chain(*groups))
        if not ids:
            raise BenchError(f"{where}: no class has a native id; leave the data set out")
        largest = MAX_IDS.get(dataset, _MAX_ID)
        for native in ids:
            if not 0 <= native <= largest:
                raise BenchError(f"{where}: native id {native} is not in 0..{largest}")
            if ids.count(native) > 1:
                raise BenchError(
                    f"{where}: native id {native} is given twice; an id can mean only one class"
                )

    def labelled_classes(self, dataset: str) -> tuple[str, ...]:
        """Return the classes for which a data set has native ids, in any of its tables."""
        tables = [self.native.get(name, ()) for name in (dataset, CONTEXT.get(dataset, ""))]
        found = {index for table in tables for index, ids in enumerate(table) if ids}
        return tuple(self.classes[index] for index in sorted(found))

    def table(self, dataset: str) -> NDArray[np.uint8]:
        """Return (256,) or longer: the class index of each native id of a data set, 255 for none.

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
        """Return everything that a label depends on, as JSON-like values.

        Args:
            only: the data sets that matter; None for all.
        """
        native = {
            dataset: list(map(list, groups))
            for dataset, groups in self.native.items()
            if only is None or dataset in only
        }
        return {"name": self.name, "classes": list(self.classes), "native": native}


def _ids(groups: Sequence[int | None]) -> tuple[tuple[int, ...], ...]:
    """Return one group of ids per class from one id per class, None for a class without ids."""
    return tuple(() if native is None else (native,) for native in groups)


LABEL_SPACES: dict[str, LabelSpace] = {
    space.name: space
    for space in (
        # the ids of S4T's public code
        LabelSpace(
            name="taskonomy_nyud_7",
            classes=("refrigerator", "table", "toilet", "sofa", "bed", "sink", "chair"),
            native={
                "taskonomy": _ids([14, 7, 8, 4, 6, 13, 3]),
                "nyud": _ids([24, 7, 33, 6, 4, 34, 5]),
                "rooms": _ids([0, 1, 2, 3, 4, 5, 6]),
            },
        ),
        LabelSpace(
            name="taskonomy_pascal_6",
            classes=("table", "tv", "bottle", "sofa", "potted plant", "chair"),
            native={"taskonomy": _ids([7, 9, 2, 4, 5, 3]), "pascal": _ids([11, 20, 5, 18, 16, 9])},
            footnote=(
                "The papers and their code print the class bottle as toilet; the ids on both sides "
                "are those of bottles, and PASCAL's 21 classes have no toilet."
            ),
        ),
        LabelSpace(
            name="taskonomy_pascal_6_toilet",
            classes=("table", "tv", "toilet", "sofa", "potted plant", "chair"),
            native={
                "taskonomy": _ids([7, 9, 8, 4, 5, 3]),
                "pascal": _ids([11, 20, None, 18, 16, 9]),
                "pascal_context": _ids([None, None, 408, None, None, None]),
            },
            footnote=(
                "Toilets are those of the 459 Context labels, where the published numbers have "
                "bottles under that name; not comparable with published numbers."
            ),
        ),
        LabelSpace(
            name="nyud_pascal_4",
            classes=("person", "sofa", "chair", "table"),
            native={"nyud": _ids([31, 6, 5, 7]), "pascal": _ids([15, 18, 9, 11])},
        ),
    )
}
"""The label spaces of the harness by name."""


def find_label_space(name: str) -> LabelSpace:
    """Return the label space of a name.

    Raises:
        BenchError: the name is unknown.
    """
    if name not in LABEL_SPACES:
        raise unknown("label space", name, LABEL_SPACES)
    return LABEL_SPACES[name]


def label_space_from(name: str, table: Mapping[str, Any]) -> LabelSpace:
    """Return a custom label space from a table of a config file.

    An example of a table:

        classes = ["seat", "bed"]
        taskonomy = [[3, 4], 6]
        nyud = [[5, 6], 4]

    All entries except `classes` and `footnote` are data sets, each with a native id or a list of
    native ids per class.

    Raises:
        BenchError: the table is invalid; says where.
    """
    where = f"label space {name}"
    if name in LABEL_SPACES:
        raise BenchError(f"{where} is part of the harness; give yours another name")
    if not isinstance(table, Mapping):
        raise BenchError(
            f"{where}: {table!r} is not a table; "
            "write classes = [...] and a list of ids per data set"
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
            f"{where}: no data set; give the native ids for each, such as taskonomy = [[3, 4], 6]"
        )
    return LabelSpace(name=name, classes=tuple(classes), native=native, footnote=footnote)


def _groups(entries: Any, where: str) -> tuple[tuple[int, ...], ...]:
    if not isinstance(entries, list | tuple):
        raise BenchError(
            f"{where}: {entries!r} is not a list; give a native id, or a list of them, per class"
        )
    groups = [tuple(entry) if isinstance(entry, list | tuple) else (entry,) for entry in entries]
    for native in chain(*groups):
        if not isinstance(native, int) or isinstance(native, bool):
            raise BenchError(f"{where}: {native!r} is not a native id; ids are whole numbers")
    return tuple(groups)
