"""Describe a network from its code."""

from __future__ import annotations

from ttt_bench.registry import NETWORKS
from ttt_bench.tasks import canonical


def network_rows(name: str) -> list[dict[str, str]]:
    """Return what a network is: one row per field, with its value.

    Raises:
        BenchError: The network is unknown or invalid.
    """
    kind = NETWORKS.load(name)
    fields = {
        "network": kind.summary or name,
        "tasks": "any" if kind.head_tasks is None else ", ".join(canonical(kind.head_tasks)),
        "backbone": kind.own_backbone or "that of model.backbone",
        "code": NETWORKS.entry(name).location,
    }
    options = {
        f"model.architecture_args.{key}": f"{field.description}; default: {field.get_default()}"
        for key, field in kind.Options.model_fields.items()
    }
    return [{"field": field, "value": value} for field, value in {**fields, **options}.items()]
