"""Open a split of a domain."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt_bench.data.domains import METRES, Domain
from ttt_bench.data.file_system import is_folder
from ttt_bench.data.label_spaces import LABEL_SPACES, LabelSpace
from ttt_bench.data.registry import DATASETS
from ttt_bench.data.variants import DataVariant
from ttt_bench.errors import BenchError, printable
from ttt_bench.util.hashing import code_hash
from ttt_bench.util.os_errors import explained_reading
from ttt_bench.util.progress import Progress

if TYPE_CHECKING:
    from ttt_bench.data.base import Dataset

ROOMS_SPACE = "taskonomy_nyud_7"
"""The label space that the rooms are rendered with."""


def is_there(domain: Domain, data_root: Path | None) -> bool:
    """Return whether a domain's folder is below the data root, or the domain needs no files."""
    return domain.folder is None or (data_root is not None and is_folder(data_root / domain.folder))


def folder_of(domain: Domain, data_root: Path | None) -> Path:
    """Return the folder of a domain's files below the data root.

    Raises:
        BenchError: the data root is not given, or does not contain the folder.
    """
    assert domain.folder is not None
    if data_root is None:
        raise BenchError(
            f"{domain.name} needs its files: give the folder that contains {domain.folder}/ with "
            "--data-root or in the environment variable TTT_BENCH_DATA"
        )
    folder = data_root / domain.folder
    with explained_reading(folder, domain.name):
        there = folder.is_dir()
    if not there:
        raise BenchError(
            f"{domain.name}: the folder {folder} does not exist; --data-root (or TTT_BENCH_DATA) "
            f"must name the folder that contains {domain.folder}/"
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
    variant: DataVariant,
    space: LabelSpace | None = None,
    subset: str = "first_tenth",
    tasks: Sequence[str] | None = None,
) -> Dataset:
    """Return a split of a domain at one size.

    Args:
        split: a name in `ttt_bench.data.splits.SPLITS`.
        size: (H, W) in pixels.
        count: number of images that an embedded domain renders; other domains give all they have.
        data_root: the folder that contains the folders of the domains with files.
        cache: the folder for rendered images.
        variant: the data handling.
        space: the label space of `semseg`; None for the data set's default.
        subset: the subset of the test images, for domains that have several.
        tasks: the tasks to give targets for, for domains with files of tasks outside `PAPER_TASKS`;
            None for the tasks of `PAPER_TASKS`.

    Raises:
        BenchError: files are missing or damaged; names them.
    """
    if domain.embedded:
        return _rendered(domain, split, size, count, cache=cache, space=space)
    folder = folder_of(domain, data_root)
    offered = {"subset": subset, "tasks": tasks}
    options: dict[str, Any] = {name: offered[name] for name in domain.open_options}
    options |= {"space": space, "variant": variant}
    opened = partial(_opened, domain, (folder, split, size, progress), options)
    return opened() if domain.own_code else _foreign(domain, opened)


def _opened(domain: Domain, arguments: Sequence[Any], options: Mapping[str, Any]) -> Dataset:
    """Return the data set that a domain's opener returns."""
    dataset: Dataset = _opener(domain.opener)(*arguments, **options)
    notices = tuple(map(printable, dataset.notices))
    if notices != dataset.notices:  # a path is not in UTF-8
        dataset.notices = notices
    _expect(dataset, domain, options["space"])
    return dataset


def _foreign(domain: Domain, opened: Callable[[], Dataset]) -> Dataset:
    """Return a data set of another package, whose code can raise any error and change anything.

    Raises:
        BenchError: the code failed, or has changed the state of the process.
    """
    from ttt_bench.data.watched import WatchedDataset
    from ttt_bench.util.process import watched

    try:
        with watched(f"opening data set {domain.name}"):
            return WatchedDataset(opened())
    except BenchError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise BenchError(f"{domain.name}: {domain.opener} failed: {reason}") from error


def _expect(dataset: Dataset, domain: Domain, space: LabelSpace | None) -> None:
    """Tell a data set of samples what values its `prepare` must find."""
    from ttt_bench.data.images.file_dataset import ExpectedValues, SampledDataset

    if isinstance(dataset, SampledDataset):
        dataset.expected = ExpectedValues(
            classes=len(space.classes) if space else None,
            depth_in_metres=domain.depth_unit == METRES and domain.to_metres is None,
            depth_advice=dataset.depth_advice,
        )


def dataset_code(domain: Domain, dataset: Dataset) -> str:
    """Return a hash of the code of a data set of another package; empty for code of the harness.

    Args:
        domain: the domain.
        dataset: a split of it.

    Raises:
        BenchError: a file of the package cannot be read.
    """
    if domain.own_code:
        return ""
    point = DATASETS.entry(domain.name).point
    modules = [point.module] if point else []
    decoder = [domain.to_metres] if domain.to_metres else []
    return code_hash(_opener(domain.opener), type(dataset), *decoder, *modules)


def _rendered(
    domain: Domain,
    split: str,
    size: tuple[int, int],
    count: int,
    *,
    cache: Path,
    space: LabelSpace | None,
) -> Dataset:
    """Return rendered rooms, with the classes of the label space."""
    from ttt_bench.data.rooms.dataset import Rooms
    from ttt_bench.data.shifts.views import RelabelledDataset

    rooms = Rooms(domain.name, split, size, count, cache)
    own_ids = LABEL_SPACES[ROOMS_SPACE].native[domain.labels]
    if space is None or space.native[domain.labels] == own_ids:
        return rooms
    return RelabelledDataset(rooms, space.table(domain.labels), space.record())


@cache
def _opener(name: str) -> Any:
    """Return the object `module:object` that opens a data set."""
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BenchError(
            f"the opener {name} of the data set cannot be imported: {error}; check its package"
        ) from error
