"""Networks without memory: to look at layers and parameters, and to ask a method what it would
do.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ttt_bench.adapt.session import moved_parameters
from ttt_bench.adapter import Adapter, Plan
from ttt_bench.config.preset import ModelConfig
from ttt_bench.model.backbone import build_model
from ttt_bench.network import Net


def meta_net(
    config: ModelConfig, channels: Mapping[str, int], adapter: Adapter | None = None
) -> Net:
    """The network of a configuration, and a method's modules, on PyTorch's meta device: shapes
    without values.

    Args:
        channels: task -> output channels.

    Raises:
        BenchError: the backbone cannot be built.
    """
    with torch.device("meta"):
        model = build_model(config.untrained(), channels)
        return Net(model, adapter.build(model, model.tasks) if adapter else None)


def plan_of(net: Net, adapter: Adapter) -> Plan:
    """What a method would do at test time with a network.

    Raises:
        BenchError: it cannot adapt this network.
    """
    plan = adapter.bind(net, {})
    moved_parameters(net, plan.moves, adapter.name)
    return plan
