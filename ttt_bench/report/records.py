"""The numbers of the tables of scores as plain records, for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.analysis.verdicts import further_metrics, verdicts
from ttt_bench.metrics.base import metrics_of
from ttt_bench.report.marks.contract import doubts, in_words
from ttt_bench.report.published_rows import PublishedRows
from ttt_bench.report.truth import truth_of
from ttt_bench.stats.step_rules import FIXED
from ttt_bench.tasks import TASKS

Record = dict[str, Any]

KEYS = (
    *("selection", "label", "quantity", "task", "metric", "class"),
    *("reference", "reference_label", "mean", "sd", "low", "high", "p", "p_holm", "verdict"),
    *("seeds", "units", "values", "seed", "state", "reason", "contract", "source"),
)
"""Keys of a record, after those that the whole comparison shares.

`source` names the paper and table of a published number.
"""


def records(evidence: Evidence) -> list[Record]:
    """Return one record per number of the tables of scores, and one per cell without numbers."""
    comparison = evidence.comparison
    shared = comparison.key._asdict()
    doubted = {label: in_words(verdicts) for label, verdicts in doubts(comparison).items()}
    return [
        shared | _whole({"contract": doubted.get(record["label"]), **record})
        for record in _all(evidence)
    ]


def _all(evidence: Evidence) -> Iterator[Record]:
    comparison = evidence.comparison
    if len(comparison.rows):
        yield from _measured(evidence)
    for task, value in truth_of(comparison).constants.items():
        constant = {"selection": "constant", "label": "best constant", "quantity": task}
        yield {**constant, "mean": value, **_primary(task)}
    for record in PublishedRows.of(comparison).records():
        yield record | _primary(record["quantity"])
    for record in _rows(comparison.missing[["label", "seed", "state", "reason"]]):
        yield {"selection": "missing", **record}


def _measured(evidence: Evidence) -> Iterator[Record]:
    """Yield estimates, differences to each reference, and the other metrics."""
    differences = evidence.all_differences()
    differences = differences.assign(verdict=verdicts(differences))
    for frame in (evidence.all_estimates(), differences):
        for record in _rows(frame):
            yield record | _primary(record["quantity"])
    for record in _rows(further_metrics(evidence.comparison)):
        further = {"selection": FIXED.name, "quantity": record["metric"]}
        yield {**record, **further, "class": record["class"] or None}


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
