"""The report as one self-contained HTML page, without scripts, fonts or images of other files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version

from ttt_bench.report.formats.html import html_environment
from ttt_bench.report.formats.sections import Drawn, FurtherSection, data_uri
from ttt_bench.report.provenance import Provenance, provenance
from ttt_bench.report.tables import Table
from ttt_bench.stats.comparison import Comparison

TITLE = "Test-time training and adaptation: results"
CURVES_CAPTION = (
    "Lines: means over seeds; bands: one sample standard deviation, not drawn for frozen controls. "
    "Dashed black: Base, which does not adapt."
)
SYNC_CAPTION = (
    "Each task from its worst (0) to its best score (1), mean over seeds. Filled marks: mean over "
    "seeds of the step with the best score, on the curve and in the task's lane below; ticks: each "
    "seed. Hollow marks at step 0: better before adapting than at any later step, in most seeds. "
    "Flat curves are left out."
)
PARTS_CAPTION = (
    "Parts of the change against Base at the fixed step. Bars: means over seeds, gains to the "
    "right of 0 and losses to the left. Diamonds: their sum, with its 95 % interval, "
    "which ends at the edge of the panel if it is much wider than the bars."
)


@dataclass(frozen=True)
class ExamplePicture:
    """Example images of one seed as a file, with their caption."""

    png: bytes
    seed: int
    caption: str

    @property
    def uri(self) -> str:
        """Return the picture as a data URI."""
        return data_uri("image/png", self.png)


@dataclass(frozen=True, kw_only=True)
class PageSection:
    """A comparison on the page; a part that is None is omitted."""

    comparison: Comparison
    main: Table
    more: Table | None = None
    each_class: Table | None = None
    step_rules: Table | None = None
    sync: Table | None = None
    parameters: Table | None = None
    hyperparameters: Table | None = None
    ranks: Table | None = None
    classes: Table | None = None
    attribution: Table | None = None
    curves: Drawn | None = None
    sync_curves: Drawn | None = None
    parts: Drawn | None = None
    examples: ExamplePicture | None = None

    @property
    def slug(self) -> str:
        """Return the comparison's name in paths and anchors."""
        return self.comparison.slug

    @property
    def title(self) -> str:
        return self.comparison.title

    @property
    def subtitle(self) -> str:
        return self.comparison.subtitle

    @property
    def tables(self) -> dict[str, Table]:
        """Map the name of a table's files to the table, for the tables with notes."""
        named = {
            "main": self.main,
            "attribution": self.attribution,
            "more": self.more,
            "each_class": self.each_class,
            "step_rules": self.step_rules,
            "sync": self.sync,
            "parameters": self.parameters,
            "hyperparameters": self.hyperparameters,
            "ranks": self.ranks,
        }
        return {name: table for name, table in named.items() if table is not None}

    @property
    def curves_caption(self) -> str:
        """Return the caption of the curves."""
        protocol = self.comparison.protocol
        if protocol.starts_from_source:
            return CURVES_CAPTION
        return f"{CURVES_CAPTION} {protocol.name.capitalize()}: {protocol.step_zero}."

    @cached_property
    def provenance(self) -> Provenance:
        """Return the manifests of the cells."""
        return provenance(self.comparison.cells, self.comparison.names)


def html(
    sections: Sequence[PageSection], results: str, further: Sequence[FurtherSection] = ()
) -> str:
    """Return the page.

    Args:
        sections: the comparisons.
        results: the results folder, as the footer names it.
        further: the sections that follow the comparisons.
    """
    template = html_environment().get_template("page.html.jinja")
    page = template.render(
        title=TITLE,
        parts_caption=PARTS_CAPTION,
        sync_caption=SYNC_CAPTION,
        summary=_summary(sections),
        sections=sections,
        further=further,
        results=results,
        version=version("ttt-bench"),
    )
    return page + "\n"


def _summary(sections: Sequence[PageSection]) -> str:
    """Return a line with the numbers of comparisons and cells."""
    cells = sum(len(section.comparison.cells) for section in sections)
    done = sum(len(section.comparison.done) for section in sections)
    word = "comparison" if len(sections) == 1 else "comparisons"
    return f"{len(sections)} {word}, {done} of {cells} cells with numbers"
