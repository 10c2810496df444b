"""A pair with its data opened: what every cell of it has in common, whatever the method."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from ttt_bench.adapter import Adapter
from ttt_bench.config.preset import Preset
from ttt_bench.config.request import Request
from ttt_bench.data.base import Dataset
from ttt_bench.data.batching import split_batches
from ttt_bench.data.domains import Domain
from ttt_bench.data.label_spaces import LabelSpace, label_space_from
from ttt_bench.data.open import open_domain
from ttt_bench.data.pair import Pair
from ttt_bench.data.shifts.streams import parse_stream
from ttt_bench.data.shifts.views import ShiftedDataset, StreamedDataset
from ttt_bench.data.variants import DataVariant, find_variant
from ttt_bench.errors import BenchError
from ttt_bench.losses import RECIPES, Recipe
from ttt_bench.metrics.base import Scoring
from ttt_bench.tasks import TASKS, canonical, output_channels
from ttt_bench.train.chain import SourceSpec
from ttt_bench.util.hashing import hash_of
from ttt_bench.util.progress import Progress


@dataclass(frozen=True)
class OpenedPair:
    """A pair with its data opened.

    Attributes:
        target: what the protocols see: the target's images under their shifts, in the stream's
        order.
        tasks: those that both data sets have, in canonical order.
        labels: the classes of semantic segmentation; None where the pair shares none.
    """

    pair: Pair
    preset_name: str
    preset: Preset
    variant: DataVariant
    source: Dataset
    target: StreamedDataset
    tasks: tuple[str, ...]
    labels: LabelSpace | None
    notices: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the semantic classes."""
        return self.labels.classes if self.labels else ()

    @property
    def unusual(self) -> dict[str, str]:
        """The target's order and the classes where another choice was made than the usual one."""
        found = {} if self.target.stream.kind == "fixed" else {"stream": str(self.target.stream)}
        usual = self.pair.label_space(None, {})
        if self.labels is not None and (usual is None or usual.name != self.labels.name):
            found["label_space"] = self.labels.name
        return found

    @property
    def target_images(self) -> int:
        """How many images the protocols see."""
        return len(self.target)

    def channels(self, adapter: Adapter | None = None) -> dict[str, int]:
        """Task -> output channels of the shared network, or of a method's where that has fewer
        tasks.
        """
        tasks = adapter.own_tasks(self.tasks) if adapter else self.tasks
        return output_channels(tasks, len(self.classes))

    def source_spec(self, seed: int, adapter: Adapter | None = None) -> SourceSpec:
        """Return the settings of source training for a seed, with the tasks of a method."""
        return SourceSpec(
            domain=self.pair.source.name,
            model=self.preset.model,
            tasks=self.channels(adapter),
            recipe=self.source_recipe.name,
            training=self.preset.training,
            fingerprint=self.source.fingerprint,
            seed=seed,
            normalisation=self.normalisation_of(self.pair.source),
        )

    @property
    def source_recipe(self) -> Recipe:
        """How the source model is trained."""
        return _recipe(self.pair.source, self.variant)

    @property
    def target_recipe(self) -> Recipe:
        """How a method that weights tasks does so on the target."""
        return _recipe(self.pair.target, self.variant)

    def normalisation_of(self, domain: Domain) -> str:
        """The statistics that the model normalises a domain's images with, a name of
        `model.NORMALISATIONS`.
        """
        apart = self.variant.normalisation == "per_dataset" and domain.unscaled
        return "unscaled" if apart else "imagenet"

    @property
    def scoring(self) -> Scoring:
        """How raw outputs are scored on the target."""
        target = self.pair.target
        return Scoring(
            edge_sigmoid=target.edge_sigmoid,
            depth_nonnegative=target.depth_nonnegative,
            to_metres=target.to_metres,
        )

    def scoring_words(self) -> dict[str, str]:
        """The same in words."""
        target = self.pair.target
        order = (
            "file order"
            if self.target.stream.kind == "fixed"
            else f"the order of the stream {self.target.stream}"
        )
        return self.scoring.words(
            self.tasks,
            batch=self.preset.batch,
            units={"depth": target.depth_unit, "edge": target.edge_unit},
            order=order,
        )

    @property
    def batches(self) -> list[list[int]]:
        """Positions of the stream in every target batch; none is part of two segments that
        follow each other.
        """
        segments: dict[int, list[int]] = {}
        continual = self.target.stream.kind == "continual"
        for index, position in enumerate(self.target.positions):
            segments.setdefault(position.segment if continual else 0, []).append(index)
        return [
            [positions[i] for i in batch]
            for positions in segments.values()
            for batch in split_batches(len(positions), self.preset.batch)
        ]

    def segments(self) -> list[dict[str, Any]]:
        """What a stream under several shifts is made of: each segment's name and its positions;
        else nothing.
        """
        names = self.target.stream.names
        if len(names) < 2:
            return []
        at = [
            [i for i, position in enumerate(self.target.positions) if position.segment == n]
            for n in range(len(names))
        ]
        return [
            {"name": name, "positions": positions}
            for name, positions in zip(names, at, strict=True)
        ]

    def record(self) -> dict[str, Any]:
        """What every cell's numbers depend on, beside the method."""
        return {
            "target": self.target.fingerprint,
            "target_images": self.target_images,
            "target_size": list(self.target.size),
            "tasks": list(self.tasks),
            "label_space": self.labels.record() if self.labels else None,
            "batch": self.preset.batch,
            "source_recipe": self.source_recipe.name,
            "target_recipe": self.target_recipe.name,
            "target_statistics": self.normalisation_of(self.pair.target),
            "variant": asdict(self.variant),
            "scoring": self.scoring_words(),
            "model": self.preset.model.model_dump(mode="json", exclude={"weights"}),
            "precision": "fp32",
        }


