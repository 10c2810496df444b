"""Markdown from rows and docstrings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_CODE_OR_LINK = re.compile(r"(`[^`]*`|\[[^\]]*\]\([^)]*\))")
_FORMULA = re.compile(r"(?:(?<=\n)|^)((?: {4}.*\n?)+)")


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, code: str = "") -> str:
    """Return a table with a column per key; the values of the column `code` are set as code."""
    lines = [[name.replace("_", " ") for name in columns], ["---"] * len(columns)]
    lines += [[_cell(row[name], code=name == code) for name in columns] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def bullets(texts: Iterable[str]) -> str:
    """Return a list."""
    return "\n".join(f"- {prose(text)}" for text in texts) + "\n"


def prose(text: str) -> str:
    """Return a text in which `<`, `*` and `_` mean themselves, except in code and links."""
    parts = _CODE_OR_LINK.split(text)
    parts[::2] = [re.sub(r"([*_])", r"\\\1", part.replace("<", "&lt;")) for part in parts[::2]]
    return "".join(parts)


def docstring(text: str) -> str:
    """Return a docstring without its first line; lines that are indented by four are formulas."""
    body = text.partition("\n")[2].strip("\n")
    parts = _FORMULA.split(body)
    parts[::2] = [re.sub(r"(?m)^\\\* ", "* ", prose(part)) for part in parts[::2]]
    parts[1::2] = [f"\n{part}\n" for part in parts[1::2]]
    return "".join(parts).strip("\n")


def _cell(value: Any, *, code: bool) -> str:
    text = " ".join(str(value).split())
    text = f"`{text}`" if code and text else prose(text)
    return text.replace("|", "\\|")
