"""The cells of several results folders as one set, with notes about what differs between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pandas as pd

from ttt_bench.analysis.comparing.comparable import EVALUATION, SOURCE, unequal
from ttt_bench.results.load import Loaded, plain
from ttt_bench.results.method_names import PROPER_NAMES
from ttt_bench.stats.comparison import split_settings
from ttt_bench.stats.conditions import differences_between
from ttt_bench.stats.summary import is_primary

CELL = ["pair", "method", "config"]
"""The columns of a cell that are equal in two folders if its whole configuration is."""
SCORE = ["step", "task", "metric", "class"]
NAMED = 4
"""Cells that a note names, before it states the number of the others."""


@dataclass(frozen=True)
class Joined:
    """The cells and rows of several folders, with notes."""

    cells: pd.DataFrame
    rows: pd.DataFrame
    notes: tuple[str, ...]


def join(folders: Mapping[Path, Loaded]) -> Joined:
    """Return the cells of several results folders as one set.

    A cell that several folders have with one configuration is used once: the one with numbers that
    finished last; of copies, one with statistics. Notes state how many cells that concerns, by how
    much their scores differ, in which conditions the folders differ, and which comparisons of the
    same names are kept apart.
    """
    cells = pd.concat([one.cells for one in folders.values()], ignore_index=True)
    rows = pd.concat([one.rows for one in folders.values()], ignore_index=True)
    kept = cells.loc[_best(cells)]
    repeated, dropped = cells[cells.duplicated(CELL, keep=False)], cells.drop(kept.index)
    groups = {str(folder): one.cells for folder, one in folders.items()}
    notes = [*_repeated_notes(repeated, dropped, rows), *_condition_notes(groups)]
    return Joined(
        cells=kept.reset_index(drop=True),
        rows=rows[rows["folder"].isin(kept["folder"])].reset_index(drop=True),
        notes=(*notes, *_separate_notes(kept)),
    )


def _best(cells: pd.DataFrame) -> list[int]:
    """Return the index of the cell of each configuration that is used, in order of the cells."""
    if not cells.duplicated(CELL).any():
        return list(cells.index)
    # the folders of a copy have equal times
    whole = [(Path(folder) / "statistics.parquet").exists() for folder in cells["folder"]]
    ranked = cells.assign(done=cells["state"] == "done", whole=whole)
    order = ["done", "finished", "whole"]
    in_order = ranked.sort_values(order, na_position="first", kind="stable")
    return sorted(in_order.drop_duplicates(CELL, keep="last").index)


def _repeated_notes(repeated: pd.DataFrame, dropped: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Return notes on the cells that several folders have."""
    if dropped.empty:
        return []
    changes = _changes(repeated, dropped, rows)
    different = changes[changes["change"] > 0]
    moved = different.drop_duplicates(CELL)
    equal = len(dropped.drop_duplicates(CELL)) - len(moved)
    notes = []
    if equal:
        notes.append(f"{_cells(equal)} in several folders with equal scores; one of each is used")
    if len(moved):
        largest = different.groupby("task", sort=False)["change"].max()
        words = ", ".join(f"{task} {value:.3g}" for task, value in largest.items())
        used = "the newest of each is used"
        if (moved["finished"] == moved["finished_other"]).any():
            used += ". Cells that finished at the same time differ: one was changed afterwards"
        notes.append(
            f"{_cells(len(moved))} in several folders with different scores ({_named(moved)}); "
            f"{used}. Largest differences: {words}"
        )
    return notes


def _changes(repeated: pd.DataFrame, dropped: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the differences of primary scores between used cells and those left out.

    Returns:
        The columns of the rows with `change`, one row per score of a cell left out.
    """
    identity = repeated[[*CELL, "folder"]]
    scores = plain(rows[rows["folder"].isin(identity["folder"]) & is_primary(rows)])
    times = repeated[["folder", "finished"]]
    scores = scores.merge(times, on="folder")
    left_out = scores["folder"].isin(dropped["folder"])
    pairs = scores[~left_out].merge(scores[left_out], on=[*CELL, *SCORE], suffixes=("", "_other"))
    return pairs.assign(change=(pairs["value"] - pairs["value_other"]).abs())


def _cells(count: int) -> str:
    return f"{count} cell is" if count == 1 else f"{count} cells are"


def _named(cells: pd.DataFrame) -> str:
    """Name some cells, such as `TENT seed 0, TENT (frozen) seed 1 and 5 more`."""
    names = [
        f"{PROPER_NAMES.of(method)}{'' if control == 'none' else f' ({control})'} seed {seed}"
        for method, control, seed in zip(
            cells["method"], cells["control"], cells["seed"], strict=True
        )
    ]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _condition_notes(groups: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return a note per condition in which the folders differ."""
    return [
        f"{name} differs between the folders: {sides(values)}"
        for name, values in differences_between(groups).items()
    ]


def sides(values: Mapping[str, list[str]]) -> str:
    """Return the values of each group in words."""
    return "; ".join(f"{', '.join(found)} in {group}" for group, found in values.items())


def _separate_notes(cells: pd.DataFrame) -> list[str]:
    """Return a note per set of comparisons that have the same names, and are kept apart."""
    shared = [
        split_settings(text, method)[0]
        for text, method in zip(cells["settings"], cells["method"], strict=True)
    ]
    names = ["pair", "preset", "protocol", "data_variant", "hparams", "shared"]
    firsts = cells.assign(shared=shared).drop_duplicates([*names, "comparison"])
    notes = []
    for key, same in firsts.groupby(names, sort=False):
        if len(same) > 1:
            title = ", ".join(filter(None, map(str, key)))
            notes.append(f"{title}: {len(same)} comparisons have these names; {_apart(same)}")
    return notes


def _apart(cells: pd.DataFrame) -> str:
    """Return the entries in which cells of different comparisons differ, in words."""
    # the steps of single cells do not tell comparisons apart
    entries = [name for name in (*EVALUATION, *SOURCE) if name != "steps"]
    found = [
        entry
        for first, second in pairwise(cells["manifest"])
        for entry in unequal(first, second, entries)
    ]
    words = "; ".join(dict.fromkeys(map(str, found))) or "their manifests do not record how"
    return f"they are not joined, because they differ: {words}"
