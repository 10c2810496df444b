"""Source training: joint loss, Adam with polynomial decay, resumable in mid-training.

A source model is a chain of stretches. Every source model of a seed starts from the same supervised stretch; then
comes a stretch of equal length for each of them, supervised and with the method's auxiliary losses where it has any
(Base and the methods that train nothing of their own share the plain one). So all of them have had the same number of
supervised iterations on the same images in the same order.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ttt_bench import tensors
from ttt_bench.adapter import SHARED, Adapter, Norm, Optimiser, Phase
from ttt_bench.config import ModelConfig, TrainingSettings
from ttt_bench.context import HarnessContext, derive_seed
from ttt_bench.data.base import Batch, Dataset
from ttt_bench.errors import BenchError
from ttt_bench.interrupts import held_interrupts
from ttt_bench.losses import RECIPES
from ttt_bench.model import Net, build_model, initial_weights, resize
from ttt_bench.optimisers import make_optimiser
from ttt_bench.progress import Bar, Progress
from ttt_bench.provenance import code_hash, hash_of

FORMAT = 1
"""Raised when a change of the harness makes earlier checkpoints wrong."""
SAVE_SECONDS = 60.0
CHECK_EVERY = 50


def polynomial_lr(
    base_lr: float, iteration: int, max_iterations: int, gamma: float = 0.9, min_lr: float = 0.0
) -> float:
    """(base_lr - min_lr) (1 - iteration / max_iterations)^gamma + min_lr, the schedule of S4T's public code."""
    return (base_lr - min_lr) * (1 - iteration / max_iterations) ** gamma + min_lr


def cosine_lr(base_lr: float, iteration: int, max_iterations: int) -> float:
    """base_lr (1 + cos(pi iteration / max_iterations)) / 2: a half cosine from base_lr to 0."""
    return base_lr * (1 + math.cos(math.pi * iteration / max_iterations)) / 2


SCHEDULES = {"polynomial": polynomial_lr, "cosine": cosine_lr}


@dataclass(frozen=True)
class Stretch:
    """One stretch of source training.

    Attributes:
        name: what a person sees: "shared", "base", or the method's name.
        about: everything that its result depends on; `key` is its hash.
        adapter: whose auxiliary losses are minimised; None for a plain supervised stretch.
        first: whether every source model of the seed starts with it.
    """

    name: str
    about: Mapping[str, Any]
    iterations: int
    optimiser: Optimiser
    phase: Phase
    adapter: Adapter | None
    first: bool

    @cached_property
    def key(self) -> str:
        return hash_of(self.about, 16)


@dataclass(frozen=True)
class SourceJob:
    """What every source model of one source domain and seed has in common."""

    domain: str
    model: ModelConfig
    tasks: Mapping[str, int]
    recipe: str
    training: TrainingSettings
    fingerprint: str
    seed: int
    statistics: str = "imagenet"

    def initial(self) -> dict[str, Any]:
        """What the untrained network depends on: its weights by their content, not by where they lie."""
        return {
            "format": FORMAT,
            "model": self.model.model_dump(mode="json", exclude={"weights"}) | initial_weights(self.model),
            "tasks": dict(self.tasks),
            "statistics": self.statistics,
            "seed": self.seed,
        }


def trains_own_source(adapter: Adapter) -> bool:
    """Whether a method's source model differs from Base's."""
    return any("model" in phase.trains and phase != SHARED for phase in adapter.phases())


def trains_on_source(adapter: Adapter) -> bool:
    """Whether a method trains anything on the source that Base does not."""
    return any(phase != SHARED for phase in adapter.phases())


