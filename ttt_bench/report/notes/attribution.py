"""Notes on the attribution table: its parts, and the rows whose parts are incomplete."""

from __future__ import annotations

import pandas as pd

from ttt_bench.report.notes.reading import SEEDS_ALONE, interval_notes
from ttt_bench.report.notes.run import others_notes, seeds_note
from ttt_bench.report.tables import Note
from ttt_bench.stats.attribution import ADAPTATION, PARTS, TOTAL
from ttt_bench.stats.comparison import Comparison

SUM = Note(
    "Sum",
    "each part is in percent of Base, signed so that positive is better and averaged over tasks. "
    "The parts of a row add up to its Delta_TTT",
    ("The parts of a row add up to its Delta_TTT",),
)
BOLD = Note(
    "Bold, ▼",
    "bold numbers are above 0, and numbers with ▼ are below 0: the 95 % interval excludes 0 after "
    "Holm's correction over the rows of the column. Other parts are not shown to differ from 0",
    ("Bold: above 0, ▼: below 0, after Holm's correction",),
)


def attribution_notes(comparison: Comparison, found: pd.DataFrame) -> list[Note]:
    """Return the notes on an attribution table.

    Args:
        found: as `attribution_table.parts` returns them.
    """
    present = set(found["part"])
    return [
        SUM,
        *(Note(_capital(part.heading), part.about) for part in PARTS if part.name in present),
        _seeds(comparison),
        *others_notes(comparison),
        *_without_control(comparison, found),
        *_left_out(comparison, found),
        *interval_notes(comparison, found[found["part"] == TOTAL.name]),
        *_seeds_alone(comparison, found),
        BOLD,
    ]


def _seeds(comparison: Comparison) -> Note:
    """Return the note that names the seeds; the table has intervals and no deviations."""
    seeds = sorted(comparison.rows["seed"].unique())
    return seeds_note(comparison) if len(seeds) == 1 else Note("Seeds", ", ".join(map(str, seeds)))


def _seeds_alone(comparison: Comparison, found: pd.DataFrame) -> list[Note]:
    """Return a note on the parts whose intervals come from seeds alone, unless all do."""
    alone = found[(found["units"] == 0) & found["low"].notna() & (found["part"] != TOTAL.name)]
    if alone.empty or not found["units"].any():
        return []
    parts: dict[str, list[str]] = {}
    for part in PARTS:
        labels = alone.loc[alone["part"] == part.name, "label"].unique()
        if len(labels):
            parts.setdefault(comparison.names.listed(labels), []).append(part.heading)
    texts = [f"{' and '.join(names)} of {labels}" for labels, names in parts.items()]
    return [Note("Seeds alone", f"{'; '.join(texts)}: {SEEDS_ALONE}")]


def _without_control(comparison: Comparison, found: pd.DataFrame) -> list[Note]:
    labels = list(found.loc[found["part"] == ADAPTATION.name, "label"].unique())
    if not labels:
        return []
    names = comparison.names.listed(labels)
    methods = ",".join(dict.fromkeys(comparison.methods[label] for label in labels))
    text = (
        f"{names}: normalisation and updates cannot be told apart without the frozen control. Run "
        f"the same command with `--methods {methods} --control none,frozen` to add it"
    )
    return [Note("No frozen control", text)]


def _left_out(comparison: Comparison, found: pd.DataFrame) -> list[Note]:
    """Return a note on the seeds that lack a part."""
    done = comparison.done
    done = done[(done["control"] == "none") & (done["method"] != "base")]
    used = dict(zip(found["label"], found["values"], strict=True))
    texts = []
    for label, seeds in done.groupby("label", sort=False)["seed"]:
        missing = sorted(set(seeds) - set(used.get(label, {})))
        if missing:
            name = comparison.names.of(str(label))
            texts.append(f"{name}: {', '.join(map(str, missing))}")
    if not texts:
        return []
    text = (
        f"{'; '.join(texts)}. Base, the frozen control, or the scores of the own source model are "
        "missing there, so Delta_TTT may differ from that of the main table"
    )
    return [Note("Seeds left out", text)]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
