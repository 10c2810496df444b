"""Rows against rows: paired differences, with notes about what is missing and what differs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from ttt_bench.analysis.comparing.joining import sides
from ttt_bench.analysis.comparing.matching import (
    Match,
    RowPair,
    check_comparable,
    label_pairs,
    matches,
    named_pair,
)
from ttt_bench.analysis.evidence import (
    ESTIMATE_COLUMNS,
    Evidence,
    Side,
    corrected,
    difference,
)
from ttt_bench.analysis.verdicts import verdicts
from ttt_bench.errors import BenchError, unknown
from ttt_bench.stats.comparison import Comparison, Key
from ttt_bench.stats.conditions import differences_between
from ttt_bench.tasks import TASKS

COLUMNS = (
    *Key._fields,
    *("a", "b", "quantity", "mean_a", "mean_b"),
    *ESTIMATE_COLUMNS[1:],
    *("p_holm", "verdict"),
)
"""Columns of a frame of differences: the choices of A's comparison, the rows a and b, their means
over the common seeds, the estimate of a - b (`evidence.ESTIMATE_COLUMNS`), the p value after Holm's
correction over the pairs of rows, and the verdict on a (`verdicts`)."""


class Gap(NamedTuple):
    """A note on what is left out, and the side that lacks it: A, B, or AB for both."""

    lacking: str
    text: str


@dataclass(frozen=True)
class Compared:
    """Pairs of rows that may be compared.

    Attributes:
        pairs: the rows with at least one common seed.
        gaps: notes on what is left out because a side lacks it.
        remarks: notes on what differs between the sides.
    """

    pairs: tuple[RowPair, ...]
    gaps: tuple[Gap, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Return all notes."""
        return (*(gap.text for gap in self.gaps), *self.remarks)

    def differences(self, rule: str) -> pd.DataFrame:
        """Return the paired differences a - b under a step rule, with `COLUMNS`.

        Raises:
            BenchError: the rule is unknown, or chooses no step of a common seed.
        """
        names = [one.name for one in self.pairs[0].first.rules]
        if rule not in names:
            raise unknown("step rule", rule, names)
        frames = [_differences(pair, rule) for pair in self.pairs]
        frames = [frame for frame in frames if len(frame)]
        if not frames:
            raise BenchError(
                f"the rule {rule} chooses no step of these rows in a common seed, because the "
                "signals that it needs are not stored; choose another rule"
            )
        found = pd.concat(frames, ignore_index=True)
        found = corrected(found, ["quantity"])
        return found.assign(verdict=verdicts(found))[list(COLUMNS)]


def within(comparisons: Sequence[Evidence], a: str, b: str) -> Compared:
    """Compare two rows in every comparison that has both.

    Raises:
        BenchError: a row does not occur, both are the same, or no comparison has seeds of both.
    """
    for label in (a, b):
        _require(comparisons, label)
    if a == b:
        raise BenchError(f"A and B are the same row, {a}; name two rows, or two results folders")
    found = [named_pair((one, one), a, b) for one in comparisons]
    pairs = [pair for pair in found if pair is not None and _common_seeds(pair)]
    if not pairs:
        raise BenchError(f"no comparison has seeds of both {a} and {b}; run both on one pair")
    absent = [
        _absent(one.comparison, a, b)
        for one, pair in zip(comparisons, found, strict=True)
        if pair is None
    ]
    # rows of one comparison share data and scoring; their names state other steps
    allowed = check_comparable(pairs, ("steps",))
    return Compared(
        pairs=tuple(pairs),
        gaps=(*absent, *_seed_gaps(pairs)),
        remarks=(*allowed, *_conditions(pairs)),
    )