def stretches(job: SourceJob, adapter: Adapter) -> list[Stretch]:
    """The chain that ends in the method's source model, the first stretch first."""
    training = job.training
    common = {
        "recipe": job.recipe,
        "data": job.fingerprint,
        **training.model_dump(include={"batch", "flip"}),
    }
    chain: list[Stretch] = []

    def add(name: str, phase: Phase, iterations: int, lr: float, owner: Adapter | None, first: bool = False) -> None:
        parent = chain[-1].key if chain else job.initial()
        optimiser = phase.optimiser or Optimiser(optimiser="adam", lr=lr, weight_decay=training.weight_decay)
        method = (
            {"method": owner.name, "options": source_options(owner), "code": code_hash(type(owner))} if owner else None
        )
        stretch = {
            "phase": phase.name,
            "iterations": iterations,
            "optimiser": optimiser.model_dump(),
            "schedule": phase.schedule,
            "method": method,
        }
        chain.append(Stretch(name, {"parent": parent, **common, **stretch}, iterations, optimiser, phase, owner, first))

    if training.shared_iterations:
        add("shared", SHARED, training.shared_iterations, training.shared_lr, None, first=True)
    for phase in adapter.phases():
        owner = None if phase == SHARED else adapter
        name = owner.name if owner else "base"
        add(name, phase, phase.iterations or training.iterations, training.lr, owner)
    return chain


def source_options(adapter: Adapter) -> dict[str, Any]:
    """The method's options that shape its source model."""
    return adapter.options.model_dump(mode="json", include=set(adapter.options.source_fields()))


def statistics_key(
    parent: str, job: SourceJob, adapter: Adapter, target_size: tuple[int, int]
) -> dict[str, Any] | None:
    """What a method's source statistics depend on; None where it has none. `parent` names the network's weights."""
    wanted = adapter.source_pass()
    if wanted is None:
        return None
    return {
        "parent": parent,
        "data": job.fingerprint,
        "seed": job.seed,
        "pass": [wanted.images, wanted.batch],
        "size": list(target_size) if wanted.at_target_size else None,
        "options": source_options(adapter),
        "code": code_hash(type(adapter)),
    }


def build_net(job: SourceJob, adapter: Adapter, pretrained: bool = True) -> Net:
    """The untrained network of a method; the shared part is the same for every method of a seed.

    Without `pretrained` no weights are looked for: the caller overwrites them.
    """
    config = job.model if pretrained else job.model.untrained()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(job.seed, "model"))
        model = build_model(config, job.tasks)
        model.normalise_by(job.statistics)
        torch.manual_seed(derive_seed(job.seed, "extra", adapter.name))
        return Net(model, adapter.build(model, job.tasks))


def checkpoint_path(folder: Path, key: str) -> Path:
    """Where the checkpoint of a stretch lies."""
    return folder / f"{key}.safetensors"


