"""What a method says of itself, from the code that runs: its card, its options, its parameter
counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ttt_bench.adapt.meta import meta_net, plan_of
from ttt_bench.adapt.session import moved_parameters
from ttt_bench.adapter import Adapter, Hparams, Needs, Norm, Passes, Phase, Plan, Quirk, SourcePass
from ttt_bench.config.method_settings import resolve_method
from ttt_bench.config.preset import ModelConfig, resolve_preset
from ttt_bench.config.request import Request
from ttt_bench.errors import BenchError
from ttt_bench.model.parameters import count_parameters
from ttt_bench.network import STAGES, Net
from ttt_bench.registry import METHODS
from ttt_bench.results.published import published_parameters
from ttt_bench.tasks import TASKS, canonical, output_channels
from ttt_bench.train.chain import trains_on_source, trains_own_source
from ttt_bench.util.progress import Progress

CLASSES, BATCH = 7, 8
"""Classes of semantic segmentation and images a batch of the published main table."""
NORM_WORDS = {
    Norm.RUNNING: "stored statistics, untouched",
    Norm.BATCH: "statistics of the batch, stored ones untouched",
    Norm.EMA: "statistics of the batch, stored ones moved",
}
_OPTIMISER_WORDS = {
    "optimiser": "what descends: sgd or adam",
    "lr": "learning rate",
    "momentum": "momentum of sgd",
    "nesterov": "Nesterov's form of that momentum",
    "weight_decay": "added to the gradient, times the weight",
    "beta1": "adam's decay of the gradient's mean",
    "beta2": "adam's decay of its square",
    "lr_per_sample": "whether lr is multiplied with the batch size",
    "steps": "adaptation steps a batch",
}


def card_rows(name: str) -> list[dict[str, str]]:
    """A method's card, one record a field: what its code says of itself, under its default options.

    Raises:
        BenchError: no such method.
    """
    method = METHODS.load(name)
    card, adapter = method.card, method()
    net = meta_net(
        ModelConfig(), output_channels(adapter.own_tasks(tuple(TASKS)), CLASSES), adapter
    )
    plan = plan_of(net, adapter)
    fields = {
        "method": card.title,
        "paper": card.paper,
        "source training": card.source_training,
        "source phases": "; ".join(_phase_words(phase) for phase in adapter.phases()),
        "source statistics": _statistics_words(adapter.source_pass()),
        "own source model": "yes" if trains_own_source(adapter) else "no, Base's",
        "moves at test": card.moves,
        "BatchNorm adapting": NORM_WORDS[plan.adapt] if plan.moves else "no step",
        "BatchNorm predicting": NORM_WORDS[plan.predict],
        "passes a step": _passes_words(adapter.passes(BATCH), plan),
        "sizes": card.sizes,
        "needs": ", ".join(_conditions(adapter.needs())) or "nothing",
        "architecture": card.architecture,
        "--hparams paper": method.paper.citation,
        "--hparams original": method.original.citation,
        "code": METHODS.entry(name).location,
    }
    records = [{"field": field, "value": value} for field, value in fields.items()]
    return records + [
        {"field": "quirk", "value": _quirk_words(name, quirk)} for quirk in card.quirks
    ]


def _conditions(needs: Needs) -> Iterator[str]:
    yield from (f"the task {task}" for task in canonical(needs.tasks))
    if needs.min_batch > 1:
        yield f"batches of at least {needs.min_batch}"
    if needs.min_side > 1:
        yield f"images of at least {needs.min_side} pixels a side"
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
    return f"of at most {wanted.images:,} training images in batches of {wanted.batch}{size}"


def _passes_words(passes: Passes, plan: Plan) -> str:
    if not plan.moves:
        return "no step; one forward a batch"
    words = f"{passes.forwards} forward, {passes.backwards} backward"
    words += f", up to stage {passes.stages}" if passes.stages < STAGES else ""
    return f"{words}; {'predictions are made on the way' if plan.exact else 'and one forward a prediction'}"


def _quirk_words(name: str, quirk: Quirk) -> str:
    option = f" (--set {name}.{quirk.option} does as the authors')" if quirk.option else ""
    return f"the authors' code {quirk.code}; here: {quirk.here}{option}"


def option_rows(name: str) -> list[dict[str, Any]]:
    """A method's settings with their values under both sets of hyperparameters, and where each
    comes from.
    """
    method = METHODS.load(name)
    paper, original = _values(method.paper), _values(method.original)
    shaped = "model" if trains_on_source(method()) else "statistics"
    records = [
        {
            "option": key,
            "paper": str(value),
            "original": str(original[key]),
            "meaning": _OPTIMISER_WORDS[key],
            "source": "see --hparams above",
        }
        for key, value in paper.items()
        if key not in method.Options.model_fields
    ]
    for key, field in method.Options.model_fields.items():
        extra: Mapping[str, Any] = (
            field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        )
        default = field.get_default()
        shapes = f" (shapes the source {shaped})" if extra.get("shapes_source") else ""
        records.append(
            {
                "option": key,
                "paper": str(paper.get(key, default)),
                "original": str(original.get(key, default)),
                "meaning": f"{field.description}{shapes}",
                "source": extra.get("citation", ""),
            }
        )
    return records


def _values(hparams: Hparams) -> dict[str, Any]:
    return {**hparams.optimiser.model_dump(), "steps": hparams.steps, **hparams.options}


def parameter_rows(
    backbone: str,
    tasks: Sequence[str],
    classes: int,
    settings: Mapping[str, Any],
    progress: Progress,
) -> list[dict[str, Any]]:
    """Trainable parameters of every method: total, backbone, heads, added by the method, moved at
    test time.

    A method that does not load is left out, and said on `progress`. `published` is what S4T's
    supplement prints for ResNet-50 and four tasks (Table 6), in millions.

    Raises:
        BenchError: an unknown backbone or task, or a setting that does not fit.
    """
    names = canonical(tasks)
    preset = resolve_preset("paper", {})
    published = (
        published_parameters() if backbone == "resnet50" and len(names) == len(TASKS) else {}
    )
    records = []
    for name in METHODS.names():
        try:
            method = METHODS.load(name)
        except BenchError as error:  # a broken plugin must not stop the others
            progress.notice(f"left out: {error}")
            continue
        adapter = resolve_method(method, preset, Request(set=dict(settings))).adapter
        own = adapter.own_tasks(names)
        net = meta_net(ModelConfig(backbone=backbone), output_channels(own, classes), adapter)
        counts = count_parameters(net, method.uncounted)
        records.append(
            {
                "method": name,
                "published": published.get(name),
                "millions": round(counts.total / 1e6, 2),
                "total": counts.total,
                "backbone": counts.backbone,
                "heads": counts.heads,
                "added": counts.added,
                "moved": _moved(net, adapter) if adapter.needs().tasks <= set(own) else None,
                "architecture": method.card.architecture,
            }
        )
    if not records:
        raise BenchError("no method is registered; is ttt-bench installed (pip install -e .)?")
    return records


def _moved(net: Net, adapter: Adapter) -> int:
    found = moved_parameters(net, adapter.bind(net, {}).moves, adapter.name)
    return sum(
        p.numel() for n, p in found.items() if n.removeprefix("extra.") not in adapter.uncounted
    )
