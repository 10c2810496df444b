"""What a report shows: methods, pairs, controls and tables, under which step rule and names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ttt_bench.analysis.evidence import BASE, NORM
from ttt_bench.analysis.results import Results
from ttt_bench.errors import BenchError, unknown
from ttt_bench.report.selection.stock import Stock
from ttt_bench.results.measurements import Measurement
from ttt_bench.results.method_names import (
    MORE,
    PAPERS,
    PROPER,
    PROPER_NAMES,
    SHORT_NAMES,
    MethodNames,
)
from ttt_bench.results.study_files import StudyFile
from ttt_bench.stats.step_rules import SECTIONS, STEP_RULES, StepRule
from ttt_bench.util.problems import attempt, raise_problems

STYLES = {"proper": PROPER_NAMES, "short": SHORT_NAMES}
"""The names of methods by the words that choose them."""
FURTHER = ("timing", "across", "studies", "affinity")
"""The names of the sections that are not of one comparison, among those of tables."""
_ENTRIES = re.compile(r",(?![^(\[]*[)\]])")
"""A comma between entries; commas in the brackets of a label do not count."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What a report shows; everything by default.

    Attributes:
        methods: methods, or groups of them as in `run`; empty: all. Base and norm are always
            shown, because the others are compared with them.
        pairs: pairs; empty: all.
        rule: the step rule of the main table; empty: `fixed` and `oracle`.
        controls: whether rows of frozen controls are shown; they remain as references.
        tables: names of tables with their figures; empty: all.
        names: the printed names of rows.
    """

    methods: tuple[str, ...] = ()
    pairs: tuple[str, ...] = ()
    rule: str = ""
    controls: bool = True
    tables: tuple[str, ...] = ()
    names: MethodNames = PROPER_NAMES


def options_of(choices: Choices) -> Iterator[str]:
    """Yield the options of `ttt-bench report` that make these choices."""
    for option, values in (("--methods", choices.methods), ("--pairs", choices.pairs)):
        if values:
            yield from (option, ",".join(values))
    if choices.rule:
        yield from ("--rule", choices.rule)
    if not choices.controls:
        yield "--no-controls"
    if choices.tables:
        yield from ("--tables", ",".join(choices.tables))
    printed = choices.names.printed
    style = [] if PROPER.keys() <= printed.keys() else ["short"]
    own = [f"{label}={text}" for label, text in _others(printed).items()]
    if style or own:
        yield from ("--names", ",".join([*style, *own]))


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The choices of a report for the content of its results folders.

    Attributes:
        methods: the methods that are shown.
        pairs: the pairs that are shown.
        rules: the step rules of the main table.
        controls: whether rows of frozen controls are shown.
        tables: the names of the tables that are shown.
        names: the printed names of rows.
        rows_note: which rows are shown, in words; empty: all.
        note: what is shown, in words; empty: everything.
    """

    methods: frozenset[str]
    pairs: frozenset[str]
    rules: Sequence[StepRule] = SECTIONS
    controls: bool = True
    tables: frozenset[str]
    names: MethodNames = PROPER_NAMES
    rows_note: str = ""
    note: str = ""

    def results(self, found: Results) -> Results:
        """Return the cells of the methods and pairs that are shown."""
        kept = found.cells
        kept = kept[kept["method"].isin(self.methods) & kept["pair"].isin(self.pairs)]
        stored = found.stored[found.stored["folder"].isin(kept["folder"])]
        return replace(found, cells=kept, stored=stored, names=self.names)

    def measurements(self, found: Iterable[Measurement]) -> list[Measurement]:
        """Return the measurements of the methods, and of the pairs if they have one."""
        return [
            one
            for one in found
            if one.manifest["method"] in self.methods
            and one.manifest.get("pair") in {None, *self.pairs}
        ]

    def studies(self, stock: Stock) -> list[StudyFile]:
        """Return the studies of the pairs, all of whose methods are shown."""
        assert stock.results is not None
        methods = dict(stock.results.cells[["config", "method"]].itertuples(index=False, name=None))
        hidden = {cell for cell, method in methods.items() if method not in self.methods}
        own = (one for one in stock.studies if one.pair in self.pairs)
        return [one for one in own if hidden.isdisjoint(one.cells)]


def select(choices: Choices, stock: Stock, tables: Sequence[str]) -> Selection:
    """Return the choices for the content of results folders.

    Args:
        choices: the choices.
        stock: the content.
        tables: the names of all tables.

    Raises:
        BenchError: names do not occur; the message has a line for each.
    """
    methods, method_problems = _methods(choices.methods, stock.methods)
    rules, rule_problems = _rules(choices.rule)
    raise_problems(
        [
            *method_problems,
            *_unknown("pair", choices.pairs, stock.pairs),
            *rule_problems,
            *_unknown("table", choices.tables, tables),
            *_unnamed(choices.names, stock),
            *_same_names(choices.names, stock),
            *_unprintable(choices.names),
        ]
    )
    rows = tuple(_rows_note(choices, methods, stock))
    shown = rows if not choices.tables else (*rows, f"tables: {', '.join(choices.tables)}")
    return Selection(
        methods=frozenset(methods),
        pairs=frozenset(choices.pairs or stock.pairs),
        rules=rules or SECTIONS,
        controls=choices.controls,
        tables=frozenset(choices.tables or tables),
        names=choices.names,
        rows_note="; ".join(rows),
        note="; ".join(shown),
    )


