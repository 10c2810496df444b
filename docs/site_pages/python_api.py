"""Pages of the Python interface, which mkdocstrings fills from docstrings."""

from __future__ import annotations

FOLDER = "reference/python"
PAGES = {
    "Run, read and report": (
        "run",
        "ttt_bench.run",
        "ttt_bench.write_report",
        "ttt_bench.read_results",
        "ttt_bench.open_results",
        "ttt_bench.Results",
        "ttt_bench.config.request.Request",
        "ttt_bench.SweepError",
        "ttt_bench.BenchError",
    ),
    "Methods": (
        "adapter",
        "ttt_bench.adapter",
        "ttt_bench.declarations.settings",
        "ttt_bench.declarations.card",
    ),
    "Networks": (
        "network",
        "ttt_bench.network",
        "ttt_bench.model.network",
        "ttt_bench.model.batchnorm",
    ),
    "Tasks and losses": ("tasks", "ttt_bench.tasks", "ttt_bench.losses"),
    "Data sets": ("data", "ttt_bench.data.base", "ttt_bench.data.label_spaces"),
    "Protocols": ("protocols", "ttt_bench.protocols"),
    "Step rules": ("step_rules", "ttt_bench.stats.step_rules.base"),
    "Synchronisation": ("sync", "ttt_bench.sync"),
}
"""Title -> name of the page, and the objects that it shows."""


def pages() -> dict[str, str]:
    """Return the pages: path -> Markdown with the directives of mkdocstrings."""
    return {
        f"{FOLDER}/{name}.md": f"# {title}\n\n" + "\n".join(map(_directive, shown))
        for title, (name, *shown) in PAGES.items()
    }


def _directive(name: str) -> str:
    return f"::: {name}\n"
