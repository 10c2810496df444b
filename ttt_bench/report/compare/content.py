"""The numbers that a comparison of rows shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from ttt_bench.analysis.comparing.compared import Compared
from ttt_bench.analysis.comparing.image_differences import image_differences
from ttt_bench.analysis.comparing.matching import RowPair
from ttt_bench.stats.comparison import Comparison, Key


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a comparison of rows shows.

    Attributes:
        compared: the rows.
        found: their differences (`Compared.differences`).
        images: the images that differ most, of each pair of rows in order.
        rule: the step rule, in words.
        sides: the names of A and B, in words; empty if both are of one results folder.
    """

    compared: Compared
    found: pd.DataFrame
    images: tuple[pd.DataFrame, ...]
    rule: str
    sides: str


def shown(compared: Compared, rule: str, *, images: int, sides: str = "") -> Shown:
    """Return the numbers of a comparison of rows.

    Args:
        compared: the rows.
        rule: the step rule.
        images: the number of images that are shown for each pair of rows.
        sides: the names of A and B, in words.
    """
    found = compared.differences(rule)
    tops = [image_differences(pair, rule, images) for pair in compared.pairs] if images else []
    return Shown(compared=compared, found=found, images=tuple(tops), rule=rule, sides=sides)


@dataclass(frozen=True, kw_only=True)
class Group:
    """The rows of one comparison of A: their differences, and the images of each pair."""

    comparison: Comparison
    rows: pd.DataFrame
    images: tuple[tuple[RowPair, pd.DataFrame], ...]

    @property
    def units(self) -> str:
        """Return what a replicate draws."""
        return "batches" if self.comparison.protocol.batches_depend else "images"

    @property
    def one_pair(self) -> bool:
        """Return whether it has only one pair of rows."""
        return not self.rows.duplicated("quantity").any()


def groups(content: Shown) -> Iterator[Group]:
    """Yield the numbers of each comparison of A."""
    pairs = content.compared.pairs
    for key, rows in content.found.groupby(list(Key._fields), sort=False):
        own = [n for n, pair in enumerate(pairs) if pair.first.comparison.key == key]
        yield Group(
            comparison=pairs[own[0]].first.comparison,
            rows=rows,
            images=tuple((pairs[n], content.images[n]) for n in own if content.images),
        )
