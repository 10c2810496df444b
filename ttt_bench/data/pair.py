"""Pairs of a source and a target domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ttt_bench.data.label_spaces import LabelSpace
from ttt_bench.data.shifts.kinds import Shift, parse_target
from ttt_bench.errors import BenchError, unknown

if TYPE_CHECKING:
    pass
from ttt_bench.data.domains import Domain, shared_labels
from ttt_bench.data.registry import DATASETS

LISTED_PAIRS = (
    "rooms:rooms-mix",
    "taskonomy:nyud",
    "taskonomy:pascal",
    "nyud:taskonomy",
    "pascal:taskonomy",
)
"""The pairs that a listing shows; any ordered pair of domains runs."""


@dataclass(frozen=True)
class Pair:
    """A source and a target domain, and the shifts that the target's images are under."""

    source: Domain
    target: Domain
    shifts: tuple[Shift, ...] = ()

    @property
    def name(self) -> str:
        return ":".join([self.source.name, "+".join([self.target.name, *map(str, self.shifts)])])

    @property
    def embedded(self) -> bool:
        return self.source.embedded and self.target.embedded

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks of both domains, in canonical order; a data root may hold fewer."""
        return tuple(task for task in self.source.tasks if task in self.target.tasks)

    def label_space(self, name: str | None, own: Mapping[str, LabelSpace]) -> LabelSpace | None:
        """The classes that both domains share, as `shared_labels` says."""
        return shared_labels((self.source, self.target), name, own)


def find_pair(text: str) -> Pair:
    """The pair `source:target`, or `source:target+shift@strength`.

    Raises:
        BenchError: not of that form, an unknown domain, or a shift that is none or out of range.
    """
    source, colon, rest = text.partition(":")
    if not colon or ":" in rest:
        raise BenchError(
            f"a pair is written source:target (such as {LISTED_PAIRS[0]}), got {text!r}"
        )
    target, shifts = parse_target(rest)
    for name in (source, target):
        if name not in DATASETS.names():
            pairs = [*LISTED_PAIRS, *(f"{source}:{other}" for other in DATASETS.names())]
            raise unknown(
                "pair", f"{source}:{target}", pairs if source in DATASETS.names() else LISTED_PAIRS
            )
    return Pair(DATASETS.load(source), DATASETS.load(target), shifts)
