"""A page of the report in headless Chromium, for tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PACKAGES = ("playwright", "axe_playwright_python")
PROGRAMS = {"chromium": "chromium", "pdftotext": "poppler-utils"}
"""Map a program to the Debian package that contains it."""


def missing_parts() -> str:
    """Return the reason why the tests of the page cannot run, or an empty text."""
    absent = [package for name, package in PROGRAMS.items() if shutil.which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian)"
    absent = [name for name in PACKAGES if find_spec(name) is None]
    return f"not installed: {', '.join(absent)} (extra dev)" if absent else ""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the system's Chromium without a window; stop it."""
    from playwright.sync_api import sync_playwright

    root = ("--no-sandbox",) if os.geteuid() == 0 else ()  # Chromium has no sandbox for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--disable-dev-shm-usage", *root]
        )
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page that is open in a tab, with what it wrote and asked for.

    Attributes:
        page: the tab.
        complaints: messages of the console and errors of scripts.
        requests: addresses that the page asked for.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Record messages, errors and requests from now on."""
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def run(self, script: str, argument: Any = None) -> Any:
        """Return the value of a JavaScript expression or function in the page."""
        return self.page.evaluate(script, argument)


@contextmanager
def opened(
    browser: Browser,
    file: Path,
    *,
    width: int = 1440,
    height: int = 900,
    scheme: str = "light",
    scripts: bool = True,
) -> Iterator[Opened]:
    """Open a file in a tab with a separate profile; close it.

    Args:
        browser: the browser.
        file: the page.
        width: width of the window in CSS pixels.
        height: its height.
        scheme: `light` or `dark`, which the page reads as `prefers-color-scheme`.
        scripts: whether the page may run JavaScript; the test's own scripts run in any case.
    """
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        java_script_enabled=scripts,
    )
    tab = Opened(context.new_page())
    tab.listen()
    tab.page.goto(file.as_uri())
    yield tab
    context.close()
