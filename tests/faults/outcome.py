"""How a command ended after a fault, and whether that is acceptable."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from faults.command import Ended

SAME = "same values"
MESSAGE = "one clear line"
RECORDED = "recorded failure"
ACCEPTED = "accepted"
STOPPED = "stopped"
DEFECT = "DEFECT"
OUTCOMES = (SAME, MESSAGE, RECORDED, ACCEPTED, STOPPED, DEFECT)
"""`ACCEPTED`: a valid input; `STOPPED`: ended by the signal that the campaign sent."""

_FAILED, _USAGE, _INTERRUPTED = 1, 2, 130
_NOISE = ("Traceback (most recent", "Exception ignored in", "Exception in thread")
_RAW = re.compile(
    r"^error: (?:[\w.]*(?:Error|Exception)\b|\W*$)"
    r"|\b(?:Type|Attribute|Key|Index|Name|Assertion|UnboundLocal)Error: "
)
"""A message that shows an exception of Python in place of words."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One judged command.

    Attributes:
        campaign: the part of the campaign, such as "kill".
        fault: what was done, such as "cut rows.parquet".
        outcome: one of `OUTCOMES`.
        detail: the end of the output, for defects.
    """

    campaign: str
    fault: str
    outcome: str
    detail: str = ""


def judge(ended: Ended, *, same: bool | None) -> tuple[str, str]:
    """Return the outcome of a command and, for a defect, the reason.

    Args:
        ended: the command.
        same: whether all values equal those of an undisturbed run; None if that is not asked.
    """
    reason = _defect(ended)
    if reason:
        return DEFECT, f"{reason}: {ended.text[-1500:]}"
    if ended.code == 0 and same is False:
        return DEFECT, f"other values without a message: {ended.text[-1500:]}"
    if ended.code == 0:
        return (ACCEPTED if same is None else SAME), ""
    return (RECORDED if ended.code == _FAILED else MESSAGE), ""


def _defect(ended: Ended) -> str:
    """Return why the end of a command is not acceptable; empty if it is."""
    if ended.hung:
        return "hang"
    if noise := next((noise for noise in _NOISE if noise in ended.text), ""):
        return noise
    if ended.code < 0:
        return f"signal {-ended.code}"
    if ended.code not in (0, _FAILED, _USAGE):
        return f"exit code {ended.code}"
    if ended.code == _USAGE:
        return _unclear(ended.text)
    if ended.code == _FAILED and "failed" not in ended.text and "no longer in" not in ended.text:
        return "exit code 1 without a reason"
    return ""


def _unclear(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    if not lines:
        return "exit code 2 without an error line"
    raw = [line for line in lines if _RAW.search(line)]
    return f"raw error {raw[0]!r}" if raw else ""


def table(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """Return one row per campaign and fault with the number of each outcome."""
    counts = Counter((one.campaign, one.fault, one.outcome) for one in outcomes)
    rows = [
        {"campaign": campaign, "fault": fault, "outcome": outcome, "count": count}
        for (campaign, fault, outcome), count in sorted(counts.items())
    ]
    return pd.DataFrame(rows, columns=["campaign", "fault", "outcome", "count"])


def write(outcomes: Iterable[Outcome], path: Path) -> None:
    """Write `table` as CSV."""
    table(outcomes).to_csv(path, index=False)


def summary(frame: pd.DataFrame) -> str:
    """Return the counts of a `table` per campaign as text."""
    counts = frame.pivot_table(
        index="campaign", columns="outcome", values="count", aggfunc="sum", fill_value=0
    )
    return str(counts.to_string())
