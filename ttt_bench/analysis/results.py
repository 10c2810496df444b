"""`open_results`: stored results as an object with tables, intervals and comparisons."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd

from ttt_bench.analysis.across.frames import COLUMNS as ACROSS_COLUMNS
from ttt_bench.analysis.across.frames import across_frame
from ttt_bench.analysis.across.groups import groups
from ttt_bench.analysis.across.numbers import Numbers, numbers_of
from ttt_bench.analysis.across.published_ranks import published_ranks, rank_correlations
from ttt_bench.analysis.attribution import attribution
from ttt_bench.analysis.comparing.compared import between, within
from ttt_bench.analysis.comparing.joining import join
from ttt_bench.analysis.evidence import Evidence
from ttt_bench.analysis.regret import regrets
from ttt_bench.analysis.synchronisation import synchronisation
from ttt_bench.errors import BenchError, unknown
from ttt_bench.results.load import load, plain
from ttt_bench.results.method_names import PROPER_NAMES, MethodNames
from ttt_bench.results.schema import ROW_COLUMNS
from ttt_bench.stats.comparison import Comparison, Key, comparisons
from ttt_bench.stats.step_rules import DELTA, FIXED, STEP_RULES, all_rules
from ttt_bench.tasks import TASKS
from ttt_bench.util.store import mirror
from ttt_bench.util.store.address import results_path

Names = str | Collection[str]


@dataclass(frozen=True, kw_only=True)
class Results:
    """Stored results of one or several folders; immutable, and computed when first used.

    A *label* names a row of a table: a method, with its control, settings and number of steps if
    they are not the usual ones, such as `s4t (frozen)`. Frames that compare have the columns of
    `stats.comparison.Key`, which name the comparison.

    Attributes:
        paths: the results folders.
        cells: one row per cell (`results.load.CELL_COLUMNS`).
        stored: the stored rows, with the `folder` of their cell.
        notes: notes about damaged files, and about what differs between the folders.
        methods: the methods whose rows are returned; None for all. Other cells stay as references.
        wanted: configurations that are shown in place of newer ones of the same name.
        names: the printed names of rows; frames have labels.
    """

    paths: tuple[Path, ...]
    cells: pd.DataFrame
    stored: pd.DataFrame
    notes: tuple[str, ...] = ()
    methods: tuple[str, ...] | None = None
    wanted: frozenset[str] = field(default=frozenset())
    names: MethodNames = PROPER_NAMES

    @property
    def rows(self) -> pd.DataFrame:
        """Return the stored rows, one number per row, with the columns `schema.ROW_COLUMNS`."""
        kept = self.stored[self._shown(self.stored["method"])]
        return plain(kept[list(ROW_COLUMNS)]).reset_index(drop=True)

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Return the comparisons: cells that differ only in method, settings, control and seed."""
        # a damaged manifest does not tell the comparison of its cell, so each one gets the notes
        return tuple(
            replace(one, notes=(*one.notes, *self.notes))
            for one in comparisons(self.cells, self.stored, self.wanted, self.names)
        )

    @cached_property
    def evidence(self) -> tuple[Evidence, ...]:
        """Return the estimates of each comparison."""
        return tuple(map(Evidence, self.comparisons))

    def select(
        self,
        *,
        methods: Names | None = None,
        pairs: Names | None = None,
        protocols: Names | None = None,
        seeds: int | Collection[int] | None = None,
        tasks: Names | None = None,
    ) -> Results:
        """Return the results of these methods, pairs, protocols, seeds and tasks only.

        Base, `norm` and frozen controls remain as references if `methods` leaves them out.
        Delta_TTT is the mean over the selected tasks.

        Raises:
            BenchError: a name does not occur in the results, or a selection is empty.
        """
        cells, rows = self.cells, self.stored
        choices = {"pair": pairs, "protocol": protocols, "seed": seeds, "task": tasks}
        for column, wanted in choices.items():
            if wanted is None:
                continue
            values = _several(wanted)
            frame = rows if column == "task" else cells
            _check(column, values, list(frame[column].unique()))
            rows = rows[rows[column].isin(values)]
            if column != "task":
                cells = cells[cells[column].isin(values)]
        shown = self.methods
        if methods is not None:
            shown = tuple(map(str, _several(methods)))
            _check("method", shown, list(self.cells["method"].unique()))
        return replace(self, cells=cells, stored=rows, methods=shown)

    def delta(
        self,
        rule: str = FIXED.name,
        per: Literal["mean", "seed"] = "mean",
        tasks: Names | None = None,
    ) -> pd.DataFrame:
        """Return Delta_TTT in percent against Base of the same seed.

        Args:
            rule: the step rule.
            per: `mean` returns one row per label with `delta_ttt` (the mean over seeds), `sd`, the
                95 % interval `low, high`, and the number of `seeds`; `seed` returns one row per
                label and seed with `step` and `delta_ttt`.
            tasks: the tasks of the mean; None for all.

        Raises:
            BenchError: an unknown rule or task.
        """
        if per not in ("mean", "seed"):
            raise unknown("per", per, ("mean", "seed"))
        results = self if tasks is None else self.select(tasks=tasks)
        if per == "seed":
            return results._each(lambda one: _per_seed(one, rule), rule)
        columns = ["label", DELTA, "sd", "low", "high", "seeds"]
        return results._each(
            lambda one: _delta_rows(one.estimates(rule)).rename(columns={"mean": DELTA})[columns],
            rule,
        )

    def scores(self, rule: str = FIXED.name) -> pd.DataFrame:
        """Return the mean scores and Delta_TTT, one row per label, one column per quantity."""
        return self._each(lambda one: _wide(one.estimates(rule)), rule)

    def estimates(self, rule: str = FIXED.name) -> pd.DataFrame:
        """Return the mean over seeds of each label and quantity, with its interval."""
        return self._each(lambda one: one.estimates(rule), rule)

    def differences(self, rule: str = FIXED.name) -> pd.DataFrame:
        """Return the paired differences of each label to Base, `norm` and its frozen control."""
        return self._each(lambda one: one.differences(rule), rule)

    def attribution(self, rule: str = FIXED.name) -> pd.DataFrame:
        """Return Delta_TTT of each label as a sum of parts, with their intervals.

        The parts, in percent of Base for each task and averaged over tasks, are what the method's
        source training changes, what normalisation changes (its frozen control against its own
        untouched source model), what updating weights changes (the method against its frozen
        control at the same step), and their `total`. Without a frozen control the last two are one
        part, `adaptation`. `p_holm` is corrected over the labels.
        """
        return self._each(lambda one: attribution(one, rule), rule)

    def synchronisation(self) -> pd.DataFrame:
        """Return how synchronously the tasks of each label change over steps, with intervals.

        Columns: those of the comparison, and `analysis.synchronisation.COLUMNS`: the measures of
        each label, and with `reference` "frozen" their paired differences to the label's frozen
        control. `docs/synchronisation.md` defines the measures.
        """
        return self._each(synchronisation, FIXED.name)

    def compare(self, a: str, b: str, rule: str = FIXED.name) -> pd.DataFrame:
        """Return the paired differences a - b of two labels, for each quantity.

        Returns:
            Columns `compared.COLUMNS`. Seeds that one of them lacks are left out.

        Raises:
            BenchError: a label does not occur, both are equal, or no comparison has both.
        """
        return within(self.evidence, a, b).differences(rule)

    def against(
        self,
        other: Results,
        a: str | None = None,
        b: str | None = None,
        *,
        rule: str = FIXED.name,
        allow: Names = (),
    ) -> pd.DataFrame:
        """Return the paired differences of these results (A) and other results (B), A - B.

        Args:
            other: the results B.
            a: a label of A; None: that of B. If both are None, all labels that both results have
                (of the selected methods) are compared.
            b: a label of B; None: that of A.
            rule: the step rule.
            allow: entries of the manifests that may differ, or `all`. By default data, scoring and
                steps must be equal (`comparable.EVALUATION`).

        Returns:
            Columns `compared.COLUMNS`. Seeds and labels that one side lacks are left out.

        Raises:
            BenchError: a label does not occur, A and B have no common seed of a label, or data,
                scoring or steps differ; the message names the entries.
        """
        permitted = tuple(map(str, _several(allow)))
        found = between(
            self.evidence, other.evidence, a=a, b=b, methods=self.methods, allow=permitted
        )
        return found.differences(rule)

    def regret(self) -> pd.DataFrame:
        """Return the regret of each label under each rule, and the oracle's optimism.

        See `analysis.regret.regrets`.
        """
        return self._each(regrets, FIXED.name)

    def across(self, axis: str, rule: str = FIXED.name) -> pd.DataFrame:
        """Return the numbers of comparisons that differ in one choice, next to each other.

        Args:
            axis: the choice: pair, protocol, preset, hparams, data_variant, or the name of a
                setting that the comparisons set, such as `data.target_limit`.
            rule: the step rule.

        Returns:
            Columns `group` (what the comparisons share) and `across.frames.COLUMNS`. The value
            `all` has the mean of Delta_TTT over the values, and the average rank.

        Raises:
            BenchError: an unknown rule, or no two comparisons differ only in this choice.
        """
        STEP_RULES.load(rule)
        found = groups(self._numbers(rule))
        own = [group for group in found if group.axis == axis]
        if not own:
            raise unknown("choice in which comparisons differ", axis, [one.axis for one in found])
        frames = [across_frame(group, rule).assign(group=group.shared) for group in own]
        return pd.concat(frames, ignore_index=True)[["group", *ACROSS_COLUMNS]]

    def published_ranks(self, rule: str = FIXED.name) -> pd.DataFrame:
        """Return published and measured ranks of Delta_TTT, for pairs with published numbers.

        Columns: those of the comparison, and `across.published_ranks.RANK_COLUMNS`.
        """
        return self._each_numbers(published_ranks, rule)

    def rank_correlations(self, rule: str = FIXED.name) -> pd.DataFrame:
        """Return the rank correlations of published and measured Delta_TTT, with intervals.

        Columns: those of the comparison, and `across.published_ranks.CORRELATION_COLUMNS`.
        """
        return self._each_numbers(rank_correlations, rule)

    def _numbers(self, rule: str) -> list[Numbers]:
        """Return the numbers of each comparison under a rule, for the shown methods."""
        methods = self.methods
        found = [
            numbers_of(one, (rule,), lambda name: methods is None or name in methods)
            for one in self.evidence
        ]
        return [one for one in found if one is not None]

    def _each_numbers(
        self, build: Callable[[Numbers, str], pd.DataFrame], rule: str
    ) -> pd.DataFrame:
        STEP_RULES.load(rule)
        found = [(one.key, build(one, rule)) for one in self._numbers(rule)]
        frames = [_identified(frame, key) for key, frame in found if len(frame)]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def to_pandas(self) -> pd.DataFrame:
        """Return every number of the tables of scores: estimates under each rule, in long form.

        Columns: those of the comparison, `selection` (the rule), `label` and the estimate's.
        """
        frames = [
            self.estimates(rule.name).assign(selection=rule.name) for rule in all_rules().rules
        ]
        return pd.concat(frames, ignore_index=True)

    def _each(self, build: Callable[[Evidence], pd.DataFrame], rule: str) -> pd.DataFrame:
        """Return the frames of all comparisons below each other, with the comparisons' names."""
        STEP_RULES.load(rule)
        frames = []
        for one in self.evidence:
            if one.comparison.rows.empty:
                continue
            if rule not in one.chosen:
                raise BenchError(f"step rule {rule!r} is newer than these results; open them again")
            frame = build(one)
            method = frame["label"].map(one.comparison.methods)
            frame = frame[self._shown(method)]
            frames.append(_identified(frame, one.comparison.key))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def _shown(self, methods: pd.Series) -> pd.Series:
        if self.methods is None:
            return pd.Series(data=True, index=methods.index)
        return methods.isin(list(self.methods))


