"""The numbers of the tables of scores as plain records, for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from ttt_bench.metrics.base import metrics_of
from ttt_bench.report import main_table
from ttt_bench.report.contract import doubts
from ttt_bench.report.published_rows import PublishedRows
from ttt_bench.report.truth import truth_of
from ttt_bench.stats import summary
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import FIXED
from ttt_bench.tasks import TASKS

Record = dict[str, Any]

KEYS = (
    *("selection", "label", "quantity", "task", "metric", "class"),
    *("mean", "sd", "seeds", "seed", "state", "reason", "contract", "source"),
)
"""Keys of a record, after those that the whole comparison shares.

`source` names the paper and table of a published number.
"""


def records(comparison: Comparison) -> list[Record]:
    """Return one record per number of the tables of scores, and one per cell without numbers."""
    shared = comparison.key._asdict()
    verdicts = {label: verdict.text for label, verdict in doubts(comparison).items()}
    return [
        shared | _whole({**record, "contract": verdicts.get(record["label"])})
        for record in _all(comparison)
    ]


def _all(comparison: Comparison) -> Iterator[Record]:
    constants = truth_of(comparison).constants
    for record in _rows(main_table.build(comparison, constants).summary):
        yield record | _primary(record["quantity"])
    for task, value in constants.items():
        constant = {"selection": "constant", "label": "best constant", "quantity": task}
        yield {**constant, "mean": value, **_primary(task)}
    for record in _rows(summary.other_metrics(comparison.rows)):
        further = {"selection": FIXED.name, "quantity": record["metric"]}
        yield {**record, **further, "class": record["class"] or None}
    for record in PublishedRows.of(comparison).records():
        yield record | _primary(record["quantity"])
    for record in _rows(comparison.missing[["label", "seed", "state", "reason"]]):
        yield {"selection": "missing", **record}


def _rows(frame: pd.DataFrame) -> list[Record]:
    """Return the rows of a frame, with Python's numbers."""
    return frame.astype(object).to_dict("records")  # type: ignore[return-value]


def _primary(quantity: str) -> Record:
    """Return task and metric if the quantity is a task, which means its primary metric."""
    if quantity not in TASKS:
        return {}
    return {"task": quantity, "metric": metrics_of(quantity).primary.name}


def _whole(record: Record) -> Record:
    """Return the record with all of `KEYS`; missing and non-finite values are None."""
    return {key: _finite(record.get(key)) for key in KEYS}


def _finite(value: Any) -> Any:
    """Return the value, or None for a number that JSON cannot express."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
