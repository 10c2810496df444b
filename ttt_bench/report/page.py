"""The report as one self-contained HTML page: no script, no font, no image from elsewhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from ttt_bench.report import tables
from ttt_bench.report.notes import ONLINE_STEP_ZERO
from ttt_bench.report.tables import Table
from ttt_bench.stats.comparison import Comparison


@dataclass(frozen=True)
class PageSection:
    """A comparison on the page; what is empty is left out."""

    comparison: Comparison
    main: Table
    more: Table | None = None
    each_class: Table | None = None
    sync: Table | None = None
    classes: Table | None = None
    curves_png: bytes = b""
    curves_svg: bytes = b""
    pictures_png: bytes = b""
    pictures_seed: int | None = None
    pictures_caption: str = field(default="")

    @property
    def slug(self) -> str:
        return self.comparison.slug

    @property
    def title(self) -> str:
        return self.comparison.title

    @property
    def subtitle(self) -> str:
        return self.comparison.subtitle

    @property
    def tables(self) -> dict[str, Table]:
        """The tables with notes that there are, by the name of their files."""
        named = {
            "main": self.main,
            "more": self.more,
            "each_class": self.each_class,
            "sync": self.sync,
        }
        return {name: table for name, table in named.items() if table is not None}

    @property
    def curves_caption(self) -> str:
        text = "Lines: means over seeds; bands: one sample standard deviation. Dashed black: Base, which does not adapt."
        online = self.comparison.key.protocol == "online"
        return f"{text} Online: {ONLINE_STEP_ZERO}." if online else text

    @property
    def curves(self) -> str:
        return _data_uri("image/svg+xml", self.curves_svg)

    @property
    def pictures(self) -> str:
        return _data_uri("image/png", self.pictures_png)

    @property
    def cells(self) -> list[tuple[str, str]]:
        """(name, manifest as text) of every cell."""
        cells = self.comparison.cells
        return [
            (
                f"{label}, seed {seed}: {state}, configuration {config}",
                json.dumps(manifest, indent=1, sort_keys=True),
            )
            for label, seed, state, config, manifest in zip(
                *(cells[name] for name in ("label", "seed", "state", "config", "manifest")),
                strict=True,
            )
        ]


def html(sections: Sequence[PageSection], results: str) -> str:
    """The page.

    Args:
        results: the results folder, as the footer names it.
    """
    source = (
        files("ttt_bench.report")
        .joinpath("templates", "page.html.jinja")
        .read_text(encoding="utf-8")
    )
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters["html"] = tables.to_html
    template = environment.from_string(source)
    states = [state for section in sections for state in section.comparison.cells["state"]]
    done = states.count("done")
    summary = f"{len(sections)} comparison{'s' * (len(sections) != 1)}, {done} of {len(states)} cells with numbers"
    title = "Test-time training and adaptation: results"
    return (
        template.render(
            title=title, summary=summary, sections=sections, results=results, version=version("ttt-bench")
        )
        + "\n"
    )


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}" if content else ""
