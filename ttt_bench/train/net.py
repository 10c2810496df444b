"""The untrained network of a method."""

from __future__ import annotations

import torch

from ttt_bench.adapter import Adapter
from ttt_bench.model.architecture import build_model
from ttt_bench.network import Net, Network
from ttt_bench.train.chain import SourceSpec
from ttt_bench.util.process import watched
from ttt_bench.util.seeding import derive_seed


def build_net(spec: SourceSpec, adapter: Adapter | None, *, pretrained: bool = True) -> Net:
    """Return the untrained network of a method; `model` is the same for every method of a seed.

    Args:
        spec: the source training.
        adapter: the method, which may add modules; None for the shared network alone.
        pretrained: load the initial weights of the configuration. False if all weights are
            overwritten afterwards.

    Raises:
        BenchError: the backbone or its weights are not available.
    """
    config = spec.model if pretrained else spec.model.untrained()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(spec.seed, "model"))
        model = build_model(config, spec.tasks)
        model.normalise_by(spec.normalisation)
    return Net(model, None) if adapter is None else with_modules(model, spec, adapter)


def with_modules(model: Network, spec: SourceSpec, adapter: Adapter) -> Net:
    """Return a network with the modules that a method adds, which are initialised.

    Args:
        model: the shared network.
        spec: the source training.
        adapter: the method.
    """
    with torch.random.fork_rng(devices=[]), watched(f"`build` of method {adapter.name}"):
        torch.manual_seed(derive_seed(spec.seed, "extra", adapter.name))
        return Net(model, adapter.build(model, spec.tasks))
