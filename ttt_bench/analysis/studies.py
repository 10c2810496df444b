"""The results of a study: the comparison and the rows of each of its arms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ttt_bench.analysis.evidence import BASE, FROZEN, Evidence, Side, estimate_frame
from ttt_bench.analysis.results import Results
from ttt_bench.designs.study import Arm, Study
from ttt_bench.results.study_files import StudyFile
from ttt_bench.stats.bootstrap import estimate
from ttt_bench.stats.comparison import Comparison, Key, split_settings
from ttt_bench.stats.step_rules import DELTA

DIFFERENCE = ("mean", "low", "high", "p", "p_holm")
"""Columns of a row's paired difference to Base in `StudyResults.estimates`, after `change_`."""


@dataclass(frozen=True, kw_only=True)
class ArmResults:
    """An arm of a study with its rows.

    Attributes:
        arm: the declaration.
        evidence: the estimates of the comparison that has its cells; None if none is stored.
        labels: its rows in that comparison, without Base and frozen controls.
        missing: the number of its cells that are not stored.
    """

    arm: Arm
    evidence: Evidence | None
    labels: tuple[str, ...]
    missing: int

    @cached_property
    def by_label(self) -> dict[str, Evidence]:
        """Map each row to the estimates over its own tasks, which may be some of the tasks."""
        if self.evidence is None:
            return {}
        return {label: _on_own_tasks(self.evidence, label) for label in self.labels}

    def row_name(self, label: str) -> str:
        """Return the name of a row in a table: the arm, and the method if it has several."""
        if self.evidence is None or len(self.labels) < 2:
            return self.arm.label
        comparison = self.evidence.comparison
        return f"{self.arm.label}: {comparison.methods[label]}"

    def row_title(self, label: str) -> str:
        """Return the printed name of a row: the arm, and the method if it has several."""
        if self.evidence is None or len(self.labels) < 2:
            return self.arm.label
        comparison = self.evidence.comparison
        return f"{self.arm.label}: {comparison.names.of(comparison.methods[label])}"