def between(
    ours: Sequence[Evidence],
    theirs: Sequence[Evidence],
    *,
    a: str | None = None,
    b: str | None = None,
    methods: Collection[str] | None = None,
    allow: Collection[str] = (),
) -> Compared:
    """Compare rows of results A with rows of results B, on the pairs and protocols of both.

    Args:
        ours: the comparisons of A.
        theirs: the comparisons of B.
        a: a row of A; None: that of B. If both are None, all rows with equal names are compared.
        b: a row of B; None: that of A.
        methods: the methods whose rows are compared if `a` and `b` are None; None for all.
        allow: entries of the manifests that may differ (`comparable.EVALUATION`), or `all`.

    Raises:
        BenchError: a row or an allowed entry does not exist, A and B have no common rows, or data,
            scoring or steps differ in other entries than the allowed ones.
    """
    a, b = a or b, b or a
    if a is not None and b is not None:
        _require(ours, a)
        _require(theirs, b)
    met = matches(_with_numbers(ours), _with_numbers(theirs))
    found = [pair for match in met for pair in _pairs(match, a, b, methods)]
    allowed = check_comparable(found, allow)
    pairs = [pair for pair in found if _common_seeds(pair)]
    if not pairs:
        wanted = "rows of the same name" if a is None else f"{a} in A and {b} in B"
        raise BenchError(f"A and B have no common seed of {wanted}; run both with the same seeds")
    rows = _only_one(met, methods) if a is None else []
    return Compared(
        pairs=tuple(pairs),
        gaps=(*_unmatched(ours, theirs, met), *rows, *_seed_gaps(found)),
        remarks=(*allowed, *_conditions(pairs), *_base_notes(met)),
    )


def _with_numbers(comparisons: Sequence[Evidence]) -> list[Evidence]:
    return [one for one in comparisons if len(one.comparison.rows)]


def _pairs(
    match: Match, a: str | None, b: str | None, methods: Collection[str] | None
) -> list[RowPair]:
    if a is None or b is None:
        return list(label_pairs(match, _labels(match[0].comparison, methods)))
    pair = named_pair(match, a, b)
    return [] if pair is None else [pair]


def _labels(comparison: Comparison, methods: Collection[str] | None) -> list[str]:
    """Return the rows of these methods that have numbers."""
    done = comparison.done
    shown = done if methods is None else done[done["method"].isin(list(methods))]
    return list(dict.fromkeys(shown["label"]))


def _differences(pair: RowPair, rule: str) -> pd.DataFrame:
    """Return the differences of one pair of rows, without the corrected p values."""
    first, second = pair.first.side(pair.a, rule), pair.second.side(pair.b, rule)
    found = difference(first, second)
    rows = list(zip(found["quantity"], found["values"], strict=True))
    found = found.assign(
        **pair.first.comparison.key._asdict(),
        a=pair.a,
        b=pair.b,
        mean_a=[_level(first, quantity, values) for quantity, values in rows],
        mean_b=[_level(second, quantity, values) for quantity, values in rows],
    )
    if pair.bases:
        # the change of Base against itself is 0 by definition
        found = found[found["quantity"].isin(TASKS)]
    return found


def _level(side: Side, quantity: str, seeds: Iterable[int]) -> float:
    """Return the mean of a quantity of a row over seeds."""
    rows = side.chosen.rows(side.label)
    values = side.chosen.values[[rows[seed] for seed in seeds]]
    return float(values[:, side.chosen.quantities.index(quantity)].mean())


def _common_seeds(pair: RowPair) -> list[int]:
    ours, theirs = pair.seeds()
    return sorted(set(ours) & set(theirs))


def _require(comparisons: Sequence[Evidence], label: str) -> None:
    labels = [name for one in comparisons for name in one.comparison.labels]
    if label not in labels:
        raise unknown("row", label, dict.fromkeys(labels))


def _seed_gaps(pairs: Sequence[RowPair]) -> list[Gap]:
    """Return notes on the seeds that one row of a pair lacks."""
    return list(dict.fromkeys(gap for pair in pairs for gap in _gaps_of(pair)))


def _gaps_of(pair: RowPair) -> Iterator[Gap]:
    ours, theirs = map(set, pair.seeds())
    for side, label, comparison, missing in (
        ("A", pair.a, pair.first.comparison, theirs - ours),
        ("B", pair.b, pair.second.comparison, ours - theirs),
    ):
        if missing:
            where = "" if pair.first is pair.second else f" in {side}"
            seeds = ", ".join(map(str, sorted(missing)))
            why = _reasons(comparison, label, missing)
            name = comparison.names.of(label)
            text = f"{name}{where} has no numbers for seed {seeds}, which is left out{why}"
            yield Gap(side, text)


def _conditions(pairs: Sequence[RowPair]) -> list[str]:
    """Return notes on the conditions that differ between rows."""
    return list(dict.fromkeys(note for pair in pairs for note in _condition_notes(pair)))


