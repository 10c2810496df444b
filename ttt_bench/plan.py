"""From a request to the cells of a sweep: everything is checked, and every problem named, before any work starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import platformdirs
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ttt_bench import store
from ttt_bench.adapter import Adapter
from ttt_bench.config import Preset, Request, resolve_preset
from ttt_bench.data.base import Dataset
from ttt_bench.data.domains import Domain, Pair, find_pair, open_domain
from ttt_bench.data.label_spaces import LabelSpace, find_label_space
from ttt_bench.errors import BenchError
from ttt_bench.model import build_model
from ttt_bench.names import check_names
from ttt_bench.progress import Progress
from ttt_bench.provenance import code_hash, hash_of
from ttt_bench.records import split_batches
from ttt_bench.registry import load_method, registered
from ttt_bench.settings import MethodSettings, describe_changes, resolve_method
from ttt_bench.tasks import canonical, output_channels
from ttt_bench.train import SourceJob, stretches, trains_own_source

DATA_VARIANT = "corrected"
CONTROL = "none"


@dataclass(frozen=True)
class PairWork:
    """A pair with its data opened: what all of its cells have in common."""

    pair: Pair
    preset_name: str
    preset: Preset
    source: Dataset
    target: Dataset
    target_images: int
    tasks: tuple[str, ...]
    labels: LabelSpace
    notices: tuple[str, ...]

    def job(self, seed: int) -> SourceJob:
        """The source model's job for a seed."""
        tasks = output_channels(self.tasks, len(self.labels.classes))
        return SourceJob(
            self.pair.source.name,
            self.preset.model,
            tasks,
            self.pair.source.recipe,
            self.preset.training,
            self.source.fingerprint,
            seed,
        )

    @property
    def batches(self) -> list[list[int]]:
        """Image indices of every target batch."""
        return split_batches(self.target_images, self.preset.batch)


@dataclass(frozen=True)
class Cell:
    """One method under one protocol and seed on one pair.

    Attributes:
        config: everything that the cell's numbers depend on; `hash` identifies it.
        reason: why the cell does not apply; None where it does.
    """

    work: PairWork
    settings: MethodSettings
    protocol: str
    seed: int
    identity: dict[str, Any]
    config: dict[str, Any]
    reason: str | None

    @property
    def method(self) -> str:
        return self.settings.adapter.name

    @property
    def hash(self) -> str:
        return str(self.identity["config"])

    def folder(self, results: Path) -> Path:
        """Where the cell's files lie."""
        return store.cell_folder(results, self.work.pair.name, self.method, self.hash)

    def partial(self, results: Path) -> Path:
        """Where an unfinished cell is kept."""
        folder = self.folder(results)
        return folder.with_name(f".{folder.name}.partial.safetensors")

    def state(self, results: Path) -> str:
        """One of `store.STATES`, `interrupted` or `missing`, from the files."""
        manifest = store.read_manifest(self.folder(results))
        if manifest is not None:
            return str(manifest["state"])
        return "interrupted" if self.partial(results).exists() else "missing"


@dataclass
class RunPlan:
    """Every cell of a request, in the order in which they run."""

    request: Request
    cells: list[Cell]
    notices: list[str] = field(default_factory=list)


