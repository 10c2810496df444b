"""A cell of a sweep: its key, its files and its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from timm.models import model_entrypoint

from ttt_bench.adapter import Adapter
from ttt_bench.config.changed_settings import describe_changes
from ttt_bench.config.method_settings import MethodSettings, controlled
from ttt_bench.config.preset import ModelConfig
from ttt_bench.config.request import Request
from ttt_bench.data.base import Dataset
from ttt_bench.data.registry import DATASETS
from ttt_bench.errors import DamagedError
from ttt_bench.model.weights import initial_weights, network_fields
from ttt_bench.registry import METHODS
from ttt_bench.results import schema, store
from ttt_bench.results.leftovers import PARTIAL
from ttt_bench.results.schema import AGREEMENT, CHANGE
from ttt_bench.sweep.batches import segments
from ttt_bench.sweep.fit import MethodFit, PairFit
from ttt_bench.sweep.opened import OpenedPair
from ttt_bench.sweep.resolve import ResolvedRequest
from ttt_bench.sweep.settings import normalisation_of, recipe_of, scoring_words, source_spec
from ttt_bench.train.chain import (
    SourceSpec,
    TrainingStage,
    method_code,
    statistics_key,
    training_chain,
    trains_own_source,
)
from ttt_bench.util.code.files import package_of
from ttt_bench.util.code.plugins import Entry
from ttt_bench.util.hashing import harness_hash, hash_of, versions, with_code

FORMAT = 3
"""Raised when a change of the harness invalidates earlier cells."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One method under one protocol, control and seed on one pair.

    Attributes:
        opened: the pair with its data.
        settings: the method's settings under the control.
        control: name of the control.
        protocol: name of the protocol.
        seed: seed of source training and adaptation.
        weights: hash of the file of --source-weights; None if the source model is trained here.
        spec: the settings of source training.
        chain: the stages of source training.
        identity: the values of the cell's rows that are the same in all of them.
        config: everything that the cell's numbers depend on; `hash` is its hash.
        moves: whether the method moves parameters.
        reason: the reason why the cell does not apply; None if it does.
        tuned: where tuned settings come from (`TunedFile.origin`); None for other ones.
        parameters: `parameter_counts` of its network; None if that cannot be built.
    """

    opened: OpenedPair
    settings: MethodSettings
    control: str
    protocol: str
    seed: int
    weights: str | None
    spec: SourceSpec
    chain: tuple[TrainingStage, ...]
    identity: dict[str, Any]
    config: dict[str, Any]
    moves: bool
    reason: str | None
    tuned: dict[str, Any] | None
    parameters: dict[str, Any] | None

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.settings.adapter.name

    @property
    def hash(self) -> str:
        """Hash of `config`."""
        return str(self.identity["config"])

    @property
    def parent(self) -> str:
        """Key of the weights that the method starts from."""
        return _parent(self.weights, self.chain)

    @property
    def name(self) -> str:
        """Name of the cell's folder, and of its claim."""
        return self.folder(Path()).name

    def folder(self, results: Path) -> Path:
        """Return the folder of the cell's files."""
        return store.cell_folder(results, self.opened.pair.name, self.method, self.hash)

    def partial(self, results: Path) -> Path:
        """Return the file of the unfinished cell."""
        folder = self.folder(results)
        return folder.with_name(f".{folder.name}{PARTIAL}")

    def state(self, results: Path) -> str:
        """Return one of `schema.STATES`, or `interrupted`, `damaged` or `missing`.

        Raises:
            DataError: a file cannot be read.
        """
        try:
            manifest = store.read_cell(self.folder(results))
        except DamagedError:
            return "damaged"
        if manifest is not None:
            return str(manifest["state"])
        return "interrupted" if self.partial(results).exists() else "missing"


def make_cells(fit: PairFit, resolved: ResolvedRequest) -> list[Cell]:
    """Return the cells of a pair in the order in which they run."""
    request = resolved.request
    return [
        _cell(fit.opened, method, resolved, control=control, protocol=protocol, seed=seed)
        for seed in request.seeds
        for method in fit.methods
        # without moves the controls make no difference
        for control in (request.control if method.moves else ("none",))
        for protocol in request.protocol
    ]


