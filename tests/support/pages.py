"""The pages of the documentation, and their blocks of code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sybil import Document, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

from support.paths import DOCS, ROOT

PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *(ROOT / name / "README.md" for name in ("reports", "results")),
    *sorted(DOCS.glob("*.md")),
)
WITH_PACKAGES = frozenset(
    f"{name}.md"
    for name in ("adding-a-dataset", "adding-a-method", "adding-a-network", "step-rules")
)
"""Pages whose blocks are the files of a package in `tests`, which has separate tests."""


def python_of(page: Path) -> Document:
    """Return a page's Python blocks as examples that can be evaluated in order.

    A comment `<!-- skip: next -->` leaves out the block after it.
    """
    return _parsed(page, (PythonCodeBlockParser(), SkipParser()))


def blocks(page: Path, language: str) -> Iterator[str]:
    """Yield the text of every block of a language."""
    for example in _parsed(page, (CodeBlockParser(language),)).examples():
        yield str(example.parsed)


def _parsed(page: Path, parsers: Sequence[CodeBlockParser]) -> Document:
    return Sybil(parsers, path=str(ROOT)).parse(page)


def name_of(page: Path) -> str:
    """Return a page's path in the repository, for the names of tests."""
    return page.relative_to(ROOT).as_posix()
