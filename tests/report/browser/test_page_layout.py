"""The page in Chromium: no network, schemes, widths, paper, and files that it links to."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

import pytest
from support.browser_fixtures import Open

pytestmark = pytest.mark.browser
MOST_BYTES = 5_000_000
WIDTHS = (380, 800, 1440)
SCHEMES = ("light", "dark")
TALL = 3000
"""Height of one screenshot in pixels; a longer page has several."""


def test_the_page_uses_no_network_and_reports_no_error(open_page: Open, shown_report: Path) -> None:
    tab = open_page()
    tab.page.wait_for_load_state("networkidle")
    assert tab.complaints == []
    assert {url.partition(":")[0] for url in tab.requests} <= {"file", "data"}
    assert [url for url in tab.requests if url.startswith("file")] == [shown_report.as_uri()]


def test_the_page_is_one_file_under_5_mb(shown_report: Path) -> None:
    assert shown_report.stat().st_size < MOST_BYTES


def test_links_lead_to_files_and_anchors_that_exist(open_page: Open, shown_report: Path) -> None:
    links = open_page().run("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    anchors = set(open_page().run("[...document.querySelectorAll('[id]')].map(e => e.id)"))
    files = [link for link in links if not link.startswith("#")]
    assert files
    assert [link for link in files if not (shown_report.parent / unquote(link)).is_file()] == []
    assert {unquote(link[1:]) for link in links if link.startswith("#")} <= anchors


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_never_scrolls_sideways(open_page: Open, width: int) -> None:
    """Tables may scroll in their own boxes."""
    root = open_page(width=width).run("document.documentElement.scrollWidth")
    assert root <= width


def test_the_dark_scheme_is_dark_and_the_light_one_is_light(open_page: Open) -> None:
    light, dark = (lightness(open_page(scheme=scheme).run(COLOURS)) for scheme in SCHEMES)
    assert light["background"] > 0.9 > 0.3 > light["ink"]
    assert dark["background"] < 0.2 < 0.7 < dark["ink"]


COLOURS = """() => {
  const style = getComputedStyle(document.body);
  return {background: style.backgroundColor, ink: style.color};
}"""


def lightness(colours: dict[str, str]) -> dict[str, float]:
    """Map the same names to the mean of the channels of colours such as `rgb(1, 2, 3)`, 0..1."""
    return {name: mean_channel(text) for name, text in colours.items()}


def mean_channel(colour: str) -> float:
    channels = [float(part) for part in colour.partition("(")[2].strip(")").split(",")[:3]]
    return sum(channels) / len(channels) / 255


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_paper_has_every_column_and_number_of_the_tables(
    open_page: Open, tmp_path: Path, paper: str
) -> None:
    tab = open_page()
    tab.page.emulate_media(media="print")
    cells, hidden = tab.run(TABLE_TEXTS)
    assert hidden == 0
    shown = words(" ".join(cells))
    file = tmp_path / "page.pdf"
    tab.page.pdf(path=file, format=paper)
    assert len(shown) > 50
    assert shown - words(printed_text(file)) == Counter()


TABLE_TEXTS = """() => {
  const cells = [...document.querySelectorAll('table :is(th, td)')];
  return [cells.map(cell => cell.innerText), cells.filter(cell => !cell.checkVisibility()).length];
}"""
"""Script that returns the texts of the cells of all tables, and the number of hidden cells."""


def words(text: str) -> Counter[str]:
    """Return the words of a text; arrows belong to no word, as they may touch one in print."""
    return Counter(text.translate(dict.fromkeys(map(ord, "↑↓"), " ")).split())


def printed_text(file: Path) -> str:
    """Return the text on the pages of a PDF file; what is outside of the paper is left out."""
    command = ["pdftotext", "-layout", str(file), "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_screenshots_for_review_show_the_whole_page(
    open_page: Open, shown_report: Path, tmp_path: Path, width: int, scheme: str
) -> None:
    """They are kept if `TTT_BENCH_SCREENSHOTS` names a folder."""
    folder = Path(os.environ.get("TTT_BENCH_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{shown_report.parent.name}-{width}-{scheme}"
    page = open_page(width=width, height=TALL, scheme=scheme).page
    height = page.evaluate("document.documentElement.scrollHeight")
    tops = range(0, height, TALL)
    for number, top in enumerate(tops, start=1):
        page.evaluate("top => window.scrollTo(0, top)", top)
        page.screenshot(path=folder / f"{name}-{number:02}.png")
    assert page.evaluate("window.scrollY") + TALL >= height
