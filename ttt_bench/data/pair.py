"""Pairs of a source and a target domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ttt_bench.data.domains import Domain, shared_labels
from ttt_bench.data.label_spaces import LabelSpace
from ttt_bench.data.registry import DATASETS
from ttt_bench.data.shifts.kinds import Shift, parse_target
from ttt_bench.errors import BenchError, unknown

LISTED_PAIRS = (
    "rooms:rooms-mix",
    "taskonomy:nyud",
    "taskonomy:pascal",
    "nyud:taskonomy",
    "pascal:taskonomy",
)
"""The pairs in listings; every ordered pair of domains can be run."""


@dataclass(frozen=True)
class Pair:
    """A source and a target domain, and the shifts of the target's images."""

    source: Domain
    target: Domain
    shifts: tuple[Shift, ...] = ()

    @property
    def name(self) -> str:
        """The pair as `find_pair` reads it."""
        return ":".join([self.source.name, "+".join([self.target.name, *map(str, self.shifts)])])

    @property
    def embedded(self) -> bool:
        """Whether the images of both domains are rendered by the harness."""
        return self.source.embedded and self.target.embedded

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks of both domains, in canonical order; a data root may have files for fewer."""
        return tuple(task for task in self.source.tasks if task in self.target.tasks)

    def label_space(self, name: str | None, own: Mapping[str, LabelSpace]) -> LabelSpace | None:
        """Return the label space that both domains share; see `shared_labels`."""
        return shared_labels((self.source, self.target), name, own)


def find_pair(text: str) -> Pair:
    """Return the pair `source:target`, or `source:target+shift@strength`.

    Raises:
        BenchError: the text has another form, or a domain or a shift is invalid.
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
