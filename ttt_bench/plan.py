"""From a request to the cells of a sweep: everything is checked, and every problem named, before any work starts."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ttt_bench import seen, store
from ttt_bench.adapter import Adapter
from ttt_bench.config import Preset, Request, resolve_preset
from ttt_bench.data.base import Dataset
from ttt_bench.data.domains import find_pair
from ttt_bench.errors import BenchError
from ttt_bench.model import MultiTaskModel, build_model, load_weights
from ttt_bench.names import check_names
from ttt_bench.norm import AFFINE_NORMS, BATCH_NORMS, affine_parameters
from ttt_bench.pairwork import PairWork, open_pair
from ttt_bench.progress import Progress
from ttt_bench.provenance import code_hash, hash_file, hash_of
from ttt_bench.registry import load_method, registered
from ttt_bench.settings import MethodSettings, controlled, describe_changes, resolve_method
from ttt_bench.skeleton import planned, skeleton
from ttt_bench.tasks import canonical
from ttt_bench.train import SourceJob, statistics_key, stretches, trains_on_source

CHECKPOINTS = "checkpoints"
"""The folder below the results that source models are kept in."""
FORMAT = 1
"""Raised when a change of the harness makes earlier cells wrong."""


@dataclass(frozen=True)
class Cell:
    """One method under one protocol, control and seed on one pair.

    Attributes:
        config: everything that the cell's numbers depend on; `hash` identifies it.
        reason: why the cell does not apply; None where it does.
    """

    work: PairWork
    settings: MethodSettings
    control: str
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


@dataclass(frozen=True)
class RunPlan:
    """Every cell of a request, in the order in which they run."""

    request: Request
    cells: list[Cell]

    @property
    def checkpoints(self) -> Path:
        """Where source models are kept."""
        return self.request.results / CHECKPOINTS


def make_plan(request: Request, progress: Progress) -> RunPlan:
    """Resolve a request into cells. Data sets are opened, but nothing is rendered, trained or written.

    What a person should know of the plan is said on `progress`.

    Raises:
        BenchError: everything that is wrong with the request, one line each.
    """
    check_names(request)
    problems: list[str] = []
    named = request.methods != ("all",)
    methods = _load_methods(request, named, progress, problems)
    pairs = {pair.name: pair for pair in map(find_pair, request.pair)}  # one pair may be written in several ways
    presets = {name: request.preset or ("quick" if pair.embedded else "paper") for name, pair in pairs.items()}
    resolved = {name: _resolve(name, methods, request, problems) for name in dict.fromkeys(presets.values())}
    _raise(problems)  # before data are opened, which may take minutes
    cells: list[Cell] = []
    notices: list[str] = []
    known: dict[str, Dataset] = {}
    for name, pair in pairs.items():
        preset_name = presets[name]
        preset, settings = resolved[preset_name]
        try:
            work = open_pair(pair, preset_name, preset, request, progress, known)
        except BenchError as error:
            problems.append(str(error))
            continue
        network = skeleton(preset.model, work.channels()).model
        problems += [*_size_problems(work, network), *_source_problems(request, work)]
        notices += [*work.notices, *_method_notices(settings, network, preset)]
        cells += _cells(request, work, settings, named, problems)
    for notice in dict.fromkeys(notices):
        progress.say(notice)
    _raise(problems)
    return RunPlan(request, cells)


def _resolve(
    name: str, methods: list[type[Adapter]], request: Request, problems: list[str]
) -> tuple[Preset, list[MethodSettings]]:
    """A preset and every method's settings under it; what does not fit is added to the problems."""
    preset = resolve_preset(name, request.set)
    settings: list[MethodSettings] = []
    for method in methods:
        try:
            settings.append(resolve_method(method, preset, request))
        except BenchError as error:
            problems.append(str(error))
    return preset, settings


def _load_methods(request: Request, named: bool, progress: Progress, problems: list[str]) -> list[type[Adapter]]:
    """The wanted methods. A broken one is a problem if it was named; any other is said, and the rest goes on."""
    methods: list[type[Adapter]] = []
    wanted = request.methods if named else registered()
    for name in dict.fromkeys([*wanted, *registered()]):
        try:
            method = load_method(name)
        except BenchError as error:
            if named and name in wanted:
                problems.append(str(error))
            else:
                progress.say(f"left out: {error}")
        else:
            methods += [method] if name in wanted else []
    return methods


def _size_problems(work: PairWork, network: MultiTaskModel) -> list[str]:
    height, width = work.target.size
    smallest = min(len(batch) for batch in work.batches)
    problems = []
    if smallest * ceil(height / 32) * ceil(width / 32) < 2:
        problems.append(
            f"{work.pair.name}: a batch of {smallest} image of {height}x{width} leaves batch statistics a single value "
            "at the last stage; use larger images or more of them"
        )
    for role, size in (("source", work.source.size), ("target", work.target.size)):
        try:
            network(torch.empty(2, 3, *size, device="meta"))
        except Exception as error:  # whatever timm's networks raise where their size is fixed
            problems.append(
                f"{work.pair.name}: {work.preset.model.backbone} cannot take the {role}'s images of "
                f"{size[0]}x{size[1]} ({error}); take another backbone, or other sizes (--set data.sizes.{role}=[H, W])"
            )
    return problems


def _source_problems(request: Request, work: PairWork) -> list[str]:
    """Why the source model that is there cannot be used."""
    if request.source_weights is None:
        changed = seen.changed(request.results / CHECKPOINTS, work)
        return [changed] if changed else []
    try:
        load_weights(build_model(work.preset.model.untrained(), work.channels()), request.source_weights)
    except BenchError as error:
        return [str(error)]
    return []


