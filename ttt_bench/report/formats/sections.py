"""Sections of the report: their tables and figures, and the files of both."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from markupsafe import Markup

from ttt_bench.report.formats.csv_text import to_csv
from ttt_bench.report.formats.latex.files import latex_files
from ttt_bench.report.formats.markdown import to_markdown
from ttt_bench.report.provenance import Provenance
from ttt_bench.report.tables import Table


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure as files.

    Attributes:
        svg: None for a picture of pixels.
        webp: a picture of pixels as the page shows it, smaller than the PNG file.
        pdf: None without a PDF file.
        inline: the figure as SVG markup for the page; empty: the page shows the SVG or PNG file.
    """

    png: bytes
    svg: bytes | None = None
    webp: bytes | None = None
    pdf: bytes | None = None
    inline: str = ""

    @property
    def uri(self) -> str:
        """Return the figure as a data URI."""
        if self.svg is not None:
            return data_uri("image/svg+xml", self.svg)
        if self.webp is not None:
            return data_uri("image/webp", self.webp)
        return data_uri("image/png", self.png)

    @property
    def markup(self) -> Markup:
        """Return the figure as SVG markup, empty without it."""
        return Markup(self.inline)

    def files(self, name: str) -> dict[str, bytes]:
        """Map name to content for the figure's files, with the stem `name`."""
        contents = {"png": self.png, "svg": self.svg, "pdf": self.pdf}
        return {f"{name}.{kind}": one for kind, one in contents.items() if one is not None}


@dataclass(frozen=True, kw_only=True)
class Part:
    """A table or a figure of a section, or both; what is None is omitted.

    Attributes:
        name: the stem of its files.
        heading: its heading on the page; may be empty.
        definition: what the part shows and how it is computed, in one or two sentences.
        command: the command that makes it, or its data; empty: that of the report.
        caption: the figure's caption.
        alt: the figure in words, for readers who cannot see it.
        wide: whether the figure is as wide as the page, not as one column of print.
        csv: the figure's numbers as CSV, if no table has them.
        attached: name -> text of further files on the part's numbers.
    """

    name: str
    heading: str = ""
    definition: str = ""
    command: str = ""
    table: Table | None = None
    figure: Drawn | None = None
    caption: str = ""
    alt: str = ""
    wide: bool = False
    csv: str | None = None
    attached: Mapping[str, str] = field(default_factory=dict)

    def files(self, slug: str) -> dict[str, bytes]:
        """Map name to content for every file of the part.

        Args:
            slug: name of the section, for the labels of LaTeX.
        """
        texts = {} if self.table is None else table_files(self.name, self.table, slug)
        if self.csv is not None:
            texts[f"{self.name}.csv"] = self.csv
        contents = {name: text.encode() for name, text in (texts | {**self.attached}).items()}
        return contents | ({} if self.figure is None else self.figure.files(self.name))


class Kind(Enum):
    """What a section shows; the values are its name for one section and for several."""

    COMPARISON = ("comparison", "comparisons")
    TIMES = ("table of times", "tables of times")
    ACROSS = ("table over comparisons", "tables over comparisons")
    STUDY = ("study", "studies")
    AFFINITY = ("measurement of affinity", "measurements of affinity")


@dataclass(frozen=True, kw_only=True)
class ReportSection:
    """A section of the report.

    Attributes:
        kind: what it shows.
        slug: its folder and its anchor on the page.
        title: its title.
        subtitle: one line on what it is about.
        parts: its tables and figures, in the order of the page.
        summary: the answer in sentences, which the page shows first.
        command: the command that makes its data; may be empty.
        cells: the hashes of its cells; empty if it does not show cells.
        done: the hashes of those with numbers.
        provenance: the manifests of its cells; None if it is not of one comparison.
    """

    kind: Kind
    slug: str
    title: str
    subtitle: str
    parts: tuple[Part, ...]
    summary: tuple[str, ...] = ()
    command: str = ""
    cells: frozenset[str] = frozenset()
    done: frozenset[str] = frozenset()
    provenance: Provenance | None = None

    @property
    def tables(self) -> tuple[Table, ...]:
        """Return the tables of its parts."""
        return tuple(part.table for part in self.parts if part.table is not None)

    @property
    def main(self) -> Table:
        """Return the main table, which every comparison has."""
        return next(part.table for part in self.parts if part.name == "main" and part.table)

    @cached_property
    def filed(self) -> tuple[tuple[Part, dict[str, bytes]], ...]:
        """Return each part with its files, name -> content."""
        return tuple((part, part.files(self.slug)) for part in self.parts)

    def files(self) -> dict[str, bytes]:
        """Map name to content for every file of the section."""
        return {name: content for _, files in self.filed for name, content in files.items()}


def table_files(name: str, table: Table, slug: str) -> dict[str, str]:
    """Map name to content for the files of a table in every format."""
    return {
        f"{name}.md": to_markdown(table),
        **latex_files(name, table, f"tab:{slug}-{name}"),
        f"{name}.csv": to_csv(table),
    }


def data_uri(kind: str, content: bytes) -> str:
    """Return a file as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
