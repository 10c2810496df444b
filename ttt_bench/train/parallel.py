"""Source training on several devices of this machine, with one process per device.

This process reads the batches, saves and shows progress, as on one device. It sends each batch to
all processes through shared memory, and they make the update together (`model.split`). They begin
with the state of this process's `StageRun`, which gets the final state back.
"""

from __future__ import annotations

import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import parent_process, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pickle import PicklingError
from types import ModuleType
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor
from torch._C._distributed_c10d import TCPStore

from ttt_bench.errors import BenchError
from ttt_bench.model.network import StagedNetwork
from ttt_bench.model.split import BatchSplit, average_gradients
from ttt_bench.network import Batch
from ttt_bench.train.chain import SourceSpec, TrainingStage
from ttt_bench.train.net import build_net
from ttt_bench.train.stage import StageRun
from ttt_bench.train.worker_error import WorkerError
from ttt_bench.util.interrupts import blocked_signals
from ttt_bench.util.process import fixed_process

HOST = "127.0.0.1"
END_SECONDS = 10.0
"""Time in which a process must end by itself after the last iteration."""
NOTICE_SECONDS = 0.2
"""Time in which the end of a process is noticed after another one has failed because of it."""


@dataclass(frozen=True, kw_only=True)
class _Order:
    """The work of one process.

    Attributes:
        rank: its number, which is also that of its device.
        devices: the devices of all processes.
        port: where the processes find each other.
        threads: number of threads for computing.
        deterministic: whether only deterministic kernels are used.
        spec: the source training.
        stage: the stage.
    """

    rank: int
    devices: tuple[torch.device, ...]
    port: int
    threads: int
    deterministic: bool
    spec: SourceSpec
    stage: TrainingStage

    @property
    def device(self) -> torch.device:
        return self.devices[self.rank]


@contextmanager
def on_devices(run: StageRun, devices: Sequence[torch.device]) -> Iterator[StageRun | ParallelRun]:
    """Yield what makes the updates of a stage; after the block, `run` has their result.

    Args:
        run: the stage. With one device it is yielded itself.
        devices: the devices.

    Raises:
        DivergedError: the training diverged.
        BenchError: a process failed or ended.
    """
    if len(devices) == 1:
        yield run
        return
    parallel = ParallelRun(run, devices)
    try:
        parallel.start()
        yield parallel
        run.restore(*parallel.state())
        parallel.finish()
    finally:
        parallel.kill()


