"""Notes on the published numbers: their origin, known errors, and differences from this run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ttt_bench.report.tables import Note
from ttt_bench.results.published import (
    IMAGES,
    STEPS,
    TIMING_DEVICE,
    PublishedRow,
    PublishedTable,
    other_tables,
)
from ttt_bench.results.published.checks import same_spread
from ttt_bench.results.published.variants import WITHOUT_SETTINGS
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.conditions import NOT_RECORDED, conditions

CHOICES = {
    "preset": ("preset", "paper"),
    "data_variant": ("data handling", "official"),
    "protocol": ("protocol", "online"),
    "hparams": ("set of hyperparameters", "paper"),
}
"""The choices of the published runs, in words and by name, by field of `comparison.Key`."""

ABOUT, FLAGGED = "Published", "† Published"
DELTA = "Delta_TTT"


def published_notes(
    comparison: Comparison, published: PublishedTable | None, rows: Sequence[PublishedRow]
) -> list[Note]:
    """Return the notes on published rows; none if nothing is published for the pair.

    Args:
        rows: the rows of the methods and ablations that were run.
    """
    if published is None or not rows:
        return []
    others = other_tables(published.pair)
    short = f"Published: {published.name}"
    if _differences(comparison, published):
        short += f"; {_lower(_consequence(comparison, published))}"
    texts = [
        *_own_names(comparison, rows),
        *_other_tasks(comparison, published, rows),
        *_other_spreads(comparison, rows, others),
        *dict.fromkeys(row.remark for row in rows if row.remark),
        *_without_settings(comparison),
        *published.notes,
    ]
    return [
        Note(ABOUT, _origin(comparison, published, rows), (short,)),
        *(Note(ABOUT, text) for text in texts),
        *_flags(comparison, published, rows, others),
    ]


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _origin(comparison: Comparison, published: PublishedTable, rows: Sequence[PublishedRow]) -> str:
    what = "mean ± standard deviation" if published.rows[0].scores else DELTA
    text = f"{published.name}: {what} as printed, at the step with the best average {DELTA}"
    if any(row.delta and row.delta.sd for row in rows) or published.rows[0].scores:
        text += "; the papers do not say how many runs a standard deviation is over"
    differences = _differences(comparison, published)
    if differences:
        text += f". This run differs from the published ones: {'; '.join(differences)}. "
        text += _consequence(comparison, published)
    return text


def _consequence(comparison: Comparison, published: PublishedTable) -> str:
    _, preset = CHOICES["preset"]
    other_data = _images(comparison) or set(comparison.tasks) != set(published.tasks)
    if comparison.key.preset != preset or other_data:
        return "Its numbers and the published ones are not comparable"
    return "A difference between the numbers may have another cause than the methods"


def _differences(comparison: Comparison, published: PublishedTable) -> list[str]:
    """Return the differences between a comparison and the published runs, one clause each."""
    key = comparison.key
    clauses = []
    for field, (words, choice) in CHOICES.items():
        if getattr(key, field) != choice:
            clauses.append(f"its {words} is {getattr(key, field)}, not {choice}")
    if set(comparison.tasks) != set(published.tasks):
        here, there = ", ".join(comparison.tasks), ", ".join(published.tasks)
        clauses.append(f"its tasks are {here} (published: {there})")
    if key.settings:
        clauses.append(f"settings were changed ({key.settings.replace('; ', ', ')})")
    return [*clauses, *_images(comparison), *_steps(comparison), *_device(comparison)]


def _images(comparison: Comparison) -> list[str]:
    """Return a clause on the number of target images, if it is not the published one."""
    target = comparison.key.pair.partition(":")[2].partition("+")[0]
    found = sorted(set(comparison.rows["n"]))
    if target not in IMAGES or found == [IMAGES[target]]:
        return []
    return [f"it has {' or '.join(map(str, found))} target images, not {IMAGES[target]}"]


def _steps(comparison: Comparison) -> list[str]:
    """Return a clause on the numbers of steps that are not the published one, if any."""
    done = comparison.done
    steps = set(done.loc[done["method"] != "base", "steps"])
    others = sorted(steps - {STEPS})
    if not others:
        return []
    who = "some rows adapt" if STEPS in steps else "methods adapt"
    return [f"{who} for {' or '.join(map(str, others))} steps, not {STEPS}"]


def _device(comparison: Comparison) -> list[str]:
    """Return a clause on the devices that are not the one that the papers name, if any."""
    used = {conditions(manifest)["device"] for manifest in comparison.done["manifest"]}
    others = sorted(device for device in used if TIMING_DEVICE not in device)
    known = [device for device in others if device != NOT_RECORDED]
    if not known:
        return []
    return [f"its device is {' or '.join(known)} (S4T names an {TIMING_DEVICE}, for its times)"]


def _own_names(comparison: Comparison, rows: Sequence[PublishedRow]) -> Iterator[str]:
    """Yield a text per row that its paper names otherwise."""
    for row in rows:
        if row.name:
            earlier = "" if row.settings else ". TR-TTT is the earlier version of S4T"
            name = comparison.names.of(row.label)
            yield f"{name} is the row {row.name} of {row.source}{earlier}"


def _other_tasks(
    comparison: Comparison, published: PublishedTable, rows: Sequence[PublishedRow]
) -> Iterator[str]:
    """Yield how the published Delta_TTT is shown if other tasks were measured."""
    tasks, names = comparison.tasks, comparison.names
    if set(tasks) == set(published.tasks):
        return
    over = f"the published {DELTA} is over {', '.join(published.tasks)}"
    printed = {row.label: row.delta for row in rows if row.delta}
    again = [label for label in printed if _recomputed(rows, label, tasks)]
    if again:
        shown = (label for label in again if label != "base")
        values = ", ".join(f"{names.of(label)} {printed[label].mean}" for label in shown)
        yield (
            f"{over} ({values}). It is shown recomputed from the published means of "
            f"{', '.join(tasks)}, without a standard deviation"
        )
    lost = [
        f"{names.of(label)} {delta.mean}" for label, delta in printed.items() if label not in again
    ]
    if lost:
        yield f"{over} and cannot be recomputed without the means of {', '.join(tasks)}: " + (
            ", ".join(lost)
        )


def _recomputed(rows: Sequence[PublishedRow], label: str, tasks: tuple[str, ...]) -> bool:
    return any(row.label == label and row.delta_on(tasks) is not None for row in rows)


def _other_spreads(
    comparison: Comparison, rows: Sequence[PublishedRow], others: Sequence[PublishedTable]
) -> Iterator[str]:
    """Yield a text per table that prints other standard deviations for the same means."""
    names = comparison.names
    for table in others:
        pairs = [(row, again) for row in rows if (again := table.row(row.label))]
        differ = [text for row, again in pairs for text in _differing(comparison, row, again)]
        if differ:
            yield (
                f"{table.name} prints other standard deviations for the same means: "
                f"{', '.join(differ)}"
            )
        more = [
            _added(names.of(row.label), again) for row, again in pairs if _adds_spread(row, again)
        ]
        if more:
            yield f"{table.name} also prints standard deviations of {DELTA}: {', '.join(more)}"


def _differing(comparison: Comparison, row: PublishedRow, again: PublishedRow) -> Iterator[str]:
    """Yield each task whose standard deviation differs between two prints of a row."""
    name = comparison.names.of(row.label)
    for task in comparison.tasks:
        shown, number = row.scores.get(task), again.scores.get(task)
        if shown and number and shown.sd and number.sd and not same_spread(shown.sd, number.sd):
            yield f"{name} {task} ± {number.sd} (shown: ± {shown.sd})"


def _adds_spread(row: PublishedRow, again: PublishedRow) -> bool:
    return bool(row.delta and not row.delta.sd and again.delta and again.delta.sd)


def _added(name: str, row: PublishedRow) -> str:
    assert row.delta is not None  # `_adds_spread` holds
    return f"{name} ± {row.delta.sd}"


def _without_settings(comparison: Comparison) -> list[str]:
    used = {entry for own in comparison.cells["own"] for entry in str(own).split("; ")}
    return [text for settings, text in WITHOUT_SETTINGS.items() if settings in used]


def _flags(
    comparison: Comparison,
    published: PublishedTable,
    rows: Sequence[PublishedRow],
    others: Sequence[PublishedTable],
) -> list[Note]:
    """Return a note per doubt about a printed Delta_TTT of these rows, in any of the tables.

    The table marks the numbers that it shows; those of other tables have no mark.
    """
    if set(comparison.tasks) != set(published.tasks):
        return []
    names = comparison.names
    short = ("†: doubtful, because the printed scores give another value or spread",)
    notes = [
        Note(FLAGGED, f"{names.of(row.label)}: {flag}", short) for row in rows for flag in row.flags
    ]
    for table in others:
        pairs = [(row, again) for row in rows if (again := table.row(row.label))]
        for row, again in pairs:
            new = [flag for flag in again.flags if flag not in row.flags]
            notes += [
                Note(ABOUT, f"{names.of(row.label)} ({again.source}): {flag}") for flag in new
            ]
    return notes
