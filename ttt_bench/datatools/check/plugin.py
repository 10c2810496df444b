"""Check data sets of other packages, and declared ones: what their samples contain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.base import Dataset
from ttt_bench.data.declared.declaration import FILE
from ttt_bench.data.declared.domains import declared_domain, declared_names
from ttt_bench.data.domains import BUILT_IN, Domain, shared_labels
from ttt_bench.data.images.file_dataset import (
    MOST_METRES,
    DepthAdvice,
    ExpectedValues,
    SampledDataset,
    array_problems,
    equal_samples,
    value_problems,
)
from ttt_bench.data.images.files import spread
from ttt_bench.data.images.sample import IMAGE, Sample
from ttt_bench.data.label_spaces import LabelSpace
from ttt_bench.data.open import open_domain
from ttt_bench.data.registry import DATASETS
from ttt_bench.data.splits import SPLITS, overlaps
from ttt_bench.data.variants import CORRECTED
from ttt_bench.data.watched import WatchedDataset
from ttt_bench.datatools.check.agreement.contours import (
    Contours,
    depth_contours,
    edge_contours,
    image_contours,
    is_empty,
    label_contours,
    normal_contours,
    reduction,
)
from ttt_bench.datatools.check.agreement.findings import Frame, Place, compared
from ttt_bench.datatools.check.findings import Finding, Results
from ttt_bench.datatools.check.labels.steps import LabelSteps
from ttt_bench.datatools.check.values import metres_finding
from ttt_bench.errors import BenchError
from ttt_bench.tasks import IGNORE, labelled
from ttt_bench.util.paths import cache_folder
from ttt_bench.util.problems import attempt
from ttt_bench.util.progress import Progress
from ttt_bench.util.text import listed

_SIZE = (448, 576)  # of images and targets, for data sets that give no samples of their own size
_FRAMES = 48  # samples of a split that are read, unless all are requested


class InstalledSet(NamedTuple):
    """A data set of another package, or a declared one, whose folder is in a data root."""

    domain: Domain
    origin: str
    data_root: Path


class _Split(NamedTuple):
    """A split of a data set, its samples, and the names of its classes."""

    name: str
    dataset: Dataset
    samples: Mapping[int, Sample]
    classes: tuple[str, ...]


def installed_sets(root: Path) -> list[InstalledSet]:
    """Return the data sets of other packages whose folder is `root`, or is below it.

    Packages that cannot be imported are left out; `data list` names them.
    """
    found = []
    for entry in DATASETS.entries():
        if entry.name in BUILT_IN:
            continue
        try:
            domain = DATASETS.load(entry.name)
        except BenchError:
            continue
        for data_root in (root, root.parent):
            folder = data_root / (domain.folder or "")
            if folder.is_dir() and (data_root == root or folder == root):
                origin = f"the package {entry.origin} ({entry.location})"
                found.append(InstalledSet(domain, origin, data_root))
    return found


def declared_sets(root: Path) -> Iterator[InstalledSet | Finding]:
    """Yield the declared data sets whose folder is `root`, or is in it.

    An invalid `dataset.toml` is a finding.
    """
    inside = [root / name for name in declared_names(root)]
    for folder in [root] if (root / FILE).is_file() else inside:
        try:
            yield InstalledSet(declared_domain(folder), f"its {FILE}", folder.parent)
        except BenchError as error:
            yield Finding.error("layout", str(error), folder / FILE)


def check_installed(found: InstalledSet, progress: Progress, *, full: bool) -> Results:
    """Check what the samples of a data set contain.

    Args:
        full: read every sample. Otherwise an evenly spread sample of each split is read.
    """
    domain = found.domain
    folder = found.data_root / (domain.folder or "")
    yield Finding.ok("layout", f"the data set {domain.name} of {found.origin}", folder)
    images: dict[str, frozenset[str]] = {}
    problems = []
    for split in SPLITS:
        try:
            space = _space(domain)
            dataset = _open(found, split, space, progress)
        except BenchError as error:
            problems.append(f"split {split}: {error}")
            continue
        named, wrong = attempt(dataset.ids)
        images[split] = named or frozenset()
        yield from (Finding.error("splits", problem, folder) for problem in wrong)
        yield from _check_split(domain, split, dataset, space, progress, full=full)
    for problem in problems:
        if images:
            yield Finding.warning("splits", problem, folder)
        else:
            yield Finding.error("splits", problem, folder)
    yield from _shared_images(domain, images, folder)


def _shared_images(
    domain: Domain, images: Mapping[str, frozenset[str]], folder: Path
) -> Iterator[Finding]:
    """Yield a warning per two splits that share images."""
    own = f"give one of them another folder, or a `list` of names, in {folder / FILE}"
    remedy = own if domain.own_code else "take them out of one"
    for shared in overlaps(images):
        count = len(shared.images)
        message = (
            f"the splits {shared.first} and {shared.second} share {count} "
            f"image{'s' if count > 1 else ''} ({listed(shared.images)}); "
            f"no image should be in two splits: {remedy}"
        )
        yield Finding.warning("splits", message, folder, count)


def _space(domain: Domain) -> LabelSpace | None:
    return shared_labels([domain], None, {})


def _open(found: InstalledSet, split: str, space: LabelSpace | None, progress: Progress) -> Dataset:
    return open_domain(
        found.domain,
        split,
        _SIZE,
        0,
        data_root=found.data_root,
        cache=cache_folder(),
        progress=progress,
        variant=CORRECTED,
        space=space,
        tasks=found.domain.tasks,
    )


def _check_split(
    domain: Domain,
    split: str,
    dataset: Dataset,
    space: LabelSpace | None,
    progress: Progress,
    *,
    full: bool,
) -> Iterator[Finding]:
    chosen = spread(len(dataset), len(dataset) if full else _FRAMES)
    samples: dict[int, Sample] = {}
    with progress.bar(f"reading samples of {domain.name}, {split}", len(chosen)) as bar:
        for index in chosen:
            try:
                samples[index] = _sample(dataset, index)
            except Exception as error:  # the code of another package can raise any error
                yield _failed(split, index, error)
                return
            bar.advance()
    if not samples:
        yield Finding.error("frames", f"{split}: no images")
        return
    classes = space.classes if space else ()
    parts = _Split(split, dataset, samples, classes)
    invalid = list(_invalid(parts, domain))
    yield from invalid
    yield from _repeated(parts)
    if not invalid:
        yield from _shares(parts)
        yield from _label_steps(parts)
        if "depth" in dataset.tasks and _in_metres(domain):
            yield from _depth(parts)
        yield from _agreement(parts)


def _sample(dataset: Dataset, index: int) -> Sample:
    """Return the arrays of an image: at its own size, or as `batch` gives them."""
    sampled = _sampled(dataset)
    if sampled is not None:
        return sampled.sample(index)
    batch = dataset.batch([index])
    image = np.rint(batch.images[0].numpy() * 255).astype(np.uint8)
    targets = {task: values[0].numpy() for task, values in batch.targets.items()}
    classes = {task: targets[task].astype(np.uint8) for task in labelled(targets)}
    return {IMAGE: image, **targets, **classes}


def _sampled(dataset: Dataset) -> SampledDataset | None:
    """Return the data set that gives samples of their own size; None for other ones."""
    original = dataset.original if isinstance(dataset, WatchedDataset) else dataset
    return original if isinstance(original, SampledDataset) else None


def _depth_advice(dataset: Dataset) -> DepthAdvice:
    sampled = _sampled(dataset)
    return DepthAdvice() if sampled is None else sampled.depth_advice


def _failed(split: str, index: int, error: Exception) -> Finding:
    reason = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
    return Finding.error("files", f"{split}: sample {index} cannot be read: {reason}", None, 1)


def _invalid(split: _Split, domain: Domain) -> Iterator[Finding]:
    """Yield the first sample with each kind of invalid arrays."""
    seen: set[str] = set()
    for index, sample in split.samples.items():
        problems = list(array_problems(sample, split.dataset.tasks))
        problems += [] if problems else _value_problems(sample, split, domain)
        for problem in problems:
            if (kind := problem.split(" ")[0]) not in seen:
                seen.add(kind)
                name = f"{split.name}, sample {index} ({split.dataset.name(index)})"
                yield Finding.error("values", f"{name}: {problem}", None, 1)


def _value_problems(sample: Sample, split: _Split, domain: Domain) -> list[str]:
    expected = ExpectedValues(
        classes=len(split.classes) or None,
        depth_in_metres=_in_metres(domain),
        depth_advice=_depth_advice(split.dataset),
    )
    problems = list(value_problems(sample, expected))
    binary = "edge" not in sample or np.isin(sample["edge"], (0, 1, IGNORE)).all()
    if domain.edge_sigmoid and not binary:
        problems.append("edge has values other than 0, 1 and 255; see `edge_sigmoid`")
    return problems


def _in_metres(domain: Domain) -> bool:
    return domain.to_metres is None and domain.depth_nonnegative


def _repeated(split: _Split) -> Iterator[Finding]:
    """Yield an error if the first sample differs when it is read again."""
    index, before = next(iter(split.samples.items()))
    try:
        again = _sample(split.dataset, index)
    except Exception as error:  # the code of another package can raise any error
        yield _failed(split.name, index, error)
        return
    if not equal_samples(before, again):
        message = (
            f"{split.name}: sample {index} differs when it is read again; a sample must depend on "
            "its index alone, so that runs can be repeated"
        )
        yield Finding.error("values", message)


def _shares(split: _Split) -> Iterator[Finding]:
    """Yield the share of pixels with a target per task, and the share of each class."""
    for task in split.dataset.tasks:
        known = [float((sample[task] != IGNORE).mean()) for sample in split.samples.values()]
        message = (
            f"{split.name}: {task} on {np.mean(known):.1%} of the pixels of {len(known)} samples"
        )
        if task == "semseg":
            message += f": {_class_shares(split)}"
        yield Finding.ok_if(bool(np.mean(known) > 0), "values", message)


def _label_steps(split: _Split) -> Iterator[Finding]:
    """Yield a warning if label maps are noise, or were resized like pictures."""
    if "semseg" not in split.dataset.tasks:
        return
    steps = LabelSteps(f"{split.name}: semseg")
    for labels in _arrays(split, "semseg"):
        steps.add(labels)
    yield from steps.findings(None)


def _class_shares(split: _Split) -> str:
    counts = np.zeros(256, dtype=np.int64)
    for sample in split.samples.values():
        counts += np.bincount(sample["semseg"].ravel(), minlength=256)
    every = max(int(counts.sum()), 1)
    shares = zip(split.classes, counts, strict=False)
    return ", ".join(f"{name} {count / every:.2%}" for name, count in shares)


def _depth(split: _Split) -> Iterator[Finding]:
    valid = [depth[depth != IGNORE] for depth in _arrays(split, "depth")]
    medians = [float(np.median(metres)) for metres in valid if metres.size]
    if medians:
        wrong = f"the unit is wrong: {_depth_advice(split.dataset).unit}"
        finding = metres_finding(medians, wrong, None, largest=MOST_METRES)
        yield Finding.ok_if(finding.level == "ok", "values", f"{split.name}: {finding.message}")


def _agreement(split: _Split) -> Iterator[Finding]:
    """Compare images with their targets, as for the built-in data sets."""
    indices = list(split.samples)[:: -(-len(split.samples) // _FRAMES)]
    frames = [_frame(split.dataset.name(index), split.samples[index]) for index in indices]
    for finding in compared(frames, IMAGE):
        message = f"{split.name}: {finding.message}"
        yield Finding.ok_if(finding.level == "ok", "agreement", message, count=finding.count)


def _frame(name: str, sample: Sample) -> Frame:
    image = sample[IMAGE].transpose(1, 2, 0)  # (3, H, W) -> (H, W, 3)
    return Frame(Place(name), _contours(sample), reduction(image.shape), is_empty(image))


def _contours(sample: Sample) -> dict[str, Contours | None]:
    """Return the contour maps of a sample's arrays."""
    made: dict[str, Contours | None] = {IMAGE: image_contours(sample[IMAGE].transpose(1, 2, 0))}
    if "semseg" in sample:
        made["semseg"] = label_contours(sample["semseg"])
    if "depth" in sample:
        depth = sample["depth"][0]
        made["depth"] = depth_contours(depth, (depth != IGNORE) & (depth > 0))
    if "normals" in sample:
        vectors = np.where(sample["normals"] == IGNORE, 0, sample["normals"])
        made["normals"] = normal_contours(vectors.transpose(1, 2, 0))
    if "edge" in sample:
        made["edge"] = edge_contours(np.where(sample["edge"][0] == 1, 1, 0))
    return made


def _arrays(split: _Split, name: str) -> Sequence[NDArray[Any]]:
    return [sample[name] for sample in split.samples.values()]
