"""The example of docs/comparing.md runs, and its names exist."""

from __future__ import annotations

import re

import pytest
from support.paths import DOCS, ROOT

PAGE = (DOCS / "comparing.md").read_text(encoding="utf-8")


def test_the_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    # the second example needs results of several pairs
    example, _ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)
    found = names["found"]
    delta = found.loc["delta_ttt"]  # type: ignore[attr-defined]
    assert delta["low"] < delta["mean"] < delta["high"]
    assert set(delta["values"]) == {0, 1, 2}
