"""What a method says of itself, from the code that runs: its card, its options, its parameter counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ttt_bench.adapter import Hparams
from ttt_bench.config import ModelConfig, Request, resolve_preset
from ttt_bench.errors import BenchError
from ttt_bench.model import Net, build_model, count_parameters
from ttt_bench.registry import load_method, registered
from ttt_bench.session import moved_parameters
from ttt_bench.settings import resolve_method
from ttt_bench.tasks import canonical, output_channels
from ttt_bench.train import trains_own_source

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


def card_records(name: str) -> list[dict[str, str]]:
    """A method's card, one record a field.

    Raises:
        BenchError: no such method.
    """
    method = load_method(name)
    card, adapter = method.card, method()
    needs = adapter.needs()
    conditions = [f"the task {task}" for task in canonical(needs.tasks)]
    conditions += [f"batches of at least {needs.min_batch}"] if needs.min_batch > 1 else []
    conditions += ["BatchNorm layers"] if needs.batchnorm else []
    fields = {
        "method": card.title,
        "paper": card.paper,
        "source training": card.source,
        "own source model": "yes" if trains_own_source(adapter) else "no, Base's",
        "moves at test": card.moves,
        "passes a step": f"{card.forwards} forward, {card.backwards} backward (a separate prediction apart)",
        "sizes": card.sizes,
        "needs": ", ".join(conditions) or "nothing",
        "--hparams paper": method.paper.source,
        "--hparams original": method.original.source,
        "code": registered()[name].location,
    }
    records = [{"field": field, "value": value} for field, value in fields.items()]
    return records + [{"field": "quirk", "value": quirk} for quirk in card.quirks]


def option_records(name: str) -> list[dict[str, Any]]:
    """A method's settings with their values under both sets of hyperparameters, and where each comes from."""
    method = load_method(name)
    paper, original = _values(method.paper), _values(method.original)
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
        extra: Mapping[str, Any] = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        default = field.get_default()
        shapes = " (shapes the source model)" if extra.get("shapes_source") else ""
        records.append(
            {
                "option": key,
                "paper": str(paper.get(key, default)),
                "original": str(original.get(key, default)),
                "meaning": f"{field.description}{shapes}",
                "source": extra.get("source", ""),
            }
        )
    return records


def _values(hparams: Hparams) -> dict[str, Any]:
    return {**hparams.optimiser.model_dump(), "steps": hparams.steps, **hparams.options}


def parameter_records(
    backbone: str, tasks: Sequence[str], classes: int, settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Trainable parameters of every method: total, backbone, heads, added by the method, moved at test time.

    Raises:
        BenchError: an unknown backbone or task, or a setting that does not fit.
    """
    outputs = output_channels(canonical(tasks), classes)
    preset = resolve_preset("paper", {})
    records = []
    for name in registered():
        method = load_method(name)
        adapter = resolve_method(method, preset, Request(set=dict(settings))).adapter
        with torch.device("meta"):
            model = build_model(ModelConfig(backbone=backbone), outputs)
            net = Net(model, adapter.build(model, outputs))
        counts = count_parameters(net, method.uncounted)
        moved = None
        if adapter.needs().tasks <= outputs.keys():
            found = moved_parameters(net, adapter.bind(net, {}).moves, name)
            moved = sum(p.numel() for n, p in found.items() if n.removeprefix("extra.") not in method.uncounted)
        records.append(
            {
                "method": name,
                "total": counts.total,
                "backbone": counts.backbone,
                "heads": counts.heads,
                "added": counts.added,
                "moved": moved,
            }
        )
    if not records:
        raise BenchError("no method is registered; is ttt-bench installed (pip install -e .)?")
    return records
