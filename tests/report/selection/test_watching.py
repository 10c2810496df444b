"""Following results folders: when a report is written again, and the messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.synthetic import BASE, add_cell, constant

from ttt_bench.errors import BenchError
from ttt_bench.report.selection.watching import SECONDS, follow, stamp


class Watched:
    """A folder whose content is given, look by look; the last look is interrupted.

    Attributes:
        said: the lines that were said.
        pauses: the seconds of the pauses.
    """

    def __init__(self, *looks: str, failing: str = "") -> None:
        self._looks: Iterator[str] = iter(looks)
        self._now = ""
        self._failing = failing
        self.said: list[str] = []
        self.pauses: list[float] = []

    def look(self) -> str:
        self._now = next(self._looks, "")
        if not self._now and self.said:
            raise KeyboardInterrupt
        return self._now

    def write(self) -> str:
        if self._now == self._failing:
            raise BenchError("no whole results")
        return f"written {self._now}"

    def run(self) -> list[str]:
        with pytest.raises(KeyboardInterrupt):
            follow(self.look, self.write, self.said.append, self.pauses.append)
        return self.said


def test_the_report_is_written_only_if_something_changed() -> None:
    watched = Watched("a", "a", "b", "b", "b", "a")
    assert watched.run() == ["written a", "written b", "written a"]
    assert len(watched.pauses) == 6
    assert min(watched.pauses) >= SECONDS


def test_an_empty_folder_is_waited_for() -> None:
    assert Watched("", "a").run()[0] == "waiting for the first cell"


def test_a_problem_ends_the_first_report_and_is_said_later() -> None:
    assert Watched("a", "b", "c", failing="b").run() == [
        "written a",
        "not updated: no whole results",
        "written c",
    ]
    first = Watched("a", failing="a")
    with pytest.raises(BenchError):
        follow(first.look, first.write, first.said.append, first.pauses.append)


def test_a_new_cell_changes_the_stamp_and_temporary_files_do_not(tmp_path: Path) -> None:
    assert not stamp([tmp_path])
    add_cell(tmp_path, "base", constant(BASE), config="b0")
    one = stamp([tmp_path])
    (tmp_path / "cells" / "rooms+rooms-mix" / ".draft").mkdir()
    assert stamp([tmp_path]) == one
    add_cell(tmp_path, "tent", constant(BASE), config="t0")
    assert stamp([tmp_path]) > one
