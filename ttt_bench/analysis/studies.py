"""The results of a study: the comparison and the rows of each of its arms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from ttt_bench.analysis.evidence import BASE, FROZEN, Evidence
from ttt_bench.analysis.results import Results
from ttt_bench.designs.study import Arm, Study
from ttt_bench.results.study_files import StudyFile
from ttt_bench.stats.comparison import Comparison, Key, split_settings

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

    def row_name(self, label: str) -> str:
        """Return the name of a row in a table: the arm, and the method if it has several."""
        if self.evidence is None or len(self.labels) < 2:
            return self.arm.label
        comparison = self.evidence.comparison
        return f"{self.arm.label}: {comparison.methods[label]}"


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
    evidence = arm.evidence
    if evidence is None or evidence.comparison.rows.empty:
        return
    means, differences = evidence.estimates(rule), evidence.differences(rule)
    against = differences[differences["reference"] == BASE]
    change = against[["label", "quantity", *DIFFERENCE]].rename(
        columns={name: f"change_{name}" for name in DIFFERENCE}
    )
    found = means.merge(change, on=["label", "quantity"], how="left")
    for label in arm.labels:
        own = found[found["label"] == label]
        named = {"arm": arm.arm.label, "value": arm.arm.value, "row": arm.row_name(label)}
        yield own.assign(**named)


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
