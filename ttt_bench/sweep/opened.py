"""Open the data sets of the pairs of a request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ttt_bench.config.preset import Preset
from ttt_bench.data.base import Dataset
from ttt_bench.data.domains import Domain, without_labels
from ttt_bench.data.label_spaces import LabelSpace
from ttt_bench.data.open import dataset_code, open_domain
from ttt_bench.data.pair import Pair
from ttt_bench.data.shifts.views import ShiftedDataset, StreamedDataset
from ttt_bench.data.variants import DataVariant
from ttt_bench.errors import BenchError
from ttt_bench.model.architecture import resolved_model
from ttt_bench.sweep.batches import target_batches
from ttt_bench.sweep.resolve import ResolvedPair, ResolvedRequest
from ttt_bench.tasks import PAPER_TASKS, TASKS, canonical
from ttt_bench.util.hashing import hash_of
from ttt_bench.util.paths import cache_folder
from ttt_bench.util.problems import attempt
from ttt_bench.util.progress import Progress
from ttt_bench.util.text import listed


@dataclass(frozen=True, kw_only=True)
class OpenedPair:
    """A pair with its data opened.

    Attributes:
        pair: the source and the target domain.
        preset_name: name of the preset.
        preset: the preset with the request's settings.
        variant: the data handling.
        source_data: training images of the source.
        target_data: images that the protocols use: those of the target under their shifts, in the
            order of the stream.
        source_code: hash of the code of the source's data set; empty if it is built in.
        target_code: the same of the target's.
        tasks: tasks of both data sets, in canonical order.
        labels: the classes of semantic segmentation; None if the pair shares none.
        notices: what the user should know about the data.
    """

    pair: Pair
    preset_name: str
    preset: Preset
    variant: DataVariant
    source_data: Dataset
    target_data: StreamedDataset
    source_code: str
    target_code: str
    tasks: tuple[str, ...]
    labels: LabelSpace | None
    notices: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the semantic classes."""
        return self.labels.classes if self.labels else ()

    @cached_property
    def batches(self) -> list[list[int]]:
        """The positions of the target's images in each evaluation batch."""
        return target_batches(self.target_data, self.preset.batch)


