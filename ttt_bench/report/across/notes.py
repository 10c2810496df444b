"""Notes below the tables of a group of comparisons."""

from __future__ import annotations

from collections.abc import Iterator

from ttt_bench.analysis.across.frames import methods_of, ranked_labels, shared_labels
from ttt_bench.analysis.across.groups import Group
from ttt_bench.analysis.across.published_ranks import published_deltas
from ttt_bench.analysis.evidence import NORM
from ttt_bench.report.tables import Note
from ttt_bench.results.method_names import PROPER_NAMES, MethodNames
from ttt_bench.results.published import for_pair
from ttt_bench.stats.step_rules import FIXED

INTERVALS = (
    "95 %, in brackets. Each value has the intervals of its table. Which rows are shown to "
    "differ from {norm} or Base is marked there"
)
RECOMPUTED = (
    "Delta_TTT is recomputed from the printed scores on the measured tasks, because the printed "
    "one is over other tasks or contradicts them"
)
INDEPENDENT = (
    "The pairs share neither a source nor a target domain, so its half-width is the root of the "
    "sum of their squared half-widths, divided by {count}"
)
DEPENDENT = (
    "The values share images or source models, so its half-width is the mean of their half-widths, "
    "which is the upper limit for any dependence: it can be too wide, not too short"
)
DELTA_TTT = Note(
    "Delta_TTT",
    "mean over the tasks of the comparison of the signed change relative to Base of the same seed, "
    "in percent",
)


def delta_notes(group: Group, names: MethodNames = PROPER_NAMES) -> Iterator[Note]:
    """Yield the notes of the table of Delta_TTT."""
    yield DELTA_TTT
    yield Note("Intervals", INTERVALS.format(norm=names.of(NORM)))
    words = INDEPENDENT.format(count=len(group.members)) if group.independent else DEPENDENT
    yield Note(
        "Mean",
        f"over the {len(group.members)} values, each with the same weight. {words}. It does not "
        "cover other values than these",
    )
    yield from _rank_notes(group)
    yield from _missing_notes(group, names)
    yield from score_notes(group, names)


def published_tables(group: Group) -> str:
    """Return the tables with the published numbers of each pair, in words."""
    found = {one.key.pair: for_pair(one.key.pair, one.key.architecture) for one in group.members}
    tables = [f"{pair}: {table.name}" for pair, table in found.items() if table is not None]
    return "; ".join(tables)


def _published_notes(group: Group, names: MethodNames) -> Iterator[Note]:
    """Yield the note on published Delta_TTT that are recomputed."""
    if group.axis != "pair":
        return
    found = [
        f"{names.of(label)} on {one.key.pair}"
        for one in group.members
        for label, delta in published_deltas(one.key.pair, one.tasks, one.key.architecture).items()
        if delta.recomputed and label in one.methods
    ]
    if found:
        yield Note("Published", f"{', '.join(found)}: {RECOMPUTED}")


def score_notes(group: Group, names: MethodNames = PROPER_NAMES) -> Iterator[Note]:
    """Yield the notes that all tables of a group have."""
    yield from _published_notes(group, names)
    if group.also_differs:
        entries = ", ".join(group.also_differs)
        yield Note("Also differs", f"{entries} (entries of the manifests)")
    if group.left_out:
        values = ", ".join(group.left_out)
        text = f"{values}: the folder has several comparisons of these names, with other data"
        yield Note("Left out", text)


def _rank_notes(group: Group) -> Iterator[Note]:
    labels = ranked_labels(group, FIXED.name)
    if not labels:
        return
    yield Note(
        "Average rank",
        f"of Delta_TTT among {len(labels)} rows; 1 is the best, ties have the average of their "
        "ranks, Base has Delta_TTT 0. Frozen controls are not ranked, because they are references. "
        "In brackets: the central 95 % of ranks if images and seeds are drawn again",
    )


def _missing_notes(group: Group, names: MethodNames) -> Iterator[Note]:
    """Yield the note on rows that a value lacks."""
    shared = set(shared_labels(group, FIXED.name))
    missing = [label for label in methods_of(group) if label not in shared]
    if missing:
        text = (
            f"{names.listed(missing)}: without Delta_TTT in some values, so without mean and rank"
        )
        yield Note("Missing", text)
