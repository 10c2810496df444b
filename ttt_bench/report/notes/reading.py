"""Notes on how to read the main table: its quantities, bold numbers, and their limits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

import pandas as pd

from ttt_bench.analysis.verdicts import yardstick
from ttt_bench.metrics.base import joined_words, metrics_of
from ttt_bench.report.notes.run import seeds_note, seeds_words
from ttt_bench.report.tables import Note
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import FIXED
from ttt_bench.stats.summary import OWN_GAIN

OWN_SOURCE = Note(
    "Over own source",
    "the same measure against the method's own source model before adapting. It favours a method "
    "whose source training lowered its scores: read it together with Delta_TTT",
)
SEEDS_ALONE = (
    "from seeds alone, because statistics of images are missing or do not give the stored scores. "
    "All seeds share the same images, which this leaves out, so it can be too short"
)
ORACLE_STEP = Note(
    "Oracle step",
    "for each seed, the step from 1 on with the best Delta_TTT. It is chosen with labels: read it "
    "as an upper bound",
)


def reading_notes(
    comparison: Comparison,
    means: pd.DataFrame,
    constants: Mapping[str, float],
    still: Collection[str],
) -> list[Note]:
    """Return the notes on the numbers of a main table.

    Args:
        means: as `Evidence.all_estimates` returns them.
        constants: map task to the score of the best constant prediction.
        still: labels whose scores are equal at every step from 1 on.
    """
    return [
        seeds_note(comparison),
        *_delta_notes(comparison),
        *([OWN_SOURCE] if (means["quantity"] == OWN_GAIN).any() else []),
        *interval_notes(comparison, means),
        *bold_notes(comparison),
        *_unmoved_notes(comparison, still),
        *_constant_notes(comparison, means, constants),
    ]


def _delta_notes(comparison: Comparison) -> list[Note]:
    if comparison.base is None:
        return []
    tasks = ", ".join(comparison.tasks)
    text = f"mean over {tasks} of the signed change relative to Base of the same seed, in percent"
    return [Note("Delta_TTT", text), ORACLE_STEP, *_seeds_without_base(comparison)]


def _seeds_without_base(comparison: Comparison) -> list[Note]:
    rows = comparison.rows
    with_base = set(rows.loc[rows["label"] == comparison.base, "seed"])
    notes = []
    for label, seeds in rows.groupby("label", sort=False)["seed"]:
        missing = sorted(set(seeds) - with_base)
        if missing:
            names = ", ".join(map(str, missing))
            name = comparison.names.of(str(label))
            text = f"{name}: seeds without Base are omitted from Delta_TTT ({names})"
            notes.append(Note("Without Base", text))
    return notes


def interval_notes(
    comparison: Comparison,
    means: pd.DataFrame,
    again: str = "the step rule chooses again in each replicate",
) -> list[Note]:
    """Return the note on what an interval is and covers, and on rows without statistics.

    Args:
        again: what is repeated in each replicate.
    """
    known = means[means["low"].notna()]
    if known.empty:
        return []
    fewer = _fewer_seeds_notes(comparison, known)
    batches = comparison.protocol.batches_depend
    units = f"{known['units'].max()} {'batches' if batches else 'images'}"
    if not known["units"].any():
        short = ("In brackets: 95 % intervals over seeds alone",)
        return [Note("Intervals", f"95 %, {SEEDS_ALONE}", short), *fewer]
    text = (
        f"95 %, in brackets, from a paired bootstrap over {units} of the target and over seeds, "
        f"with the same draws for all rows; {again}. "
        f"{_covered(int(means['seeds'].max()))}"
    )
    alone = known.loc[known["units"] == 0, "label"].unique()
    short = ("In brackets: 95 % intervals over images and seeds",)
    notes = [Note("Intervals", text, short), *fewer]
    if len(alone):
        notes.append(Note("Seeds alone", f"{comparison.names.listed(alone)}: {SEEDS_ALONE}"))
    return notes


def _fewer_seeds_notes(comparison: Comparison, known: pd.DataFrame) -> list[Note]:
    """Return the note on rows whose intervals come from fewer seeds than those of other rows."""
    fewer = known[known["seeds"] < known["seeds"].max()].drop_duplicates("label")
    if fewer.empty:
        return []
    rows = defaultdict(list)
    for label, values in zip(fewer["label"], fewer["values"], strict=True):
        rows[seeds_words(sorted(values))].append(label)
    names = comparison.names
    text = "; ".join(f"{names.listed(labels)}: {seeds}" for seeds, labels in rows.items())
    if (fewer["seeds"] == 1).any():
        text += (
            ". An interval from one seed covers other images for this source model only, so it "
            "can be shorter than those from more seeds"
        )
    return [Note("Fewer seeds", text)]


def _covered(seeds: int) -> str:
    """Return what an interval covers with this number of seeds."""
    others = "They do not cover another source data set, another target or another machine"
    if seeds == 1:
        return f"With one seed they cover other images, for this source model only. {others}"
    freedom = "1 degree" if seeds == 2 else f"{seeds - 1} degrees"
    return (
        f"They cover other images and other seeds. With {seeds} seeds the spread over source "
        f"models is estimated from {freedom} of freedom and taken as normal. {others}"
    )


def bold_notes(comparison: Comparison, *, images: bool = True) -> list[Note]:
    """Return the note on bold numbers and marks.

    Args:
        images: the differences have intervals over images, not only over seeds.
    """
    reference = yardstick(comparison)
    if reference is None:
        return []
    name = comparison.names.of(reference)
    alone = "" if images else " over seeds alone, which share the images"
    text = (
        f"bold numbers are better than {name}, and numbers with ▼ are worse: the 95 % interval of "
        f"the paired difference{alone} excludes 0 after Holm's correction over the rows shown. "
        "Intervals in print are not corrected. Frozen controls are corrected among themselves. "
        "Other numbers are not shown to differ"
    )
    if images:
        text += ". In a column of differences the reference is the one that its head names"
    short = f"Bold: better than {name}, ▼: worse, after Holm's correction{alone}"
    return [Note("Bold, ▼", text, (short,))]


def _unmoved_notes(comparison: Comparison, still: Collection[str]) -> list[Note]:
    labels = [label for label in comparison.labels if label in still and label != comparison.base]
    if not labels:
        return []
    names = comparison.names.listed(labels)
    text = f"{names}: the scores are equal from step 1 on, so there is no best step"
    return [Note("Unmoved", text)]


def _constant_notes(
    comparison: Comparison, means: pd.DataFrame, constants: Mapping[str, float]
) -> list[Note]:
    """Return the definition of the best constant, and a warning per task that is close to it."""
    if not constants:
        return []
    words = {task: metrics_of(task).constant_words for task in comparison.tasks}
    last = means[(means["label"] == comparison.base) & (means["selection"] == FIXED.name)]
    base = last.set_index("quantity")["mean"]
    notes = [Note("Best constant", joined_words(words))]
    for task, constant in constants.items():
        if task in base.index:
            warning = metrics_of(task).constant_warning(base[task], constant)
            notes += [] if warning is None else [Note(*warning)]
    return notes
