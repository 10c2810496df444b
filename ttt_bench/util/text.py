"""Short pieces of text for messages and names of files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256

NAME_BYTES = 100
"""Longest name of a file or folder: file systems allow 143 to 255 bytes, some for suffixes."""

_LIST_OF_NAMES = re.compile(r"(?P<key>[^=]+)=\[(?P<names>'[^',]+'(?:, '[^',]+')*)\]")


def listed(names: Sequence[str], limit: int = 3) -> str:
    """Return the names separated by commas; after `limit` names only the number left is given.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest


def format_bytes(count: float) -> str:
    """Return a number of bytes with a decimal unit.

    >>> format_bytes(2_800_000_000)
    '2.8 GB'
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"


def format_seconds(seconds: float) -> str:
    """Return a duration with a unit, in two digits or more.

    >>> format_seconds(840)
    '14 min'
    """
    for size, unit in ((1, "s"), (60, "min"), (3600, "h"), (86400, "days")):
        number = seconds / size
        if number < 90 or unit == "days":
            break
    return f"{number:.0f} {unit}" if number >= 10 else f"{number:.2g} {unit}"


def short_name(name: str, limit: int = NAME_BYTES) -> str:
    """Return a name for a file or folder of at most `limit` bytes.

    A longer name is cut and ends with a hash of the whole, so different names stay different.

    >>> short_name("tent")
    'tent'
    """
    encoded = name.encode()
    if len(encoded) <= limit:
        return name
    digest = sha256(encoded).hexdigest()[:12]
    return f"{encoded[: limit - 13].decode(errors='ignore')}-{digest}"


def readable_settings(text: str) -> str:
    """Return a `settings` text of the results as `--set` takes it: names are joined by commas.

    Arguments of backbones and networks are left as they are: `--set` takes them as TOML.

    >>> readable_settings("batch=4; data.tasks=['semseg', 'depth']")
    'batch=4; data.tasks=semseg,depth'
    """
    return "; ".join(map(_readable_setting, text.split("; ")))


def _readable_setting(entry: str) -> str:
    found = _LIST_OF_NAMES.fullmatch(entry)
    if found is None or "_args." in found["key"]:
        return entry
    names = found["names"].replace("'", "").replace(", ", ",")
    return f"{found['key']}={names}"
