"""The published numbers of a pair as rows, one per method or ablation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache

import pandas as pd

from ttt_bench.results.published.checks import Scores, delta_flag, recomputed, spread_flag
from ttt_bench.results.published.numbers import (
    ARCHITECTURE,
    STRONG_BASELINE,
    STRONG_METHOD,
    STRONG_NAME,
    STRONG_TABLE,
    PublishedNumber,
    printed,
)
from ttt_bench.results.published.variants import NOISE, VARIANTS, Variant, shift_note
from ttt_bench.tasks import canonical

STEPS = 40
"""Adaptation steps of the published runs."""

IMAGES = {"nyud": 654, "pascal": 5105, "taskonomy": 5451}
"""Target domain -> images that the published runs adapt to and score."""

TIMING_DEVICE = "RTX A6000"
"""The device on which S4T measured its times; the papers name none for the scores."""

MAIN_TABLES = {
    "taskonomy:nyud": ("TR-TTT", "Table 1"),
    "taskonomy:pascal": ("TR-TTT", "Table 2"),
    "nyud:taskonomy": ("S4T", "Table 4"),
    "pascal:taskonomy": ("S4T", "Table 4"),
}
"""Pair -> the paper and table whose rows are shown; other tables repeat some of their means."""

OWN_NAMES = {("TR-TTT", "s4t"): "TR-TTT (ours)"}
"""(paper, method) -> the paper's name of the method, if it is another one."""

