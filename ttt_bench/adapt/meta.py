"""Networks on the meta device (shapes, no values), to inspect them and get a method's plan."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ttt_bench.adapt.returned import checked_plan
from ttt_bench.adapt.session import moved_parameters
from ttt_bench.adapter import Adapter, Plan
from ttt_bench.config.preset import ModelConfig
from ttt_bench.model.backbone import build_model
from ttt_bench.network import Net


def meta_net(
    config: ModelConfig, channels: Mapping[str, int], adapter: Adapter | None = None
) -> Net:
    """Return the network of a configuration with a method's modules, without values.

    Args:
        config: the network's configuration.
        channels: task -> output channels.
        adapter: the method; None for the network alone.

    Raises:
        BenchError: the backbone cannot be built.
    """
    with torch.device("meta"):
        model = build_model(config.untrained(), channels)
        return Net(model, adapter.build(model, model.tasks) if adapter else None)


def plan_of(net: Net, adapter: Adapter) -> Plan:
    """Return what a method declares for test time on a network.

    Raises:
        BenchError: the method cannot adapt this network.
    """
    plan = checked_plan(adapter.bind(net, {}), adapter.name)
    moved_parameters(net, plan.moves, adapter.name)
    return plan
