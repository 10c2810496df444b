"""Merge a config file, the command line and the environment into one request.

The command line takes precedence over the config file, which takes precedence over the preset and
the hyperparameters. `--hparams original` is an exception: it uses the authors' optimiser and steps
and ignores those of the preset. Other options of the preset, such as a smaller patch for small
images, remain.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ttt_bench.config.request import Request
from ttt_bench.util.input.validation import validated
from ttt_bench.util.paths import path_from_environment

_LISTS = ("methods", "pair", "protocol", "control", "seeds")
"""Fields that may be given as one value or as text with commas."""
_TABLES = ("set", "launcher_option")
"""Fields whose entries on the command line are added to those of the config file."""


def default_data_root() -> Path | None:
    """Return the data root from the environment variable TTT_BENCH_DATA, or None."""
    return path_from_environment("TTT_BENCH_DATA")


def make_request(
    config: Mapping[str, Any],
    command_line: Mapping[str, Any],
    *,
    file: Path | None = None,
    flags: bool = False,
) -> Request:
    """Return one request; the command line takes precedence over the config file.

    Without a data root in either, that of the environment variable TTT_BENCH_DATA is used.

    Args:
        config: the entries of the config file.
        command_line: field -> value; None if not given.
        file: the config file, for error messages.
        flags: whether the user wrote the fields as options (`--data-root`), for error messages.

    Raises:
        BenchError: a value is not allowed; one line per problem.
    """
    given = {key: value for key, value in command_line.items() if value is not None}
    merged = {
        "data_root": default_data_root(),
        **config,
        **given,
        **{name: _merged(config.get(name), given.get(name)) for name in _TABLES},
    }
    lists = {key: _distinct(merged[key]) for key in _LISTS if key in merged}

    def place(field: str) -> str:
        if field.partition(".")[0] not in given:
            return f"config file {file}: {field}"
        return f"--{field.replace('_', '-')}" if flags else field

    return validated(Request, {**merged, **lists}, place)


def _merged(config: Any, given: Any) -> Any:
    """Return the entries of a table; a config file may have something else by mistake."""
    if config is None or isinstance(config, Mapping):
        return {**(config or {}), **(given or {})}
    return config


def _distinct(value: Any) -> list[Any]:
    """Return the distinct entries of a list, of a text with commas, or of a single value."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    entries = value if isinstance(value, list | tuple) else [value]
    # not by their hashes: an entry that a file holds by mistake may have none
    return [entry for number, entry in enumerate(entries) if entry not in entries[:number]]