def _cell(
    opened: OpenedPair,
    method: MethodFit,
    resolved: ResolvedRequest,
    *,
    control: str,
    protocol: str,
    seed: int,
) -> Cell:
    """Return a cell with its key."""
    request, settings, weights = resolved.request, method.settings, resolved.weights
    changes = describe_changes(
        settings,
        opened.preset,
        request,
        preset_name=opened.preset_name,
        choices=_changed_choices(opened),
        tuned=resolved.tuned,
    )
    settings = controlled(settings, control)
    spec = source_spec(opened, seed, settings.adapter)
    chain = tuple(training_chain(spec, settings.adapter))
    identity = {
        "pair": opened.pair.name,
        "method": settings.adapter.name,
        "control": control,
        "hparams": request.hparams,
        "preset": opened.preset_name,
        "protocol": protocol,
        "data_variant": opened.variant.name,
        "seed": seed,
        "steps": settings.steps,
    }
    config = {
        **identity,
        **fingerprint_fields(opened),
        **_method_fields(settings, spec, _parent(weights, chain), opened.target_data.size),
        "tasks": list(spec.tasks),
        # no number depends on them, but a cell without them is not complete
        "signals": [CHANGE, AGREEMENT] if request.agreement else [CHANGE],
    }
    return Cell(
        opened=opened,
        settings=settings,
        control=control,
        protocol=protocol,
        seed=seed,
        weights=weights,
        spec=spec,
        chain=chain,
        identity={
            **identity,
            "settings": changes,
            "config": hash_of(config),
            "schema_version": schema.SCHEMA_VERSION,
        },
        config=config,
        moves=method.moves,
        reason=method.reason,
        tuned=resolved.tuned.origin() if resolved.tuned and method.moves else None,
        parameters=method.parameters,
    )


def fingerprint_fields(opened: OpenedPair) -> dict[str, Any]:
    """Return everything that a cell's numbers depend on besides method and source model."""
    target, source = opened.pair.target, opened.pair.source
    return {
        "target": opened.target_data.fingerprint,
        **with_code(opened.target_code, "target_code"),
        "target_images": len(opened.target_data),
        "target_size": list(opened.target_data.size),
        "tasks": list(opened.tasks),
        "label_space": opened.labels.record() if opened.labels else None,
        "batch": opened.preset.batch,
        "source_recipe": recipe_of(source, opened.variant).name,
        "target_recipe": recipe_of(target, opened.variant).name,
        "target_statistics": normalisation_of(target, opened.variant),
        "variant": asdict(opened.variant),
        "scoring": scoring_words(opened),
        "model": network_fields(opened.preset.model),
        "precision": "fp32",
    }


def comparison_key(opened: OpenedPair, weights: str | None) -> str:
    """Return a hash that is equal for cells that can be compared.

    It covers the target's data, the scoring, and the origin of the source models.
    """
    spec = source_spec(opened, seed=0)
    training = [spec.initial(), opened.preset.training.model_dump(), *spec.data.values()]
    return hash_of([fingerprint_fields(opened), weights or training])


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a cell ended.

    Attributes:
        state: one of `schema.STATES`.
        reason: the reason why it has no numbers; None if it has.
        diverged_at: the step or iteration at which it diverged, if it did.
        own_source_scores: task -> score of the method's own source model before adapting, if it
            has one.
    """

    state: str
    reason: str | None = None
    diverged_at: int | None = None
    own_source_scores: Mapping[str, float] | None = None


def manifest(
    cell: Cell,
    ending: Ending,
    *,
    request: Request,
    device: str,
    contract: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the manifest of a finished cell.

    Args:
        cell: the cell.
        ending: how it ended.
        request: the request.
        device: name of the device that computed it.
        contract: `contract_record` of the method.
    """
    opened = cell.opened
    own = trains_own_source(cell.settings.adapter)
    found = {
        **cell.identity,
        "state": ending.state,
        "reason": ending.reason,
        "configuration": cell.config,
        "optimiser": cell.config["optimiser"] if cell.moves else None,
        "options": cell.config["options"],
        "tuned": cell.tuned,
        "parameters": cell.parameters,
        "preset_values": opened.preset.model_dump(mode="json", exclude={"methods"}),
        "classes": list(opened.classes),
        "segments": segments(opened.target_data),
        "scoring": cell.config["scoring"],
        "comparison": comparison_key(opened, cell.weights),
        "notices": list(opened.notices),
        "source_model": cell.method if own else "base",
        "contract": contract,
        "images": len(opened.target_data),
        "provenance": {
            **_provenance(cell, request, device),
            "plugins": _plugins(
                opened, cell.settings.adapter, cell.config, trained_here=cell.weights is None
            ),
        },
    }
    if ending.diverged_at is not None:
        found["diverged_at"] = ending.diverged_at
    if ending.own_source_scores is not None:
        found["own_source_scores"] = dict(ending.own_source_scores)
    return found


