"""The numbers of a comparison of rows as plain records, for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ttt_bench.report.compare.claims import claim
from ttt_bench.report.compare.content import Group, Shown, groups
from ttt_bench.report.frames import named_rows

Record = dict[str, Any]


def records(content: Shown) -> list[Record]:
    """Return a record per difference, and per image and task; missing numbers are None.

    `kind` is `difference` (`compared.COLUMNS`, the step rule as `selection`, and `claim`,
    the sentence on what it shows) or `image` (`image_differences.IMAGE_COLUMNS`).
    """
    found: list[Record] = []
    for group in groups(content):
        found += _differences(group, content.rule)
        found += _images(group)
    return [_plain(record) for record in found]


def _differences(group: Group, rule: str) -> Iterator[Record]:
    for row in named_rows(group.rows):
        own = {str(name): getattr(row, str(name)) for name in group.rows}
        yield {
            "kind": "difference",
            **own,
            "selection": rule,
            "claim": claim(row, group.units),
        }


def _images(group: Group) -> Iterator[Record]:
    for pair, top in group.images:
        shared = {**group.comparison.key._asdict(), "a": pair.a, "b": pair.b}
        for row in named_rows(top):
            own = {str(name): getattr(row, str(name)) for name in top}
            yield {"kind": "image", **shared, **own}


def _plain(value: Any) -> Any:
    """Return a value of a frame as JSON can express it."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain
