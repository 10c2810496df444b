"""The untrained network of a method."""

from __future__ import annotations

import torch

from ttt_bench.adapter import Adapter
from ttt_bench.model.backbone import build_model
from ttt_bench.network import Net
from ttt_bench.train.chain import SourceSpec
from ttt_bench.util.seeding import derive_seed


def build_net(job: SourceSpec, adapter: Adapter, pretrained: bool = True) -> Net:
    """The untrained network of a method; the shared part is the same for every method of a seed.

    Without `pretrained` no weights are looked for: the caller overwrites them.
    """
    config = job.model if pretrained else job.model.untrained()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(job.seed, "model"))
        model = build_model(config, job.tasks)
        model.normalise_by(job.normalisation)
        torch.manual_seed(derive_seed(job.seed, "extra", adapter.name))
        return Net(model, adapter.build(model, job.tasks))
