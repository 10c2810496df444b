"""A cell of a sweep: its key, its files and its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.models import model_entrypoint

from ttt_bench.adapt.device import device_name, processor_name
from ttt_bench.adapter import Adapter
from ttt_bench.config.method_settings import MethodSettings
from ttt_bench.config.preset import ModelConfig
from ttt_bench.config.request import Request
from ttt_bench.data.base import Dataset
from ttt_bench.data.registry import DATASETS
from ttt_bench.errors import DamagedError
from ttt_bench.model.weights import initial_weights
from ttt_bench.registry import METHODS
from ttt_bench.results import store
from ttt_bench.results.leftovers import PARTIAL
from ttt_bench.sweep.batches import segments
from ttt_bench.sweep.fit import PairFit
from ttt_bench.sweep.opened import OpenedPair
from ttt_bench.sweep.resolve import ResolvedRequest
from ttt_bench.sweep.settings import source_spec
from ttt_bench.sweep.variant import Source, Variant, fingerprint_fields, make_variant
from ttt_bench.train.chain import (
    SourceSpec,
    TrainingStage,
    checkpoint_path,
    trains_own_source,
)
from ttt_bench.train.work import devices_of
from ttt_bench.util.code.files import package_of
from ttt_bench.util.code.plugins import Entry
from ttt_bench.util.hashing import harness_hash, hash_of, versions


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One method under one protocol, control and seed on one pair.

    A sweep may have 100,000 cells, so a cell holds only what distinguishes it from the others.

    Attributes:
        variant: method, control and pair.
        source: the source model.
        protocol: name of the protocol.
        hash: hash of `config`.
    """

    variant: Variant
    source: Source
    protocol: str
    hash: str

    @property
    def opened(self) -> OpenedPair:
        """The pair with its data."""
        return self.variant.opened

    @property
    def settings(self) -> MethodSettings:
        """The method's settings under the control."""
        return self.variant.settings

    @property
    def control(self) -> str:
        """Name of the control."""
        return self.variant.control

    @property
    def seed(self) -> int:
        """Seed of source training and adaptation."""
        return self.source.spec.seed

    @property
    def weights(self) -> str | None:
        """Hash of the file of --source-weights; None if the source model is trained here."""
        return self.variant.weights

    @property
    def spec(self) -> SourceSpec:
        """The settings of source training."""
        return self.source.spec

    @property
    def chain(self) -> tuple[TrainingStage, ...]:
        """The stages of source training."""
        return self.source.chain

    @property
    def identity(self) -> dict[str, Any]:
        """The values of the cell's rows that are the same in all of them."""
        return {
            **self.variant.identity,
            "protocol": self.protocol,
            "seed": self.seed,
            "settings": self.variant.changes,
            "config": self.hash,
        }

    @property
    def config(self) -> dict[str, Any]:
        """Everything that the cell's numbers depend on."""
        return {**self.variant.config, **self.variant.own_config(self.source, self.protocol)}

    @property
    def moves(self) -> bool:
        """Whether the method moves parameters."""
        return self.variant.moves

    @property
    def reason(self) -> str | None:
        """The reason why the cell does not apply; None if it does."""
        return self.variant.reason

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.settings.adapter.name

    @property
    def parent(self) -> str:
        """Key of the weights that the method starts from."""
        return self.source.parent

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
    variants = [
        make_variant(fit.opened, method, resolved, control)
        for method in fit.methods
        # without moves the controls make no difference
        for control in (request.control if method.moves else ("none",))
    ]
    found: list[Cell] = []
    for seed in request.seeds:
        sources: dict[str, Source] = {}
        for variant in variants:
            key = variant.source.chain[-1].key
            source = sources.get(key) or sources.setdefault(key, variant.source_for(seed))
            found += [
                Cell(
                    variant=variant,
                    source=source,
                    protocol=protocol,
                    hash=variant.hash(source, protocol),
                )
                for protocol in request.protocol
            ]
    return found


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
    device: torch.device,
    contract: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the manifest of a finished cell.

    Args:
        cell: the cell.
        ending: how it ended.
        request: the request.
        device: the device that computed it.
        contract: `contract_record` of the method.
    """
    opened = cell.opened
    own = trains_own_source(cell.settings.adapter)
    found = {
        **cell.identity,
        "state": ending.state,
        "reason": ending.reason,
        "configuration": cell.config,
        "request": {
            **cell.variant.request,
            "protocol": [cell.protocol],
            "seeds": [cell.seed],
        },
        "optimiser": cell.config["optimiser"] if cell.moves else None,
        "options": cell.config["options"],
        "tuned": cell.variant.tuned,
        "parameters": cell.variant.parameters,
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


def _provenance(cell: Cell, request: Request, device: torch.device) -> dict[str, Any]:
    weights = request.source_weights
    return {
        "harness": harness_hash(),
        "method": cell.config["code"],
        "versions": versions(),
        "device": device_name(device),
        "processor": processor_name(device),
        "precision": cell.config["precision"],
        "kernels": cell.spec.kernels,
        "threads": torch.get_num_threads(),
        "train_devices": _train_devices(cell, request),
        "source_data": cell.opened.source_data.fingerprint,
        "target_data": cell.opened.target_data.fingerprint,
        "source_files": _files_record(cell.opened.source_data),
        "target_files": _files_record(cell.opened.target_data),
        "checkpoints": [] if weights else [stage.key for stage in cell.chain],
        "source_weights": str(weights) if weights else None,
    }


def _train_devices(cell: Cell, request: Request) -> int:
    """Return the largest number of devices that trained a stage of the source model."""
    if request.source_weights:
        return 1
    folder = request.results / "checkpoints"
    return max(devices_of(checkpoint_path(folder, stage.key)) for stage in cell.chain)


def _files_record(data: Dataset) -> dict[str, str | None]:
    """Return what a data set's fingerprint rests on, and the hash of all contents if known."""
    return {"basis": data.basis, "contents": data.contents}


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
