"""Count the trainable parameters of every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ttt_bench.adapt.meta import meta_net, plan_of
from ttt_bench.adapt.parameters import parameter_counts
from ttt_bench.adapt.returned import needs_of
from ttt_bench.adapter import Adapter
from ttt_bench.config.method_settings import resolve_method
from ttt_bench.config.preset import ModelConfig, resolve_preset
from ttt_bench.config.request import Request
from ttt_bench.describe.card import TARGET
from ttt_bench.errors import BenchError
from ttt_bench.model.architecture import resolved_model
from ttt_bench.model.layer_needs import missing_layers
from ttt_bench.model.parameters import count_parameters
from ttt_bench.registry import METHODS
from ttt_bench.results.published import published_parameters
from ttt_bench.tasks import canonical, output_channels
from ttt_bench.util.code.error_place import describe
from ttt_bench.util.problems import attempt
from ttt_bench.util.process import fixed_process
from ttt_bench.util.progress import Progress


@fixed_process()
def parameter_rows(
    model: ModelConfig,
    tasks: Sequence[str],
    *,
    classes: int,
    settings: Mapping[str, Any],
    progress: Progress,
) -> list[dict[str, Any]]:
    """Return the numbers of trainable parameters, one row per method.

    A method that does not load, or that these tasks do not suffice for, is omitted with a notice.

    Args:
        model: The network.
        tasks: Names of tasks.
        classes: Number of semantic classes.
        settings: `method.key` -> value.
        progress: Receives the notices.

    Returns:
        Rows with the total and its parts (`backbone`, `heads`, `added` by the method), the number
        that the method updates (`moved`; None if it cannot adapt this network), and `published`:
        millions in S4T's supplement (`published_parameters`).

    Raises:
        BenchError: A network, backbone or task is unknown, or a setting is invalid.
    """
    names, model = canonical(tasks), resolved_model(model)
    published = published_parameters(model.architecture, model.backbone, names)
    meta_net(model, output_channels(names, classes))  # raises what is wrong with the network alone
    rows = []
    for adapter in _adapters(settings, progress):
        channels = output_channels(adapter.own_tasks(names), classes)
        try:
            counts = _counts(adapter, model, channels, progress)
        except Exception as error:  # a plugin may raise anything, and must not stop the others
            progress.notice(f"left out: {adapter.name}: {describe(error, type(adapter))}")
        else:
            rows.append({"method": adapter.name, "published": published.get(adapter.name)} | counts)
    if not rows:
        raise BenchError("no method can be counted; the notes say why")
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
    adapter: Adapter, model: ModelConfig, channels: Mapping[str, int], progress: Progress
) -> dict[str, Any]:
    """Return one method's numbers on a network with these output channels."""
    missing = needs_of(adapter).tasks - channels.keys()
    if missing:
        raise BenchError(f"needs {', '.join(canonical(missing))}, which --tasks does not name")
    net = meta_net(model, channels, adapter)
    trainable = count_parameters(net, adapter.uncounted)
    lacking = missing_layers(adapter, net.model, model.label)
    plan, problems = (None, [lacking]) if lacking else attempt(plan_of, net, adapter, TARGET)
    for problem in problems:
        progress.notice(f"{adapter.name}: {problem}")
    counts = parameter_counts(net, adapter, plan.moves if plan else None, trainable=trainable)
    return {
        "millions": round(counts["total"] / 1e6, 2),
        **counts,
        "architecture": adapter.card.architecture,
    }
