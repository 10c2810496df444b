"""What cells share that differ only in protocol and seed, and the source models that they use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from ttt_bench.adapter import Adapter
from ttt_bench.config.changed_settings import describe_changes
from ttt_bench.config.method_settings import MethodSettings, controlled
from ttt_bench.config.request_record import request_record
from ttt_bench.model.architecture import network_fields
from ttt_bench.results import schema, store
from ttt_bench.results.schema import AGREEMENT, CHANGE
from ttt_bench.sweep.batches import segments
from ttt_bench.sweep.fit import MethodFit
from ttt_bench.sweep.opened import OpenedPair
from ttt_bench.sweep.recorded.plugins import plugin_records
from ttt_bench.sweep.resolve import ResolvedRequest
from ttt_bench.sweep.settings import normalisation_of, recipe_of, scoring_words, source_spec
from ttt_bench.train.chain import (
    SourceSpec,
    TrainingStage,
    for_seed,
    method_code,
    statistics_key,
    training_chain,
    trains_own_source,
)
from ttt_bench.util.hashing import entry_texts, hash_of, hash_of_entries, with_code

FORMAT = 3
"""Raised when a change of the harness invalidates earlier cells."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The source model of one seed, which several cells may share.

    Attributes:
        spec: the settings of source training.
        chain: the stages of source training.
        parent: key of the weights that a method starts from.
    """

    spec: SourceSpec
    chain: tuple[TrainingStage, ...]
    parent: str


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One method under one control on one pair.

    Attributes:
        opened: the pair with its data.
        settings: the method's settings under the control.
        control: name of the control.
        weights: hash of the file of --source-weights; None if the source model is trained here.
        source: the source model of one seed. Those of other seeds differ only in the seed.
        statistics: everything that the method's source statistics for this source depend on; None
            if it needs none.
        identity: the entries of `Cell.identity` that are the same for all protocols and seeds.
        changes: the settings that differ from preset and hyperparameters, as text.
        config: the entries of `Cell.config` that are the same for all protocols and seeds.
        moves: whether the method moves parameters.
        reason: the reason why its cells do not apply; None if they do.
        tuned: where tuned settings come from (`TunedFile.origin`); None for other ones.
        parameters: `parameter_counts` of its network; None if that cannot be built.
        request: the request that gives its cells (`request_record`), but for protocol and seed.
    """

    opened: OpenedPair
    settings: MethodSettings
    control: str
    weights: str | None
    source: Source
    statistics: Mapping[str, Any] | None
    identity: Mapping[str, Any]
    changes: str
    config: Mapping[str, Any]
    moves: bool
    reason: str | None
    tuned: dict[str, Any] | None
    parameters: dict[str, Any] | None
    request: Mapping[str, Any]

    def source_for(self, seed: int) -> Source:
        """Return the source model of a seed."""
        chain = for_seed(self.source.chain, seed)
        spec = replace(self.source.spec, seed=seed)
        return Source(spec=spec, chain=chain, parent=parent_key(self.weights, chain))

    def own_config(self, source: Source, protocol: str) -> dict[str, Any]:
        """Return the entries of `Cell.config` that depend on protocol and seed."""
        seed = source.spec.seed
        own = {"parent": source.parent, "seed": seed}
        statistics = None if self.statistics is None else {**self.statistics, **own}
        return {
            "protocol": protocol,
            "seed": seed,
            "source": source.parent,
            "statistics": statistics,
        }

    def hash(self, source: Source, protocol: str) -> str:
        """Return the hash of `Cell.config`."""
        own = entry_texts(self.own_config(source, protocol))
        return hash_of_entries({**self._texts, **own})

    @cached_property
    def path(self) -> str:
        """The path of a cell's folder in the folder of cells, without the cell's hash."""
        return store.cell_path(self.opened.pair.name, self.settings.adapter.name, "")

    @cached_property
    def record(self) -> dict[str, Any]:
        """The entries of manifests that are the same for all protocols and seeds."""
        opened, adapter = self.opened, self.settings.adapter
        return {
            "tuned": self.tuned,
            "parameters": self.parameters,
            "preset_values": opened.preset.model_dump(mode="json", exclude={"methods"}),
            "classes": list(opened.classes),
            "segments": segments(opened.target_data),
            "comparison": comparison_key(opened, self.weights),
            "notices": list(opened.notices),
            "source_model": adapter.name if trains_own_source(adapter) else "base",
            "images": len(opened.target_data),
        }

    @cached_property
    def plugins(self) -> dict[str, dict[str, str | None]]:
        """What `plugin_records` states about its cells."""
        return plugin_records(
            self.opened, self.settings.adapter, self.config, trained_here=self.weights is None
        )

    @cached_property
    def _texts(self) -> dict[str, str]:
        return entry_texts(self.config)


