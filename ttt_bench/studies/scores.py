"""Scores of planned cells, read from a results folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa

from ttt_bench.config.request import Request
from ttt_bench.errors import BenchError
from ttt_bench.results.records import read_manifest
from ttt_bench.results.rows import plain_frame, read_rows
from ttt_bench.stats.step_rules import DELTA
from ttt_bench.stats.summary import delta_frame, score_frame
from ttt_bench.sweep.cell import Cell
from ttt_bench.util.text import readable_settings

BASE = "base"
"""The method whose scores Delta_TTT refers to."""


def settings_text(request: Request, omitted: str = "") -> str:
    """Return the `--set` options of a request, joined by '; ', without the one to omit."""
    shown = {key: value for key, value in request.set.items() if key != omitted}
    return readable_settings("; ".join(f"{key}={value}" for key, value in sorted(shown.items())))


def last_changes(cells: Iterable[Cell], results: Path) -> pd.DataFrame:
    """Return the changes against Base of the same seed at the last step of the done cells.

    Args:
        cells: cells with Base among them.
        results: the results folder.

    Returns:
        Index: the hash of the cell; columns: one per task and `delta_ttt`, in percent, positive if
        the score is better than Base's.

    Raises:
        BenchError: a file is damaged, or Base has no scores.
    """
    done = [cell for cell in cells if cell.state(results) == "done"]
    if not any(cell.method == BASE for cell in done):
        raise BenchError(
            f"{results} has no scores of base, which Delta_TTT refers to; run it again"
        )
    folders = [cell.folder(results) for cell in done]
    tables = [read_rows(folder, read_manifest(folder)) for folder in folders]
    rows = plain_frame(pa.concat_tables(tables))
    labels = rows["config"].where(rows["method"] != BASE, BASE)
    scores = score_frame(rows.assign(label=labels))
    changes = {task: delta_frame(scores[[task]], BASE)[DELTA] for task in scores}
    changes[DELTA] = delta_frame(scores, BASE)[DELTA]
    frame = pd.DataFrame(changes).drop(index=BASE, level="label")
    last = frame.groupby(level=["label", "seed"]).tail(1)
    return last.droplevel(["seed", "step"])