class ParallelRun:
    """A stage in training on several devices, with the interface of `StageRun`.

    Args:
        run: the stage in its present state.
        devices: one device per process.

    Attributes:
        stage: the stage.
        spec: the source training.
        iteration: number of updates so far.
        seconds: seconds of these updates, over all attempts; the trainer counts them.
    """

    def __init__(self, run: StageRun, devices: Sequence[torch.device]) -> None:
        self.stage, self.spec = run.stage, run.spec
        self.iteration, self.seconds = run.iteration, run.seconds
        self._run, self._devices = run, tuple(devices)
        self._processes: list[ForkServerProcess] = []
        self._connections: list[Connection] = []

    def start(self) -> None:
        """Start the processes and bring them to the state of the run."""
        self._store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
        # a process that has imported everything, and never uses a GPU, is forked per device
        context = torch.multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        resource_tracker.ensure_running()  # its start would unblock signals
        with blocked_signals(), _hidden_script():
            for rank in range(len(self._devices)):
                self._start(context, rank)
        self._replies()  # all have joined
        tensors, values = self._run.state()
        self._ask("restore", _on_cpu(tensors), values)

    def _start(self, context: ForkServerContext, rank: int) -> None:
        here, there = context.Pipe()
        order = _Order(
            rank=rank,
            devices=self._devices,
            port=self._store.port,
            threads=max(1, torch.get_num_threads() // len(self._devices)),
            deterministic=torch.are_deterministic_algorithms_enabled(),
            spec=self.spec,
            stage=self.stage,
        )
        process = context.Process(target=_train, args=(order, there), daemon=True)
        try:
            process.start()
        except (PicklingError, AttributeError) as error:
            raise BenchError(
                f"{self.stage.name} cannot be sent to the processes of --train-devices ({error}); "
                "define the method in a module, not in the script that runs"
            ) from error
        there.close()
        self._processes.append(process)
        self._connections.append(here)

    def iterate(self, batch: Batch) -> float | None:
        """Make one update; return the loss before it if it was checked at this iteration.

        Raises:
            DivergedError: the loss is not finite.
            BenchError: a process failed or ended.
        """
        loss: float | None
        loss, *_ = self._ask("iterate", batch)
        self.iteration += 1
        return loss

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything that the next iteration depends on, as `StageRun.state`."""
        (tensors, values), *_ = self._ask("state")
        return tensors, {**values, "seconds": self.seconds}

    def finish(self) -> None:
        """Let the processes end by themselves."""
        for connection in self._connections:
            connection.send(None)
        for process in self._processes:
            process.join(END_SECONDS)

    def kill(self) -> None:
        """End the processes that still run."""
        for process in self._processes:
            process.kill()
            process.join()

    def _ask(self, call: str, *args: Any) -> list[Any]:
        """Return the replies of all processes to a call, by rank."""
        for connection in self._connections:
            with suppress(OSError):  # the process has ended, which its missing reply shows
                connection.send((call, args))
        return self._replies()

    def _replies(self) -> list[Any]:
        ranks = {connection: rank for rank, connection in enumerate(self._connections)}
        replies: dict[int, Any] = {}
        while ranks:
            for connection in multiprocessing.connection.wait(list(ranks)):
                rank = ranks.pop(cast(Connection, connection))
                replies[rank] = self._reply(rank)
        return [replies[rank] for rank in sorted(replies)]

    def _reply(self, rank: int) -> Any:
        try:
            reply = self._connections[rank].recv()
        except (EOFError, OSError):
            self._processes[rank].join()
            raise self._ended(rank) from None
        if isinstance(reply, WorkerError):
            ended = [n for n, one in enumerate(self._processes) if _has_ended(one)]
            raise self._ended(ended[0]) if ended else reply.error()
        return reply

    def _ended(self, rank: int) -> BenchError:
        return BenchError(
            f"training {self.stage.name} on {self.spec.domain}, seed {self.spec.seed}: the process "
            f"of device {rank} ({self._devices[rank]}) {_end(self._processes[rank].exitcode)} at "
            f"iteration {self.iteration}; run the same command to resume, or use fewer devices "
            "(--train-devices)"
        )


@contextmanager
def _hidden_script() -> Iterator[None]:
    """Keep processes that are started within the block from running the main script again.

    A script without `if __name__ == "__main__":` would begin the same run in each of them.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _has_ended(process: ForkServerProcess) -> bool:
    """Return whether a process has ended, which may have made another one fail just now."""
    process.join(NOTICE_SECONDS)
    return process.exitcode is not None


def _end(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"was ended by signal {-exitcode} ({signal.Signals(-exitcode).name})"
    return f"ended with exit code {exitcode}"


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}


# -- the process of a device


def _train(order: _Order, connection: Connection) -> None:
    """Do what the parent process asks for until it sends None."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with fixed_process(deterministic=order.deterministic):
            _serve(_joined(order), connection)
    except Exception as error:  # a plugin may raise anything
        adapter = order.stage.adapter
        connection.send(WorkerError.of(error, type(adapter) if adapter else None))
        # if this process ended, the others would fail, too: the parent ends all of them
        connection.recv()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _joined(order: _Order) -> StageRun:
    """Return the stage on this process's device after all processes have found each other."""
    torch.set_num_threads(order.threads)
    on_gpu = order.device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(order.device)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=TCPStore(HOST, order.port),
        rank=order.rank,
        world_size=len(order.devices),
    )
    net = build_net(order.spec, order.stage.adapter, pretrained=False).to(order.device)
    cast(StagedNetwork, net.model).split = BatchSplit()
    run = StageRun(net, order.stage, order.spec, order.device)
    run.optimiser.register_step_pre_hook(average_gradients)
    return run


def _serve(run: StageRun, connection: Connection) -> None:
    connection.send(None)  # joined
    while (request := connection.recv()) is not None:
        call, args = request
        connection.send(_answer(run, call, args))
    dist.destroy_process_group()


def _answer(run: StageRun, call: str, args: Any) -> Any:
    if call == "iterate":
        return run.iterate(*args)
    if call == "state":
        tensors, values = run.state()
        return _on_cpu(tensors), values
    tensors, values = args
    # the memory of these tensors is shared by all processes
    run.restore({name: tensor.clone() for name, tensor in tensors.items()}, values)
    return None