def parts_of(text: str | None) -> tuple[str, ...]:
    """Return the entries of a text with commas."""
    return tuple(filter(None, (entry.strip() for entry in _ENTRIES.split(text or ""))))


def names_of(given: str | Mapping[str, str]) -> MethodNames:
    """Return the printed names that a person asks for.

    Args:
        given: `proper`, `short`, or LABEL=TEXT for a method or a row, joined by commas; or a
            mapping of methods and labels to texts.

    Raises:
        BenchError: an entry is none of these.
    """
    if not isinstance(given, str):
        return MethodNames({**PROPER, **given})
    printed = dict(PROPER)
    for entry in parts_of(given):
        label, equals, text = (word.strip() for word in entry.rpartition("="))
        if entry in STYLES:
            printed = dict(STYLES[entry].printed) | _others(printed)
        elif label in _others(printed):
            raise BenchError(f"--names: {label} is named twice")
        elif equals and label and text:
            printed[label] = text
        else:
            raise BenchError(
                f"--names: {entry!r} is neither {' nor '.join(STYLES)} nor LABEL=TEXT, "
                "such as tent=Tent; commas separate names"
            )
    return MethodNames(printed)


def _others(printed: Mapping[str, str]) -> dict[str, str]:
    """Return the names that are not the proper ones."""
    return {label: text for label, text in printed.items() if PROPER.get(label) != text}


def _methods(wanted: Sequence[str], known: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the chosen methods and the references in the order of tables, and the problems."""
    groups = {"all": PAPERS, "more": MORE, "everything": tuple(known)}
    problems = _unknown("method", [name for name in wanted if name not in groups], known)
    named = {one for name in wanted for one in groups.get(name, (name,))}
    chosen = [name for name in known if name in named or not wanted]
    if not chosen and not problems:
        problems = [f"--methods {','.join(wanted)}: the results have {', '.join(known)} only"]
    return [name for name in known if name in chosen or name in (BASE, NORM)], problems


def _rules(name: str) -> tuple[tuple[StepRule, ...], list[str]]:
    """Return the rule of this name, if it is not empty, and the problem with it."""
    if not name:
        return (), []
    if "," in name:
        return (), [f"--rule {name}: name one rule; without --rule, fixed and oracle are shown"]
    rule, problems = attempt(STEP_RULES.load, name)
    return (() if rule is None else (rule,)), problems


def _unknown(kind: str, wanted: Iterable[str], known: Sequence[str]) -> list[str]:
    return [str(unknown(kind, name, known)) for name in wanted if name not in known]


def _unnamed(names: MethodNames, stock: Stock) -> list[str]:
    """Return the problems with names that are of no method and no row."""
    others = [one for one in names.printed if one not in PROPER]
    return _unknown("row", others, sorted({*stock.methods, *stock.labels})) if others else []


def _same_names(names: MethodNames, stock: Stock) -> Iterator[str]:
    """Yield the problems with names that other rows have, or that look like those of controls."""
    holders: dict[str, set[str]] = {}
    for label in (*stock.labels, *stock.methods):
        for name in (label, names.of(label)):
            holders.setdefault(name, set()).add(label)
    for label, text in _others(names.printed).items():
        if others := sorted(holders.get(text, set()) - {label}):
            yield f"--names: {text!r} is already the name of {others[0]}; choose another"
        elif "(frozen" in text and "(frozen" not in label:
            yield f"--names: {text!r} looks like a frozen control; choose another"


def _unprintable(names: MethodNames) -> list[str]:
    """Return the problems with names that pages and figures cannot show, such as a line break."""
    return [
        f"--names: {text!r} has characters that cannot be printed"
        for text in names.printed.values()
        if not text.isprintable()
    ]


def _rows_note(choices: Choices, methods: Sequence[str], stock: Stock) -> Iterator[str]:
    """Yield which rows are shown, a sentence for each choice."""
    if len(methods) < len(stock.methods):
        yield (
            f"{len(methods)} of {len(stock.methods)} methods ({choices.names.listed(methods)}), "
            "with Holm's corrections over the rows shown"
        )
    if choices.pairs and len(choices.pairs) < len(stock.pairs):
        yield f"{len(choices.pairs)} of {len(stock.pairs)} pairs ({', '.join(choices.pairs)})"
    if not choices.controls:
        yield "no rows of frozen controls, which are still the reference of differences"
    if choices.rule:
        yield f"the main table has the step rule {choices.rule}"