@dataclass(frozen=True, kw_only=True)
class StudyResults:
    """A study of a results folder with the results of its cells alone.

    Attributes:
        file: the stored study.
        arms: its arms in the order of the declaration.
    """

    file: StudyFile
    arms: tuple[ArmResults, ...]

    @property
    def study(self) -> Study:
        """Return the declaration."""
        return self.file.study

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Return the comparisons of the arms, each once."""
        stored = [arm.evidence.comparison for arm in self.arms if arm.evidence is not None]
        return tuple({one.key: one for one in stored}.values())

    def estimates(self, rule: str) -> pd.DataFrame:
        """Return the estimates of every row under a step rule.

        Returns:
            Columns `arm, value, row, label`, those of `Evidence.estimates`, and `change_` with
            `DIFFERENCE`: the paired difference to Base, corrected over the rows of the arm's
            comparison.
        """
        frames = [frame for arm in self.arms for frame in _estimates(arm, rule)]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _estimates(arm: ArmResults, rule: str) -> Iterator[pd.DataFrame]:
    for evidence in {id(one): one for one in arm.by_label.values()}.values():
        if evidence.comparison.rows.empty:
            continue
        found = _with_changes(evidence, rule)
        for label in arm.labels:
            own = found[found["label"] == label]
            if arm.by_label[label] is evidence and len(own):
                named = {"arm": arm.arm.label, "value": arm.arm.value, "row": arm.row_name(label)}
                yield own.assign(**named)


def _with_changes(evidence: Evidence, rule: str) -> pd.DataFrame:
    """Return the estimates of a comparison with the differences to Base."""
    differences = evidence.differences(rule)
    against = differences[differences["reference"] == BASE]
    change = against[["label", "quantity", *DIFFERENCE]].rename(
        columns={name: f"change_{name}" for name in DIFFERENCE}
    )
    return evidence.estimates(rule).merge(change, on=["label", "quantity"], how="left")


def _on_own_tasks(evidence: Evidence, label: str) -> Evidence:
    """Return the estimates over the tasks of a row: Delta_TTT and the oracle step are over them."""
    comparison = evidence.comparison
    rows = comparison.rows
    own = set(rows.loc[rows["label"] == label, "task"])
    if not own or own == set(comparison.tasks):
        return evidence
    kept = replace(comparison, rows=rows[rows["task"].isin(own)])
    return replace(evidence, comparison=kept)


def mean_delta(sides: Sequence[Side]) -> pd.DataFrame:
    """Return the mean of the Delta_TTT of several rows, as one row with `ESTIMATE_COLUMNS`.

    The rows share the draws of images. Seeds that one of them lacks are left out.
    """
    rows = [side.chosen.rows(side.label) for side in sides]
    seeds = sorted(set(rows[0]).intersection(*rows[1:]))
    if not seeds:
        return pd.DataFrame()
    places = [[*map(own.__getitem__, seeds)] for own in rows]
    one_by_one = zip(sides, places, strict=True)
    values = np.mean([side.chosen.deltas[place] for side, place in one_by_one], axis=0)
    drawn = _mean_replicates(sides, places)
    result = estimate(values[:, None], drawn, sides[0].chosen.units)
    return estimate_frame(result, [DELTA], seeds, [values.tolist()])


def _mean_replicates(
    sides: Sequence[Side], places: Sequence[list[int]]
) -> NDArray[np.float64] | None:
    """Return the mean Delta_TTT in the replicates, (R, S, 1); None without common units."""
    drawn = []
    for side, place in zip(sides, places, strict=True):
        found = side.chosen
        if found.replicates is None or found.units != sides[0].chosen.units:
            return None
        delta = found.quantities.index(DELTA)
        drawn.append(found.replicates[:, place, delta])
    mean: NDArray[np.float64] = np.mean(drawn, axis=0)[..., None]
    return mean


def study_results(results: Results, file: StudyFile) -> StudyResults:
    """Return the results of a study's cells.

    Rows of other cells have no part in them, for example in the correction over rows.
    """
    own = restricted(results, file.cells)
    evidence = [Evidence(comparison) for comparison in own.comparisons]
    stored = {arm.label: arm for arm in file.arms}
    arms = [
        _arm(arm, stored[arm.label].cells, evidence)
        for arm in file.study.all_arms
        if arm.label in stored
    ]
    return StudyResults(file=file, arms=tuple(arms))


def _arm(arm: Arm, cells: Sequence[str], evidence: Sequence[Evidence]) -> ArmResults:
    wanted = set(cells)
    for one in evidence:
        own = one.comparison.cells[one.comparison.cells["config"].isin(wanted)]
        rows = own[(own["method"] != BASE) & (own["control"] != FROZEN)]
        if len(rows):
            return ArmResults(
                arm=arm,
                evidence=one,
                labels=tuple(rows["label"].unique()),
                missing=len(wanted) - len(own),
            )
    return ArmResults(arm=arm, evidence=None, labels=(), missing=len(wanted))


def restricted(results: Results, cells: frozenset[str]) -> Results:
    """Return results with these cells alone."""
    kept = results.cells[results.cells["config"].isin(cells)]
    stored = results.stored[results.stored["folder"].isin(kept["folder"])]
    return replace(results, cells=kept, stored=stored)


def without_study_cells(results: Results, files: Sequence[StudyFile]) -> Results:
    """Return results without the cells that the report shows in the sections of studies alone.

    These are a study's rows with other settings of their method, and comparisons that consist of a
    study's cells.
    """
    shown = {cell for file in files if file.study.shows_comparison for cell in file.cells}
    claimed = {cell for file in files for cell in file.cells} - shown
    cells = results.cells
    texts = [split_settings(*text) for text in zip(cells["settings"], cells["method"], strict=True)]
    marked = cells.assign(
        shared=[shared for shared, _ in texts],
        own=[own for _, own in texts],
        claimed=cells["config"].isin(claimed),
    )
    kept = marked[~marked["claimed"] | (marked["own"] == "")]
    together = [name for name in Key._fields if name != "settings"] + ["shared"]
    whole = kept.groupby(together)["claimed"].transform("all")
    return restricted(results, frozenset(kept[~whole]["config"]))
