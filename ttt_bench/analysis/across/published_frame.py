"""The published numbers of a group of pairs, in the form of the group's own frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ttt_bench.analysis.across.frames import ALL, COLUMNS, RANK, labels_of
from ttt_bench.analysis.across.groups import Group
from ttt_bench.analysis.across.published_ranks import published_deltas
from ttt_bench.results.published import for_pair
from ttt_bench.stats.ranks import ranks
from ttt_bench.stats.step_rules import DELTA

Deltas = dict[str, dict[str, float]]
"""Value -> label -> published Delta_TTT."""


def published_frame(group: Group) -> pd.DataFrame:
    """Return the published scores and Delta_TTT of the rows of a group of pairs.

    Returns:
        Columns `frames.COLUMNS`, without intervals. Means over the pairs, ranks and average ranks
        are those of the methods that are published for every pair. Empty for groups of other
        choices than the pair.
    """
    if group.axis != "pair":
        return pd.DataFrame(columns=list(COLUMNS))
    labels = labels_of(group)
    deltas = _deltas(group, labels)
    rows = [*_scores(group, labels), *_delta_rows(deltas), *_averages(deltas, labels)]
    names = ["value", "label", "quantity", "mean", "sd"]
    found = pd.DataFrame(rows, columns=names)
    return found.assign(low=np.nan, high=np.nan, seeds=0)[list(COLUMNS)]


def _deltas(group: Group, labels: list[str]) -> Deltas:
    found = {}
    for value, one in zip(group.values, group.members, strict=True):
        published = published_deltas(one.key.pair, one.tasks, one.key.architecture)
        found[value] = {label: published[label].value for label in labels if label in published}
    return found


def _scores(group: Group, labels: list[str]) -> Iterator[tuple[object, ...]]:
    for value, one in zip(group.values, group.members, strict=True):
        table = for_pair(one.key.pair, one.key.architecture)
        for row in table.rows if table else ():
            kept = [task for task in one.tasks if task in row.scores] if row.label in labels else []
            for task in kept:
                yield value, row.label, task, row.scores[task].value, row.scores[task].spread


def _delta_rows(deltas: Deltas) -> Iterator[tuple[object, ...]]:
    for value, published in deltas.items():
        for label, delta in published.items():
            yield value, label, DELTA, delta, np.nan


def _averages(deltas: Deltas, labels: list[str]) -> Iterator[tuple[object, ...]]:
    """Yield ranks, average ranks and means of the methods that are published for every pair."""
    known_everywhere = set.intersection(*map(set, deltas.values()))
    shared = [label for label in labels if label in known_everywhere]
    if len(shared) < 2:
        return
    # (V, L)
    known = pd.DataFrame(deltas).loc[shared].to_numpy().T
    found = ranks(known)
    for value, own in zip(deltas, found, strict=True):
        for label, rank in zip(shared, own, strict=True):
            yield value, label, RANK, rank, np.nan
    for label, delta, rank in zip(shared, known.mean(axis=0), found.mean(axis=0), strict=True):
        yield ALL, label, DELTA, delta, np.nan
        yield ALL, label, RANK, rank, np.nan
