"""Comparisons: the cells that may share a table, and the label of each."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple

import pandas as pd

from ttt_bench.protocols import CONTROLS, Protocol, protocol_of
from ttt_bench.results.load import plain
from ttt_bench.results.method_names import METHOD_ORDER, PROPER_NAMES, MethodNames
from ttt_bench.results.published import ARCHITECTURE
from ttt_bench.stats.summary import score_frame
from ttt_bench.tasks import canonical
from ttt_bench.util.text import readable_settings, short_name

_NETWORK = "model.architecture="
"""The shared setting that names the network, if it is another than `ARCHITECTURE`."""


class Key(NamedTuple):
    """The choices that all cells of a comparison share."""

    pair: str
    preset: str
    protocol: str
    data_variant: str
    hparams: str
    settings: str
    comparison: str

    @property
    def architecture(self) -> str:
        """Return the name of the network."""
        given = [text.split("=", 1)[1] for text in self.settings.split("; ") if _NETWORK in text]
        return given[0] if given else ARCHITECTURE


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Cells that differ only in method, the method's settings, control, steps and seed.

    Attributes:
        cells: one row per cell, with `label`, the name of its row.
        rows: the stored rows of its done cells, with `label`.
        base: the label of the unadapted source model; None if it was not run.
        others: the `short_hash` of every comparison whose key differs only in `comparison`:
            other data, another source model or another format with the same names.
        notes: notes about the choice of cells.
        names: the printed names of its rows.
    """

    key: Key
    cells: pd.DataFrame
    rows: pd.DataFrame
    base: str | None
    others: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    names: MethodNames = PROPER_NAMES

    @property
    def title(self) -> str:
        """Return the pair, source and target joined by an arrow."""
        return self.key.pair.replace(":", " → ")

    @property
    def subtitle(self) -> str:
        """Describe everything else that the cells share."""
        key = self.key
        words = (
            f"preset {key.preset}, {key.protocol}, hparams {key.hparams}, "
            f"data variant {key.data_variant}"
        )
        words += f", {key.settings}" if key.settings else ""
        return f"{words}, data and source model {short_hash(key)}" if self.others else words

    @property
    def slug(self) -> str:
        """Return a name for folders and anchors, unique per key."""
        key = self.key
        words = [
            key.pair.replace(":", "+"),
            key.preset,
            key.protocol,
            key.hparams,
            key.data_variant,
        ]
        plain = file_name(words, key.settings)
        return short_name(f"{plain}_{short_hash(key)}" if self.others else plain)

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Return the scored tasks, in canonical order."""
        return canonical(self.rows["task"].unique())

    @cached_property
    def done(self) -> pd.DataFrame:
        """Return the cells with numbers."""
        return self.cells[self.cells["state"] == "done"]

    @cached_property
    def missing(self) -> pd.DataFrame:
        """Return the cells without numbers."""
        return self.cells[self.cells["state"] != "done"]

    @cached_property
    def methods(self) -> dict[str, str]:
        """Map each label to its method."""
        return dict(zip(self.cells["label"], self.cells["method"], strict=True))

    @property
    def protocol(self) -> Protocol:
        """Return the protocol that the cells share."""
        return protocol_of(self.key.protocol)

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Return the primary metrics, as `summary.score_frame` returns them."""
        return score_frame(self.rows)

    @cached_property
    def folders(self) -> dict[tuple[str, int], str]:
        """Map label and seed of each done cell to its folder."""
        done = self.done
        cells = zip(done["label"], done["seed"], strict=True)
        return dict(zip(cells, done["folder"], strict=True))

    @cached_property
    def labels(self) -> list[str]:
        """Return the name of every row, in table order."""
        return list(dict.fromkeys(self.cells["label"]))

    @cached_property
    def controls(self) -> frozenset[str]:
        """Return the labels of controls."""
        return frozenset(self.cells.loc[self.cells["control"] != "none", "label"])

    def without_controls(self) -> Comparison:
        """Return the comparison without the cells of controls."""
        kept = self.cells[self.cells["control"] == "none"]
        return replace(self, cells=kept, rows=self.rows[self.rows["control"] == "none"])

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the semantic classes, empty without them."""
        return next((tuple(m["classes"]) for m in self.cells["manifest"] if m.get("classes")), ())


def comparisons(
    cells: pd.DataFrame,
    rows: pd.DataFrame,
    wanted: Collection[str] = (),
    names: MethodNames = PROPER_NAMES,
) -> list[Comparison]:
    """Group cells and their rows by comparison, in order of their keys.

    Args:
        cells: `load.CELL_COLUMNS`.
        rows: the stored rows.
        wanted: configurations that are shown in place of newer ones of the same name.
        names: the printed names of rows.
    """
    split = [split_settings(s, m) for s, m in zip(cells["settings"], cells["method"], strict=True)]
    named = cells.assign(
        shared=[shared for shared, _ in split],
        own=[own for _, own in split],
        wanted=cells["config"].isin(list(wanted)),
    )
    choices = ["pair", "preset", "protocol", "data_variant", "hparams", "shared", "comparison"]
    groups = {Key(*map(str, key)): group for key, group in named.groupby(choices, sort=True)}
    return [
        replace(_comparison(key, group, rows, names), others=_others(key, groups))
        for key, group in groups.items()
    ]


def file_name(words: Iterable[str], settings: str) -> str:
    """Return words joined to a name for files and anchors, with a hash of settings if any."""
    plain = re.sub(r"[^a-z0-9+._-]+", "-", "_".join(words).lower())
    return f"{plain}_{sha256(settings.encode()).hexdigest()[:6]}" if settings else plain


def short_hash(key: Key) -> str:
    """Return the start of the hash that distinguishes comparisons with the same names.

    The format of the harness and a dash precede it, unless the format is 1.
    """
    form, dash, found = key.comparison.rpartition("-")
    return f"{form}{dash}{found[:6]}" or "unknown"


def split_settings(settings: str, method: str) -> tuple[str, str]:
    """Split a `settings` text into the shared settings and the method's, without its prefix.

    Both have the form of `readable_settings`. Steps are left out, because they have a separate
    column.
    """
    shared: list[str] = []
    own: list[str] = []
    for entry in filter(None, readable_settings(settings).split("; ")):
        name = entry.removeprefix(f"{method}.")
        if not name.startswith("steps="):
            (shared if name == entry else own).append(name)
    return "; ".join(shared), "; ".join(own)


def is_control(label: str) -> bool:
    """Return whether a row's label is that of a control, such as `tent (frozen)`."""
    _, _, parts = label.partition(" (")
    return re.split("[,)]", parts)[0] in CONTROLS


