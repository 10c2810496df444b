"""The chain of training stages that ends in a source model, and the keys of the checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ttt_bench.adapter import SHARED, Adapter, Optimiser, Phase
from ttt_bench.config.preset import ModelConfig, TrainingSettings
from ttt_bench.config.request import KERNELS
from ttt_bench.model.architecture import network_fields
from ttt_bench.model.weights import initial_weights
from ttt_bench.results.checkpoints.named import statistics_name
from ttt_bench.util.hashing import code_hash, hash_of, with_code

FORMAT = 3
"""Increased when a change of the harness invalidates earlier checkpoints."""


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """The settings that all source models of one source domain and seed share.

    Attributes:
        domain: name of the source domain.
        model: the configuration of the shared network.
        tasks: task -> output channels.
        recipe: name of the loss recipe.
        training: batch size, iterations and learning rates.
        fingerprint: identifies the training data.
        data_code: hash of the code of a data set of another package; empty for a built-in one.
        seed: seeds initial weights, order of images and augmentation.
        normalisation: statistics that images are normalised with (`model.NORMALISATIONS`).
        kernels: the level of the kernels, "default" or "deterministic".
    """

    domain: str
    model: ModelConfig
    tasks: Mapping[str, int]
    recipe: str
    training: TrainingSettings
    fingerprint: str
    seed: int
    normalisation: str = "imagenet"
    data_code: str = ""
    kernels: str = KERNELS[0]

    @property
    def level(self) -> dict[str, str]:
        """Return the entry of keys for the level of the kernels; nothing for the default one.

        Other kernels round differently: most of those of a GPU, and on a CPU those that add to one
        place from several threads. So what is computed at one level is not used at another.
        """
        return {"kernels": self.kernels} if self.kernels != KERNELS[0] else {}

    @property
    def data(self) -> dict[str, str]:
        """Everything that the training images and targets depend on."""
        return {"data": self.fingerprint, **with_code(self.data_code, "data_code")}

    def initial(self) -> dict[str, Any]:
        """Return everything that the untrained network depends on.

        A file of weights counts by its contents, not by its path.
        """
        return {
            "format": FORMAT,
            "model": network_fields(self.model) | initial_weights(self.model),
            "tasks": dict(self.tasks),
            "normalisation": self.normalisation,
            "seed": self.seed,
        }


@dataclass(frozen=True, kw_only=True)
class TrainingStage:
    """One link of the chain that ends in a source model: a phase with all its settings resolved.

    A `Phase` is what a method asks for; its length and optimiser may be left to the preset. A stage
    is that phase for one `SourceSpec`, with the weights that it starts from. It has one checkpoint.

    Attributes:
        name: the stage in messages: "shared", "base", or the method's name.
        phase: the modules to train and the objective.
        iterations: number of updates.
        optimiser: settings of the optimiser.
        adapter: the method whose auxiliary losses are minimised; None for supervised training only.
        first: whether this is the stage that every source model of the seed starts with.
        dependencies: everything that the trained weights depend on; `key` is its hash.
    """

    name: str
    phase: Phase
    iterations: int
    optimiser: Optimiser
    adapter: Adapter | None
    first: bool
    dependencies: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """Return the name of the stage's checkpoint."""
        return hash_of(self.dependencies, 16)


def trains_own_source(adapter: Adapter) -> bool:
    """Return whether the network of a method's source model differs from Base's."""
    return any("model" in phase.trains and phase != SHARED for phase in adapter.phases())


def trains_on_source(adapter: Adapter) -> bool:
    """Return whether a method trains anything on the source in addition to Base's training."""
    return any(phase != SHARED for phase in adapter.phases())


def training_chain(spec: SourceSpec, adapter: Adapter) -> list[TrainingStage]:
    """Return the stages that end in the method's source model, in the order of training."""
    chain = [_shared_stage(spec)] if spec.training.shared_iterations else []
    for phase in adapter.phases():
        parent = chain[-1].key if chain else spec.initial()
        chain.append(_own_stage(spec, adapter, phase, parent))
    return chain


