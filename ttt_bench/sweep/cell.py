"""A cell of a sweep: its key, its state and its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttt_bench.adapter import Adapter
from ttt_bench.config.changed_settings import describe_changes
from ttt_bench.config.method_settings import MethodSettings, controlled
from ttt_bench.config.request import Request
from ttt_bench.results import schema, store
from ttt_bench.sweep.opened import OpenedPair
from ttt_bench.train.chain import SourceSpec, statistics_key, training_chain
from ttt_bench.util.hashing import code_hash, hash_file, hash_of

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

    work: OpenedPair
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
        """One of `schema.STATES`, `interrupted` or `missing`, from the files."""
        manifest = store.read_manifest(self.folder(results))
        if manifest is not None:
            return str(manifest["state"])
        return "interrupted" if self.partial(results).exists() else "missing"


def _cell(
    request: Request,
    work: OpenedPair,
    settings: MethodSettings,
    control: str,
    protocol: str,
    seed: int,
    reason: str | None,
) -> Cell:
    changes = describe_changes(
        settings, work.preset, request, preset_name=work.preset_name, choices=work.unusual
    )
    settings = controlled(settings, control)
    adapter, spec = settings.adapter, work.source_spec(seed, settings.adapter)
    source = source_key(request, spec, adapter)
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
        **{
            key: value for key, value in identity.items() if key != "settings"
        },  # their values stand below
        "evaluation": FORMAT,
        "options": adapter.options.model_dump(mode="json"),
        "optimiser": settings.optimiser.model_dump(),
        "code": code_hash(type(adapter)),
        "source": source,
        "statistics": statistics_key(source, spec, adapter, work.target.size),
        **work.record(),
        "tasks": list(spec.tasks),
    }
    identity = {**identity, "config": hash_of(config), "schema_version": schema.SCHEMA_VERSION}
    return Cell(work, settings, control, protocol, seed, identity, config, reason)


def comparison_key(request: Request, work: OpenedPair) -> str:
    """Hash of what cells must share to be compared: target data, scoring, and how source models
    come about.
    """
    weights = request.source_weights
    initial = work.source_spec(seed=0).initial()
    training = work.preset.training.model_dump()
    source = hash_file(weights) if weights else [initial, training, work.source.fingerprint]
    return hash_of([work.record(), source])


def source_key(request: Request, spec: SourceSpec, adapter: Adapter) -> str:
    """What names the weights that a method starts from."""
    if request.source_weights is not None:
        return f"file {hash_file(request.source_weights)}"
    return training_chain(spec, adapter)[-1].key
