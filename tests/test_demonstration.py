"""The generated blocks of README and the demonstration against the committed files."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest
from support.paths import ROOT


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    """Return the module `docs/make_pages.py`."""
    path = ROOT / "docs" / "make_pages.py"
    spec = importlib.util.spec_from_file_location("make_pages", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_block_is_what_its_files_give(pages: ModuleType) -> None:
    for page in pages.PAGES:
        text = page.read_text(encoding="utf-8")
        assert "<!-- end -->" in text, page
        assert pages.filled(text) == text, f"{page.name}: run `python docs/make_pages.py`"


def test_a_changed_number_is_noticed(pages: ModuleType) -> None:
    text = (ROOT / "docs/demonstration.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| Norm | 4"))
    assert pages.filled(text.replace(row, row.replace("| 4", "| 5", 1))) == text


def test_prose_has_no_decimal_numbers_outside_blocks() -> None:
    """A number with decimals in prose is a measurement, which belongs into a block."""
    for page in ("README.md", "docs/demonstration.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        prose = re.sub(r"<!-- [a-z-]+ -->.*?<!-- end -->", "", text, flags=re.DOTALL)
        prose = re.sub(r"(?m)^    .*$|`[^`]*`|\(.*?\)", "", prose)
        for known in ("1.2 million", "Python 3.11", "Apache-2.0"):
            prose = prose.replace(known, "")
        assert re.findall(r"\d+\.\d+", prose) == [], page


def test_the_readme_fits_on_a_page() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120
