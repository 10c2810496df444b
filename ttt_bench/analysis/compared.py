"""Rows against rows: paired differences, with notes about what is missing and what differs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ttt_bench.analysis.evidence import (
    ESTIMATE_COLUMNS,
    Evidence,
    common_seeds,
    corrected,
    difference,
)
from ttt_bench.analysis.joining import sides
from ttt_bench.analysis.matching import (
    Match,
    RowPair,
    check_comparable,
    label_pairs,
    matches,
    named_pair,
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


@dataclass(frozen=True)
class Compared:
    """Pairs of rows that may be compared, with notes on what is missing and what differs."""

    pairs: tuple[RowPair, ...]
    notes: tuple[str, ...]

    def differences(self, rule: str) -> pd.DataFrame:
        """Return the paired differences a - b under a step rule, with `COLUMNS`.

        Raises:
            BenchError: the rule is unknown, or chooses no step of a common seed.
        """
        names = [one.name for one in self.pairs[0].first.rules]
        if rule not in names:
            raise unknown("step rule", rule, names)
        frames = [_differences(pair, rule) for pair in self.pairs]
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
    missing = [
        f"{_title(one.comparison)}: no numbers of {_absent(one.comparison, a, b)}"
        for one, pair in zip(comparisons, found, strict=True)
        if pair is None
    ]
    # rows of one comparison share data and scoring; their names state other steps
    allowed = check_comparable(pairs, ("steps",))
    return Compared(tuple(pairs), (*missing, *allowed, *_notes(pairs)))


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
        rows = "rows of the same name" if a is None else f"{a} in A and {b} in B"
        raise BenchError(f"A and B have no common seed of {rows}; run both with the same seeds")
    notes = [*_unmatched(ours, theirs, met), *(_only_one(met, methods) if a is None else ())]
    return Compared(tuple(pairs), (*notes, *allowed, *_notes(found), *_base_notes(met)))


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
    seeds = common_seeds(first, second)
    levels: dict[str, pd.Series] = {}
    for name, (chosen, label) in {"mean_a": first, "mean_b": second}.items():
        places = [chosen.rows(label)[seed] for seed in seeds]
        level = dict(zip(chosen.quantities, chosen.values[places].mean(axis=0), strict=True))
        levels[name] = found["quantity"].map(level)
    key = pair.first.comparison.key._asdict()
    found = found.assign(**key, a=pair.a, b=pair.b, **levels)
    if _bases(pair):
        # the change of Base against itself is 0 by definition
        found = found[found["quantity"].isin(TASKS)]
    return found


def _common_seeds(pair: RowPair) -> list[int]:
    ours, theirs = pair.seeds()
    return sorted(set(ours) & set(theirs))


def _bases(pair: RowPair) -> bool:
    return (pair.a, pair.b) == (pair.first.comparison.base, pair.second.comparison.base)


def _require(comparisons: Sequence[Evidence], label: str) -> None:
    labels = [name for one in comparisons for name in one.comparison.labels]
    if label not in labels:
        raise unknown("row", label, dict.fromkeys(labels))


def _notes(pairs: Sequence[RowPair]) -> list[str]:
    """Return notes on seeds that one row lacks, and on conditions that differ."""
    notes = [note for pair in pairs for note in _seed_notes(pair)]
    notes += [note for pair in pairs for note in _condition_notes(pair)]
    return list(dict.fromkeys(notes))


def _seed_notes(pair: RowPair) -> Iterator[str]:
    ours, theirs = map(set, pair.seeds())
    for side, label, comparison, missing in (
        (" in A", pair.a, pair.first.comparison, theirs - ours),
        (" in B", pair.b, pair.second.comparison, ours - theirs),
    ):
        if missing:
            where = "" if pair.first is pair.second else side
            seeds = ", ".join(map(str, sorted(missing)))
            why = _reasons(comparison, label, missing)
            yield f"{label}{where} has no numbers for seed {seeds}, which is left out{why}"


def _reasons(comparison: Comparison, label: str, seeds: Collection[int]) -> str:
    """Return the states and reasons of a row's cells without numbers, in brackets."""
    cells = comparison.missing
    cells = cells[(cells["label"] == label) & cells["seed"].isin(list(seeds))]
    states = zip(cells["state"], cells["reason"], strict=True)
    words = dict.fromkeys(": ".join(filter(None, state)) for state in states)
    return f" ({'; '.join(words)})" if words else ""


def _condition_notes(pair: RowPair) -> list[str]:
    """Return a note per condition in which the cells of two rows differ."""
    names = (pair.a, pair.b) if pair.a != pair.b else ("A", "B")
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
) -> list[str]:
    """Return a note per comparison that only one of A and B has."""
    notes = []
    for side, comparisons, place in (("A", ours, 0), ("B", theirs, 1)):
        used = [match[place].comparison.key for match in met]
        rest = [one.comparison for one in comparisons if one.comparison.key not in used]
        notes += [f"only {side} has {_title(one)}, which is left out" for one in rest]
    return notes


def _only_one(met: Sequence[Match], methods: Collection[str] | None) -> list[str]:
    """Return notes on the rows that only one of A and B has with numbers."""
    notes = []
    for first, second in met:
        ours, theirs = (_labels(one.comparison, methods) for one in (first, second))
        for side, own, other in (("A", ours, theirs), ("B", theirs, ours)):
            rest = [label for label in own if label not in other]
            if rest:
                notes.append(f"only {side} has numbers of {', '.join(rest)}, which are left out")
    return list(dict.fromkeys(notes))


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


def _absent(comparison: Comparison, *labels: str) -> str:
    done = set(comparison.done["label"])
    return " and ".join(label for label in labels if label not in done)


def _title(comparison: Comparison) -> str:
    return f"{comparison.key.pair} ({comparison.subtitle})"
