"""Label spaces as data: which classes there are, and which native ids of each data set mean them. Imports no torch.

Whatever a space does not name, background and void included, becomes 255.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttt_bench.errors import BenchError, unknown
from ttt_bench.tasks import IGNORE


@dataclass(frozen=True)
class LabelSpace:
    """Classes that several data sets share.

    Attributes:
        name: what rows and options call it.
        classes: class names, in label order.
        native: of each data set, the native ids that mean each class, in the order of `classes`; several ids may fold
            into one class.

    Raises:
        BenchError: a data set's ids are not one entry a class, are no byte, or mean two classes.
    """

    name: str
    classes: tuple[str, ...]
    native: Mapping[str, tuple[tuple[int, ...], ...]]

    def __post_init__(self) -> None:
        for dataset, groups in self.native.items():
            where = f"label space {self.name}, data set {dataset}"
            if len(groups) != len(self.classes):
                raise BenchError(f"{where}: {len(groups)} entries for {len(self.classes)} classes; give one a class")
            ids = [native for group in groups for native in group]
            for native in ids:
                if not 0 <= native <= 255:
                    raise BenchError(f"{where}: native id {native} is not in 0..255")
                if ids.count(native) > 1:
                    raise BenchError(f"{where}: native id {native} is given twice; an id means one class")

    def table(self, dataset: str) -> NDArray[np.uint8]:
        """(256,): the class index of each native id of a data set, 255 where it means none.

        Raises:
            BenchError: the space has no ids for that data set.
        """
        if dataset not in self.native:
            raise unknown(f"data set of label space {self.name}", dataset, self.native)
        table = np.full(256, IGNORE, dtype=np.uint8)
        for index, group in enumerate(self.native[dataset]):
            table[list(group)] = index
        return table


def _single(*ids: int) -> tuple[tuple[int, ...], ...]:
    return tuple((native,) for native in ids)


LABEL_SPACES: dict[str, LabelSpace] = {
    space.name: space
    for space in (
        # the ids of S4T's public code; NYUD's are those of the 40-class maps, 1..40 as stored
        LabelSpace(
            "taskonomy_nyud_7",
            ("refrigerator", "table", "toilet", "sofa", "bed", "sink", "chair"),
            {
                "taskonomy": _single(14, 7, 8, 4, 6, 13, 3),
                "nyud": _single(24, 7, 33, 6, 4, 34, 5),
                "rooms": _single(0, 1, 2, 3, 4, 5, 6),
            },
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
