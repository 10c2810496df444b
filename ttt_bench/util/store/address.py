"""Addresses of results: local folders, and URLs with their mirrors in the cache folder.

The mirror of a URL is `CACHE/stores/PARENT/NAME`, with NAME the last part of the URL and PARENT the
quoted rest, so that a path below a mirror tells its URL.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote

from ttt_bench.errors import BenchError
from ttt_bench.util.paths import cache_folder, user_path

STORES = "stores"
"""The folder of mirrors in the cache folder."""
MAX_NAME = 240
"""Longest name of a folder in bytes on the usual file systems, with some for suffixes."""

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+)://(?P<rest>.*)", re.IGNORECASE)
_COLLAPSED = re.compile(r"(s3a?|gs|gcs|file):/[^/]", re.IGNORECASE)


def results_path(written: str | os.PathLike[str]) -> Path:
    """Return the local path of a results folder that a person wrote as a path or URL.

    For a `file://` URL this is its path, for another URL its mirror.

    Raises:
        BenchError: the text is not a path, or not the URL of a folder in a store.
    """
    text = os.fspath(written)
    if _COLLAPSED.match(text):
        raise BenchError(f"{text!r}: give a URL as text with two slashes, not as a Path")
    found = _URL.fullmatch(text)
    if found is None:
        return user_path(written)
    if not found["rest"].strip("/"):
        raise BenchError(f"{text}: name a folder in a bucket, such as s3://bucket/results")
    if found["scheme"].lower() == "file":
        return user_path(found["rest"])
    return _mirror(text.rstrip("/"))


def url_of(path: Path) -> str | None:
    """Return the URL of a path in a mirror; None for another path."""
    parts = _below_mirrors(path)
    return None if parts is None else "/".join((unquote(parts[0]), *parts[1:]))


def mirror_of(path: Path) -> Path | None:
    """Return the mirror that contains a path, or is it; None for a path outside mirrors."""
    parts = _below_mirrors(path)
    return None if parts is None else _mirrors() / parts[0] / parts[1]


def shown(path: Path) -> str:
    """Return how messages call a file or folder: by its URL, or by its path."""
    return url_of(path) or str(path)


def _mirror(url: str) -> Path:
    parent, _, name = url.rpartition("/")
    folder = quote(parent, safe="")
    if parent.endswith(":/") or name in ("", ".", ".."):
        raise BenchError(f"{url}: name a folder in the bucket, such as {url}/results")
    if max(len(folder), len(name.encode())) > MAX_NAME:
        raise BenchError(f"{url} is too long for the name of its local copy; use a shorter prefix")
    return _mirrors() / folder / name


def _below_mirrors(path: Path) -> tuple[str, ...] | None:
    """Return the parts of a path below the folder of mirrors; None if it is not in a mirror."""
    try:
        parts = path.absolute().relative_to(_mirrors()).parts
    except (ValueError, BenchError):  # outside it, or the cache folder is unknown
        return None
    return parts if len(parts) > 1 else None


def _mirrors() -> Path:
    return cache_folder().absolute() / STORES
