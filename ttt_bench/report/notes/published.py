"""Notes on the published numbers: their origin, known errors, and differences from this run."""

from __future__ import annotations

from ttt_bench.report.tables import Note
from ttt_bench.results.published import STEPS, PublishedTable
from ttt_bench.stats.comparison import Comparison

CHOICES = {
    "preset": ("preset", "paper"),
    "data_variant": ("data handling", "official"),
    "protocol": ("protocol", "online"),
    "hparams": ("set of hyperparameters", "paper"),
}
"""The choices of the published runs, in words and by name, by field of `comparison.Key`."""


def published_notes(comparison: Comparison, published: PublishedTable | None) -> list[Note]:
    """Return the notes on a published table; none if nothing is published for the pair."""
    if published is None:
        return []
    methods = set(comparison.cells["method"])
    flagged = [row for row in published.rows if row.flag and row.method in methods]
    return [
        _origin(comparison, published),
        *(Note("† Published", f"{row.method}: {row.flag}") for row in flagged),
        *(Note("Published", note) for note in published.notes),
    ]


def _origin(comparison: Comparison, published: PublishedTable) -> Note:
    text = (
        f"{published.name}: mean ± standard deviation as printed, at the step with the best "
        "average Delta_TTT"
    )
    differences = _differences(comparison)
    if differences:
        text += f". This run differs from the published ones: {'; '.join(differences)}. "
        text += _consequence(comparison)
    return Note("Published", text)


def _consequence(comparison: Comparison) -> str:
    _, preset = CHOICES["preset"]
    if comparison.key.preset != preset:
        return "Its numbers and the published ones are not comparable"
    return "A difference between the numbers may have another cause than the methods"


def _differences(comparison: Comparison) -> list[str]:
    """Return the differences between a comparison and the published runs, one clause each."""
    key = comparison.key
    clauses = []
    for field, (words, published) in CHOICES.items():
        choice = getattr(key, field)
        if choice != published:
            clauses.append(f"its {words} is {choice}, not {published}")
    if key.settings:
        clauses.append(f"settings were changed ({key.settings.replace('; ', ', ')})")
    return clauses + _other_steps(comparison)


def _other_steps(comparison: Comparison) -> list[str]:
    """Return a clause on the numbers of steps that are not the published one, if any."""
    done = comparison.done
    steps = set(done.loc[done["method"] != "base", "steps"])
    others = sorted(steps - {STEPS})
    if not others:
        return []
    who = "some rows adapt" if STEPS in steps else "methods adapt"
    return [f"{who} for {' or '.join(map(str, others))} steps, not {STEPS}"]
