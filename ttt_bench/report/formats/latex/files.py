"""The LaTeX files of a table: the table, its notes, and its shorter form for one column."""

from __future__ import annotations

from ttt_bench.report.formats.latex.compact import COMPACT, compact
from ttt_bench.report.formats.latex.layout import COLUMN
from ttt_bench.report.formats.latex.table import notes_latex, to_latex
from ttt_bench.report.tables import Table


def latex_files(name: str, table: Table, label: str) -> dict[str, str]:
    """Map name to content for the files of a table.

    `<name>.tex` has a caption with the shortest form of the notes; `<name>_notes.tex` has them
    complete; `<name>_compact.tex` fits one column and is written for the tables in `COMPACT`.
    """
    files = {f"{name}.tex": to_latex(table, label, shortens=name in COMPACT)}
    if table.notes:
        files[f"{name}_notes.tex"] = notes_latex(table)
    shorter = compact(name, table)
    if shorter is not None:
        files[f"{name}_compact.tex"] = to_latex(shorter, f"{label}-compact", COLUMN)
    return files
