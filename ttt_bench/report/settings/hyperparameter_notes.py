"""Notes below the table of hyperparameters: what all rows share, options, what papers state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ttt_bench.report.notes.run import joined, tuned
from ttt_bench.report.settings.values import Settings, in_print, listed, shared_options, shown
from ttt_bench.report.tables import Column, Note
from ttt_bench.results.published import numbers
from ttt_bench.results.published.hyperparameters import (
    EVERY,
    PublishedSetting,
    departures,
    published_adaptation,
    published_training,
)
from ttt_bench.stats.comparison import Comparison

MARK = "*"


def hyperparameter_notes(
    comparison: Comparison, rows: Sequence[Settings], shared: Sequence[Column]
) -> list[Note]:
    """Return the notes of the table.

    Args:
        comparison: the comparison.
        rows: its settings.
        shared: the columns in which all rows have the same value, or no row has any.
    """
    common = shared_options(rows)
    return [
        *_shared(rows, shared, common),
        *_still(rows),
        *_controls(comparison),
        *_options(rows, common),
        *joined("Tuned", tuned(comparison), "; "),
        *_training(comparison),
        *_published(rows),
    ]


def differing(row: Settings) -> dict[str, PublishedSetting]:
    """Return the published settings from which a row's differ; none for other methods."""
    if not row.adapts or row.method not in set(numbers()["method"]):
        return {}
    return departures(row.method, {**row.options, **row.values})


def _shared(
    rows: Sequence[Settings], columns: Sequence[Column], options: Mapping[str, Any]
) -> list[Note]:
    """Return the note on the settings that all rows share."""
    values: dict[str, Any] = {}
    for column in columns:
        own = [row.values[column.key] for row in rows if column.key in row.values]
        # a switch that is off everywhere is not worth a word
        values |= {column.key: own[0]} if own and own[0] is not False else {}
    text = f"wherever it applies: {listed({**values, **options})}"
    return [Note("Same in all rows", text)] if values or options else []


def _still(rows: Sequence[Settings]) -> list[Note]:
    still = [row.title for row in rows if not row.adapts]
    text = f"{', '.join(still)}: no parameter is updated, so optimiser and steps do not apply"
    return [Note("Not adapted", text)] if still else []


def _controls(comparison: Comparison) -> list[Note]:
    text = "frozen controls have learning rate 0, and otherwise the settings of their method"
    frozen = (comparison.cells["control"] == "frozen").any()
    return [Note("Controls", text)] if frozen else []


def _options(rows: Sequence[Settings], common: Mapping[str, Any]) -> Iterator[Note]:
    """Yield a note per method with options that are not common to all."""
    for method in dict.fromkeys(row.method for row in rows):
        first, *others = (row for row in rows if row.method == method)
        own = {name: value for name, value in first.options.items() if name not in common}
        texts = [listed(own), *(_changed(row, first) for row in others), _stated(method)]
        yield from joined(f"Options of {first.title}", list(filter(None, texts)), "; ")


def _changed(row: Settings, first: Settings) -> str:
    """Return the options of a row that differ from those of the method's first row."""
    changed = {
        name: value for name, value in row.options.items() if first.options.get(name) != value
    }
    return f"{row.title}: {listed(changed)}" if changed else ""


def _stated(method: str) -> str:
    """Return the options that the papers state for a method, if any."""
    own = [one for one in published_adaptation(method).values() if one.method == method]
    values = ", ".join(f"{one.setting} {in_print(one.value)}" for one in own)
    return f"published ({own[0].source}): {values}" if own else ""


def _training(comparison: Comparison) -> Iterator[Note]:
    """Yield the note on the preset's source training, with what the papers state."""
    manifest = next(iter(comparison.cells["manifest"]))
    values = (manifest.get("preset_values") or {}).get("training")
    if not values:
        return
    if (manifest.get("provenance") or {}).get("source_weights"):
        yield Note("Source training", "elsewhere: the run was given the weights")
        return
    published = "; ".join(_places(name, stated) for name, stated in published_training().items())
    yield Note("Source training", f"Adam, {listed(values)}. Published: {published}")


def _places(name: str, stated: Iterable[PublishedSetting]) -> str:
    """Return the published values of a setting, with their sources."""
    values = ", ".join(f"{in_print(one.value)} ({one.source})" for one in stated)
    return f"{name} {values}"


def _published(rows: Sequence[Settings]) -> list[Note]:
    """Return the note on the published protocol, and those on the rows that differ from it."""
    source = published_adaptation(EVERY)["lr"].source
    text = f"{source}, states one protocol for every method; other settings are not in the data"
    groups: dict[str, list[str]] = {}
    for row in rows:
        if found := differing(row):
            groups.setdefault(_difference(row, found), []).append(row.title)
    short = (f"{MARK}: differs from the published settings",)
    notes = [
        Note(f"Differs {MARK}", f"{', '.join(who)}: {what}", short) for what, who in groups.items()
    ]
    return [Note("Published", text), *notes]


def _difference(row: Settings, found: Mapping[str, PublishedSetting]) -> str:
    """Return the settings of a row that differ, each with the published value."""
    values = {**row.options, **row.values}
    return ", ".join(
        f"{name} {shown(values[name])} (published: {in_print(one.value)})"
        for name, one in found.items()
    )
