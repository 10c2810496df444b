"""Training, finding and resuming source models in a folder of checkpoints.

A source model is the result of a chain of stages. All source models of a seed start from the same
supervised stage. A stage of equal length follows for each model, supervised and with the method's
auxiliary losses. Base and the methods without source training share the stage without auxiliary
losses. So all models have seen the same images in the same order, and equally many of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ttt_bench.adapt.device import device_name, training_devices
from ttt_bench.adapter import Adapter
from ttt_bench.data.base import Dataset
from ttt_bench.errors import BenchError, DamagedError, DivergedError
from ttt_bench.network import Net
from ttt_bench.results.checkpoints.diverged import diverged_path, read_diverged, write_diverged
from ttt_bench.results.timed_work import Stopwatch, Work, timed_now, write_time
from ttt_bench.train.chain import (
    SourceSpec,
    TrainingStage,
    checkpoint_path,
    statistics_key,
    statistics_path,
    training_chain,
)
from ttt_bench.train.loader import training_batches
from ttt_bench.train.net import build_net
from ttt_bench.train.parallel import ParallelRun, on_devices
from ttt_bench.train.source_statistics import measure_source
from ttt_bench.train.stage import StageRun
from ttt_bench.train.work import statistics_work, training_work
from ttt_bench.util import tensor_file
from ttt_bench.util.claims import CLAIMS, Claims
from ttt_bench.util.interrupts import held_interrupts
from ttt_bench.util.process import named_operation
from ttt_bench.util.progress import Progress
from ttt_bench.util.quarantine import set_aside
from ttt_bench.util.store import mirror

SAVE_SECONDS = 60.0


@dataclass(kw_only=True)
class Trainer:
    """Source models of one folder of checkpoints.

    Attributes:
        folder: the folder.
        device: the device to train on.
        progress: shows one bar per stage.
        save_seconds: seconds between two saves of an unfinished stage.
        train_devices: number of devices that train a source model together: `device` and the GPUs
            after it, or as many processes on the CPU.
    """

    folder: Path
    device: torch.device
    progress: Progress
    save_seconds: float = SAVE_SECONDS
    train_devices: int = 1
    _claims: Claims = field(init=False, repr=False)
    _failed: dict[str, Exception] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self._claims = Claims(self.folder / CLAIMS)

    def has(self, chain: Sequence[TrainingStage]) -> bool:
        """Return whether a checkpoint of a method's chain exists.

        If so, no initial weights are needed.
        """
        # the last one first: of a store, no checkpoint is fetched that is not needed
        return any(self._exists(checkpoint_path(self.folder, stage.key)) for stage in chain[::-1])

    def source_model(
        self,
        spec: SourceSpec,
        adapter: Adapter,
        dataset: Dataset,
        workers: int = 0,
        *,
        until: str | None = None,
    ) -> Net:
        """Return the method's trained network on `device`; stages with a checkpoint are loaded.

        Args:
            spec: the source training.
            adapter: the method.
            dataset: the training images.
            workers: number of worker processes that decode images.
            until: key of the last stage to train; by default, all stages are trained.

        Raises:
            DivergedError: the training diverged, now or earlier.
            BenchError: initial weights are not available, or a checkpoint cannot be read.
        """
        chain = _chain_until(training_chain(spec, adapter), until)
        done, state = self._latest(chain)
        net = build_net(spec, adapter, pretrained=done == 0).to(self.device)
        # a shared stage does not contain the method's extra modules: they keep their initial values
        net.load_state_dict({**net.state_dict(), **state})
        for stage in chain[done:]:
            self._train_once(StageRun(net, stage, spec, self.device), dataset, workers)
        return net

    def train_further(
        self, net: Net, stage: TrainingStage, spec: SourceSpec, dataset: Dataset, workers: int = 0
    ) -> None:
        """Train a network further, in place; a stage with a checkpoint is loaded.

        Args:
            net: the network, with the weights that the stage starts from.
            stage: the stage.
            spec: the training.
            dataset: the training images.
            workers: number of worker processes that decode images.

        Raises:
            DivergedError: the training diverged, now or earlier.
        """
        self._train_once(StageRun(net, stage, spec, self.device), dataset, workers)

    def source_statistics(
        self,
        net: Net,
        spec: SourceSpec,
        adapter: Adapter,
        dataset: Dataset,
        *,
        parent: str,
        target_size: tuple[int, int],
        workers: int = 0,
    ) -> dict[str, Tensor]:
        """Return the method's source statistics of a network; measured once, then loaded.

        Args:
            net: the trained network.
            spec: the source training.
            adapter: the method.
            dataset: the training images.
            parent: identifies the network's weights.
            target_size: (H, W) of the target's images.
            workers: number of worker processes that decode images.

        Raises:
            BenchError: the source has too few images for one batch.
        """
        key = statistics_key(parent, spec, adapter, target_size)
        if key is None:
            return {}
        path = statistics_path(self.folder, adapter, key)
        found = self._stored(path, key)
        if found is None:
            title = f"source statistics of {adapter.name}"
            with self._claims.waiting(path.stem, title, self._notice):
                found = self._stored(path, key)  # by another process meanwhile
                if found is None:
                    watch = Stopwatch()
                    found = measure_source(
                        net,
                        spec,
                        adapter,
                        dataset,
                        target_size=target_size,
                        progress=self.progress,
                        workers=workers,
                    )
                    self._save(path, found, key)
                    work = statistics_work(key, spec, adapter, dataset, device_name(self.device))
                    self._save_time(path, work, watch.seconds)
        return {name: tensor.to(self.device) for name, tensor in found.items()}

    def _latest(self, chain: Sequence[TrainingStage]) -> tuple[int, dict[str, Tensor]]:
        """Return the number of stages that are done, and the weights after them."""
        for done in range(len(chain), 0, -1):
            stage = chain[done - 1]
            state = self._stored(checkpoint_path(self.folder, stage.key), stage.dependencies)
            if state is not None:
                return done, state
        return 0, {}

    def _stored(self, path: Path, about: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """Return the tensors of a checkpoint; None if it is missing, or damaged and set aside.

        Args:
            path: the checkpoint.
            about: everything that its tensors depend on.
        """
        if not self._exists(path):
            return None
        try:
            return tensor_file.load(path, about)[0]
        except DamagedError as error:
            self._set_aside(path, error)
            return None

    def _exists(self, path: Path) -> bool:
        """Return whether a file is in the folder, after it was fetched from its store, if any."""
        mirror.fetch(path)
        return path.exists()

    def _save(self, path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Write a checkpoint; on failure give a notice only, because the run does not need it."""
        with self._without_file():
            tensor_file.save(path, tensors, about)

    @contextmanager
    def _without_file(self) -> Iterator[None]:
        """Turn the error of a file that cannot be written into a notice."""
        try:
            yield
        except BenchError as error:
            self._notice(f"{error}. The run continues without this file")

    def _save_time(self, path: Path, work: Work, seconds: float) -> None:
        """Write how long a checkpoint took next to it; nothing depends on it."""
        with suppress(BenchError):
            write_time(path, timed_now(work, seconds))

    def _notice(self, message: str) -> None:
        self.progress.notice(message)

    def _set_aside(self, path: Path, error: DamagedError) -> None:
        kept = set_aside(path, self.folder.parent)
        self._notice(f"{error}. It is now {kept}")

    def _train_once(self, run: StageRun, dataset: Dataset, workers: int) -> None:
        """Train a stage, unless it has diverged before or has failed with this trainer."""
        key = run.stage.key
        if key in self._failed:
            raise self._failed[key]
        title = f"training {run.stage.name} on {run.spec.domain}, seed {run.spec.seed}"
        try:
            with (
                self._claims.waiting(key, title, self._notice),
                named_operation(f"source training of {run.stage.name}"),
            ):
                self._train(run, dataset, workers)
        except Exception as error:  # a plugin may raise anything
            self._failed[key] = error
            raise

    def _train(self, run: StageRun, dataset: Dataset, workers: int) -> None:
        stage, net = run.stage, run.net
        path = checkpoint_path(self.folder, stage.key)
        trained = self._stored(path, stage.dependencies)
        if trained is not None:  # by another process meanwhile
            net.load_state_dict({**net.state_dict(), **trained})
            return
        self._refuse_diverged(path)
        partial = self.folder / f"{stage.key}.partial.safetensors"
        if self._exists(partial):
            self._resume(run, partial)
        try:
            with on_devices(run, training_devices(self.device, self.train_devices)) as updates:
                self._iterate(updates, dataset, workers, partial)
        except DivergedError as error:
            with self._without_file():
                write_diverged(path, error)
            mirror.remove(partial)
            raise
        self._save(path, run.weights(), stage.dependencies)
        work = training_work(
            run.spec, stage, dataset, device_name(self.device), devices=self.train_devices
        )
        self._save_time(path, work, run.seconds)
        mirror.remove(partial)

    def _refuse_diverged(self, checkpoint: Path) -> None:
        """Raise the stored error of a training that diverged; a damaged file is set aside.

        Raises:
            DivergedError: the training diverged, in this process or another one.
        """
        path = diverged_path(checkpoint)
        if not self._exists(path):
            return
        try:
            error = read_diverged(path)
        except DamagedError as damaged:
            self._set_aside(path, damaged)
            return
        raise error

    def _resume(self, run: StageRun, partial: Path) -> None:
        """Restore the state of an unfinished stage; a damaged one is set aside."""
        try:
            tensors, values = tensor_file.load(partial)
            if values.get("stage") != run.stage.key:
                raise DamagedError(partial, "it is of another stage", tensor_file.REMEDY)
            run.restore(tensors, values)
        except DamagedError as error:
            self._set_aside(partial, error)

    def _iterate(
        self, run: StageRun | ParallelRun, dataset: Dataset, workers: int, partial: Path
    ) -> None:
        """Make the remaining updates; save the state in `partial` at times and at an interrupt."""
        stage, spec, start = run.stage, run.spec, run.iteration
        batches = training_batches(dataset, spec, stage, start=start, workers=workers)
        title = f"training {stage.name} on {spec.domain}, seed {spec.seed}"
        saved = time.monotonic()
        with (
            torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []),
            self.progress.bar(title, stage.iterations, start) as bar,
            held_interrupts() as interrupted,
        ):
            watch = Stopwatch(run.seconds)
            for batch in batches:
                loss = run.iterate(batch)
                run.seconds = watch.seconds
                bar.advance(note="" if loss is None else f"loss {loss:.3f}")
                if interrupted() or time.monotonic() - saved > self.save_seconds:
                    self._save(partial, *run.state())
                    saved = time.monotonic()
                if interrupted():
                    raise KeyboardInterrupt


def _chain_until(chain: list[TrainingStage], until: str | None) -> list[TrainingStage]:
    """Return the stages up to the one with a key; all of them without a key."""
    if until is None:
        return chain
    return chain[: 1 + [stage.key for stage in chain].index(until)]