def open_results(*paths: str | Path) -> Results:
    """Open one or several results folders.

    A folder may be given by its URL (`s3://bucket/run`). Cells of several folders are joined as
    `analysis.comparing.joining.join` does; `notes` of the results states what differs between the
    folders.

    Raises:
        BenchError: a folder does not exist or has no whole results, or no path is given.
    """
    if not paths:
        raise BenchError("open_results: give the path of a results folder")
    folders = tuple(results_path(path) for path in paths)
    for folder in folders:
        mirror.fetch(folder)
    loaded = {folder: load(folder) for folder in dict.fromkeys(folders)}
    problems = [f"left out: {problem}" for one in loaded.values() for problem in one.problems]
    joined = join(loaded)
    return Results(
        paths=tuple(loaded),
        cells=joined.cells,
        stored=joined.rows,
        notes=(*problems, *joined.notes),
    )


def _several(names: str | int | Collection[str] | Collection[int]) -> list[str | int]:
    return [names] if isinstance(names, str | int) else list(names)


def _check(column: str, wanted: Sequence[object], known: Sequence[object]) -> None:
    """Raise a BenchError if a name does not occur, or if none is given."""
    if not wanted:
        raise BenchError(f"no {column} is selected; give at least one, or omit this selection")
    for name in wanted:
        if name not in known:
            raise unknown(column, str(name), [str(one) for one in known])


