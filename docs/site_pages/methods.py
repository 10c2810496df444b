"""A page per method: what its module says, its card, its settings and options."""

from __future__ import annotations

import inspect
import sys

from site_pages.markdown import bullets, docstring, table
from ttt_bench.describe.card import card_rows, option_rows
from ttt_bench.registry import GROUPS, METHODS, group_of

FOLDER = "reference/methods"
_OPTION_COLUMNS = ("option", "paper", "original", "range", "meaning", "citation")


def pages() -> dict[str, str]:
    """Return the pages of this package's methods, and their list: path -> Markdown."""
    names = [entry.name for entry in METHODS.entries() if entry.package == "ttt-bench"]
    of_methods = {f"{FOLDER}/{name}.md": _method_page(name) for name in names}
    return {f"{FOLDER}/index.md": _index(names), **of_methods}


def _index(names: list[str]) -> str:
    cards = {name: METHODS.load(name).card for name in names}
    rows = [
        {
            "name": f"[`{name}`]({name}.md)",
            "method": card.title,
            "updates": card.moves,
            "group": group_of(name),
        }
        for name, card in cards.items()
    ]
    parts = (
        "# Methods",
        table(rows, ("name", "method", "updates", "group")),
        "Groups for `--methods`:",
        bullets(f"`{name}`: {meaning}" for name, meaning in GROUPS.items()),
        "`ttt-bench methods show NAME` prints the same facts as the page of a method.",
    )
    return "\n\n".join(parts) + "\n"


def _method_page(name: str) -> str:
    method = METHODS.load(name)
    card = card_rows(name)
    quirks = [row["value"] for row in card if row["field"] == "quirk"]
    parts = [
        f"---\ntitle: {method.card.title.partition(':')[0]}\n---",
        f"# {method.card.title}",
        docstring(inspect.getdoc(sys.modules[method.__module__]) or ""),
        "## Card",
        table((row for row in card if row["field"] not in ("quirk", "method")), ("field", "value")),
        "## Settings and options",
        f"`--set {name}.OPTION=VALUE` sets an option. `--hparams paper` and `--hparams original` "
        "choose the column of values.",
        table(option_rows(name), _OPTION_COLUMNS, code="option"),
    ]
    if quirks:
        parts += ["## Differences from the authors' code", bullets(quirks)]
    return "\n\n".join(parts) + "\n"
