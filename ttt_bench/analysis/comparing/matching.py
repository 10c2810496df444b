"""Pairs of rows that are compared: of one comparison, or of two results folders A and B."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from ttt_bench.analysis.comparing.comparable import ALL, EVALUATION, Unequal, permitted, unequal
from ttt_bench.analysis.evidence import Evidence
from ttt_bench.errors import BenchError, unknown
from ttt_bench.stats.comparison import Comparison
from ttt_bench.tasks import canonical

Match = tuple[Evidence, Evidence]
"""The comparisons of A and B whose rows are compared."""


class RowPair(NamedTuple):
    """Row `a` of a comparison against row `b` of the same or of another comparison."""

    first: Evidence
    second: Evidence
    a: str
    b: str

    @property
    def unequal(self) -> list[Unequal]:
        """Return the entries that should be equal for a comparison, but are not."""
        return unequal(
            _manifest(self.first.comparison, self.a),
            _manifest(self.second.comparison, self.b),
            EVALUATION,
        )

    @property
    def bases(self) -> bool:
        """Return whether both rows are the Base of their comparisons."""
        return (self.a, self.b) == (self.first.comparison.base, self.second.comparison.base)

    def seeds(self) -> tuple[list[int], list[int]]:
        """Return the seeds with numbers of each row."""
        return _seeds(self.first.comparison, self.a), _seeds(self.second.comparison, self.b)


def matches(ours: Sequence[Evidence], theirs: Sequence[Evidence]) -> list[Match]:
    """Return the comparisons of A and B with equal pairs and protocols, each used once.

    If several have them, those come together whose other choices differ least. If no comparisons
    have them, the result is the two that differ least.
    """
    every = list(product(range(len(ours)), range(len(theirs))))
    distances = {(i, j): _distance(ours[i], theirs[j]) for i, j in every}
    near = sorted(every, key=distances.__getitem__)
    same = [place for place in near if distances[place][0] == 0] or near[:1]
    used: tuple[set[int], set[int]] = set(), set()
    found = []
    for i, j in same:
        if i not in used[0] and j not in used[1]:
            used[0].add(i)
            used[1].add(j)
            found.append((i, j))
    return [_with_common_tasks(ours[i], theirs[j]) for i, j in sorted(found)]


def label_pairs(match: Match, labels: Collection[str]) -> Iterator[RowPair]:
    """Yield the rows of these labels that have numbers in both comparisons."""
    first, second = match
    theirs = set(second.comparison.done["label"])
    for label in dict.fromkeys(first.comparison.done["label"]):
        if label in labels and label in theirs:
            yield RowPair(first, second, str(label), str(label))


def named_pair(match: Match, a: str, b: str) -> RowPair | None:
    """Return the pair of two rows; None if one of them has no numbers.

    Its comparisons have these rows and Base only, which saves the replicates of the others.
    """
    first, second = match
    if a not in set(first.comparison.done["label"]) or b not in set(
        second.comparison.done["label"]
    ):
        return None
    if first is second:
        both = _narrowed(first, a, b)
        return RowPair(both, both, a, b)
    return RowPair(_narrowed(first, a), _narrowed(second, b), a, b)


def check_comparable(pairs: Sequence[RowPair], allow: Collection[str]) -> list[str]:
    """Return notes on the allowed differences.

    Raises:
        BenchError: an allowed entry does not exist, or data, scoring or steps differ in entries
            that are not allowed to.
    """
    for name in allow:
        if name.partition(".")[0] not in (ALL, *EVALUATION):
            raise unknown("entry that may differ", name, (ALL, *EVALUATION))
    entries = list(dict.fromkeys(_located(pairs)))
    refused = [entry for entry in entries if not permitted(entry[1], allow)]
    if refused:
        words = "; ".join(f"{where}: {entry}" for where, entry in refused)
        names = ",".join(dict.fromkeys(entry.name.partition(".")[0] for _, entry in refused))
        raise BenchError(
            f"A and B cannot be compared, because data, scoring or steps differ. {words}. Compare "
            f"results that are equal in these, or allow the differences with --allow {names}"
        )
    return [f"{where}: {entry}, which was allowed" for where, entry in entries]


def _located(pairs: Sequence[RowPair]) -> Iterator[tuple[str, Unequal]]:
    """Yield the unequal entries, each with the pair of domains or, for steps, with the rows."""
    for pair in pairs:
        rows = pair.a if pair.a == pair.b else f"{pair.a} and {pair.b}"
        for entry in pair.unequal:
            yield (rows if entry.name == "steps" else pair.first.comparison.key.pair), _text(entry)


def _text(entry: Unequal) -> Unequal:
    """Return an entry with its values as text, which can be compared by hash."""
    return Unequal(entry.name, *(value if value is None else str(value) for value in entry[1:]))


def _distance(first: Evidence, second: Evidence) -> tuple[int, int]:
    """Return how many choices differ: those of pair and protocol, and the others."""
    a, b = first.comparison.key, second.comparison.key
    main = (a.pair != b.pair) + (a.protocol != b.protocol)
    return main, sum(x != y for x, y in zip(a, b, strict=True)) - main


def _with_common_tasks(first: Evidence, second: Evidence) -> Match:
    """Return two comparisons with the rows of the tasks that both have.

    Raises:
        BenchError: they have no common task.
    """
    ours, theirs = first.comparison.tasks, second.comparison.tasks
    if ours == theirs:
        return first, second
    tasks = canonical(set(ours) & set(theirs))
    if not tasks:
        raise BenchError(
            f"A has the tasks {', '.join(ours)}, B {', '.join(theirs)}: none is common"
        )
    return _only(first, tasks), _only(second, tasks)


def _only(evidence: Evidence, tasks: tuple[str, ...]) -> Evidence:
    rows = evidence.comparison.rows
    kept = rows[rows["task"].isin(tasks)]
    return replace(evidence, comparison=replace(evidence.comparison, rows=kept))


def _narrowed(evidence: Evidence, *labels: str) -> Evidence:
    """Return a comparison with these rows and Base only."""
    comparison = evidence.comparison
    wanted = [*labels, comparison.base]
    cells, rows = (f[f["label"].isin(wanted)] for f in (comparison.cells, comparison.rows))
    return replace(evidence, comparison=replace(comparison, cells=cells, rows=rows))


def _manifest(comparison: Comparison, label: str) -> dict[str, object]:
    done = comparison.done
    found: dict[str, object] = done["manifest"][done["label"] == label].iloc[0]
    return found


def _seeds(comparison: Comparison, label: str) -> list[int]:
    done = comparison.done
    return sorted(map(int, done["seed"][done["label"] == label]))