def _identified(frame: pd.DataFrame, key: Key) -> pd.DataFrame:
    """Return a frame with the choices of its comparison in the first columns."""
    return pd.concat(
        [pd.DataFrame([key] * len(frame), columns=list(Key._fields), index=frame.index), frame],
        axis=1,
    )


def _delta_rows(estimates: pd.DataFrame) -> pd.DataFrame:
    return estimates[estimates["quantity"] == DELTA]


def _per_seed(one: Evidence, rule: str) -> pd.DataFrame:
    found = one.chosen[rule]
    place = found.quantities.index(DELTA)
    frame = found.cells.to_frame(index=False)
    frame = frame.assign(step=found.steps, **{DELTA: found.values[:, place]})
    return frame[frame["step"] >= 0].dropna(subset=DELTA).reset_index(drop=True)


def _wide(estimates: pd.DataFrame) -> pd.DataFrame:
    """Return one row per label in their order, one column per quantity in theirs."""
    order = list(dict.fromkeys(estimates["quantity"]))
    labels = list(dict.fromkeys(estimates["label"]))
    wide = estimates.pivot(index="label", columns="quantity", values="mean")
    named = wide.loc[labels, order].rename_axis(columns=None)
    return named[
        [*(t for t in TASKS if t in order), *(q for q in order if q not in TASKS)]
    ].reset_index()
