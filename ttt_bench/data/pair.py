"""Pairs of a source and a target domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ttt_bench.data.domains import Domain, shared_labels
from ttt_bench.data.label_spaces import LabelSpace
from ttt_bench.data.registry import domain_names, find_domain
from ttt_bench.data.shifts.kinds import Shift, parse_target
from ttt_bench.errors import BenchError, unknown
from ttt_bench.tasks import PAPER_TASKS, canonical

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

    def tasks(self, wanted: Sequence[str] | None = None) -> tuple[str, ...]:
        """Return the pair's tasks, in canonical order; a data root may have files for fewer.

        Args:
            wanted: the tasks that are asked for; None for those of `PAPER_TASKS` that both domains
                have.

        Raises:
            BenchError: a domain lacks a task that is asked for.
        """
        shared = tuple(task for task in self.source.tasks if task in self.target.tasks)
        if wanted is None:
            return tuple(task for task in shared if task in PAPER_TASKS)
        for domain in (self.source, self.target):
            lacking = [task for task in canonical(wanted) if task not in domain.tasks]
            if lacking:
                raise BenchError(
                    f"{self.name}: data.tasks names {', '.join(lacking)}, which {domain.name} does "
                    f"not have (it has {', '.join(domain.tasks)}); leave it out, or use another "
                    "pair"
                )
        return canonical(wanted)

    def label_space(self, name: str | None, own: Mapping[str, LabelSpace]) -> LabelSpace | None:
        """Return the label space that both domains share; see `shared_labels`."""
        return shared_labels((self.source, self.target), name, own)


def find_pair(text: str, data_root: Path | None = None) -> Pair:
    """Return the pair `source:target`, or `source:target+shift@strength`.

    Args:
        text: the pair.
        data_root: the folder that may declare further data sets.

    Raises:
        BenchError: the text has another form, or a domain or a shift is invalid.
    """
    source, colon, rest = text.partition(":")
    if not colon or ":" in rest:
        raise BenchError(
            f"a pair is written source:target (such as {LISTED_PAIRS[0]}), got {text!r}"
        )
    target, shifts = parse_target(rest)
    known = domain_names(data_root)
    for name in (source, target):
        if name not in known:
            pairs = [*LISTED_PAIRS, *(f"{source}:{other}" for other in known)]
            raise unknown("pair", f"{source}:{target}", pairs if source in known else LISTED_PAIRS)
    return Pair(find_domain(source, data_root), find_domain(target, data_root), shifts)
