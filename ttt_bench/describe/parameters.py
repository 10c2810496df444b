"""Count the trainable parameters of every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ttt_bench.adapt.meta import meta_net, plan_of
from ttt_bench.adapt.parameters import parameter_counts
from ttt_bench.adapter import Adapter
from ttt_bench.config.method_settings import resolve_method
from ttt_bench.config.preset import ModelConfig, resolve_preset
from ttt_bench.config.request import Request
from ttt_bench.describe.card import TARGET
from ttt_bench.errors import BenchError
from ttt_bench.registry import METHODS
from ttt_bench.results.published import published_parameters
from ttt_bench.tasks import canonical, output_channels
from ttt_bench.util.process import fixed_process
from ttt_bench.util.progress import Progress


@fixed_process()
def parameter_rows(
    backbone: str,
    tasks: Sequence[str],
    *,
    classes: int,
    settings: Mapping[str, Any],
    progress: Progress,
) -> list[dict[str, Any]]:
    """Return the numbers of trainable parameters, one row per method.

    A method that does not load is omitted with a notice.

    Args:
        backbone: A timm backbone; the tag of its weights makes no difference.
        tasks: Names of tasks.
        classes: Number of semantic classes.
        settings: `method.key` -> value.
        progress: Receives the notices.

    Returns:
        Rows with the total and its parts (`backbone`, `heads`, `added` by the method), the number
        that the method updates (`moved`; None if a task is missing that the method needs), and
        `published`: millions in S4T's supplement, Table 6, for ResNet-50 and four tasks.

    Raises:
        BenchError: A backbone or task is unknown, or a setting is invalid.
    """
    names, model = canonical(tasks), ModelConfig(backbone=backbone)
    published = published_parameters(model.backbone_name, names)
    rows = [
        {"method": adapter.name, "published": published.get(adapter.name)}
        | _counts(adapter, model, names, classes)
        for adapter in _adapters(settings, progress)
    ]
    if not rows:
        raise BenchError("no method is registered; install ttt-bench (pip install -e .)")
    return rows


def _adapters(settings: Mapping[str, Any], progress: Progress) -> list[Adapter]:
    """Return every method that loads, with the settings applied."""
    preset, request = resolve_preset("paper", {}), Request(set=dict(settings))
    adapters = []
    for name in METHODS.names():
        try:
            method = METHODS.load(name)
        except BenchError as error:  # an invalid plugin must not stop the others
            progress.notice(f"left out: {error}")
        else:
            adapters.append(resolve_method(method, preset, request).adapter)
    return adapters


def _counts(
    adapter: Adapter, model: ModelConfig, tasks: tuple[str, ...], classes: int
) -> dict[str, Any]:
    """Return one method's numbers on a network for these tasks."""
    own = adapter.own_tasks(tasks)
    net = meta_net(model, output_channels(own, classes), adapter)
    usable = adapter.needs().tasks <= set(own)
    counts = parameter_counts(net, adapter, plan_of(net, adapter, TARGET).moves if usable else None)
    return {
        "millions": round(counts["total"] / 1e6, 2),
        **counts,
        "architecture": adapter.card.architecture,
    }
