"""The Python blocks of the pages run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.pages import PAGES, WITH_PACKAGES, blocks, name_of, python_of
from support.paths import ROOT

from ttt_bench.adapter import Optimiser

FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_RUNS = "ttt_bench.run("
PYTHON = [page for page in PAGES if page.name not in WITH_PACKAGES and any(blocks(page, "python"))]
TRAINING = [page for page in PYTHON if any(_RUNS in block for block in blocks(page, "python"))]
READING = [page for page in PYTHON if page not in TRAINING]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder, with the committed results by the names that pages use."""
    (tmp_path / "results").mkdir()
    for name in ("run", "example", "first", "second"):
        (tmp_path / "results" / name).symlink_to(ROOT / "results/example")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", READING, ids=name_of)
def test_blocks_that_read_results_run(page: Path) -> None:
    for example in python_of(page).examples():
        example.evaluate()


@pytest.mark.slow
@pytest.mark.usefixtures("folder", "room_cache")
@pytest.mark.parametrize("page", TRAINING, ids=name_of)
def test_blocks_that_train_run(page: Path) -> None:
    for example in python_of(page).examples():
        example.evaluate()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_is_valid(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_are_fenced_and_name_their_language(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "```\n" not in FENCED.sub(lambda block: block[0].removesuffix("```"), text)
    assert not re.search(r"\n\n {4}\S", FENCED.sub("", text))


def test_the_page_of_methods_explains_every_field_of_an_optimiser() -> None:
    page = ROOT / "docs/adding-a-method.md"
    section = page.read_text(encoding="utf-8").partition("### Optimiser and steps")[2]
    heads = [
        line.split("|")[1] for line in section.partition("\n## ")[0].splitlines() if "|" in line
    ]
    assert set(re.findall(r"`(\w+)`", " ".join(heads[2:]))) == set(Optimiser.model_fields)
    (example,) = (block for block in blocks(page, "python") if "Hparams(\n" in block)
    found: dict[str, Any] = {}
    exec(compile(example, str(page), "exec"), found)
    assert found["original"].optimiser.rates == {"model.backbone.*": 0.1}
