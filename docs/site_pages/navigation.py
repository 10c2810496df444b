"""The navigation, with a pattern in place of a list of generated pages."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from fnmatch import fnmatch
from typing import Any


def expanded(nav: list[Any], pages: Collection[str]) -> list[Any]:
    """Return the entries of `nav` with the pages that a pattern such as `folder/*.md` matches.

    The order is that of `pages`. A page that has an entry is not added by a pattern.
    """
    named = set(_named(nav))
    return list(_entries(nav, [page for page in pages if page not in named]))


def _entries(nav: list[Any], pages: Collection[str]) -> Iterator[Any]:
    for entry in nav:
        if isinstance(entry, dict):
            yield {title: _part(part, pages) for title, part in entry.items()}
        elif "*" in entry:
            yield from (page for page in pages if fnmatch(page, entry))
        else:
            yield entry


def _part(part: Any, pages: Collection[str]) -> Any:
    """Return what a title leads to: a page, or a list of entries."""
    return list(_entries(part, pages)) if isinstance(part, list) else part


def _named(nav: Any) -> Iterator[str]:
    """Yield the pages and patterns of a navigation."""
    if isinstance(nav, str):
        yield nav
        return
    for part in nav.values() if isinstance(nav, dict) else nav:
        yield from _named(part)
