"""The parts of the documentation site that are generated: links, navigation, tables."""

from __future__ import annotations

import pytest
from support.paths import DOCS


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS)


def test_links_lead_to_the_pages_of_files() -> None:
    from site_pages.links import linked_files, rewritten

    text = (
        "[a](docs/data.md#x) [`b`](results/README.md) [c](LICENSE) "
        "[d](https://e.org) [f](#g) `](h)`"
    )
    assert list(linked_files(text, "index.md")) == ["docs/data.md", "results/README.md", "LICENSE"]
    assert rewritten(text, "index.md") == (
        "[a](data.md#x) [`b`](reference/results.md) [c](repository/LICENSE.md) "
        "[d](https://e.org) [f](#g) `](h)`"
    )
    report = rewritten("[a](reports/example/index.html)", "index.md")
    assert report == "[a](repository/reports/example/index.html)"
    back = "[a](../docs/scale.md) [b](README.md)"
    assert rewritten(back, "reference/results.md") == "[a](../scale.md) [b](results.md)"
    assert rewritten("```\n[a](b.md)\n```", "x.md") == "```\n[a](b.md)\n```"


def test_a_pattern_in_the_navigation_stands_for_pages() -> None:
    from site_pages.navigation import expanded

    nav = ["index.md", {"Methods": ["m/index.md", "m/*.md"]}]
    pages = ["m/index.md", "m/b.md", "m/a.md", "other.md"]
    assert expanded(nav, pages) == ["index.md", {"Methods": ["m/index.md", "m/b.md", "m/a.md"]}]


def test_markdown_shows_signs_as_they_are() -> None:
    from site_pages.markdown import docstring, table

    rows = [{"name": "a_b", "meaning": "x_1 * <y> | `z_2`"}]
    assert table(rows, ("name", "meaning"), code="name").splitlines()[2] == (
        r"| `a_b` | x\_1 \* &lt;y> \| `z_2` |"
    )
    assert docstring("Title.\n\nWith h_t:\n    y_t = h_t * 2\nand so on.") == (
        "With h\\_t:\n\n    y_t = h_t * 2\n\nand so on."
    )


def test_every_object_of_the_python_reference_exists() -> None:
    from importlib import import_module
    from pydoc import locate

    from site_pages.python_api import PAGES

    for _, *shown in PAGES.values():
        for name in shown:
            assert locate(name) is not None or import_module(name)
