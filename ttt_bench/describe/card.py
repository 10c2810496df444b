"""Describe a method from its code: its card and its options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo

from ttt_bench.adapt.meta import meta_net, plan_of
from ttt_bench.adapt.returned import needs_of
from ttt_bench.adapter import (
    Adapter,
    Hparams,
    Needs,
    Norm,
    Optimiser,
    Phase,
    Plan,
    Quirk,
    SourcePass,
    Target,
)
from ttt_bench.config.method_settings import resolve_method
from ttt_bench.config.preset import ModelConfig, resolve_preset
from ttt_bench.config.request import Request
from ttt_bench.describe.ranges import ranges
from ttt_bench.model.architecture import resolved_model
from ttt_bench.model.weights import initial_weights
from ttt_bench.network import STAGES, Net, Network
from ttt_bench.registry import METHODS
from ttt_bench.tasks import PAPER_TASKS, canonical, output_channels
from ttt_bench.train.chain import trains_on_source, trains_own_source
from ttt_bench.util.process import fixed_process

CLASSES = 7
TARGET = Target(batch=8, size=(448, 576))
"""The target of the published protocol."""
"""Number of semantic classes and images per batch in the published main table."""
_NORM_WORDS = {
    Norm.RUNNING: "running statistics, not updated",
    Norm.BATCH: "statistics of the batch; running statistics are not updated",
    Norm.EMA: "statistics of the batch; running statistics are updated",
    Norm.MIX: "running statistics mixed with those of the batch; not updated",
    Norm.ROBUST: "running statistics, which are updated first",
}
_OPTIMISER_WORDS = {
    "optimiser": "optimiser: sgd, adam or adamw",
    "lr": "learning rate",
    "momentum": "momentum of sgd",
    "nesterov": "whether sgd uses Nesterov momentum",
    "weight_decay": "factor of the weight that is added to the gradient",
    "beta1": "decay of the mean of gradients of adam and adamw",
    "beta2": "decay of the mean of squared gradients of adam and adamw",
    "rates": "factor of lr by name or pattern of parameters; the first that matches counts",
    "lr_per_sample": "whether lr is multiplied by the number of images of the current batch",
    "steps": "adaptation steps per batch",
}
_STEPS_RANGE = "integer > 0"


@fixed_process()
def card_rows(name: str, settings: Mapping[str, Any] | None = None) -> list[dict[str, str]]:
    """Return a method's card: one row per field, with its value.

    Args:
        name: The method.
        settings: `model.key` or `method.key` -> value, changes of the preset `paper` and of the
            method's options.

    Raises:
        BenchError: The method is unknown or invalid, or does not fit the network.
    """
    method, preset = METHODS.load(name), resolve_preset("paper", settings or {})
    model = resolved_model(preset.model)
    card, adapter = method.card, resolve_method(method, preset, Request(set=settings or {})).adapter
    net = _net(adapter, model)
    plan = plan_of(net, adapter, TARGET)
    fields = {
        "method": card.title,
        "paper": card.paper,
        "source training": card.source_training,
        "source phases": "; ".join(_phase_words(phase) for phase in adapter.phases()),
        "source statistics": _statistics_words(adapter.source_pass()),
        "own source model": "yes" if trains_own_source(adapter) else "no, Base's",
        "moves at test": card.moves,
        "BatchNorm adapting": _NORM_WORDS[plan.adapt] if plan.moves else "no step",
        "BatchNorm predicting": _NORM_WORDS[plan.predict],
        "passes per step": _passes_words(adapter, plan, net.model),
        "sizes": card.sizes,
        "needs": ", ".join(_conditions(needs_of(adapter))) or "nothing",
        "architecture": card.architecture,
        "--hparams paper": method.paper.citation,
        "--hparams original": method.original.citation,
        "network": _network_words(model),
        "code": METHODS.entry(name).location,
    }
    quirks = [{"field": "quirk", "value": _quirk_words(name, quirk)} for quirk in card.quirks]
    return [{"field": field, "value": value} for field, value in fields.items()] + quirks


def option_rows(name: str) -> list[dict[str, str]]:
    """Return a method's settings: one row per setting, with both hyperparameter sets' values.

    `range` is the values that are allowed.

    Raises:
        BenchError: The method is unknown or invalid.
    """
    method = METHODS.load(name)
    paper, original = _values(method.paper), _values(method.original)
    shaped = "model" if trains_on_source(method()) else "statistics"
    fields = method.Options.model_fields
    of_optimiser, of_options = ranges(Optimiser), ranges(method.Options)
    return [
        *(
            {
                "option": key,
                "paper": str(value),
                "original": str(original[key]),
                "range": of_optimiser.get(key, _STEPS_RANGE),
                "meaning": _OPTIMISER_WORDS[key],
                "citation": "see --hparams above",
            }
            for key, value in paper.items()
            if key not in fields
        ),
        *(
            {
                "option": key,
                "paper": str(paper.get(key, field.get_default())),
                "original": str(original.get(key, field.get_default())),
                "range": of_options[key],
                **_option_words(field, shaped),
            }
            for key, field in fields.items()
        ),
    ]


def _option_words(field: FieldInfo, shaped: str) -> dict[str, str]:
    """Return an option's meaning and citation.

    Args:
        shaped: The part of the source model that options may shape.
    """
    declared = field.json_schema_extra
    extra: Mapping[str, Any] = declared if isinstance(declared, dict) else {}
    shapes = f" (shapes the source {shaped})" if extra.get("shapes_source") else ""
    return {"meaning": f"{field.description}{shapes}", "citation": extra.get("citation", "")}


def _net(adapter: Adapter, model: ModelConfig) -> Net:
    """Return a network with a method's modules, without values."""
    channels = output_channels(adapter.own_tasks(PAPER_TASKS), CLASSES)
    return meta_net(model, channels, adapter)


