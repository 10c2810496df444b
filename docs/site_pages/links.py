"""Links between files of the repository, as links between pages of the site.

A link such as `../CONTRIBUTING.md` leads to that file on a code host. On the site it leads to the
page that shows the file.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

PAGE_OF = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "results/README.md": "reference/results.md",
}
"""Files outside `docs` that are pages of the navigation: path in the repository -> page."""
FILE_OF = {page: path for path, page in PAGE_OF.items()}
FILES = "repository"
"""Folder of the pages that show other files of the repository."""
_CODE_OR_LINK = re.compile(
    r"(?P<code>^```.*?^```|`[^`\n]+`)|(?<=\]\()(?P<link>[^)\s]+)(?=\))",
    re.DOTALL | re.MULTILINE,
)


def linked_files(markdown: str, page: str) -> Iterator[str]:
    """Yield the paths in the repository of the files that a page's relative links name."""
    for found in _CODE_OR_LINK.finditer(markdown):
        if _is_relative(found["link"]):
            yield _repository_path(found["link"].partition("#")[0], page)


def rewritten(markdown: str, page: str) -> str:
    """Return a page's text with its relative links as links to pages of the site."""
    here = posixpath.dirname(page)

    def replaced(found: re.Match[str]) -> str:
        if not _is_relative(found["link"]):
            return found[0]
        path, sign, anchor = found["link"].partition("#")
        place = place_of(_repository_path(path, page))
        return posixpath.relpath(place, here or ".") + sign + anchor

    return _CODE_OR_LINK.sub(replaced, markdown)


def place_of(path: str) -> str:
    """Return the path on the site of a file of the repository."""
    if path in PAGE_OF:
        return PAGE_OF[path]
    folder, _, name = path.partition("/")
    if folder == "docs" and "." in name:
        return name
    # a page of HTML is itself on the site
    return f"{FILES}/{path}" if path.endswith(".html") else f"{FILES}/{path}.md"


def origin_of(page: str) -> str:
    """Return the path in the repository of the file that a page shows."""
    return FILE_OF.get(page, f"docs/{page}")


def _is_relative(link: str | None) -> bool:
    """Return whether a link names another file; page-internal and external ones do not."""
    return bool(link) and not re.match(r"[a-z]+:|#|/", str(link))


def _repository_path(path: str, page: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin_of(page)), path))