def method_rank(method: str) -> tuple[int, str]:
    """Return the sorting key of a method."""
    return (METHOD_ORDER.index(method) if method in METHOD_ORDER else len(METHOD_ORDER), method)


def _others(key: Key, keys: Iterable[Key]) -> tuple[str, ...]:
    """Return the short hashes of the keys that differ from this one only in `comparison`."""
    return tuple(short_hash(other) for other in keys if other != key and other[:-1] == key[:-1])


def _comparison(
    key: Key, group: pd.DataFrame, rows: pd.DataFrame, printed: MethodNames
) -> Comparison:
    labelled = group.assign(label=_labels(group))
    kept, notes = _newest(labelled, printed)
    names = zip(kept["method"].tolist(), kept["label"].tolist(), kept["seed"].tolist(), strict=True)
    ranks = [(*method_rank(method), len(label), label, seed) for method, label, seed in names]
    kept = kept.iloc[sorted(range(len(kept)), key=ranks.__getitem__)].reset_index(drop=True)
    labels = dict(zip(kept["folder"], kept["label"], strict=True))
    own_rows = rows[rows["folder"].isin(list(labels))]
    names_of_rows = plain(own_rows["folder"].map(labels).to_frame("label"))
    own_rows = own_rows.assign(label=names_of_rows["label"])
    return Comparison(
        key=key,
        cells=kept,
        rows=own_rows,
        base=_base(kept),
        notes=tuple(notes),
        names=printed,
    )


def _labels(group: pd.DataFrame) -> list[str]:
    adapting = group[group["method"] != "base"]
    counts = adapting["steps"].value_counts()
    usual = max(counts.index, key=lambda steps: (counts[steps], steps)) if len(counts) else None
    labels = []
    for cell in group.itertuples():
        parts = [str(cell.control)] if cell.control != "none" else []
        parts += str(cell.own).split("; ") if cell.own else []
        # Base does not adapt: its scores do not depend on the number of steps
        if cell.method != "base" and cell.steps != usual:
            parts.append("1 step" if cell.steps == 1 else f"{cell.steps} steps")
        labels.append(f"{cell.method} ({', '.join(parts)})" if parts else str(cell.method))
    return labels


def _newest(cells: pd.DataFrame, printed: MethodNames) -> tuple[pd.DataFrame, list[str]]:
    """Return one cell per label and seed, and notes about the cells left out.

    It is the cell that finished last, of the wanted ones if there are any.
    """
    name = ["label", "seed"]
    in_time = cells.sort_values(["wanted", "finished"], na_position="first", kind="stable")
    keep = in_time.drop_duplicates(name, keep="last").index
    notes = []
    for (label, seed), same in in_time[in_time.duplicated(name, keep=False)].groupby(name):
        # runs of Base that differ only in their number of steps have the same scores
        if same["method"].iloc[0] != "base" or same["steps"].nunique() < len(same):
            notes.append(_duplicate_note(printed.of(str(label)), seed, same))
    return cells.loc[sorted(keep)], notes


def _duplicate_note(name: str, seed: object, same: pd.DataFrame) -> str:
    shown, others = same.iloc[-1], same.iloc[:-1]
    finished = shown["finished"]
    when = "" if pd.isna(finished) else f" (finished {finished:%Y-%m-%d %H:%M:%S} UTC)"
    which = "That of this run" if shown["wanted"] else "The newest"
    return (
        f"{name}, seed {seed}: {len(same)} cells have this name. {which} is shown, "
        f"configuration {shown['config']}{when}; left out: {', '.join(others['config'])}"
    )


def _base(cells: pd.DataFrame) -> str | None:
    """Return the label of Base, or of its frozen control, which is the same model; else None."""
    done = cells[(cells["method"] == "base") & (cells["state"] == "done") & (cells["own"] == "")]
    labels = sorted(done["label"].unique(), key=len)
    return str(labels[0]) if labels else None
