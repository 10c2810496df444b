"""Every command line in the pages is one that `ttt-bench` understands."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from support.command_lines import command_lines, understood
from support.pages import PAGES, blocks, name_of

from ttt_bench.sweep.resolve import resolve

OF_PACKAGES = {"smooth", "pyramid", "myrooms", "west", "east"}
"""Names that pages give to methods, networks and data sets of other packages."""


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data root with the folders of all data sets, without files."""
    root = tmp_path_factory.mktemp("data")
    for name in ("taskonomy", "nyud", "pascal"):
        (root / name).mkdir()
    return root


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_options_exist(
    page: Path, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {"data_root": data_root, "results": tmp_path, "tuned": None, "source_weights": None}
    problems = []
    for arguments in (line for script in blocks(page, "bash") for line in command_lines(script)):
        try:
            request = understood(arguments, monkeypatch)
            if request is None or arguments[0] == "data":  # which has no pair
                continue
            if not OF_PACKAGES & set(re.split(r"\W+", str(request))):
                hparams = "paper" if request.tuned else request.hparams
                resolve(request.model_copy(update={**here, "hparams": hparams}))
        except Exception as error:
            problems.append(f"{' '.join(arguments)}: {type(error).__name__} {error}")
    assert not problems


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_scripts_are_valid(page: Path) -> None:
    script = "\n".join(blocks(page, "bash"))
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
