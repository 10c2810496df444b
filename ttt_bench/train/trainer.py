"""Training, finding and resuming source models in a folder of checkpoints.

A source model is the result of a chain of stages. All source models of a seed start from the same
supervised stage. A stage of equal length follows for each model, supervised and with the method's
auxiliary losses. Base and the methods without source training share the stage without auxiliary
losses. So all models have seen the same images in the same order, and equally many of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ttt_bench.adapter import Adapter
from ttt_bench.data.base import Dataset
from ttt_bench.errors import DivergedError
from ttt_bench.network import Net
from ttt_bench.train.chain import (
    SourceSpec,
    TrainingStage,
    checkpoint_path,
    statistics_key,
    training_chain,
)
from ttt_bench.train.loader import training_batches
from ttt_bench.train.net import build_net
from ttt_bench.train.source_statistics import measure_source
from ttt_bench.train.stage import StageRun
from ttt_bench.util import tensor_file
from ttt_bench.util.hashing import hash_of
from ttt_bench.util.interrupts import held_interrupts
from ttt_bench.util.progress import Progress

SAVE_SECONDS = 60.0


@dataclass(kw_only=True)
class Trainer:
    """Source models of one folder of checkpoints.

    Attributes:
        folder: the folder.
        device: the device to train on.
        progress: shows one bar per stage.
        save_seconds: seconds between two saves of an unfinished stage.
    """

    folder: Path
    device: torch.device
    progress: Progress
    save_seconds: float = SAVE_SECONDS
    _diverged: dict[str, DivergedError] = field(default_factory=dict, init=False, repr=False)

    def has(self, chain: Sequence[TrainingStage]) -> bool:
        """Return whether a checkpoint of a method's chain exists.

        If so, no initial weights are needed.
        """
        return self._last_done(chain) is not None

    def source_model(
        self, spec: SourceSpec, adapter: Adapter, dataset: Dataset, workers: int = 0
    ) -> Net:
        """Return the method's trained network on `device`; stages with a checkpoint are loaded.

        Args:
            spec: the source training.
            adapter: the method.
            dataset: the training images.
            workers: number of worker processes that decode images.

        Raises:
            DivergedError: the training diverged, now or earlier with this trainer.
            BenchError: a checkpoint is damaged, or initial weights are not available.
        """
        chain = training_chain(spec, adapter)
        done = self._last_done(chain)
        net = build_net(spec, adapter, pretrained=done is None).to(self.device)
        if done is not None:
            self._load(net, chain[done].key)
        for stage in chain[0 if done is None else done + 1 :]:
            self._train_once(StageRun(net, stage, spec, self.device), dataset, workers)
        return net

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
        path = checkpoint_path(self.folder, f"statistics-{adapter.name}-{hash_of(key, 16)}")
        if path.exists():
            tensors, _ = tensor_file.load(path)
            return {name: tensor.to(self.device) for name, tensor in tensors.items()}
        found = measure_source(
            net,
            spec,
            adapter,
            dataset,
            target_size=target_size,
            progress=self.progress,
            workers=workers,
        )
        tensor_file.save(path, found, key)
        return found

    def _last_done(self, chain: Sequence[TrainingStage]) -> int | None:
        """Return the position of the last stage that has a checkpoint."""
        done = (n for n, s in enumerate(chain) if checkpoint_path(self.folder, s.key).exists())
        return max(done, default=None)

    def _load(self, net: Net, key: str) -> None:
        state, _ = tensor_file.load(checkpoint_path(self.folder, key))
        # a shared stage does not contain the method's extra modules: they keep their initial values
        net.load_state_dict({**net.state_dict(), **state})

    def _train_once(self, run: StageRun, dataset: Dataset, workers: int) -> None:
        """Train a stage, unless it has already diverged with this trainer."""
        key = run.stage.key
        if key in self._diverged:
            raise self._diverged[key]
        try:
            self._train(run, dataset, workers)
        except DivergedError as error:
            self._diverged[key] = error
            raise

    def _train(self, run: StageRun, dataset: Dataset, workers: int) -> None:
        stage = run.stage
        partial = self.folder / f"{stage.key}.partial.safetensors"
        if partial.exists():
            run.restore(*tensor_file.load(partial))
        self._iterate(run, dataset, workers, partial)
        tensor_file.save(checkpoint_path(self.folder, stage.key), run.weights(), stage.dependencies)
        partial.unlink(missing_ok=True)

    def _iterate(self, run: StageRun, dataset: Dataset, workers: int, partial: Path) -> None:
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
            for batch in batches:
                loss = run.iterate(batch)
                bar.advance(note="" if loss is None else f"loss {loss:.3f}")
                if interrupted() or time.monotonic() - saved > self.save_seconds:
                    tensor_file.save(partial, *run.state())
                    saved = time.monotonic()
                if interrupted():
                    raise KeyboardInterrupt
