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
from ttt_bench.util.process import watched


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
        if adapter is None:
            return Net(model, None)
        with watched(f"`build` of method {adapter.name}"):
            return Net(model, adapter.build(model, model.tasks))


def plan_of(net: Net, adapter: Adapter) -> Plan:
    """Return what a method declares for test time on a network.

    Raises:
        BenchError: the method cannot adapt this network.
    """
    with watched(f"`bind` of method {adapter.name}"):
        bound = adapter.bind(net, {})
    plan = checked_plan(bound, adapter.name)
    moved_parameters(net, plan.moves, adapter.name)
    return plan
