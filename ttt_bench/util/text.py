"""Short pieces of text for messages."""

from __future__ import annotations

from collections.abc import Sequence


def listed(names: Sequence[str], limit: int = 3) -> str:
    """Return the names separated by commas; after `limit` names only the number left is given.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