def _provenance(cell: Cell, request: Request, device: str) -> dict[str, Any]:
    weights = request.source_weights
    return {
        "harness": harness_hash(),
        "method": cell.config["code"],
        "versions": versions(),
        "device": device,
        "precision": cell.config["precision"],
        "threads": torch.get_num_threads(),
        "source_data": cell.opened.source_data.fingerprint,
        "target_data": cell.opened.target_data.fingerprint,
        "source_files": _files_record(cell.opened.source_data),
        "target_files": _files_record(cell.opened.target_data),
        "checkpoints": [] if weights else [stage.key for stage in cell.chain],
        "source_weights": str(weights) if weights else None,
    }


def _files_record(data: Dataset) -> dict[str, str | None]:
    """Return what a data set's fingerprint rests on, and the hash of all contents if known."""
    return {"basis": data.basis, "contents": data.contents}


def _method_fields(
    settings: MethodSettings, spec: SourceSpec, parent: str, target_size: tuple[int, int]
) -> dict[str, Any]:
    """Return everything that a cell's numbers depend on besides pair and protocol."""
    adapter = settings.adapter
    return {
        "evaluation": FORMAT,
        "options": adapter.options.model_dump(mode="json"),
        "optimiser": settings.optimiser.model_dump(),
        "code": method_code(adapter),
        "source": parent,
        "statistics": statistics_key(parent, spec, adapter, target_size),
    }


def _parent(weights: str | None, chain: tuple[TrainingStage, ...]) -> str:
    return f"file {weights}" if weights else chain[-1].key


def _changed_choices(opened: OpenedPair) -> dict[str, str]:
    """Return stream and label space if they differ from the default."""
    found: dict[str, str] = {}
    stream, default = opened.target_data.stream, opened.pair.label_space(None, {})
    if not stream.in_file_order:
        found["stream"] = str(stream)
    if opened.labels is not None and (default is None or default.name != opened.labels.name):
        found["label_space"] = opened.labels.name
    return found


def _plugins(
    opened: OpenedPair, adapter: Adapter, config: Mapping[str, Any], *, trained_here: bool
) -> dict[str, dict[str, str | None]]:
    """Return what a cell used: role -> name, package, version and hash of the code.

    `code` is the harness's hash for built-in data sets, and None for backbones of timm.

    Args:
        opened: the pair.
        adapter: the method.
        config: the cell's configuration, which has the hashes of the time of planning.
        trained_here: whether source models started from the backbone's initial weights, which are
            then stated as `weights`.
    """
    source, target = opened.pair.source.name, opened.pair.target.name
    model = opened.preset.model
    weights = initial_weights(model) if trained_here else {"weights": None}
    return {
        "method": _method_record(adapter, config["code"]),
        "source": _dataset_record(source, opened.source_code),
        "target": _dataset_record(target, opened.target_code),
        "backbone": _backbone_record(model, config["model"].get("code")) | weights,
    }


def _method_record(adapter: Adapter, code: str) -> dict[str, Any]:
    package = _package(METHODS.entry(adapter.name), type(adapter).__module__)
    return _record(adapter.name, *package, code=code)


def _dataset_record(name: str, code: str) -> dict[str, Any]:
    entry = DATASETS.entry(name)
    module = DATASETS.load(name).opener.partition(":")[0]
    return _record(name, *_package(entry, module), code=code or harness_hash())


def _backbone_record(model: ModelConfig, code: str | None) -> dict[str, Any]:
    package = package_of(model_entrypoint(model.architecture).__module__)
    return _record(model.backbone, *package, code=code)


def _package(entry: Entry, module: str) -> tuple[str, str]:
    """Return the package of a registration and its version."""
    if not entry.package:  # registered in this process
        return package_of(module)
    return entry.package, entry.version or versions().get(entry.package, "")


def _record(name: str, package: str, version: str, *, code: str | None) -> dict[str, Any]:
    return {"name": name, "package": package, "version": version, "code": code}
