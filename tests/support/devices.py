"""Training in float64 on one device, and by two processes that share the batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from support.fakes import tiny_net
from support.toy import Joint, ToyDataset, spec
from ttt_bench.adapter import Adapter
from ttt_bench.model.split import BatchSplit, average_gradients
from ttt_bench.network import Batch
from ttt_bench.registry import METHODS
from ttt_bench.train.chain import training_chain
from ttt_bench.train.loader import training_batches
from ttt_bench.train.stage import StageRun

ITERATIONS = 3
BATCH = 5
"""Not divisible by the number of processes."""

Trained = tuple[list[float], dict[str, Tensor]]
"""The loss of every iteration, and the final state of the network."""


def adapter_of(name: str) -> Adapter:
    """Return a method; `joint` is the toy method, with its unsupervised phase."""
    return Joint() if name == "joint" else METHODS.load(name)()


def train(name: str, split: BatchSplit | None = None) -> Trained:
    """Train the last stage of a method's source model in float64.

    Args:
        name: the method.
        split: how processes share the batches; None for one process.
    """
    adapter = adapter_of(name)
    usual = spec(iterations=ITERATIONS)
    source = replace(usual, training=usual.training.model_copy(update={"batch": BATCH}))
    stage = training_chain(source, adapter)[-1]
    net = tiny_net(adapter)
    net.model.split = split  # type: ignore[assignment]
    run = StageRun(net, stage, source, torch.device("cpu"))
    run.uncertainties.data = run.uncertainties.data.double()
    if split is not None:
        run.optimiser.register_step_pre_hook(average_gradients)
    losses: list[float] = []
    run.objective = _recording(run.objective, losses)  # type: ignore[method-assign]
    for batch in training_batches(ToyDataset(size=(64, 64)), source, stage):
        run.iterate(in_double(batch))
    return losses, {name: value.clone() for name, value in net.state_dict().items()}


def _recording(objective: Callable[[Batch], Tensor], losses: list[float]) -> Any:
    def recorded(batch: Batch) -> Tensor:
        loss = objective(batch)
        losses.append(loss.item())
        return loss

    return recorded


def in_double(batch: Batch) -> Batch:
    """Return a batch with its real values in float64."""
    targets = {
        name: value.double() if value.is_floating_point() else value
        for name, value in batch.targets.items()
    }
    return Batch(batch.images.double(), targets)


def train_together(rank: int, port: int, names: list[str], results: Any) -> None:
    """Train methods by two processes; the second one puts name -> `Trained` into a queue."""
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    found = {name: train(name, BatchSplit()) for name in names}
    if rank == 1:
        # lists, because tensors would be shared with a process that ends
        results.put({name: (losses, _lists(state)) for name, (losses, state) in found.items()})
    dist.destroy_process_group()


def _lists(state: dict[str, Tensor]) -> dict[str, list[Any]]:
    return {name: value.tolist() for name, value in state.items()}
