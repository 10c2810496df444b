"""The values that a field of a record allows, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

_TYPES = {"number": "number", "integer": "integer", "string": "text", "null": "none"}
_BOUNDS = {
    "minimum": ">= {:g}",
    "exclusiveMinimum": "> {:g}",
    "maximum": "<= {:g}",
    "exclusiveMaximum": "< {:g}",
}


def ranges(record: type[BaseModel]) -> dict[str, str]:
    """Return the allowed values of each field, such as `number >= 0, < 1`: name -> words."""
    properties = record.model_json_schema()["properties"]
    return {name: _words(schema) for name, schema in properties.items()}


def _words(schema: Mapping[str, Any]) -> str:
    """Describe the values that a JSON schema allows."""
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if "anyOf" in schema:
        return " or ".join(map(_words, schema["anyOf"]))
    kind = schema.get("type", "")
    if kind == "boolean":
        return "true, false"
    if kind == "array":
        return f"list of {_item_words(schema)}"
    if kind == "object":
        return f"table of {_words(schema.get('additionalProperties', {})) or 'values'}"
    return f"{_TYPES.get(kind, kind)} {', '.join(_bounds(schema))}".strip()


def _item_words(schema: Mapping[str, Any]) -> str:
    several = schema.get("prefixItems")
    if several is None:
        return _words(schema.get("items", {})) or "values"
    return f"{len(several)}: {'; '.join(map(_words, several))}"


def _bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    yield from (text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema)
