"""Loss curves of source training by one and by several processes.

    python benchmarks/train_devices.py [ITERATIONS [PROCESSES [METHOD]]]

Trains a method's source model (default: 150 iterations, 2 processes, base) at the sizes of the
preset `smoke` on the CPU, and prints the largest relative difference of the losses from those of
one process:

* in float64, which shows that the mathematics is the same;
* in float32, as `--train-devices` trains;
* for comparison, by one process in float32 from initial weights that are changed by 1e-7 relative,
  the size of one rounding.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor

from ttt_bench.config.request import Request
from ttt_bench.model.split import BatchSplit, average_gradients
from ttt_bench.network import Batch
from ttt_bench.sweep.plan import plan_sweep
from ttt_bench.sweep.resolve import resolve
from ttt_bench.train.loader import training_batches
from ttt_bench.train.net import build_net
from ttt_bench.train.stage import StageRun
from ttt_bench.util.process import fixed_process
from ttt_bench.util.progress import Silent

CPU = torch.device("cpu")
UNTIL = (10, 50, 150, 500)
"""Numbers of first iterations that the differences are shown for."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training whose losses are recorded.

    Attributes:
        method: the method.
        iterations: number of updates.
        dtype: type of weights and images.
        change: relative change of the initial weights, drawn from a normal distribution.
    """

    method: str
    iterations: int
    dtype: torch.dtype = torch.float32
    change: float = 0.0


def losses(training: Training, split: BatchSplit | None = None) -> list[float]:
    """Return the loss of every iteration."""
    with tempfile.TemporaryDirectory() as folder, fixed_process():
        torch.set_num_threads(1)
        run, batches = _stage(training, Path(folder))
        run.net.model.split = split
        if split is not None:
            run.optimiser.register_step_pre_hook(average_gradients)
        found: list[float] = []
        run.objective = _recording(run.objective, found)  # type: ignore[method-assign]
        for batch in batches:
            run.iterate(_typed(batch, training.dtype))
    return found


def _stage(training: Training, results: Path) -> tuple[StageRun, Any]:
    request = Request(
        methods=(training.method,),
        preset="smoke",
        device="cpu",
        results=results,
        set={"training.shared_iterations": 0, "training.iterations": training.iterations},
    )
    cell = plan_sweep(resolve(request), Silent()).cells[0]
    data, (stage, *_) = cell.opened.source_data, cell.chain
    data.prepare(Silent())
    net = build_net(cell.spec, cell.settings.adapter).to(training.dtype)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter *= 1 + training.change * torch.randn_like(parameter)
    run = StageRun(net, stage, cell.spec, CPU)
    run.uncertainties.data = run.uncertainties.data.to(training.dtype)
    return run, training_batches(data, cell.spec, stage)


def _recording(objective: Callable[[Batch], Tensor], found: list[float]) -> Any:
    def recorded(batch: Batch) -> Tensor:
        loss = objective(batch)
        found.append(loss.item())
        return loss

    return recorded


def _typed(batch: Batch, dtype: torch.dtype) -> Batch:
    targets = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in batch.targets.items()
    }
    return Batch(batch.images.to(dtype), targets)


def _process(rank: int, processes: int, port: int, trainings: list[Training], queue: Any) -> None:
    store = dist.TCPStore("127.0.0.1", port)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=processes)
    found = [losses(training, BatchSplit()) for training in trainings]
    if rank == 0:
        queue.put(found)
    dist.destroy_process_group()


def together(trainings: list[Training], processes: int) -> list[list[float]]:
    """Return the losses of trainings by several processes."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    queue = torch.multiprocessing.get_context("spawn").SimpleQueue()
    torch.multiprocessing.spawn(
        _process, (processes, store.port, trainings, queue), nprocs=processes
    )
    return queue.get()


def _show(name: str, found: list[float], expected: list[float]) -> None:
    differences = [abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True)]
    largest = [f"{max(differences[:n]):8.1e}" for n in _until(len(differences))]
    print(f"{name:<34}", *largest)


def _until(iterations: int) -> list[int]:
    return [*(n for n in UNTIL if n < iterations), iterations]


def main() -> None:
    """Print the differences."""
    given = dict(enumerate(sys.argv[1:]))
    usual = Training(method=given.get(2, "base"), iterations=int(given.get(0, 150)))
    processes = int(given.get(1, 2))
    exact = replace(usual, dtype=torch.float64)
    single, double = together([usual, exact], processes)
    one = losses(usual)
    heading = [f"{n:8d}" for n in _until(usual.iterations)]
    print(f"{'largest difference, iterations 1 to':<34}", *heading)
    _show(f"{processes} processes, float64", double, losses(exact))
    _show(f"{processes} processes, float32", single, one)
    _show("1 process, weights changed by 1e-7", losses(replace(usual, change=1e-7)), one)
    print(f"loss of one process: {one[0]:.3f} at the first, {one[-1]:.3f} at the last iteration")


if __name__ == "__main__":
    main()
