"""The names of methods as people read them, their order and their groups.

Data files and commands have the short names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_OF_PAPERS = {
    "base": "Base",
    "norm": "Norm",
    "tent": "TENT",
    "tipi": "TIPI",
    "ttt": "TTT",
    "tttpp": "TTT++",
    "tttflow": "TTTFlow",
    "clust3": "ClusT3",
    "actmad": "ActMAD",
    "nc_ttt": "NC-TTT",
    "s4t": "S4T",
}
_MORE = {
    "eata": "EATA",
    "sar": "SAR",
    "cotta": "CoTTA",
    "memo": "MEMO",
    "rotta": "RoTTA",
}
PROPER = {**_OF_PAPERS, **_MORE}
"""Short name -> the name that the method's paper prints."""
PAPERS = tuple(_OF_PAPERS)
"""Names in the order of the rows of the papers' tables."""
MORE = tuple(_MORE)
"""Further methods of this package, which the papers do not compare."""
METHOD_ORDER = tuple(PROPER)
"""The order in tables. Methods of other packages follow, sorted by name."""


@dataclass(frozen=True)
class MethodNames:
    """The printed names of rows.

    Attributes:
        printed: map a method, or the label of a row, to its printed name. Methods of other packages
            have their short name unless they are in it.
    """

    printed: Mapping[str, str] = field(default_factory=lambda: PROPER)

    def of(self, label: str) -> str:
        """Return the printed name of a row.

        What follows the method in its label is kept: `tent (frozen)` gives `TENT (frozen)`.

        Args:
            label: a method, with its control and settings in brackets if it has any.
        """
        method, space, variant = label.partition(" ")
        return self.printed.get(label, f"{self.printed.get(method, method)}{space}{variant}")

    def listed(self, labels: Iterable[str]) -> str:
        """Return the printed names of rows, joined by commas."""
        return ", ".join(map(self.of, labels))


PROPER_NAMES = MethodNames()
"""The names that are printed by default."""
SHORT_NAMES = MethodNames({})
"""The short names, as commands and data files have them."""