def cache_folder() -> Path:
    """Where rendered images are kept: `TTT_BENCH_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("TTT_BENCH_CACHE") or platformdirs.user_cache_dir("ttt-bench"))


def open_pair(
    pair: Pair,
    preset_name: str,
    preset: Preset,
    request: Request,
    progress: Progress,
    known: dict[str, Dataset],
) -> OpenedPair:
    """Open both data sets of a pair and find the tasks that both have.

    Args:
        known: what other pairs of the request have opened, to be used again; what is opened here is
        added.

    Raises:
        BenchError: data that are missing, a label space that does not fit, or no task in common.
    """
    own = {name: label_space_from(name, table) for name, table in request.label_spaces.items()}
    labels = pair.label_space(request.label_space, own)
    opened: list[Dataset] = []
    problems: list[str] = []
    for domain, split, role in (
        (pair.source, "train", "source"),
        (pair.target, preset.data.target_split, "target"),
    ):
        size, space = preset.data.size(domain.name, role), labels.record() if labels else None
        key = hash_of([domain.name, split, size, space, preset.data.model_dump()])
        try:
            if key not in known:
                known[key] = open_split(domain, split, role, preset, request, progress, labels)
            opened.append(known[key])
        except BenchError as error:
            problems.append(str(error))
    if problems:
        raise BenchError("\n".join(dict.fromkeys(problems)))
    source, target = opened
    shared = set(source.tasks) & set(target.tasks)
    tasks = canonical(task for task in shared if labels or not TASKS[task].needs_labels)
    if not tasks:
        raise BenchError(
            f"{pair.name}: no task in common; source has {', '.join(source.tasks)}, target {', '.join(target.tasks)}"
        )
    notices = [
        f"{pair.name}: {task} is left out, {_lacking(task, pair, source, target)}"
        for task in pair.tasks
        if task not in tasks
    ]
    limit = None if pair.target.embedded else preset.data.target_limit
    shifted = ShiftedDataset(target, pair.shifts, preset.data.seed) if pair.shifts else target
    seen = StreamedDataset(shifted, parse_stream(request.stream), preset.data.seed, limit)
    notices += [*source.notices, *seen.notices]
    notices += (
        [labels.footnote]
        if labels and labels.footnote and any(TASKS[task].needs_labels for task in tasks)
        else []
    )
    variant = find_variant(request.data_variant)
    return OpenedPair(
        pair,
        preset_name,
        preset,
        variant,
        source,
        seen,
        tasks,
        labels,
        tuple(dict.fromkeys(notices)),
    )


def open_split(
    domain: Domain,
    split: str,
    role: str,
    preset: Preset,
    request: Request,
    progress: Progress,
    labels: LabelSpace | None,
) -> Dataset:
    """A split of a domain at the preset's size for its role ("source" or "target")."""
    count = preset.data.rendered_train if split == "train" else preset.data.rendered_target
    return open_domain(
        domain,
        split,
        preset.data.size(domain.name, role),
        count,
        data_root=request.data_root,
        cache=cache_folder(),
        progress=progress,
        space=labels,
        variant=find_variant(request.data_variant),
        subset=preset.data.test_subset,
    )


def _lacking(task: str, pair: Pair, source: Dataset, target: Dataset) -> str:
    missing = [
        d.name for d, s in ((pair.source, source), (pair.target, target)) if task not in s.tasks
    ]
    if missing:
        return f"{' and '.join(missing)} has no labels for it"
    return f"no label space has ids for both {pair.source.name} and {pair.target.name}"


def _recipe(domain: Domain, variant: DataVariant) -> Recipe:
    across = variant.normal_loss_axis == "width" and domain.recipe == "taskonomy"
    return RECIPES["taskonomy_official" if across else domain.recipe]