@dataclass(frozen=True, kw_only=True)
class Split:
    """A split of a domain as one role of a pair uses it.

    Attributes:
        domain: the domain.
        name: train, val, test or tune.
        role: "source" or "target", which decides the size of the images.
        preset: number and size of images.
        labels: the classes of semantic segmentation; None for none.
        variant: the data handling.
    """

    domain: Domain
    name: str
    role: str
    preset: Preset
    labels: LabelSpace | None
    variant: DataVariant

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the images."""
        return self.preset.data.size(self.domain.name, self.role)

    @property
    def key(self) -> str:
        """Return a hash that is equal for splits with equal data."""
        space = self.labels.record() if self.labels else None
        settings = self.preset.data.model_dump()
        return hash_of([self.domain.name, self.name, self.size, space, settings])

    def open(self, data_root: Path | None, progress: Progress) -> Dataset:
        """Return the data set.

        Args:
            data_root: the folder that contains the domains' folders.
            progress: shows long work.

        Raises:
            BenchError: files are missing or damaged.
        """
        data = self.preset.data
        return open_domain(
            self.domain,
            self.name,
            self.size,
            data.rendered_train if self.name == "train" else data.rendered_target,
            data_root=data_root,
            cache=cache_folder(),
            progress=progress,
            space=self.labels,
            variant=self.variant,
            subset=data.test_subset,
            tasks=data.tasks,
        )


def open_pairs(resolved: ResolvedRequest, progress: Progress) -> tuple[list[OpenedPair], list[str]]:
    """Return the pairs that can be opened, and the problems of the others.

    A data set that several pairs share is opened once.
    """
    datasets, problems = _open_splits(resolved, progress)
    opened: list[OpenedPair] = []
    for one in resolved.pairs:
        source, target = (datasets.get(split.key) for split in _splits(one, resolved.variant))
        if source is not None and target is not None:
            pair, new = attempt(_opened, one, resolved, source, target)
            problems += new
            opened += [pair] if pair is not None else []
    return opened, problems


def _open_splits(
    resolved: ResolvedRequest, progress: Progress
) -> tuple[Mapping[str, Dataset], list[str]]:
    """Return the data sets of all pairs by `Split.key`."""
    splits = {
        split.key: split for one in resolved.pairs for split in _splits(one, resolved.variant)
    }
    found: dict[str, Dataset] = {}
    problems: list[str] = []
    for key, split in splits.items():
        dataset, new = attempt(split.open, resolved.request.data_root, progress)
        problems += new
        if dataset is not None:
            found[key] = dataset
    return found, problems


def _splits(one: ResolvedPair, variant: DataVariant) -> tuple[Split, Split]:
    """Return the training images of the source, and the images of the target."""
    source, target = one.pair.source, one.pair.target
    return (
        Split(
            domain=source,
            name="train",
            role="source",
            preset=one.preset,
            labels=one.labels,
            variant=variant,
        ),
        Split(
            domain=target,
            name=one.preset.data.target_split,
            role="target",
            preset=one.preset,
            labels=one.labels,
            variant=variant,
        ),
    )


def _opened(
    one: ResolvedPair, resolved: ResolvedRequest, source: Dataset, target: Dataset
) -> OpenedPair:
    tasks, left_out = _shared_tasks(one, source, target)
    if one.pair.source.name == one.pair.target.name:
        _require_disjoint(one.pair.name, source, target)
    stream = _streamed(one, resolved, target)
    notices = [*left_out, *source.notices, *stream.notices, *_footnotes(one.labels, tasks)]
    return OpenedPair(
        pair=one.pair,
        preset_name=one.preset_name,
        preset=one.preset.model_copy(update={"model": resolved_model(one.preset.model)}),
        variant=resolved.variant,
        source_data=source,
        target_data=stream,
        source_code=dataset_code(one.pair.source, source),
        target_code=dataset_code(one.pair.target, target),
        tasks=tasks,
        labels=one.labels,
        notices=tuple(dict.fromkeys(notices)),
    )


def _shared_tasks(
    one: ResolvedPair, source: Dataset, target: Dataset
) -> tuple[tuple[str, ...], list[str]]:
    """Return the tasks of both data sets, and a notice per task that is left out.

    Raises:
        BenchError: they share no task, or lack one that `data.tasks` names.
    """
    shared = set(source.tasks) & set(target.tasks) & set(one.tasks)
    tasks = canonical(task for task in shared if not _without_labels(task, one))
    missing = [task for task in one.tasks if task not in tasks]
    left_out = [f"{task} is left out, {_reason(task, one, source, target)}" for task in missing]
    if not tasks:
        unshared = (
            f"source has {', '.join(source.tasks)}, target {', '.join(target.tasks)}; use another "
            f"pair, or name tasks other than {', '.join(PAPER_TASKS)} with --set data.tasks=..."
        )
        reason = "; ".join(left_out) or unshared
        raise BenchError(f"{one.pair.name}: source and target share no task: {reason}")
    notices = [f"{one.pair.name}: {line}" for line in left_out]
    if missing and one.preset.data.tasks is not None:
        completed = "" if _without_labels(missing[0], one) else "complete the files, or "
        raise BenchError(f"{notices[0]}; {completed}leave {missing[0]} out of data.tasks")
    return tasks, notices


def _require_disjoint(pair: str, source: Dataset, target: Dataset) -> None:
    """Raise a BenchError if a model would be tested on images that it was trained on."""
    shared = sorted(source.ids() & target.ids())
    if shared:
        raise BenchError(
            f"{pair}: source and target share {len(shared)} images ({listed(shared)}), so that "
            "models would be tested on images they were trained on; use another source, or files "
            "with the published splits"
        )


def _streamed(one: ResolvedPair, resolved: ResolvedRequest, target: Dataset) -> StreamedDataset:
    """Return the target under the pair's shifts, in the stream's order."""
    data, shifts = one.preset.data, one.pair.shifts
    limit = None if one.pair.target.embedded else data.target_limit
    shifted = ShiftedDataset(target, shifts, data.seed) if shifts else target
    return StreamedDataset(shifted, resolved.stream, data.seed, limit)


def _without_labels(task: str, one: ResolvedPair) -> bool:
    """Return whether a task needs classes, and the pair shares none."""
    return TASKS[task].needs_labels and one.labels is None


def _reason(task: str, one: ResolvedPair, source: Dataset, target: Dataset) -> str:
    """Return why a pair leaves a task out."""
    pair = one.pair
    if _without_labels(task, one):
        return without_labels(pair.source, pair.target)
    datasets = ((pair.source, source), (pair.target, target))
    lacking = {domain.name: 0 for domain, dataset in datasets if task not in dataset.tasks}
    return f"{' and '.join(lacking)} {'have' if len(lacking) > 1 else 'has'} no labels for it"


def _footnotes(labels: LabelSpace | None, tasks: tuple[str, ...]) -> Iterator[str]:
    if labels and labels.footnote and any(TASKS[task].needs_labels for task in tasks):
        yield labels.footnote
