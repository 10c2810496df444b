"""Opening a split of a domain."""

from __future__ import annotations

import pkgutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt_bench.data.label_spaces import LABEL_SPACES, LabelSpace
from ttt_bench.data.variants import DataVariant
from ttt_bench.errors import BenchError
from ttt_bench.util.progress import Progress

if TYPE_CHECKING:
    from ttt_bench.data.base import Dataset
from ttt_bench.data.domains import BUILT_IN, Domain

ROOMS_SPACE = "taskonomy_nyud_7"
"""The label space that the rooms are rendered with."""


def is_there(domain: Domain, data_root: Path | None) -> bool:
    """Whether a domain's folder lies below the data root, or it needs none."""
    return domain.folder is None or (data_root is not None and (data_root / domain.folder).is_dir())


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
    space: LabelSpace | None = None,
    variant: DataVariant,
    subset: str = "first_tenth",
) -> Dataset:
    """A split of a domain at one size.

    Args:
        split: train (source training), val (held-out source), test (the target) or tune (other
        target images).
        size: (H, W).
        count: how many images an embedded domain renders; real domains give what they have.
        data_root: the folder that holds the real domains' folders.
        cache: where rendered images are kept.
        space: the label space of `semseg`; None for the data set's own choice.
        variant: whose data handling.
        subset: which of Taskonomy's test frames.

    Raises:
        BenchError: missing or damaged files, named.
    """
    if domain.embedded:
        from ttt_bench.data.rooms.dataset import Rooms
        from ttt_bench.data.shifts.views import RelabelledDataset

        rooms = Rooms(domain.name, split, size, count, cache)
        own = (
            space is None
            or space.native[domain.labels] == LABEL_SPACES[ROOMS_SPACE].native[domain.labels]
        )
        return (
            rooms
            if own or space is None
            else RelabelledDataset(rooms, space.table(domain.labels), space.record())
        )
    options = {"subset": subset} if domain.name == "taskonomy" else {}
    folder = folder_of(domain, data_root)
    opener = _opener(domain.opener)
    try:
        return opener(folder, split, size, progress, space=space, variant=variant, **options)
    except BenchError:
        raise
    except Exception as error:
        if domain.name in BUILT_IN:
            raise
        # a package can fail in any way
        raise BenchError(
            f"{domain.name}: {domain.opener} failed: {type(error).__name__}: {error}"
        ) from error


@cache
def _opener(name: str) -> Any:
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BenchError(f"what opens the data set, {name}, cannot be had: {error}") from error
