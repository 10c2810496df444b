"""The figures of the page in Chromium: values at the pointer, lines that hide, contrast."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest
from support.browser import Opened
from support.browser_fixtures import Open

pytestmark = pytest.mark.browser
LINES = """() => [...document.querySelectorAll('svg.figure [data-role=curve][data-tips]')]
  .map((group, place) => {
    const line = group.querySelector('path'), matrix = line.getScreenCTM();
    const numbers = line.getAttribute('d').match(/-?\\d+(\\.\\d+)?/g).map(Number);
    const end = new DOMPoint(...numbers.slice(-2)).matrixTransform(matrix);
    return {place, series: group.dataset.series, tips: JSON.parse(group.dataset.tips),
      x: end.x + scrollX, y: end.y + scrollY, points: numbers.length / 2};
  })"""
"""Script that returns each curve with its texts and the place of its last point on the page."""


@pytest.fixture
def tab(open_page: Open) -> Opened:
    """Return the page in a window that shows all of it."""
    opened = open_page()
    height = opened.run("document.documentElement.scrollHeight")
    opened.page.set_viewport_size({"width": 1440, "height": height})
    return opened


def means(page: Path) -> list[float]:
    """Return the means of all curves in the CSV files next to the page."""
    files = list(page.parent.glob("*/curves.csv"))
    assert files
    records = [record for file in files for record in csv.DictReader(file.open(encoding="utf-8"))]
    return [float(record["mean"]) for record in records]


def test_every_point_of_a_curve_has_its_value_of_the_csv_file(
    tab: Opened, shown_report: Path
) -> None:
    stored, lines = means(shown_report), tab.run(LINES)
    assert len(lines) >= 5
    for line in lines:
        assert len(line["tips"]) == line["points"]
        for text in line["tips"]:
            value, half = printed_mean(text)
            assert any(abs(value - mean) <= 1.001 * half for mean in stored), text


def printed_mean(text: str) -> tuple[float, float]:
    """Return the mean in a text such as "Norm, step 3: −1.25 ± 0.10", and half its last digit."""
    found = re.search(r"step \d+: ([−-]?\d+(?:\.(\d+))?)", text)
    assert found, text
    return float(found[1].replace("−", "-")), 0.5 * 10.0 ** -len(found[2] or "")


def test_the_pointer_shows_the_values_of_a_curve(tab: Opened) -> None:
    line = max(tab.run(LINES), key=lambda line: line["points"])
    tab.page.mouse.move(line["x"], line["y"])
    shown = tab.page.locator("[role=status]:visible").inner_text().splitlines()
    at_end = {one["tips"][-1] for one in tab.run(LINES)}
    assert line["tips"][-1] in shown  # and those of curves that coincide with it
    assert set(shown) <= at_end
    tab.page.mouse.move(2, 2)
    assert tab.page.locator("[role=status]:visible").count() == 0


VISIBLE = """series => [...document.querySelector('svg.figure:has([data-role=entry])')
  .querySelectorAll(`[data-series="${series}"]`)]
  .filter(part => !['entry', 'handle'].includes(part.dataset.role))
  .map(part => getComputedStyle(part).visibility)"""


@pytest.mark.parametrize("way", ["click", "key"])
def test_an_entry_of_the_legend_hides_its_lines(tab: Opened, way: str) -> None:
    entry = tab.page.locator("svg.figure [data-role=entry]").first
    series = entry.get_attribute("data-series")
    for pressed, visibility in (("true", "visible"), ("false", "hidden"), ("true", "visible")):
        assert entry.get_attribute("aria-pressed") == pressed
        assert set(tab.run(VISIBLE, series)) == {visibility}
        if way == "click":
            entry.click()
        else:
            entry.press("Enter")


STROKES = """() => ({
  paper: getComputedStyle(document.body).backgroundColor,
  strokes: [...new Set([...document.querySelectorAll('svg.figure [data-role=curve] path')]
    .map(path => getComputedStyle(path).stroke).filter(stroke => stroke !== 'none'))],
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_curves_are_told_from_the_ground(open_page: Open, scheme: str) -> None:
    """WCAG 2.2 asks for a contrast of 3:1 for graphical objects."""
    found: dict[str, Any] = open_page(scheme=scheme).run(STROKES)
    assert len(found["strokes"]) > 2
    faint = [one for one in found["strokes"] if contrast(one, found["paper"]) < 3]
    assert faint == []


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours such as `rgb(1, 2, 3)` as WCAG defines it, 1 to 21."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    channels = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
