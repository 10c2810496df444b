"""CITATION.cff agrees with the package; `nox -s docs` validates its format."""

from __future__ import annotations

import re

from support.paths import ROOT

from ttt_bench import __version__
from ttt_bench.registry import METHODS

TEXT = (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_the_version_is_that_of_the_package() -> None:
    assert re.findall(r"^version: (.*)$", TEXT, re.MULTILINE) == [__version__]


def test_the_paper_of_every_method_is_cited() -> None:
    cited = set(re.findall(r"notes: the method (\w+)", TEXT)) | {"s4t"}
    own = {entry.name for entry in METHODS.entries() if entry.package == "ttt-bench"}
    assert cited == own - {"base"}
