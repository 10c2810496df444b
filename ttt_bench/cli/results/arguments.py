"""Arguments and output that the commands share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ttt_bench.cli.output import say
from ttt_bench.errors import BenchError
from ttt_bench.util.store.address import results_path, url_of


def _local_path(written: str) -> Path:
    """Return a path on this machine.

    Raises:
        BenchError: it is the URL of a store.
    """
    path = results_path(written)
    if url_of(path) is not None:
        raise BenchError(
            f"{written}: the commands of `ttt-bench results` need a folder on this machine; copy "
            "the store to one with its own tools first, such as `aws s3 sync`"
        )
    return path


AS_LOCAL: dict[str, Any] = {"parser": _local_path}
"""Arguments of `typer.Option` and `typer.Argument` for files and folders on this machine."""

Folder = Annotated[
    Path, typer.Argument(metavar="PATH", help="The results folder.", show_default=False, **AS_LOCAL)
]

INCOMPLETE = 1
"""Exit code if something is damaged, contradicts another folder, or was left out."""


def say_all(prefix: str, lines: Iterable[str]) -> None:
    """Print lines to standard error, each after a prefix."""
    for line in lines:
        say(f"{prefix}: {line}")


def counted(counts: Mapping[Any, int]) -> str:
    """Return numbers of units in words, such as "60 cells, 1 study"."""
    words = [_plural(kind, count) for kind, count in sorted(counts.items()) if count]
    return ", ".join(words) or "nothing"


def print_json(value: Mapping[str, Any]) -> None:
    """Print a record as JSON; paths are texts."""
    print(json.dumps(value, indent=1, default=str))


def _plural(kind: str, count: int) -> str:
    one, several = _NAMES.get(kind, (kind, f"{kind}s"))
    return f"{count:,} {one if count == 1 else several}"


_NAMES = {
    "compacted copy": ("compacted copy", "compacted copies"),
    "study": ("study", "studies"),
    "data": ("note on training data", "notes on training data"),
    "time": ("time of a checkpoint", "times of checkpoints"),
    "tuned settings": ("file of tuned settings", "files of tuned settings"),
    "unfinished work": ("save of unfinished work", "saves of unfinished work"),
}
"""Kind -> its name in the singular and plural, if that is not the kind and an s."""