def cache_folder() -> Path:
    """Where rendered images are kept: `TTT_BENCH_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("TTT_BENCH_CACHE") or platformdirs.user_cache_dir("ttt-bench"))


def make_plan(request: Request, progress: Progress) -> RunPlan:
    """Resolve a request into cells; opens (and, if embedded, renders) the data sets.

    Raises:
        BenchError: everything that is wrong with the request, one line each.
    """
    check_names(request)
    problems: list[str] = []
    plan = RunPlan(request, [])
    named = request.methods != ("all",)
    methods = _load_methods(request, named, plan, problems)
    pairs = [find_pair(name) for name in dict.fromkeys(request.pair)]
    _raise(problems)
    for pair in pairs:
        preset_name = request.preset or ("quick" if pair.embedded else "paper")
        preset = resolve_preset(preset_name, request.set)
        settings = []
        for method in methods:
            try:
                settings.append(resolve_method(method, preset, request))
            except BenchError as error:
                problems.append(str(error))
        _raise(problems)
        work = open_pair(pair, preset_name, preset, request, progress)
        plan.notices += work.notices
        problems += _size_problems(work)
        network = _skeleton(work)
        plan.cells += _cells(request, work, settings, network, named, problems)
    _raise(problems)
    return plan


def open_pair(pair: Pair, preset_name: str, preset: Preset, request: Request, progress: Progress) -> PairWork:
    """Open both data sets of a pair and find the tasks that both have.

    Raises:
        BenchError: data that are missing, or no task in common.
    """
    source = open_split(pair.source, "train", "source", preset, request, progress)
    target = open_split(pair.target, preset.data.target_split, "target", preset, request, progress)
    tasks = canonical(set(source.tasks) & set(target.tasks))
    if not tasks:
        raise BenchError(
            f"{pair.name}: no task in common; source has {', '.join(source.tasks)}, target {', '.join(target.tasks)}"
        )
    notices = [
        f"{pair.name}: {task} is left out, {_lacking(task, pair, source, target)} has no labels for it"
        for task in pair.tasks
        if task not in tasks
    ]
    limit = preset.data.target_limit
    images = len(target) if limit is None or pair.target.embedded else min(limit, len(target))
    labels = find_label_space(pair.label_space)
    return PairWork(pair, preset_name, preset, source, target, images, tasks, labels, tuple(notices))


def open_split(domain: Domain, split: str, role: str, preset: Preset, request: Request, progress: Progress) -> Dataset:
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
    )


def _lacking(task: str, pair: Pair, source: Dataset, target: Dataset) -> str:
    missing = [d.name for d, s in ((pair.source, source), (pair.target, target)) if task not in s.tasks]
    return " and ".join(missing)


def _load_methods(request: Request, named: bool, plan: RunPlan, problems: list[str]) -> list[type[Adapter]]:
    methods = []
    for name in dict.fromkeys(request.methods if named else registered()):
        try:
            methods.append(load_method(name))
        except BenchError as error:
            # under `all` a broken plugin must not stop the others
            (problems if named else plan.notices).append(str(error))
    return methods


def _size_problems(work: PairWork) -> list[str]:
    height, width = work.target.size
    smallest = min(len(batch) for batch in work.batches)
    if smallest * ceil(height / 32) * ceil(width / 32) < 2:
        return [
            f"{work.pair.name}: a batch of {smallest} image of {height}x{width} leaves batch statistics a single value "
            "at the last stage; use larger images or more of them"
        ]
    return []


def _skeleton(work: PairWork) -> nn.Module:
    """The network without its weights, to look at its layers."""
    config = work.preset.model.model_copy(update={"pretrained": False, "weights": None})
    return build_model(config, output_channels(work.tasks, len(work.labels.classes)))


def _cells(
    request: Request,
    work: PairWork,
    settings: list[MethodSettings],
    network: nn.Module,
    named: bool,
    problems: list[str],
) -> list[Cell]:
    cells = []
    for seed in request.seeds:
        for one in settings:
            reason = _reason(work, one.adapter, network, request)
            if reason and named:
                problems.append(f"{work.pair.name}: {one.adapter.name} {reason}")
                continue
            cells += [_cell(request, work, one, protocol, seed, reason) for protocol in request.protocol]
    return cells


def _reason(work: PairWork, adapter: Adapter, network: nn.Module, request: Request) -> str | None:
    """Why a method cannot run on a pair; None where it can."""
    needs = adapter.needs()
    lacking = [task for task in canonical(needs.tasks) if task not in work.tasks]
    if lacking:
        return f"needs {', '.join(lacking)}, which the pair does not have"
    smallest = min(len(batch) for batch in work.batches)
    if smallest < needs.min_batch:
        return f"needs batches of at least {needs.min_batch} images, the smallest has {smallest}"
    if needs.batchnorm and not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return f"needs BatchNorm layers, which {work.preset.model.backbone} does not have"
    if request.source_weights is not None and trains_own_source(adapter):
        return "trains a source model of its own, so that --source-weights cannot replace it"
    return None


def _cell(
    request: Request, work: PairWork, settings: MethodSettings, protocol: str, seed: int, reason: str | None
) -> Cell:
    adapter = settings.adapter
    identity = {
        "pair": work.pair.name,
        "method": adapter.name,
        "control": CONTROL,
        "hparams": request.hparams,
        "settings": describe_changes(request, settings.changed),
        "preset": work.preset_name,
        "protocol": protocol,
        "data_variant": DATA_VARIANT,
        "seed": seed,
        "steps": settings.steps,
    }
    config = {
        **identity,
        "options": adapter.options.model_dump(mode="json"),
        "optimiser": settings.optimiser.model_dump(),
        "code": code_hash(type(adapter)),
        "source": _source_identity(request, work, adapter, seed),
        "target": work.target.fingerprint,
        "target_images": work.target_images,
        "target_size": list(work.target.size),
        "tasks": list(work.tasks),
        "label_space": work.labels.name,
        "batch": work.preset.batch,
        "precision": "fp32",
    }
    identity = {**identity, "config": hash_of(config), "schema_version": store.SCHEMA_VERSION}
    return Cell(work, settings, protocol, seed, identity, config, reason)


def _source_identity(request: Request, work: PairWork, adapter: Adapter, seed: int) -> Mapping[str, Any] | str:
    if request.source_weights is None:
        return stretches(work.job(seed), adapter)[-1].key
    try:
        return {"weights": hash_of(request.source_weights.read_bytes().hex(), 16)}
    except OSError as error:
        raise BenchError(f"source weights {request.source_weights}: {error.strerror}") from error


def _raise(problems: list[str]) -> None:
    if problems:
        raise BenchError("\n".join(dict.fromkeys(problems)))
