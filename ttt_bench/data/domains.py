"""Domains and pairs by name, with what the harness must know before any image is read. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ttt_bench.data.rooms.looks import LOOKS
from ttt_bench.errors import BenchError, unknown
from ttt_bench.progress import Progress
from ttt_bench.tasks import TASKS

if TYPE_CHECKING:
    from ttt_bench.data.base import Dataset


@dataclass(frozen=True)
class Domain:
    """Where images come from.

    Attributes:
        embedded: made here, so that nothing has to be downloaded.
        recipe: how a source model is trained on it (`ttt_bench.losses.RECIPES`).
        edge_sigmoid: its edge targets are 0/1, so that an edge output is scored through a sigmoid.
        depth_nonnegative: a depth output is clamped at 0 before scoring.
        depth_unit: what depth targets are given in.
        edge_unit: the values of edge targets.
        folder: the data root's folder that holds it; None if embedded.
        depth_log: its depth targets are log(1 + counts) / log(65536), counts of 1/512 m; otherwise metres.
    """

    name: str
    description: str
    tasks: tuple[str, ...]
    embedded: bool
    recipe: str
    edge_sigmoid: bool
    depth_nonnegative: bool
    depth_unit: str
    edge_unit: str
    folder: str | None = None
    depth_log: bool = False


def _rooms(name: str, description: str) -> Domain:
    # the embedded rooms use NYUD-v2's encodings, losses, masks and scoring
    return Domain(name, description, tuple(TASKS), True, "weighted", True, True, "metres", "0 or 1")


DOMAINS: dict[str, Domain] = {
    **{name: _rooms(name, look.description) for name, look in LOOKS.items()},
    "taskonomy": Domain(
        "taskonomy",
        "Taskonomy (tiny): real rooms with measured depth and normals",
        tuple(TASKS),
        False,
        "taskonomy",
        edge_sigmoid=False,
        depth_nonnegative=False,
        depth_unit="log(1 + counts) / log(65536)",
        edge_unit="blurred gradients, -1 on flat areas",
        folder="taskonomy",
        depth_log=True,
    ),
}

LISTED_PAIRS = ("rooms:rooms-mix", "rooms:taskonomy")
"""The pairs that a listing shows; any ordered pair of domains runs."""


@dataclass(frozen=True)
class Pair:
    """A source and a target domain."""

    source: Domain
    target: Domain

    @property
    def name(self) -> str:
        return f"{self.source.name}:{self.target.name}"

    @property
    def embedded(self) -> bool:
        return self.source.embedded and self.target.embedded

    @property
    def label_space(self) -> str:
        """The classes of semantic segmentation that both domains share."""
        return "taskonomy_nyud_7"

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks of both domains, in canonical order; a data root may hold fewer."""
        return tuple(task for task in self.source.tasks if task in self.target.tasks)


def find_domain(name: str) -> Domain:
    """The domain of that name.

    Raises:
        BenchError: there is none.
    """
    if name not in DOMAINS:
        raise unknown("domain", name, DOMAINS)
    return DOMAINS[name]


def find_pair(name: str) -> Pair:
    """The pair `source:target`.

    Raises:
        BenchError: not of that form, or an unknown domain.
    """
    parts = name.split(":")
    if len(parts) != 2:
        raise BenchError(f"a pair is written source:target (such as {LISTED_PAIRS[0]}), got {name!r}")
    for part in parts:
        if part not in DOMAINS:
            raise unknown("pair", name, [*LISTED_PAIRS, *(f"rooms:{n}" for n in DOMAINS if n not in ("rooms",))])
    return Pair(DOMAINS[parts[0]], DOMAINS[parts[1]])


def folder_of(domain: Domain, data_root: Path | None) -> Path:
    """Where a domain's files lie below the data root.

    Raises:
        BenchError: there is no data root, or it has no such folder.
    """
    assert domain.folder is not None
    if data_root is None:
        raise BenchError(
            f"{domain.name} needs its files: give the folder that holds {domain.folder}/ with --data-root or in the "
            "environment variable TTT_BENCH_DATA"
        )
    folder = data_root / domain.folder
    if not folder.is_dir():
        raise BenchError(
            f"{domain.name}: looked for {folder}, which is no folder; --data-root (or TTT_BENCH_DATA) must name the "
            f"folder that holds {domain.folder}/"
        )
    return folder


def open_domain(
    domain: Domain,
    split: str,
    size: tuple[int, int],
    count: int,
    *,
    data_root: Path | None,
    cache: Path,
    progress: Progress,
) -> Dataset:
    """A split of a domain at one size.

    Args:
        split: train (source training), val (held-out source), test (the target) or tune (other target images).
        size: (H, W).
        count: how many images an embedded domain renders; real domains give what they have.
        data_root: the folder that holds the real domains' folders.
        cache: where rendered images are kept.

    Raises:
        BenchError: missing or damaged files, named.
    """
    if domain.embedded:
        from ttt_bench.data.rooms.dataset import Rooms

        return Rooms(domain.name, split, size, count, cache)
    from ttt_bench.data.taskonomy.dataset import Taskonomy

    return Taskonomy.open(folder_of(domain, data_root), split, size, progress)
