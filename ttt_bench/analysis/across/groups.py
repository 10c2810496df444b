"""Groups of comparisons that differ in one choice, such as the pair, the protocol or a setting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ttt_bench.analysis.across.numbers import Numbers
from ttt_bench.analysis.comparing.comparable import EVALUATION, SOURCE, unequal
from ttt_bench.stats.comparison import Key, short_hash

CHOICES = ("pair", "protocol", "preset", "hparams", "data_variant")
"""The choices of a comparison that a group may vary, in addition to each shared setting."""

UNSET = "default"
"""The value of a setting in a comparison that does not set it."""

OF_PAIR = ("target", "target_code", "target_images", "target_size", "target_recipe")
_DATA = (*OF_PAIR, "target_statistics", "label_space", "source_recipe", "source_data", "tasks")
VARIES_WITH = {
    "pair": ("pair", *_DATA),
    "protocol": ("protocol",),
    "preset": ("preset", "steps", "batch", "training", *_DATA),
    "hparams": (),
    "data_variant": ("data_variant", "variant", *_DATA),
}
"""Choice -> the entries of manifests that differ because of it."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Comparisons that differ in one choice.

    Attributes:
        axis: the choice: one of `CHOICES`, or the name of a setting.
        values: the value of each comparison, (V,).
        members: the numbers of each comparison, (V,).
        left_out: comparisons that are left out, because others have the same choices.
    """

    axis: str
    values: tuple[str, ...]
    members: tuple[Numbers, ...]
    left_out: tuple[str, ...] = ()

    @property
    def shared(self) -> str:
        """Describe what the comparisons share."""
        key = self.members[0].key
        words = {
            "pair": key.pair.replace(":", " → "),
            "preset": f"preset {key.preset}",
            "protocol": key.protocol,
            "hparams": f"hparams {key.hparams}",
            "data_variant": f"data variant {key.data_variant}",
        }
        kept = [text for choice, text in words.items() if choice != self.axis]
        return ", ".join([*kept, *(f"{name}={value}" for name, value in self.shared_settings)])

    @property
    def shared_settings(self) -> tuple[tuple[str, str], ...]:
        """Return name and value of the settings that the comparisons share."""
        return tuple(one for one in _settings(self.members[0].key) if one[0] != self.axis)

    @property
    def independent(self) -> bool:
        """Return whether no two comparisons share a source or a target domain."""
        domains = [part for one in self.members for part in _domains(one.key.pair)]
        return self.axis == "pair" and len(set(domains)) == 2 * len(self.members)

    @property
    def also_differs(self) -> tuple[str, ...]:
        """Return the entries of the manifests that differ although the choice does not say so."""
        first, *others = self.members
        expected = VARIES_WITH.get(self.axis, (self.axis.rpartition(".")[2], *_DATA))
        names = [name for name in (*EVALUATION, *SOURCE) if name not in expected]
        found = [unequal(first.manifest, one.manifest, names) for one in others]
        return tuple(dict.fromkeys(entry.name for entries in found for entry in entries))


def groups(numbers: Sequence[Numbers]) -> list[Group]:
    """Return the groups of at least two comparisons, in order of choices and of what they share."""
    settings = sorted({name for one in numbers for name, _ in _settings(one.key)})
    return [group for axis in (*CHOICES, *settings) for group in _groups(axis, numbers)]


def _groups(axis: str, numbers: Sequence[Numbers]) -> Iterator[Group]:
    together: dict[object, list[Numbers]] = {}
    for one in numbers:
        together.setdefault(_without(one.key, axis), []).append(one)
    for members in together.values():
        kept = sorted((one for one in members if not one.others), key=lambda one: _order(one, axis))
        if len(kept) > 1:
            yield Group(
                axis=axis,
                values=tuple(_value(one.key, axis) for one in kept),
                members=tuple(kept),
                left_out=tuple(_named(one, axis) for one in members if one.others),
            )


def _without(key: Key, axis: str) -> tuple[object, ...]:
    """Return what comparisons of a group share."""
    choices = tuple(getattr(key, choice) for choice in CHOICES if choice != axis)
    return choices, tuple(pair for pair in _settings(key) if pair[0] != axis)


def _value(key: Key, axis: str) -> str:
    if axis in CHOICES:
        return str(getattr(key, axis))
    return dict(_settings(key)).get(axis, UNSET)


def _named(one: Numbers, axis: str) -> str:
    return f"{_value(one.key, axis)} ({short_hash(one.key)})"


def _order(one: Numbers, axis: str) -> tuple[object, ...]:
    """Return the sorting key of a value: the unset one first, numbers by size, then texts."""
    value = _value(one.key, axis)
    if axis not in CHOICES and value == UNSET:
        return (0, 0.0, value)
    try:
        return (1, float(value), value)
    except ValueError:
        return (2, 0.0, value)


def _settings(key: Key) -> tuple[tuple[str, str], ...]:
    """Return the shared settings as sorted pairs of name and value."""
    entries = [entry.partition("=") for entry in filter(None, key.settings.split("; "))]
    return tuple(sorted((name, value) for name, _, value in entries))


def _domains(pair: str) -> tuple[str, ...]:
    """Return source and target domain of a pair, without shifts."""
    source, _, target = pair.partition(":")
    return (source.partition("+")[0], target.partition("+")[0])
