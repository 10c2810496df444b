"""What the command line shows: tables or JSON on stdout, progress and notices on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
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

from ttt_bench.util.progress import Bar

LOG_SECONDS = 15.0
stderr = Console(stderr=True, highlight=False, soft_wrap=True)
stdout = Console(highlight=False)


def say(message: str) -> None:
    """One line beside the results: where things lie, what was done."""
    stderr.print(message, markup=False)


def show_rows(
    records: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str, as_json: bool
) -> None:
    """Print records as a table (columns without any value left out), or as a JSON array alone on
    stdout.
    """
    if as_json:
        print(
            json.dumps(
                [{column: record.get(column) for column in columns} for record in records], indent=1
            )
        )
        return
    columns = [c for c in columns if any(record.get(c) not in (None, "") for record in records)]
    stdout.print(escape(title), style="bold")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for number, column in enumerate(columns):
        numeric = any(isinstance(record.get(column), int | float) for record in records)
        # words may break; numbers and what a row is called may not
        whole = numeric or number == 0
        table.add_column(
            column, justify="right" if numeric else "left", overflow="fold", no_wrap=whole
        )
    for record in records:
        table.add_row(*(_cell(record.get(column)) for column in columns))
    stdout.print(table)


def about_root(root: Path | None) -> str:
    """Where a listing has looked for data."""
    if root is None:
        return "No data root: name the folder that holds taskonomy/ and so on with --data-root or TTT_BENCH_DATA."
    return f"Data root: {root}" + ("" if root.is_dir() else ", which does not exist")


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
    """Progress bars on a terminal; a line now and then in a log."""

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        if not stderr.is_terminal:
            yield _LogBar(title, total, done)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        remaining = (TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
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
