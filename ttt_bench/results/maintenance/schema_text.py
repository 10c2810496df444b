"""The page that describes the files of an exported results folder."""

from __future__ import annotations

from collections.abc import Mapping

from ttt_bench.results import schema

FILES = """\
| path | content |
|---|---|
| `cells/<source>+<target>/<method>-<hash>/manifest.json` | state, reason, the complete configuration, provenance, and a digest of every file |
| `.../rows.parquet` | the scores, one number per row |
| `.../statistics.parquet` | sufficient statistics of every image at every step |
| `.../source.parquet` | the same statistics of the method's own source model before adapting, if it has one |
| `.../totals.parquet` | counts and sums over all images at every step |
| `.../signals.parquet` | what each step shows without labels |
| `.../losses.parquet` | the method's losses |
| `.../examples.npz` | embedded domains only: a few images, targets and predictions |
| `.../attempts.json` | times, host and state of every attempt at the cell |
| `studies/<name>-<key>.json` | a study: its declaration, and the hashes of the cells of each arm |
| `<kind>/<name>-<key>/` | a measurement that is not a cell, such as `timings`: `manifest.json` and `rows.parquet` |
| `checkpoints/` | source models and source statistics (safetensors), if they were exported |
"""  # noqa: E501

TEXT = """\
# Results of ttt-bench

Schema version {version}. `sha256sum -c SHA256SUMS` in this folder checks every file.
`ttt_bench.read_results(FOLDER)` returns all scores as one table, and `ttt-bench report --results
FOLDER` writes the tables and figures. Any program that reads Parquet and JSON can read the files.

{files}
A cell without numbers has a manifest only, with its state (`{states}`) and reason.
"""


def schema_text() -> str:
    """Return the page in Markdown; it depends on the schema alone."""
    states = "`, `".join(state for state in schema.STATES if state != "done")
    tables: dict[str, Mapping[str, str]] = {
        "rows.parquet": schema.ROW_COLUMNS,
        "statistics.parquet, source.parquet": schema.STATISTICS_COLUMNS,
        "totals.parquet": schema.TOTALS_COLUMNS,
        "signals.parquet": schema.SIGNAL_COLUMNS,
        "losses.parquet": schema.LOSS_COLUMNS,
    }
    text = TEXT.format(version=schema.SCHEMA_VERSION, files=FILES, states=states)
    return "\n".join([text, *(_table(name, columns) for name, columns in tables.items())])


def _table(name: str, columns: Mapping[str, str]) -> str:
    rows = [f"| `{column}` | {meaning} |" for column, meaning in columns.items()]
    return "\n".join([f"## {name}", "", "| column | meaning |", "|---|---|", *rows, ""])
