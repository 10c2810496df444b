"""A cell of a sweep: its key, its files and its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ttt_bench.adapt.device import device_name, processor_name
from ttt_bench.config.method_settings import MethodSettings
from ttt_bench.config.request import Request
from ttt_bench.data.base import Dataset
from ttt_bench.errors import DamagedError
from ttt_bench.results import store
from ttt_bench.results.compacted.scan import CELLS
from ttt_bench.results.leftovers import PARTIAL
from ttt_bench.sweep.fit import PairFit
from ttt_bench.sweep.opened import OpenedPair
from ttt_bench.sweep.resolve import ResolvedRequest
from ttt_bench.sweep.variant import Source, Variant, make_variant
from ttt_bench.train.chain import (
    SourceSpec,
    TrainingStage,
    checkpoint_path,
)
from ttt_bench.train.work import devices_of
from ttt_bench.util.hashing import harness_hash, versions


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
        return self.path.rpartition("/")[2]

    @property
    def path(self) -> str:
        """The path of the cell's folder in the folder of cells."""
        return f"{self.variant.path}{self.hash}"

    def folder(self, results: Path) -> Path:
        """Return the folder of the cell's files."""
        return results / CELLS / self.path

    def partial(self, results: Path) -> Path:
        """Return the file of the unfinished cell."""
        return self.folder(results).with_name(f".{self.name}{PARTIAL}")

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
        (make_variant(fit.opened, method, resolved, control), method.left_out)
        for method in fit.methods
        # without moves the controls make no difference
        for control in (request.control if method.moves else ("none",))
    ]
    found: list[Cell] = []
    for seed in request.seeds:
        sources: dict[str, Source] = {}
        for variant, left_out in variants:
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
                if protocol not in left_out
            ]
    return found


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
    contract: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the manifest of a finished cell.

    Args:
        cell: the cell.
        ending: how it ended.
        request: the request.
        device: the device that computed it.
        contract: `contract_record` of the cell.
    """
    config = cell.config
    found = {
        **cell.variant.record,
        **cell.identity,
        "state": ending.state,
        "reason": ending.reason,
        "configuration": config,
        "request": {
            **cell.variant.request,
            "protocol": [cell.protocol],
            "seeds": [cell.seed],
        },
        "optimiser": config["optimiser"] if cell.moves else None,
        "options": config["options"],
        "scoring": config["scoring"],
        **contract,
        "provenance": _provenance(cell, request, device),
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
        "method": cell.variant.config["code"],
        "versions": versions(),
        "device": device_name(device),
        "processor": processor_name(device),
        "precision": cell.variant.config["precision"],
        "kernels": cell.spec.kernels,
        "threads": torch.get_num_threads(),
        "train_devices": _train_devices(cell, request),
        "source_data": cell.opened.source_data.fingerprint,
        "target_data": cell.opened.target_data.fingerprint,
        "source_files": _files_record(cell.opened.source_data),
        "target_files": _files_record(cell.opened.target_data),
        "checkpoints": [] if weights else [stage.key for stage in cell.chain],
        "source_weights": str(weights) if weights else None,
        "plugins": cell.variant.plugins,
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
