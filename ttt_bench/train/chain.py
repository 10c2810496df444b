"""The chain of stages that ends in a source model, and the keys of their checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ttt_bench.adapter import SHARED, Adapter, Optimiser, Phase
from ttt_bench.config.preset import ModelConfig, TrainingSettings
from ttt_bench.model.weights import initial_weights
from ttt_bench.util.hashing import code_hash, hash_of

FORMAT = 1
"""Raised when a change of the harness makes earlier checkpoints wrong."""


@dataclass(frozen=True)
class TrainingStage:
    """One stretch of source training.

    Attributes:
        name: what a person sees: "shared", "base", or the method's name.
        about: everything that its result depends on; `key` is its hash.
        adapter: whose auxiliary losses are minimised; None for a plain supervised stretch.
        first: whether every source model of the seed starts with it.
    """

    name: str
    about: Mapping[str, Any]
    iterations: int
    optimiser: Optimiser
    phase: Phase
    adapter: Adapter | None
    first: bool

    @cached_property
    def key(self) -> str:
        return hash_of(self.about, 16)


@dataclass(frozen=True)
class SourceSpec:
    """What every source model of one source domain and seed has in common."""

    domain: str
    model: ModelConfig
    tasks: Mapping[str, int]
    recipe: str
    training: TrainingSettings
    fingerprint: str
    seed: int
    normalisation: str = "imagenet"

    def initial(self) -> dict[str, Any]:
        """What the untrained network depends on: its weights by their content, not by where they
        lie.
        """
        return {
            "format": FORMAT,
            "model": self.model.model_dump(mode="json", exclude={"weights"})
            | initial_weights(self.model),
            "tasks": dict(self.tasks),
            "normalisation": self.normalisation,
            "seed": self.seed,
        }


def trains_own_source(adapter: Adapter) -> bool:
    """Whether a method's source model differs from Base's."""
    return any("model" in phase.trains and phase != SHARED for phase in adapter.phases())


def trains_on_source(adapter: Adapter) -> bool:
    """Whether a method trains anything on the source that Base does not."""
    return any(phase != SHARED for phase in adapter.phases())


def training_chain(job: SourceSpec, adapter: Adapter) -> list[TrainingStage]:
    """The chain that ends in the method's source model, the first stretch first."""
    training = job.training
    common = {
        "recipe": job.recipe,
        "data": job.fingerprint,
        **training.model_dump(include={"batch", "flip"}),
    }
    chain: list[TrainingStage] = []

    def add(
        name: str,
        phase: Phase,
        iterations: int,
        lr: float,
        owner: Adapter | None,
        first: bool = False,
    ) -> None:
        parent = chain[-1].key if chain else job.initial()
        optimiser = phase.optimiser or Optimiser(
            optimiser="adam", lr=lr, weight_decay=training.weight_decay
        )
        method = (
            {"method": owner.name, "options": source_options(owner), "code": code_hash(type(owner))}
            if owner
            else None
        )
        stretch = {
            "phase": phase.name,
            "iterations": iterations,
            "optimiser": optimiser.model_dump(),
            "schedule": phase.schedule,
            "method": method,
        }
        chain.append(
            TrainingStage(
                name,
                {"parent": parent, **common, **stretch},
                iterations,
                optimiser,
                phase,
                owner,
                first,
            )
        )

    if training.shared_iterations:
        add("shared", SHARED, training.shared_iterations, training.shared_lr, None, first=True)
    for phase in adapter.phases():
        owner = None if phase == SHARED else adapter
        name = owner.name if owner else "base"
        add(name, phase, phase.iterations or training.iterations, training.lr, owner)
    return chain


def source_options(adapter: Adapter) -> dict[str, Any]:
    """The method's options that shape its source model."""
    return adapter.options.model_dump(mode="json", include=set(adapter.options.source_fields()))


def statistics_key(
    parent: str, job: SourceSpec, adapter: Adapter, target_size: tuple[int, int]
) -> dict[str, Any] | None:
    """What a method's source statistics depend on; None where it has none. `parent` names the
    network's weights.
    """
    wanted = adapter.source_pass()
    if wanted is None:
        return None
    return {
        "parent": parent,
        "data": job.fingerprint,
        "seed": job.seed,
        "pass": [wanted.images, wanted.batch],
        "size": list(target_size) if wanted.at_target_size else None,
        "options": source_options(adapter),
        "code": code_hash(type(adapter)),
    }


def checkpoint_path(folder: Path, key: str) -> Path:
    """Where the checkpoint of a stretch lies."""
    return folder / f"{key}.safetensors"