_PASCAL = (
    "the paper swaps the class lists of its two pairs, and calls class 2 'toilet', although the "
    "ids of both data sets are those of bottle (scores are unaffected)",
)
_NYUD = ("the paper swaps the class lists of its two pairs (scores are unaffected)",)
_ITERATIONS = "TR-TTT states 40,000 training iterations in section 4.1 and 60,000 in its appendix"
STRONG_REMARK = (
    "S4T's Table 3 does not state the backbone of MTI-Net, nor how NC-TTT adapts it; HRNet-W48 is "
    "inferred from the number of parameters"
)
_NO_NOISE = "S4T, Table 2 prints Delta_TTT 34.89 for S4T without noise, where TR-TTT prints 34.94"


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """The printed numbers of one method with one choice of settings.

    Attributes:
        settings: the method's settings, as a results folder names them; empty for default ones.
        paper: the paper.
        table: the table.
        name: the paper's name of the row, if it is not the method's.
        scores: task -> printed score; empty if the paper prints Delta_TTT alone.
        delta: the printed Delta_TTT in percent; None if there is none.
        base: task -> printed score of Base in the same table.
        flags: the reasons to doubt the printed Delta_TTT or its spread.
        remark: what the paper leaves open about the settings; may be empty.
    """

    method: str
    settings: str = ""
    paper: str
    table: str
    name: str = ""
    scores: Scores = field(default_factory=dict)
    delta: PublishedNumber | None = None
    base: Scores = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    remark: str = ""

    @property
    def label(self) -> str:
        """Return the label of a measured row with the same method and settings."""
        settings = self.settings.replace("; ", ", ")
        return f"{self.method} ({settings})" if settings else self.method

    @property
    def source(self) -> str:
        """Return paper and table."""
        return f"{self.paper}, {self.table}"

    def delta_on(self, tasks: tuple[str, ...]) -> float | None:
        """Return Delta_TTT recomputed on some tasks; None if the means are not all printed."""
        return recomputed(self.scores, self.base, tasks)


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """The published rows of a pair.

    Attributes:
        tasks: the tasks that Delta_TTT is over.
        rows: the rows of the main table, in its order, and then those of ablations.
        notes: notes on the paper.
    """

    paper: str
    table: str
    pair: str
    tasks: tuple[str, ...]
    rows: tuple[PublishedRow, ...]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return paper and table."""
        return f"{self.paper}, {self.table}"

    def row(self, label: str) -> PublishedRow | None:
        """Return the row with a label; None if the papers have none."""
        return next((row for row in self.rows if row.label == label), None)


@cache
def for_pair(pair: str, architecture: str = ARCHITECTURE) -> PublishedTable | None:
    """Return the published rows of a pair; None if nothing is published for it.

    A target with a shift has the row of S4T's Table 2 if that prints the shift. MTI-Net has that of
    S4T's Table 3, and other networks have none.

    Args:
        pair: the pair, with the shifts of its target.
        architecture: name of the network.
    """
    plain, _, shift = pair.partition("+")
    if plain not in MAIN_TABLES:
        return None
    main = _table(plain, *MAIN_TABLES[plain])
    if architecture != ARCHITECTURE:
        return _strong_baseline(main) if (architecture, shift) == (STRONG_BASELINE[0], "") else None
    if shift:
        return _shifted(main, pair, shift)
    return replace(main, rows=(*main.rows, *_ablations(main)), notes=_notes(main))


@cache
def other_tables(pair: str) -> tuple[PublishedTable, ...]:
    """Return the other tables with means of the same runs; empty for a shifted pair."""
    frame = printed()
    bases = frame[(frame["pair"] == pair) & (frame["method"] == "base")]
    names = dict.fromkeys(zip(bases["paper"], bases["table"], strict=True))
    return tuple(_table(pair, *name) for name in names if name != MAIN_TABLES.get(pair))


def _notes(table: PublishedTable) -> tuple[str, ...]:
    notes: tuple[str, ...] = _PASCAL if "pascal" in table.pair else _NYUD
    notes += (_ITERATIONS,) if table.paper == "TR-TTT" else ()
    return notes + ((_NO_NOISE,) if table.pair == "taskonomy:nyud" else ())


def _table(pair: str, paper: str, table: str) -> PublishedTable:
    """Return the rows of methods with their default settings in one table."""
    frame = _chosen(pair, paper, table)
    plain = frame[~frame["note"].str.contains("single_task")]
    base = _scores(plain[plain["method"] == "base"])
    rows = tuple(_row(group, base) for _, group in plain.groupby("method", sort=False))
    return PublishedTable(paper=paper, table=table, pair=pair, tasks=canonical(base), rows=rows)


def _row(group: pd.DataFrame, base: Scores) -> PublishedRow:
    paper, table, pair, method = group.iloc[0][["paper", "table", "pair", "method"]]
    scores, delta = _scores(group), _delta(group)
    return PublishedRow(
        method=method,
        paper=paper,
        table=table,
        name=OWN_NAMES.get((paper, method), ""),
        scores=scores,
        delta=delta,
        base=base,
        flags=_flags(pair, method, delta, scores, base),
    )


def _flags(
    pair: str, method: str, delta: PublishedNumber, scores: Scores, base: Scores
) -> tuple[str, ...]:
    again = recomputed(scores, base, tuple(base))
    assert again is not None  # the main rows have every task of Base
    flags = (delta_flag(pair, method, delta, again), spread_flag(delta, scores, base))
    return tuple(filter(None, flags))


def _ablations(main: PublishedTable) -> Iterator[PublishedRow]:
    """Yield a row per ablation; one per task for networks of one task."""
    for variant in VARIANTS:
        frame = _chosen(main.pair, variant.paper, variant.table)
        own = frame[frame["note"].str.split(";").str[0] == variant.note]
        for task, group in own.groupby("task", sort=False):
            yield _ablation(variant, str(task), group)


def _ablation(variant: Variant, task: str, group: pd.DataFrame) -> PublishedRow:
    whole = task == "all"
    return PublishedRow(
        method=str(group.iloc[0]["method"]),
        settings=variant.settings.format(task=task),
        paper=variant.paper,
        table=variant.table,
        name=variant.note,
        scores=_scores(group),
        delta=_delta(group) if whole else None,
        remark=variant.remark,
    )


def _shifted(main: PublishedTable, pair: str, shift: str) -> PublishedTable | None:
    """Return the row of S4T's Table 2 for a shifted target, if it has one."""
    frame = _chosen(main.pair, *NOISE)
    group = frame[frame["note"] == shift_note(shift)]
    if group.empty:
        return None
    paper, table = NOISE
    row = PublishedRow(
        method=str(group.iloc[0]["method"]), paper=paper, table=table, delta=_delta(group)
    )
    return PublishedTable(paper=paper, table=table, pair=pair, tasks=main.tasks, rows=(row,))


def _strong_baseline(main: PublishedTable) -> PublishedTable | None:
    """Return the row of NC-TTT on MTI-Net, if it is printed for the pair."""
    paper, table = STRONG_TABLE
    frame = _chosen(main.pair, paper, table)
    group = frame[frame["method"] == STRONG_METHOD]
    if group.empty:
        return None
    row = PublishedRow(
        method=STRONG_METHOD.partition("+")[0],
        paper=paper,
        table=table,
        name=STRONG_NAME,
        delta=_delta(group),
        remark=STRONG_REMARK,
    )
    return PublishedTable(paper=paper, table=table, pair=main.pair, tasks=main.tasks, rows=(row,))


def _chosen(pair: str, paper: str, table: str) -> pd.DataFrame:
    frame = printed()
    same = (frame["pair"] == pair) & (frame["paper"] == paper) & (frame["table"] == table)
    return frame[same]


def _scores(group: pd.DataFrame) -> dict[str, PublishedNumber]:
    found = {
        str(task): PublishedNumber(str(value), str(std))
        for task, value, std in zip(group["task"], group["value"], group["std"], strict=True)
        if task != "all"
    }
    return {task: found[task] for task in canonical(found)}


def _delta(group: pd.DataFrame) -> PublishedNumber:
    value, std = group[group["metric"] == "delta_ttt"].iloc[0][["value", "std"]]
    return PublishedNumber(str(value), str(std))
