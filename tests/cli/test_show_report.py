"""`ttt-bench show`: the page that it opens, and its message without a browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest
from support.command import call, refused

NO_DISPLAY = {"BROWSER": "", "DISPLAY": "", "WAYLAND_DISPLAY": ""}


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the page of the report of results/run, in the folder of the process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.platform", "linux")
    (tmp_path / "results" / "run" / "cells").mkdir(parents=True)
    found = tmp_path / "reports" / "run" / "index.html"
    found.parent.mkdir(parents=True)
    found.touch()
    return found


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of the addresses that the browser opens."""
    found: list[str] = []

    def open_page(address: str) -> bool:
        found.append(address)
        return True

    monkeypatch.setattr(webbrowser, "open", open_page)
    return found


@pytest.mark.parametrize("named", [(), ("results/run",), ("reports/run",)])
def test_the_page_of_a_report_or_of_results_is_opened(
    page: Path, opened: list[str], named: tuple[str, ...]
) -> None:
    done = call("show", *named, **(NO_DISPLAY | {"DISPLAY": ":0"}))
    assert done.returncode == 0
    assert done.stdout.strip() == str(page)
    assert opened == [page.as_uri()]


def test_without_a_display_the_path_is_printed(page: Path, opened: list[str]) -> None:
    done = call("show", **NO_DISPLAY)
    assert done.stdout.strip() == str(page)
    assert page.as_uri() in done.stderr
    assert not opened


def test_without_a_report_the_command_that_makes_it_is_named(page: Path) -> None:
    page.unlink()
    assert "`ttt-bench report --results results/run` writes it" in refused("show")
    assert "elsewhere does not exist" in refused("show", "elsewhere")
