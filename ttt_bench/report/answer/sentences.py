"""The sentences of an answer, made from facts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ttt_bench.analysis.verdicts import BETTER, OPEN, WORSE
from ttt_bench.report.answer.facts import Facts, Value
from ttt_bench.report.formats.cells import rounded

FEW_IMAGES = 10
"""A run with fewer images is too small for a statement about methods."""
MOST_NUMBERS = 4
"""The largest number of rows that each have a number in a sentence; more have a range."""
MOST_DIGITS = 3
"""The largest number of digits after the point."""
WITHOUT_NORM = (
    "Norm has no numbers, so it is not known what the statistics of a batch alone give; "
    "add it with the same command and --methods base,norm."
)
WITHOUT_STEP = (
    "This rule chooses no step for Norm, so methods are not compared with it here; "
    "leave out --rule for the comparison."
)
WITHOUT_BASE = (
    "Base has no numbers, so there is no Delta_TTT and methods are not ranked; "
    "add it with the same command and --methods base,norm."
)
UPDATES = "Compared with frozen controls (learning rate 0), updates"
ONE_SEED = "With one seed, the intervals cover other images but no other source model."


def sentences(facts: Facts) -> tuple[str, ...]:
    """Return the answer: differences to the reference, what updates add, and what is missing."""
    return (*_result(facts), *_gaps(facts))


def _result(facts: Facts) -> Iterator[str]:
    if not facts.images:
        yield "No cell has numbers, so nothing is known about the methods."
    elif facts.reference is None:
        yield WITHOUT_BASE
    elif facts.smoke or facts.images < FEW_IMAGES:
        yield (
            f"{_counted(facts.images, 'image')} and {_counted(facts.seeds, 'seed')}: a run of this "
            "size shows that commands work, not which method is better."
        )
    elif not any(one.has_interval for one in facts.deltas):
        yield _without_intervals(facts)
    else:
        yield from _compared(facts)
        yield from _updates(facts)
        if facts.seeds == 1:
            yield ONE_SEED


def _without_intervals(facts: Facts) -> str:
    text = "Neither several seeds nor statistics of images give intervals, so nothing is shown"
    best = max(facts.deltas, key=lambda one: one.mean, default=None)
    return f"{text}." if best is None else f"{text}: the largest Delta_TTT is {_own(best)}."


def _compared(facts: Facts) -> Iterator[str]:
    """Yield the sentences on the differences to the reference."""
    name = _reference(facts)
    above, below, others = (_with(facts.differences, one) for one in (BETTER, WORSE, OPEN))
    unit = "%" if facts.own is None else "points"
    if above:
        yield f"{_shown(above)} above {name}, {_amounts(above, unit)}."
    elif facts.differences:
        yield f"No method is shown to be above {name}."
    else:
        yield f"No method is compared with {name}."
    if below:
        yield f"{_shown(below)} below it, {_amounts(below, unit)}."
    if others:
        yield f"{_names(others)} {_are(others)} not shown to differ from it."
    if facts.own is None:
        yield WITHOUT_STEP if facts.norm else WITHOUT_NORM


def _reference(facts: Facts) -> str:
    """Return the name of the reference, with the Delta_TTT of norm."""
    numbers = "" if facts.own is None else f" (Delta_TTT {_number(facts.own, '%')})"
    return f"{facts.reference} at {facts.step}{numbers}"


def _updates(facts: Facts) -> Iterator[str]:
    """Yield the sentence on the differences to the frozen controls."""
    helped, harmed, others = (_with(facts.updates, one) for one in (BETTER, WORSE, OPEN))
    changes = (("raise", helped), ("lower", harmed))
    words = [
        f"{verb} the Delta_TTT of {_names(rows)} {_amounts(rows, 'points')}"
        for verb, rows in changes
        if rows
    ]
    if words:
        rest = f"; no effect is shown for {_names(others)}" if others else ""
        yield f"{UPDATES} are shown to {_and(words)}{rest}."
    elif others:
        rows = f"any of {len(others)} methods" if len(others) > 1 else _names(others)
        yield f"{UPDATES} are not shown to change the Delta_TTT of {rows}."


def _gaps(facts: Facts) -> Iterator[str]:
    """Yield the sentences on rows without numbers, and on seeds without numbers."""
    if facts.missing:
        rows = [f"{name} ({state})" for name, state in facts.missing.items()]
        yield f"Without numbers: {_and(rows)}."
    if facts.incomplete:
        rows = [
            f"{name} ({_counted(count, 'seed')} {state})"
            for name, (state, count) in facts.incomplete.items()
        ]
        yield f"Some seeds are missing from the means of {_and(rows)}."


def _with(values: Sequence[Value], verdict: int) -> list[Value]:
    """Return the values with a verdict, the largest difference first."""
    found = [one for one in values if one.verdict == verdict]
    return sorted(found, key=lambda one: -abs(one.mean)) if verdict != OPEN else found


def _shown(values: Sequence[Value]) -> str:
    return f"{_names(values)} {_are(values)} shown to be"


def _are(values: Sequence[Value]) -> str:
    return "is" if len(values) == 1 else "are"


def _names(values: Sequence[Value]) -> str:
    return _and([one.name for one in values])


def _amounts(values: Sequence[Value], unit: str) -> str:
    """Return the sizes of differences in the order of their rows; of many, only the ends."""
    digits = _digits(values)
    sizes = [_size(one, digits) for one in values]
    if len(sizes) <= MOST_NUMBERS:
        return f"by {_and(sizes)} {unit}"
    return f"by {sizes[0]} to {sizes[-1]} {unit}"


def _size(one: Value, digits: int) -> str:
    """Return the size of a difference with its interval, without the sign."""
    sign = 1 if one.mean > 0 else -1
    low, high = sorted((sign * one.low, sign * one.high))
    ends = f"{rounded(low, digits)} to {rounded(high, digits)}"
    return f"{rounded(sign * one.mean, digits)} ({ends})"


def _number(one: Value, unit: str) -> str:
    """Return a number with its interval."""
    digits = _digits([one])
    mean = f"{rounded(one.mean, digits)} {unit}"
    if not one.has_interval:
        return mean
    return f"{mean}, 95 % interval {rounded(one.low, digits)} to {rounded(one.high, digits)}"


def _own(one: Value) -> str:
    return f"{_number(one, '%')} ({one.name})"


def _digits(values: Sequence[Value]) -> int:
    """Return the digits after the point with which no number is rounded to 0."""
    ends = [abs(end) for one in values for end in (one.mean, one.low, one.high) if end]
    small = min(ends, default=1.0)
    return next((n for n in range(1, MOST_DIGITS) if small >= 0.5 * 10.0**-n), MOST_DIGITS)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _and(words: Sequence[str]) -> str:
    """Return words joined by commas and "and"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