@dataclass
class Trainer:
    """Makes, finds and resumes source models in one folder of checkpoints."""

    folder: Path
    device: torch.device
    progress: Progress
    save_seconds: float = SAVE_SECONDS
    _diverged: dict[str, BenchError] = field(default_factory=dict)

    def has(self, job: SourceJob, adapter: Adapter) -> bool:
        """Whether any stretch of the method's source model has been trained, so that no initial weights are needed."""
        return any(checkpoint_path(self.folder, stretch.key).exists() for stretch in stretches(job, adapter))

    def source_model(self, job: SourceJob, adapter: Adapter, dataset: Dataset, workers: int = 0) -> Net:
        """The method's network on `device`, trained; what has been trained before is loaded.

        Args:
            workers: processes that decode images.

        Raises:
            BenchError: the training diverged (now, or earlier with this trainer), or a checkpoint is damaged.
        """
        chain = stretches(job, adapter)
        done = [number for number, s in enumerate(chain) if checkpoint_path(self.folder, s.key).exists()]
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
        job: SourceJob,
        adapter: Adapter,
        dataset: Dataset,
        target_size: tuple[int, int],
        workers: int = 0,
    ) -> dict[str, Tensor]:
        """The method's source statistics of a network, computed once; `parent` names the network's weights.

        Raises:
            BenchError: the source has too few images for one batch of them.
        """
        about = statistics_key(parent, job, adapter, target_size)
        wanted = adapter.source_pass()
        if about is None or wanted is None:
            return {}
        path = checkpoint_path(self.folder, f"statistics-{adapter.name}-{hash_of(about, 16)}")
        if path.exists():
            return {name: tensor.to(self.device) for name, tensor in tensors.load(path)[0].items()}
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
            found = adapter.source_statistics(net.eval(), self._images(dataset, batches, workers, about, bar), ctx)
        tensors.save(path, found, about)
        return found

    def _images(
        self, dataset: Dataset, batches: list[list[int]], workers: int, about: Mapping[str, Any], bar: Bar
    ) -> Iterator[Tensor]:
        for batch in loader(dataset, batches, workers):
            images = batch.images.to(self.device)
            yield resize(images, about["size"]) if about["size"] else images
            bar.advance()

    def _load(self, net: Net, key: str) -> None:
        state, _ = tensors.load(checkpoint_path(self.folder, key))
        own = net.state_dict()
        # a shared stretch knows nothing of the method's extra modules: they keep their initial values
        own.update(state)
        net.load_state_dict(own)

    def _train(self, net: Net, stretch: Stretch, job: SourceJob, dataset: Dataset, workers: int) -> None:
        run = StretchRun(net, stretch, job, self.device)
        partial = self.folder / f"{stretch.key}.partial.safetensors"
        if partial.exists():
            run.restore(*tensors.load(partial))
        batches = [
            sample_indices(job.seed, stretch, i, len(dataset), job.training.batch)
            for i in range(run.iteration, stretch.iterations)
        ]
        seeds = (
            [derive_seed(job.seed, stretch.first, i, "flip") for i in range(run.iteration, stretch.iterations)]
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
                    tensors.save(partial, *run.state())
                    saved = time.monotonic()
                if interrupted():
                    raise KeyboardInterrupt
        kept = net.state_dict() if stretch.adapter else tensors.with_prefix("model.", net.model.state_dict())
        tensors.save(checkpoint_path(self.folder, stretch.key), kept, stretch.about)
        partial.unlink(missing_ok=True)

    def _iterate(self, run: StretchRun, batch: Batch, bar: Bar) -> None:
        try:
            run.iterate(batch, bar)
        except DivergedTrainingError as error:
            self._diverged[run.stretch.key] = error
            raise


class DivergedTrainingError(BenchError):
    """A source training whose loss is not finite."""


class StretchRun:
    """The state of one stretch: network, optimiser, iteration."""

    def __init__(self, net: Net, stretch: Stretch, job: SourceJob, device: torch.device) -> None:
        self.net, self.stretch, self.job, self.device = net, stretch, job, device
        self.iteration = 0
        self.ctx = HarnessContext(net, RECIPES[job.recipe])
        self.uncertainties = nn.Parameter(torch.ones(len(job.tasks), device=device))
        trained = {"model": net.model, "extra": net.extra if stretch.adapter else None}
        for name, module in trained.items():
            if module is not None:
                module.train(name in stretch.phase.trains).requires_grad_(name in stretch.phase.trains)
        self.ctx.norms.set(Norm.EMA if "model" in stretch.phase.trains else Norm.RUNNING)
        parameters = [
            p for module in trained.values() if module is not None for p in module.parameters() if p.requires_grad
        ]
        self.optimiser = make_optimiser([*parameters, self.uncertainties], stretch.optimiser, job.training.batch)
        self.first_rates = [group["lr"] for group in self.optimiser.param_groups]

    def iterate(self, batch: Batch, bar: Bar) -> None:
        """One update."""
        stretch, job = self.stretch, self.job
        seed = (job.seed, stretch.first, self.iteration)
        torch.manual_seed(derive_seed(*seed, "global"))
        self.ctx.seed(*seed, stretch.name)
        for group, first in zip(self.optimiser.param_groups, self.first_rates, strict=True):
            group["lr"] = SCHEDULES[stretch.phase.schedule](first, self.iteration, stretch.iterations)
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.objective(batch.to(self.device))
        loss.backward()
        self.optimiser.step()
        self.iteration += 1
        note = ""
        if self.iteration % CHECK_EVERY == 0 or self.iteration == stretch.iterations:
            note = f"loss {self._finite(loss):.3f}"
        bar.advance(note=note)

    def objective(self, batch: Batch) -> Tensor:
        """The joint loss: the recipe's sum of the task losses, with the method's auxiliary terms."""
        supervised = self.stretch.phase.supervised
        stages = self.net.model.stages(batch.images) if supervised else []
        predictions = self.net.model.outputs(stages, batch.images.shape[-2:]) if supervised else {}
        task_losses = {t: self.ctx.task_loss(t, p, batch.targets[t]) for t, p in predictions.items()}
        plain: list[Tensor] = []
        if self.stretch.adapter is not None:
            terms = self.stretch.adapter.source_loss(self.net, batch, stages, predictions, self.stretch.phase, self.ctx)
            for name, term in terms.items():
                _, slash, task = name.rpartition("/")
                if slash and supervised:
                    task_losses[task] = task_losses[task] + term
                else:
                    plain.append(term)
        joint = [self.ctx.recipe.combine(task_losses, self.uncertainties)] if task_losses else []
        return torch.stack([*joint, *plain]).sum()

    def _finite(self, loss: Tensor) -> float:
        value = float(loss.detach())
        if value != value or abs(value) == float("inf"):
            raise DivergedTrainingError(
                f"source training of {self.stretch.name} on {self.job.domain} (seed {self.job.seed}) diverged at "
                f"iteration {self.iteration}: the loss is {value}; try a smaller rate (--set training.lr=...)"
            )
        return value

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next iteration depends on."""
        state = tensors.with_prefix("net.", self.net.state_dict())
        state |= tensors.with_prefix("optimiser.", tensors.optimiser_tensors(self.optimiser))
        return state | {"uncertainties": self.uncertainties}, {"iteration": self.iteration}

    def restore(self, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Go on from where `state` was taken."""
        self.net.load_state_dict(tensors.below_prefix("net.", state))
        tensors.restore_optimiser(self.optimiser, tensors.below_prefix("optimiser.", state))
        with torch.no_grad():
            self.uncertainties.copy_(state["uncertainties"])
        self.iteration = int(about["iteration"])


def sample_indices(seed: int, stretch: Stretch, iteration: int, images: int, batch: int) -> list[int]:
    """Which images an iteration sees: consecutive pieces of seeded permutations, the same for every method."""
    purpose = (stretch.phase.supervised, stretch.first)
    first = iteration * batch
    indices: list[int] = []
    while len(indices) < batch:
        epoch, offset = divmod(first + len(indices), images)
        indices += _permutation(derive_seed(seed, "order", *purpose, epoch), images)[
            offset : offset + batch - len(indices)
        ]
    return indices


@lru_cache(maxsize=2)
def _permutation(seed: int, images: int) -> list[int]:
    return torch.randperm(images, generator=torch.Generator().manual_seed(seed)).tolist()


class _Batches(torch.utils.data.Dataset[Batch]):
    """A data set as PyTorch's loader wants it: whole batches at once."""

    def __init__(self, dataset: Dataset, batches: Sequence[Sequence[int]], seeds: Sequence[int] | None) -> None:
        self.dataset, self.batches, self.seeds = dataset, batches, seeds

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Batch:
        if self.seeds is None:
            return self.dataset.batch(self.batches[number])
        return self.dataset.augmented(self.batches[number], self.seeds[number])


def loader(
    dataset: Dataset, batches: Sequence[Sequence[int]], workers: int, seeds: Sequence[int] | None = None
) -> Iterator[Batch]:
    """The batches of these indices, in order; made by worker processes where `workers` is not 0.

    With `seeds`, one a batch, they are augmented for training.
    """
    yield from DataLoader(_Batches(dataset, batches, seeds), batch_size=None, num_workers=workers)


def _cuda(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
