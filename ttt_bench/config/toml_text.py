"""Write nested tables as TOML, which the standard library only reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def toml_text(table: Mapping[str, Any]) -> str:
    """Return a table as TOML: numbers and texts first, nested tables under their dotted names.

    A list of tables has one inline table per line. Values are texts, finite numbers, booleans, and
    lists and tables of them; entries that are None are left out.
    """
    return "\n".join(_table(table, ())).strip() + "\n"


def _table(table: Mapping[str, Any], path: Sequence[str]) -> Iterator[str]:
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    if path and len(inner) < len(table):
        yield f"\n[{'.'.join(map(_key, path))}]"
    for key, value in table.items():
        if key not in inner and value is not None:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in inner.items():
        yield from _table(value, (*path, key))


def _value(value: Any) -> str:
    if isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        return "\n".join(["[", *(f"  {inline_table(one)}," for one in value), "]"])
    # JSON's numbers, booleans, lists and escapes are valid in TOML
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def inline_table(table: Mapping[str, Any]) -> str:
    """Return a table of texts, numbers, booleans and lists in one line of TOML."""
    entries = [f"{_key(k)} = {_value(v)}" for k, v in table.items() if v is not None]
    return f"{{ {', '.join(entries)} }}"


def _key(key: str) -> str:
    plain = key.replace("_", "").replace("-", "")
    return key if plain.isascii() and plain.isalnum() else json.dumps(key, ensure_ascii=False)