def _reasons(comparison: Comparison, label: str, seeds: Collection[int]) -> str:
    """Return the states and reasons of a row's cells without numbers, in brackets."""
    cells = comparison.missing
    cells = cells[(cells["label"] == label) & cells["seed"].isin(list(seeds))]
    states = zip(cells["state"], cells["reason"], strict=True)
    words = dict.fromkeys(": ".join(filter(None, state)) for state in states)
    return f" ({'; '.join(words)})" if words else ""


def _condition_notes(pair: RowPair) -> list[str]:
    """Return a note per condition in which the cells of two rows differ."""
    a = pair.first.comparison.names.of(pair.a)
    b = pair.second.comparison.names.of(pair.b)
    names = (a, b) if a != b else ("A", "B")
    found = differences_between(
        {
            names[0]: _cells(pair.first.comparison, pair.a),
            names[1]: _cells(pair.second.comparison, pair.b),
        }
    )
    return [
        f"{name} differs, so a part of a difference can come from it: {sides(values)}"
        for name, values in found.items()
    ]


def _cells(comparison: Comparison, label: str) -> pd.DataFrame:
    return comparison.cells[comparison.cells["label"] == label]


def _unmatched(
    ours: Sequence[Evidence], theirs: Sequence[Evidence], met: Sequence[Match]
) -> list[Gap]:
    """Return a note per comparison that only one of A and B has."""
    gaps = []
    for side, lacking, comparisons, place in (("A", "B", ours, 0), ("B", "A", theirs, 1)):
        used = [match[place].comparison.key for match in met]
        rest = [one.comparison for one in comparisons if one.comparison.key not in used]
        gaps += [Gap(lacking, f"only {side} has {_title(one)}, which is left out") for one in rest]
    return gaps


def _only_one(met: Sequence[Match], methods: Collection[str] | None) -> list[Gap]:
    """Return notes on the rows that only one of A and B has with numbers."""
    gaps = []
    for first, second in met:
        ours, theirs = (_labels(one.comparison, methods) for one in (first, second))
        for side, lacking, own, other in (("A", "B", ours, theirs), ("B", "A", theirs, ours)):
            rest = [label for label in own if label not in other]
            if rest:
                names = first.comparison.names.listed(rest)
                text = f"only {side} has numbers of {names}, which are left out"
                gaps.append(Gap(lacking, text))
    return list(dict.fromkeys(gaps))


def _base_notes(met: Sequence[Match]) -> list[str]:
    """Return a note per pair of comparisons whose Base has other scores in A than in B."""
    notes = []
    for first, second in met:
        changes = _base_changes(first.comparison, second.comparison)
        if changes:
            words = ", ".join(f"{task} {value:.3g}" for task, value in changes.items())
            notes.append(
                f"Base has other scores in A than in B (largest differences: {words}); each "
                "Delta_TTT is against the Base of its own results"
            )
    return list(dict.fromkeys(notes))


def _base_changes(first: Comparison, second: Comparison) -> Mapping[str, float]:
    """Return the largest difference of Base's scores over the common seeds, for tasks with one."""
    changes = (_base_scores(first) - _base_scores(second)).abs()
    largest = {str(task): float(changes[task].max()) for task in changes}
    return {task: value for task, value in largest.items() if value > 0}


def _base_scores(comparison: Comparison) -> pd.DataFrame:
    """Return Base's scores before adapting, one row per seed; none without Base."""
    scores = comparison.scores.reset_index()
    own = scores[(scores["label"] == comparison.base) & (scores["step"] == 0)]
    return own.set_index("seed")[list(comparison.tasks)]


def _absent(comparison: Comparison, a: str, b: str) -> Gap:
    """Return the note on a comparison that lacks one of two rows, or both."""
    done = set(comparison.done["label"])
    lacking = {
        side: comparison.names.of(label)
        for side, label in (("A", a), ("B", b))
        if label not in done
    }
    rows = " and ".join(lacking.values())
    return Gap("".join(lacking), f"{_title(comparison)} has no numbers of {rows}")


def _title(comparison: Comparison) -> str:
    return f"{comparison.key.pair} ({comparison.subtitle})"
