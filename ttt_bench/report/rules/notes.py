"""Notes on the table of step rules."""

from __future__ import annotations

from collections.abc import Sequence

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.analysis.regret import held_out
from ttt_bench.report.notes.reading import interval_notes
from ttt_bench.report.notes.run import others_notes
from ttt_bench.report.tables import Note
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.cross_fitting import FOLDS, PARTITIONS
from ttt_bench.stats.step_rules import FIXED, ORACLE, StepRule, all_rules

REGRET = Note(
    "Regret",
    "what a rule loses against the oracle. It is not negative, so its interval ends at 0. A part "
    "of it is the oracle's optimism: see the last column",
)


def rules_notes(
    evidence: Evidence, rules: Sequence[StepRule], labels: Sequence[str], shared: Sequence[str]
) -> list[Note]:
    """Return the notes of the table of step rules.

    Args:
        rules: the rules with a column.
        labels: the labels with a row.
        shared: the labels of the mean regret.
    """
    comparison = evidence.comparison
    fixed = evidence.estimates(FIXED.name)
    return [
        Note("Seeds", ", ".join(map(str, sorted(comparison.rows["seed"].unique())))),
        *(Note(rule.heading.capitalize(), _definition(rule)) for rule in rules),
        REGRET,
        *_held_out_notes(evidence, labels),
        *interval_notes(comparison, fixed[fixed["label"].isin(labels)]),
        *_mean_notes(comparison, labels, shared),
        *_absent_notes(evidence, rules, labels),
        *(Note("Left out", problem) for problem in all_rules().problems),
        *others_notes(comparison),
    ]


def _definition(rule: StepRule) -> str:
    return rule.detail if rule.uses_labels else f"{rule.detail}; without labels"


def _held_out_notes(evidence: Evidence, labels: Sequence[str]) -> list[Note]:
    oracle = evidence.chosen[ORACLE.name]
    if all(held_out(evidence, label) is None for label in labels):
        text = "not estimated: statistics of images are missing"
        return [Note("Oracle, held out", text)]
    batches = evidence.comparison.protocol.batches_depend
    units = f"{oracle.units} {'batches' if batches else 'images'}"
    folds = min(FOLDS, oracle.units)
    spread = (
        f"± is the standard deviation over {PARTITIONS} random partitions. "
        if oracle.units > folds
        else ""
    )
    text = (
        f"the step of each of {folds} folds of the {units} is chosen on the other folds, and all "
        f"are scored together. Its regret is the oracle's optimism: how much of its Delta_TTT "
        f"comes from choosing on the images that it is scored on. {spread}Each choice uses "
        f"{folds - 1}/{folds} of the {'batches' if batches else 'images'}, so it is noisier than "
        "the oracle's"
    )
    return [Note("Oracle, held out", text)]


def _mean_notes(comparison: Comparison, labels: Sequence[str], shared: Sequence[str]) -> list[Note]:
    without = [label for label in labels if label not in shared]
    if len(shared) < 2 or not without:
        return []
    text = f"over rows with a step under every rule; without {comparison.names.listed(without)}"
    return [Note("Mean regret", text)]


def _absent_notes(
    evidence: Evidence, rules: Sequence[StepRule], labels: Sequence[str]
) -> list[Note]:
    """Return a note per rule under which some rows, or all, have no step."""
    shown, names = {rule.name for rule in rules}, evidence.comparison.names
    notes = []
    for rule in evidence.rules:
        found = evidence.chosen[rule.name]
        absent = [label for label in labels if not found.rows(label)]
        if absent:
            where = names.listed(absent) if rule.name in shown else "any row, so it has no column"
            needs = f". It needs {rule.needs}" if rule.needs else ""
            notes.append(Note("No step", f"under *{rule.heading}* for {where}{needs}"))
    return notes