def _method_notices(settings: list[MethodSettings], network: nn.Module, preset: Preset) -> list[str]:
    names = [one.adapter.name for one in settings]
    if "norm" in names and not _has_batchnorm(network):
        return [f"{preset.model.backbone} has no BatchNorm layers: norm will equal base"]
    return []


def _has_batchnorm(network: nn.Module) -> bool:
    return any(isinstance(module, BATCH_NORMS) for module in network.modules())


def _cells(
    request: Request,
    work: PairWork,
    settings: list[MethodSettings],
    named: bool,
    problems: list[str],
) -> list[Cell]:
    cells = []
    verdicts = [_verdict(request, work, one.adapter) for one in settings]
    if named:
        problems += [
            f"{work.pair.name}: {one.adapter.name} {verdict.reason}"
            for one, verdict in zip(settings, verdicts, strict=True)
            if verdict.reason
        ]
    for seed in request.seeds:
        for one, verdict in zip(settings, verdicts, strict=True):
            for control in request.control if verdict.moves else ("none",):  # what does not move need not be frozen
                cells += [
                    _cell(request, work, one, control, protocol, seed, verdict.reason) for protocol in request.protocol
                ]
    return cells


@dataclass(frozen=True)
class _Verdict:
    """Why a method cannot run on a pair (None where it can), and whether it moves any parameter."""

    reason: str | None
    moves: bool = True


def _verdict(request: Request, work: PairWork, adapter: Adapter) -> _Verdict:
    reason = _unmet_need(request, work, adapter)
    if reason:
        return _Verdict(reason)
    needs, backbone = adapter.needs(), work.preset.model.backbone
    try:
        net = skeleton(work.preset.model, work.channels(adapter), adapter)
        moves = bool(planned(net, adapter).moves)
    except BenchError as error:
        return _Verdict(f"does not fit: {error}")
    except Exception as error:  # a plugin can fail in any way; the others must go on
        return _Verdict(f"cannot be bound to {backbone}: {type(error).__name__}: {error}")
    if needs.batchnorm and not affine_parameters(net.model, BATCH_NORMS):
        return _Verdict(f"needs BatchNorm layers, which {backbone} does not have")
    if needs.affine and not affine_parameters(net.model, AFFINE_NORMS):
        return _Verdict(f"needs normalisation layers with a scale and a shift, which {backbone} does not have")
    return _Verdict(None, moves)


def _unmet_need(request: Request, work: PairWork, adapter: Adapter) -> str | None:
    needs = adapter.needs()
    lacking = [task for task in canonical(needs.tasks) if task not in work.tasks]
    if lacking:
        return f"needs {', '.join(lacking)}, which the pair does not have"
    smallest = min(len(batch) for batch in work.batches)
    if smallest < needs.min_batch:
        return f"needs batches of at least {needs.min_batch} images, the smallest has {smallest}"
    if min(work.target.size) < needs.min_side:
        return f"needs images of at least {needs.min_side} pixels a side, the target's have {min(work.target.size)}"
    if request.source_weights is not None and trains_on_source(adapter):
        return (
            "trains on the source, and a model given with --source-weights has not had that training: leave the method "
            "out, or run it without --source-weights"
        )
    return None


def _cell(
    request: Request,
    work: PairWork,
    settings: MethodSettings,
    control: str,
    protocol: str,
    seed: int,
    reason: str | None,
) -> Cell:
    method = type(settings.adapter)
    changes = describe_changes(method, settings, work.preset_name, work.preset, request, work.unusual)
    settings = controlled(settings, control)
    adapter, job = settings.adapter, work.job(seed, settings.adapter)
    source = source_key(request, job, adapter)
    identity = {
        "pair": work.pair.name,
        "method": adapter.name,
        "control": control,
        "hparams": request.hparams,
        "settings": changes,
        "preset": work.preset_name,
        "protocol": protocol,
        "data_variant": work.variant.name,
        "seed": seed,
        "steps": settings.steps,
    }
    config = {
        **{key: value for key, value in identity.items() if key != "settings"},  # their values stand below
        "evaluation": FORMAT,
        "options": adapter.options.model_dump(mode="json"),
        "optimiser": settings.optimiser.model_dump(),
        "code": code_hash(type(adapter)),
        "source": source,
        "statistics": statistics_key(source, job, adapter, work.target.size),
        **work.record(),
        "tasks": list(job.tasks),
    }
    identity = {**identity, "config": hash_of(config), "schema_version": store.SCHEMA_VERSION}
    return Cell(work, settings, control, protocol, seed, identity, config, reason)


def comparison_key(request: Request, work: PairWork) -> str:
    """Hash of what cells must share to be compared: target data, scoring, and how source models come about."""
    weights = request.source_weights
    initial = work.job(seed=0).initial()
    training = work.preset.training.model_dump()
    source = hash_file(weights) if weights else [initial, training, work.source.fingerprint]
    return hash_of([work.record(), source])


def source_key(request: Request, job: SourceJob, adapter: Adapter) -> str:
    """What names the weights that a method starts from."""
    if request.source_weights is not None:
        return f"file {hash_file(request.source_weights)}"
    return stretches(job, adapter)[-1].key


def _raise(problems: list[str]) -> None:
    if problems:
        lines = (line for problem in problems for line in problem.splitlines())
        raise BenchError("\n".join(dict.fromkeys(lines)))
