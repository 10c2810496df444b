"""Source training: joint loss, Adam with polynomial decay, resumable in mid-training.

A source model is a chain of stretches. Every source model of a seed starts from the same supervised
stretch; then comes a stretch of equal length for each of them, supervised and with the method's
auxiliary losses where it has any (Base and the methods that train nothing of their own share the
plain one). So all of them have had the same number of supervised iterations on the same images in
the same order.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapter import Adapter, Norm
from ttt_bench.data.base import Dataset
from ttt_bench.errors import BenchError, DivergedError
from ttt_bench.losses import RECIPES
from ttt_bench.model.network import resize
from ttt_bench.network import Batch, Net
from ttt_bench.train.chain import (
    SourceSpec,
    TrainingStage,
    checkpoint_path,
    statistics_key,
    training_chain,
)
from ttt_bench.train.loader import loader, sample_indices
from ttt_bench.train.net import build_net
from ttt_bench.train.stage import StageRun
from ttt_bench.util import tensor_file
from ttt_bench.util.hashing import hash_of
from ttt_bench.util.interrupts import held_interrupts
from ttt_bench.util.progress import Bar, Progress
from ttt_bench.util.seeding import derive_seed

SAVE_SECONDS = 60.0


@dataclass
class Trainer:
    """Makes, finds and resumes source models in one folder of checkpoints."""

    folder: Path
    device: torch.device
    progress: Progress
    save_seconds: float = SAVE_SECONDS
    _diverged: dict[str, BenchError] = field(default_factory=dict)

    def has(self, job: SourceSpec, adapter: Adapter) -> bool:
        """Whether any stretch of the method's source model has been trained, so that no initial
        weights are needed.
        """
        return any(
            checkpoint_path(self.folder, stretch.key).exists()
            for stretch in training_chain(job, adapter)
        )

    def source_model(
        self, job: SourceSpec, adapter: Adapter, dataset: Dataset, workers: int = 0
    ) -> Net:
        """The method's network on `device`, trained; what has been trained before is loaded.

        Args:
            workers: processes that decode images.

        Raises:
            BenchError: the training diverged (now, or earlier with this trainer), or a checkpoint
            is damaged.
        """
        chain = training_chain(job, adapter)
        done = [
            number for number, s in enumerate(chain) if checkpoint_path(self.folder, s.key).exists()
        ]
        net = build_net(job, adapter, pretrained=not done).to(self.device)
        if done:
            self._load(net, chain[done[-1]].key)
        for stretch in chain[done[-1] + 1 if done else 0 :]:
            if stretch.key in self._diverged:
                raise self._diverged[stretch.key]
            self._train(net, stretch, job, dataset, workers)
        return net

    def source_statistics(
        self,
        net: Net,
        parent: str,
        job: SourceSpec,
        adapter: Adapter,
        dataset: Dataset,
        target_size: tuple[int, int],
        workers: int = 0,
    ) -> dict[str, Tensor]:
        """The method's source statistics of a network, computed once; `parent` names the network's
        weights.

        Raises:
            BenchError: the source has too few images for one batch of them.
        """
        about = statistics_key(parent, job, adapter, target_size)
        wanted = adapter.source_pass()
        if about is None or wanted is None:
            return {}
        path = checkpoint_path(self.folder, f"statistics-{adapter.name}-{hash_of(about, 16)}")
        if path.exists():
            return {
                name: tensor.to(self.device) for name, tensor in tensor_file.load(path)[0].items()
            }
        ctx = HarnessContext(net, RECIPES[job.recipe])
        ctx.seed(job.seed, adapter.name, "statistics")
        ctx.norms.set(Norm.RUNNING)
        order = torch.randperm(len(dataset), generator=ctx.generator).tolist()[: wanted.images]
        batches = [order[i : i + wanted.batch] for i in range(0, len(order), wanted.batch)]
        batches = [batch for batch in batches if len(batch) > 1]
        if not batches:
            raise BenchError(
                f"{adapter.name} needs source statistics, which a single image does not have; {job.domain} has no more"
            )
        title = f"source statistics of {adapter.name} on {job.domain}, seed {job.seed}"
        with torch.no_grad(), self.progress.bar(title, len(batches)) as bar:
            found = adapter.source_statistics(
                net.eval(), self._images(dataset, batches, workers, about, bar), ctx
            )
        tensor_file.save(path, found, about)
        return found

    def _images(
        self,
        dataset: Dataset,
        batches: list[list[int]],
        workers: int,
        about: Mapping[str, Any],
        bar: Bar,
    ) -> Iterator[Tensor]:
        for batch in loader(dataset, batches, workers):
            images = batch.images.to(self.device)
            yield resize(images, about["size"]) if about["size"] else images
            bar.advance()

    def _load(self, net: Net, key: str) -> None:
        state, _ = tensor_file.load(checkpoint_path(self.folder, key))
        own = net.state_dict()
        # a shared stretch knows nothing of the method's extra modules: they keep their initial
        # values
        own.update(state)
        net.load_state_dict(own)

    def _train(
        self, net: Net, stretch: TrainingStage, job: SourceSpec, dataset: Dataset, workers: int
    ) -> None:
        run = StageRun(net, stretch, job, self.device)
        partial = self.folder / f"{stretch.key}.partial.safetensors"
        if partial.exists():
            run.restore(*tensor_file.load(partial))
        batches = [
            sample_indices(job.seed, stretch, i, len(dataset), job.training.batch)
            for i in range(run.iteration, stretch.iterations)
        ]
        seeds = (
            [
                derive_seed(job.seed, stretch.first, i, "flip")
                for i in range(run.iteration, stretch.iterations)
            ]
            if job.training.flip
            else None
        )
        title = f"training {stretch.name} on {job.domain}, seed {job.seed}"
        saved = time.monotonic()
        with (
            torch.random.fork_rng(devices=_cuda(self.device)),
            self.progress.bar(title, stretch.iterations, run.iteration) as bar,
            held_interrupts() as interrupted,
        ):
            for batch in loader(dataset, batches, workers, seeds):
                self._iterate(run, batch, bar)
                if interrupted() or time.monotonic() - saved > self.save_seconds:
                    tensor_file.save(partial, *run.state())
                    saved = time.monotonic()
                if interrupted():
                    raise KeyboardInterrupt
        kept = (
            net.state_dict()
            if stretch.adapter
            else tensor_file.with_prefix("model.", net.model.state_dict())
        )
        tensor_file.save(checkpoint_path(self.folder, stretch.key), kept, stretch.about)
        partial.unlink(missing_ok=True)

    def _iterate(self, run: StageRun, batch: Batch, bar: Bar) -> None:
        try:
            run.iterate(batch, bar)
        except DivergedError as error:
            self._diverged[run.stretch.key] = error
            raise


def _cuda(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
