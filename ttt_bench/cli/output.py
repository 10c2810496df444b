"""Output of the command line: results on stdout, progress and notices on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ttt_bench.report.formats.console import with_whole_numbers
from ttt_bench.util.progress import Bar

LOG_SECONDS = 15.0
"""Seconds between two progress lines if standard error is not a terminal."""
# names with colons, such as those of pairs, are not codes of emoji (":car:")
stderr = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
stdout = Console(highlight=False, emoji=False)


def say(message: str) -> None:
    """Print one line to standard error, apart from the results on standard output."""
    stderr.print(message, markup=False)


def show(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    title: str,
    as_json: bool,
    json_columns: Sequence[str] | None = None,
) -> None:
    """Print rows as a table, or as a JSON array of objects.

    Args:
        columns: Columns of the table. A column without values is omitted.
        title: Heading of the table.
        json_columns: Keys of the JSON objects; by default `columns`.
    """
    if as_json:
        keys = columns if json_columns is None else json_columns
        print(json.dumps([_chosen(row, keys) for row in rows], indent=1))
    elif rows:
        stdout.print(escape(title), style="bold")
        show_table(_table(rows, columns))


def show_table(table: RenderableType) -> None:
    """Print a table; one that is wider than the console is not cropped."""
    stdout.print(table, crop=False)


def show_summary(results: Path, *, as_json: bool, wanted: Collection[str] = ()) -> None:
    """Print the main results of a results folder; `wanted` is that of `summary_tables`."""
    from ttt_bench.report.render import damaged_files, summary_rows, summary_tables

    if as_json:
        for problem in damaged_files(results):
            say(f"note: left out: {problem}")
        print(json.dumps(summary_rows(results, wanted), indent=1))
        return
    for table in summary_tables(results, wanted):
        show_table(table)


def about_root(root: Path | None) -> str:
    """Return a sentence about the data root that a listing used."""
    if root is None:
        return (
            "No data root is set. Give the folder that contains taskonomy/, nyud/ and pascal/ "
            "with --data-root or TTT_BENCH_DATA."
        )
    return f"Data root: {root}" + ("" if root.is_dir() else " (does not exist)")


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    shown = [column for column in columns if _has_values(rows, column)]
    for number, column in enumerate(shown):
        numeric = any(isinstance(row.get(column), int | float) for row in rows)
        # text may wrap, numbers and the row's name may not
        table.add_column(
            column,
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=numeric or number == 0,
        )
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in shown))
    return with_whole_numbers(table)


def _chosen(row: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: row.get(key) for key in keys}


def _has_values(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    return any(row.get(column) not in (None, "") for row in rows)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return escape(str(value))


class Display:
    """Progress for a person: bars on a terminal, or a line per `LOG_SECONDS` in a log file."""

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        if not stderr.is_terminal:
            yield _LogBar(title, total, done)
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        note = TextColumn("{task.fields[note]}", markup=False)
        remaining = (TextColumn("left"), TimeRemainingColumn(), note)
        with Progress(*columns, *remaining, console=stderr) as progress:
            task = progress.add_task(title, total=total, completed=done, note="")
            yield _TerminalBar(progress, task)

    def notice(self, message: str) -> None:
        stderr.print(f"note: {message}", markup=False)


class _TerminalBar:
    def __init__(self, progress: Progress, task: Any) -> None:
        self._progress, self._task = progress, task

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._progress.advance(self._task, amount)
        if note:
            self._progress.update(self._task, note=note)


class _LogBar:
    def __init__(self, title: str, total: int, done: int) -> None:
        self._title, self._total, self._done = title, total, done
        self._last = self._started = time.monotonic()
        self._note = ""

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._done += amount
        self._note = note or self._note
        now = time.monotonic()
        if self._done >= self._total or now - self._last > LOG_SECONDS:
            self._last = now
            seconds = f"{now - self._started:.0f} s"
            print(
                f"{self._title}: {self._done}/{self._total}, {seconds}  {self._note}".rstrip(),
                file=sys.stderr,
                flush=True,
            )
