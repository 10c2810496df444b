"""Read settings from config files and from the command line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ttt_bench.config.request import Request
from ttt_bench.errors import BenchError, unknown
from ttt_bench.util.input.toml_file import read_toml
from ttt_bench.util.input.validation import shortened


def parse_setting(text: str) -> tuple[str, Any]:
    """Return key and value of `key=value`; the value is read as TOML, else taken as text.

    Raises:
        BenchError: the text does not have this form.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key or ("." not in key and key != "batch"):
        raise BenchError(
            f"--set takes section.key=value (such as s4t.mask_ratio=0.5), got {text!r}"
        )
    return key, _value(f"--set {key}", value)


def parse_launcher_option(text: str) -> tuple[str, Any]:
    """Return key and value of `key=value`; the value is read as TOML, else taken as text.

    Raises:
        BenchError: the text does not have this form.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise BenchError(
            f"--launcher-option takes key=value (such as partition=gpu), got {shortened(text)}"
        )
    return key.strip(), _value(f"--launcher-option {key.strip()}", value)


def _value(place: str, text: str) -> Any:
    """Return a value that is written as TOML, or the text itself."""
    if "\n" in text:
        raise BenchError(f"{place}: give one value on one line, got {shortened(text)}")
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # also a number of thousands of digits
        return text.strip()


def read_config_file(path: Path) -> dict[str, Any]:
    """Return the entries of a config file; nested `[set.NAME]` tables become `NAME.key`.

    Raises:
        BenchError: the file is missing, is not TOML (with the place), or has an unknown entry.
    """
    entries = {
        key.replace("-", "_"): value
        for key, value in read_toml(path, "config file", "--config").items()
    }
    for name in entries.keys() - Request.model_fields.keys():
        raise BenchError(f"config file {path}: {unknown('option', name, Request.model_fields)}")
    if "set" in entries:
        if not isinstance(entries["set"], dict):
            raise BenchError(
                f"config file {path}: set must be a table, such as [set.s4t] with mask_ratio = 0.5"
            )
        entries["set"] = dict(flattened(entries["set"]))
    return entries


def flattened(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of every entry of nested tables."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
