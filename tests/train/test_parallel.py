"""Source training by several processes: equal to one, and one clear error if a process ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from support import devices
from support.notices import Notices
from support.toy import Joint, ToyDataset, same, spec, values
from torch import nn

from ttt_bench.adapt.device import training_devices
from ttt_bench.errors import BenchError, DivergedError
from ttt_bench.model.split import random_layer
from ttt_bench.train import parallel
from ttt_bench.train.chain import checkpoint_path, training_chain
from ttt_bench.train.trainer import Trainer
from ttt_bench.train.work import devices_of

CPU = torch.device("cpu")
SPEC = spec(shared=0, iterations=6)
METHODS = ["joint", "ttt", "nc_ttt"]
"""A loss on the features, a forward pass of other images, and noise with modules of its own."""
GPUS = pytest.param(
    torch.device("cuda"),
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs"),
    ],
)


def trainer(folder: Path, device: torch.device = CPU, train_devices: int = 2) -> Trainer:
    return Trainer(folder=folder, device=device, progress=Notices(), train_devices=train_devices)


def test_two_processes_train_as_one_to_the_rounding_of_float64() -> None:
    context = torch.multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([parallel.__name__])
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    results = context.Queue()
    processes = [
        context.Process(
            target=devices.train_together, args=(rank, store.port, METHODS, results), daemon=True
        )
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    together = results.get(timeout=120)
    for process in processes:
        process.join(60)
    for name in METHODS:
        losses, state = devices.train(name)
        assert together[name][0] == pytest.approx(losses, rel=1e-12)
        for tensor, value in state.items():
            found = torch.tensor(together[name][1][tensor], dtype=value.dtype)
            torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-10, msg=f"{name} {tensor}")


class Stopped(ToyDataset):
    """Toy images whose third batch stops the training."""

    def batch(self, indices):  # type: ignore[no-untyped-def]
        if self.reads == 2:
            signal.raise_signal(signal.SIGTERM)
        return super().batch(indices)


@pytest.mark.parametrize("device", [CPU, GPUS])
def test_an_interrupted_training_on_two_devices_resumes_as_an_undisturbed_one(
    tmp_path: Path, device: torch.device
) -> None:
    undisturbed = trainer(tmp_path / "a", device).source_model(SPEC, Joint(), ToyDataset())
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "b", device).source_model(SPEC, Joint(), Stopped())
    assert not multiprocessing.active_children()
    resumed = trainer(tmp_path / "b", device).source_model(SPEC, Joint(), ToyDataset())
    assert same(values(undisturbed), values(resumed))
    (stage,) = training_chain(SPEC, Joint())
    assert devices_of(checkpoint_path(tmp_path / "b", stage.key)) == 2
    data = ToyDataset()
    trainer(tmp_path / "b", device, train_devices=1).source_model(SPEC, Joint(), data)
    assert not data.reads, "the key of a checkpoint does not depend on the number of devices"


class Killing(ToyDataset):
    """Toy images whose third batch kills one of the processes."""

    def batch(self, indices):  # type: ignore[no-untyped-def]
        if self.reads == 2:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
        return super().batch(indices)


def test_a_process_that_is_killed_ends_the_training_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"of device [01] \(cpu\) was ended by signal 9") as caught:
        trainer(tmp_path).source_model(SPEC, Joint(), Killing())
    assert "\n" not in str(caught.value)
    assert not multiprocessing.active_children()


def test_a_divergence_reaches_the_caller_with_its_iteration(tmp_path: Path) -> None:
    training = SPEC.training.model_copy(update={"lr": 1e30})
    with pytest.raises(DivergedError, match="diverged at iteration 6") as caught:
        trainer(tmp_path).source_model(replace(SPEC, training=training), Joint(), ToyDataset())
    assert caught.value.step == 6


def test_fewer_gpus_than_training_devices_are_refused() -> None:
    wanted = torch.cuda.device_count() + 2
    with pytest.raises(BenchError, match=f"needs the devices cuda:1 to cuda:{wanted}, but"):
        training_devices(torch.device("cuda", 1), wanted)


def test_the_first_layer_that_draws_random_numbers_is_named() -> None:
    assert random_layer(nn.Sequential(nn.Dropout(0.0), nn.Dropout(0.5))) == "1"
    assert random_layer(nn.Sequential(nn.Dropout(0.0), nn.ReLU())) is None