def make_variant(
    opened: OpenedPair, method: MethodFit, resolved: ResolvedRequest, control: str
) -> Variant:
    """Return a method under a control on a pair."""
    request, weights = resolved.request, resolved.weights
    changes = describe_changes(
        method.settings,
        opened.preset,
        request,
        preset_name=opened.preset_name,
        choices=_changed_choices(opened),
        tuned=resolved.tuned,
    )
    settings = controlled(method.settings, control)
    adapter = settings.adapter
    source = _any_source(opened, adapter, weights, kernels=request.kernels)
    identity = {
        "pair": opened.pair.name,
        "method": adapter.name,
        "control": control,
        "hparams": request.hparams,
        "preset": opened.preset_name,
        "data_variant": opened.variant.name,
        "steps": settings.steps,
    }
    return Variant(
        opened=opened,
        settings=settings,
        control=control,
        weights=weights,
        source=source,
        statistics=statistics_key(source.parent, source.spec, adapter, opened.target_data.size),
        identity={**identity, "schema_version": schema.SCHEMA_VERSION},
        changes=changes,
        config={
            **identity,
            **fingerprint_fields(opened),
            **_method_fields(settings),
            **source.spec.level,
            "tasks": list(source.spec.tasks),
            # no number depends on them, but a cell without them is not complete
            "signals": [CHANGE, AGREEMENT] if request.agreement else [CHANGE],
        },
        moves=method.moves,
        reason=method.reason,
        tuned=resolved.tuned.origin() if resolved.tuned and method.moves else None,
        parameters=method.parameters,
        request=request_record(
            request,
            method.settings,
            pair=opened.pair.name,
            preset=opened.preset_name,
            control=control,
            label_space=opened.labels.name if opened.labels else None,
            tuned=resolved.tuned,
        ),
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


def parent_key(weights: str | None, chain: tuple[TrainingStage, ...]) -> str:
    """Return the key of the weights that a method starts from."""
    return f"file {weights}" if weights else chain[-1].key


def _any_source(
    opened: OpenedPair, adapter: Adapter, weights: str | None, *, kernels: str
) -> Source:
    spec = source_spec(opened, 0, adapter, kernels=kernels)
    chain = tuple(training_chain(spec, adapter))
    return Source(spec=spec, chain=chain, parent=parent_key(weights, chain))


def _method_fields(settings: MethodSettings) -> dict[str, Any]:
    """Return everything that a cell's numbers depend on besides pair, source and protocol."""
    adapter = settings.adapter
    return {
        "evaluation": FORMAT,
        "options": adapter.options.model_dump(mode="json"),
        "optimiser": settings.optimiser.model_dump(),
        "code": method_code(adapter),
    }


def _changed_choices(opened: OpenedPair) -> dict[str, str]:
    """Return stream and label space if they differ from the default."""
    found: dict[str, str] = {}
    stream, default = opened.target_data.stream, opened.pair.label_space(None, {})
    if not stream.in_file_order:
        found["stream"] = str(stream)
    if opened.labels is not None and (default is None or default.name != opened.labels.name):
        found["label_space"] = opened.labels.name
    return found