def for_seed(chain: Sequence[TrainingStage], seed: int) -> tuple[TrainingStage, ...]:
    """Return the stages of another seed; it changes the initial weights, and so all keys."""
    parent: Any = {**chain[0].dependencies["parent"], "seed": seed}
    found: list[TrainingStage] = []
    for stage in chain:
        found.append(replace(stage, dependencies={**stage.dependencies, "parent": parent}))
        parent = found[-1].key
    return tuple(found)


def _shared_stage(spec: SourceSpec) -> TrainingStage:
    """Return the supervised stage that every source model of a seed starts with."""
    return _stage(
        spec,
        SHARED,
        None,
        name="shared",
        parent=spec.initial(),
        iterations=spec.training.shared_iterations,
        lr=spec.training.shared_lr,
        first=True,
    )


def _own_stage(
    spec: SourceSpec, adapter: Adapter, phase: Phase, parent: str | dict[str, Any]
) -> TrainingStage:
    """Return the stage of one of a method's phases; `parent` identifies the weights before it."""
    owner = None if phase == SHARED else adapter
    return _stage(
        spec,
        phase,
        owner,
        name=owner.name if owner else "base",
        parent=parent,
        iterations=phase.iterations or spec.training.iterations,
        lr=spec.training.lr,
        first=False,
    )


def fine_tuning_stage(target: SourceSpec, parent: str) -> TrainingStage:
    """Return the supervised stage that trains a source model further, with labels of the target.

    Args:
        target: the training, with the domain, data and recipe of the target.
        parent: identifies the weights that it starts from.
    """
    return _stage(
        target,
        SHARED,
        None,
        name="fine-tuned",
        parent=parent,
        iterations=target.training.iterations,
        lr=target.training.lr,
        first=False,
    )


def _stage(
    spec: SourceSpec,
    phase: Phase,
    adapter: Adapter | None,
    *,
    name: str,
    parent: str | dict[str, Any],
    iterations: int,
    lr: float,
    first: bool,
) -> TrainingStage:
    optimiser = phase.optimiser or Optimiser(
        optimiser="adam", lr=lr, weight_decay=spec.training.weight_decay
    )
    dependencies = {
        "parent": parent,
        "recipe": spec.recipe,
        **spec.data,
        **spec.level,
        **spec.training.model_dump(include={"batch", "flip"}),
        "phase": phase.name,
        "iterations": iterations,
        "optimiser": optimiser.model_dump(),
        "schedule": phase.schedule,
        "method": _method(adapter) if adapter else None,
    }
    return TrainingStage(
        name=name,
        phase=phase,
        iterations=iterations,
        optimiser=optimiser,
        adapter=adapter,
        first=first,
        dependencies=dependencies,
    )


def method_code(adapter: Adapter) -> str:
    """Return the hash of a method's code."""
    return code_hash(type(adapter), type(adapter.options), *adapter.depends_on)


def _method(adapter: Adapter) -> dict[str, Any]:
    return {
        "method": adapter.name,
        "options": source_options(adapter),
        "code": method_code(adapter),
    }


def source_options(adapter: Adapter) -> dict[str, Any]:
    """Return the values of the method's options that its source model depends on."""
    found: dict[str, Any] = adapter.options.model_dump(
        mode="json", include=set(adapter.options.source_fields())
    )
    return found


def statistics_key(
    parent: str, spec: SourceSpec, adapter: Adapter, target_size: tuple[int, int]
) -> dict[str, Any] | None:
    """Return everything that a method's source statistics depend on, or None if it needs none.

    Args:
        parent: identifies the network's weights.
        spec: the source training.
        adapter: the method.
        target_size: (H, W) of the target's images.
    """
    wanted = adapter.source_pass()
    if wanted is None:
        return None
    return {
        "parent": parent,
        **spec.data,
        **spec.level,
        "seed": spec.seed,
        "pass": [wanted.images, wanted.batch],
        "size": list(target_size) if wanted.at_target_size else None,
        "options": source_options(adapter),
        "code": method_code(adapter),
    }


def checkpoint_path(folder: Path, key: str) -> Path:
    """Return the path of a checkpoint."""
    return folder / f"{key}.safetensors"


def statistics_path(folder: Path, adapter: Adapter, key: Mapping[str, Any]) -> Path:
    """Return the path of a method's source statistics; `key` is their `statistics_key`."""
    return checkpoint_path(folder, statistics_name(adapter.name, key))
