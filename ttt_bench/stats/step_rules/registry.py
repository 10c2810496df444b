"""Step rules by name: the built-in ones and those of other packages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ttt_bench.errors import BenchError
from ttt_bench.stats.step_rules.agreement import MOST_AGREEMENT
from ttt_bench.stats.step_rules.base import StepRule
from ttt_bench.stats.step_rules.change import CHANGE_SETTLES
from ttt_bench.stats.step_rules.labelled import FIXED, ORACLE
from ttt_bench.stats.step_rules.loss import LOSS_FLATTENS
from ttt_bench.util.code.plugins import Registry

_BUILT_IN: dict[str, StepRule] = {
    rule.name: rule for rule in (FIXED, ORACLE, LOSS_FLATTENS, MOST_AGREEMENT, CHANGE_SETTLES)
}


def _rule_problems(loaded: Any, name: str) -> Iterator[str]:
    """Yield the reasons why an entry point's object is not a valid step rule."""
    if not isinstance(loaded, StepRule):
        found = f"the class {loaded.__name__}" if isinstance(loaded, type) else repr(loaded)
        yield f"must be an instance of ttt_bench.stats.step_rules.StepRule, got {found}"
        return
    if getattr(loaded, "name", None) != name:
        yield (
            f"has the name {getattr(loaded, 'name', None)!r}; "
            "the name must be that of its entry point"
        )
    for attribute in ("heading", "detail"):
        if not isinstance(getattr(loaded, attribute, None), str):
            yield f"has no `{attribute}`; give a text"


STEP_RULES: Registry[StepRule] = Registry(
    "step rule",
    group="ttt_bench.step_rules",
    problems=_rule_problems,
    built_in=_BUILT_IN,
    order=tuple(_BUILT_IN),
)
"""The registered step rules, the built-in ones first."""


@dataclass(frozen=True)
class Rules:
    """The step rules that can be used.

    Attributes:
        rules: the valid ones, the built-in ones first.
        problems: one line per rule that does not import or is not valid.
    """

    rules: tuple[StepRule, ...]
    problems: tuple[str, ...]


def all_rules() -> Rules:
    """Return every registered step rule; a broken plugin leaves the others usable."""
    rules, problems = [], []
    for name in STEP_RULES.names():
        try:
            rules.append(STEP_RULES.load(name))
        except BenchError as error:
            problems.append(str(error))
    return Rules(tuple(rules), tuple(problems))
