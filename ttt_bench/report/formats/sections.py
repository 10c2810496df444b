"""Sections of the report that are not of one comparison, such as studies and timings."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from ttt_bench.report.formats.csv_text import to_csv
from ttt_bench.report.formats.latex import to_latex
from ttt_bench.report.formats.markdown import to_markdown
from ttt_bench.report.tables import Table


@dataclass(frozen=True)
class Drawn:
    """A figure as files."""

    png: bytes
    svg: bytes

    @property
    def uri(self) -> str:
        """Return the figure as a data URI."""
        return data_uri("image/svg+xml", self.svg)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A table or a figure of a section, or both; what is None is omitted.

    Attributes:
        name: the stem of its files.
        heading: its heading on the page; may be empty.
        caption: the figure's caption.
        alt: the figure in words, for readers who cannot see it.
        csv: the figure's numbers as CSV, if no table has them.
    """

    name: str
    heading: str = ""
    table: Table | None = None
    figure: Drawn | None = None
    caption: str = ""
    alt: str = ""
    csv: str | None = None

    def files(self, slug: str) -> dict[str, bytes]:
        """Map name to content for every file of the part.

        Args:
            slug: name of the section, for the labels of LaTeX.
        """
        texts = {} if self.table is None else table_files(self.name, self.table, slug)
        if self.csv is not None:
            texts[f"{self.name}.csv"] = self.csv
        contents = {name: text.encode() for name, text in texts.items()}
        if self.figure is not None:
            contents[f"{self.name}.png"] = self.figure.png
            contents[f"{self.name}.svg"] = self.figure.svg
        return contents


@dataclass(frozen=True, kw_only=True)
class FurtherSection:
    """A section that follows the comparisons.

    Attributes:
        slug: its folder and its anchor on the page.
        title: its title.
        subtitle: one line on what it is about.
        parts: its tables and figures.
    """

    slug: str
    title: str
    subtitle: str
    parts: tuple[Part, ...]

    def files(self) -> dict[str, bytes]:
        """Map name to content for every file of the section."""
        return {
            name: content for part in self.parts for name, content in part.files(self.slug).items()
        }


def table_files(name: str, table: Table, slug: str) -> dict[str, str]:
    """Map name to content for the files of a table in every format."""
    label = f"tab:{slug}-{name.replace('_', '-')}"
    return {
        f"{name}.md": to_markdown(table),
        f"{name}.tex": to_latex(table, label),
        f"{name}.csv": to_csv(table),
    }


def data_uri(kind: str, content: bytes) -> str:
    """Return a file as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