def _network_words(model: ModelConfig) -> str:
    """Name a network and the weights that it starts from."""
    weights = initial_weights(model)["weights"] or "random"
    return f"{model.label}, initial weights: {weights} (as in --preset paper and --set)"


def _values(hparams: Hparams) -> dict[str, Any]:
    """Return the settings that a set of hyperparameters gives."""
    return {**hparams.optimiser.model_dump(), "steps": hparams.steps, **hparams.options}


def _conditions(needs: Needs) -> Iterator[str]:
    yield from (f"the task {task}" for task in canonical(needs.tasks))
    if needs.protocols:
        yield f"the protocol {' or '.join(sorted(needs.protocols))}"
    if needs.batch:
        yield f"batches of {needs.batch} image{'s' if needs.batch > 1 else ''}"
    if needs.min_batch > 1:
        yield f"batches of at least {needs.min_batch} images"
    if needs.min_side > 1:
        yield f"images of at least {needs.min_side} pixels per side"
    if needs.batchnorm:
        yield "BatchNorm layers"
    if needs.affine:
        yield "normalisation layers with a scale and a shift"


def _phase_words(phase: Phase) -> str:
    trained = {"model": "the network", "extra": "the method's modules"}
    words = f"{phase.name}: {' and '.join(trained[part] for part in phase.trains)}"
    words += "" if phase.supervised else ", without labels"
    return words + (f", {phase.iterations:,} iterations" if phase.iterations else "")


def _statistics_words(wanted: SourcePass | None) -> str:
    if wanted is None:
        return "none"
    size = ", resized to the target's size" if wanted.at_target_size else ""
    return f"of at most {wanted.images:,} training images, {wanted.batch} images per batch{size}"


def _passes_words(adapter: Adapter, plan: Plan, model: Network) -> str:
    """Describe the cost of a step; a backbone that computes all stages together runs as a whole."""
    if not plan.moves:
        return "no step; one forward pass per batch"
    batch = needs_of(adapter).batch or TARGET.batch
    passes = adapter.passes(batch)
    words = (
        f"{passes.forwards / batch:g} forward and {passes.backwards / batch:g} backward of a batch "
        f"of {batch}"
    )
    part = model.upstream(passes.stages) != model.upstream(STAGES)
    words += f", up to stage {passes.stages}" if part else ""
    if plan.exact:
        return f"{words}; predictions need no further pass"
    return f"{words}; one more forward pass per prediction"


def _quirk_words(name: str, quirk: Quirk) -> str:
    option = (
        f" (--set {name}.{quirk.option} does the same as the authors' code)" if quirk.option else ""
    )
    return f"the authors' code {quirk.code}; here: {quirk.here}{option}"
