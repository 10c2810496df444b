"""What the checks measure with: passes through the backbone, living tensors, decisions on the
host.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from ttt_bench.adapter import Passes
from ttt_bench.data.base import Dataset
from ttt_bench.metrics.statistics import Scoring
from ttt_bench.network import Batch, Network
from ttt_bench.tasks import IGNORE


class RandomImages(Dataset):
    """Random images with random targets; a few pixels of every target are ignored.

    Args:
        channels: task -> output channels.
        targets_seed: draws the targets; two sets that differ in it alone have the same images.
    """

    domain = "random"

    def __init__(
        self,
        channels: Mapping[str, int],
        images: int,
        size: tuple[int, int],
        seed: int = 0,
        targets_seed: int = 0,
    ) -> None:
        self.size, self.tasks = size, tuple(channels)
        self.fingerprint = f"random-{images}-{size}-{seed}-{targets_seed}"
        height, width = size
        self.images = torch.rand(
            images, 3, height, width, generator=torch.Generator().manual_seed(seed)
        )
        draw = torch.Generator().manual_seed(1000 + targets_seed)
        self.targets = {
            task: _target(task, k, (images, height, width), draw) for task, k in channels.items()
        }

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Any) -> Batch:
        rows = torch.as_tensor(list(indices))
        return Batch(
            self.images[rows], {task: target[rows] for task, target in self.targets.items()}
        )


def _target(task: str, channels: int, shape: tuple[int, int, int], draw: torch.Generator) -> Tensor:
    images, height, width = shape
    if task == "semseg":
        target = torch.randint(0, channels, shape, generator=draw)
        target[:, 0] = IGNORE
        return target
    values = torch.rand(images, channels, height, width, generator=draw)
    if task == "normals":
        values = torch.nn.functional.normalize(values - 0.5, dim=1)
    if task == "edge":
        values = (values < 0.1).float()
    values[:, :, 1] = IGNORE
    return values


@dataclass(frozen=True)
class Recording(Scoring):
    """A scoring that keeps a copy of every raw prediction that it is given."""

    seen: list[dict[str, Tensor]] = field(default_factory=list)

    def apply(self, predictions: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.seen.append(
            {task: prediction.detach().clone() for task, prediction in predictions.items()}
        )
        return super().apply(predictions)


@dataclass
class _Call:
    """One run of the stages: its images, the last stage it reached, and how often gradients came
    back through each.
    """

    images: int
    last: int
    gradients: dict[int, int] = field(default_factory=dict)


@dataclass
class PassCounter:
    """Counts passes through a model's stages while its block lasts."""

    calls: list[_Call] = field(default_factory=list)

    @contextmanager
    def watching(self, model: Network) -> Iterator[None]:
        """Within the block, every call of `model.stages` counts."""
        stages = model.stages

        def counted(images: Tensor, *args: Any, **kwargs: Any) -> list[Tensor]:
            found = stages(images, *args, **kwargs)
            call = _Call(len(images), len(found))
            self.calls.append(call)
            for number, stage in enumerate(found):
                if stage.requires_grad:
                    stage.register_hook(lambda _, number=number: self._came_back(call, number))
            return found

        model.__dict__["stages"] = counted
        try:
            yield
        finally:
            del model.__dict__["stages"]

    @staticmethod
    def _came_back(call: _Call, stage: int) -> None:
        call.gradients[stage] = call.gradients.get(stage, 0) + 1

    def passes(self, batch: int) -> tuple[float, float, int]:
        """(forwards, backwards, last stage) in units of a batch, as `Passes` has them."""
        forwards = sum(call.images for call in self.calls) / batch
        backwards = (
            sum(call.images * max(call.gradients.values(), default=0) for call in self.calls)
            / batch
        )
        return (
            forwards,
            backwards,
            max((call.last for call in self.calls), default=Passes(0, 0).stages),
        )


class HostDecisionError(Exception):
    """A value was taken to the host, or a shape was made to depend on values."""


class NoHostDecisions(TorchDispatchMode):
    """Within its block, an operation that needs a tensor's values on the host is an error."""

    FORBIDDEN = (
        "_local_scalar_dense",
        "nonzero",
        "masked_select",
        "_unique2",
        "unique_consecutive",
        "equal",
    )
    INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in self.INDEXING and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in self.FORBIDDEN or by_mask or func is torch.ops.aten.repeat_interleave.Tensor:
            raise HostDecisionError(f"{name} by a mask" if by_mask else name)
        return func(*args, **(kwargs or {}))


class DescentError(Exception):
    """A backward pass or an optimiser's step."""


@contextmanager
def no_descent() -> Iterator[None]:
    """Within the block `backward` and every optimiser's `step` are errors; `torch.autograd.grad`
    is none.
    """
    backward = torch.autograd.backward

    def refused(*args: Any, **kwargs: Any) -> None:
        raise DescentError("`backward`")

    def refused_step(*args: Any, **kwargs: Any) -> None:
        raise DescentError("an optimiser")

    hook = register_optimizer_step_pre_hook(refused_step)
    torch.autograd.backward = refused  # `Tensor.backward` calls it by this name
    try:
        yield
    finally:
        torch.autograd.backward = backward
        hook.remove()


def living_memory(device: torch.device) -> tuple[int, int]:
    """How many tensors Python can reach, and the bytes that they (on a GPU: all allocations)
    take.
    """
    gc.collect()
    storages: dict[int, int] = {}
    count = 0
    for thing in gc.get_objects():
        if issubclass(type(thing), Tensor) and thing.device.type != "meta":
            count += 1
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    allocated = (
        torch.cuda.memory_allocated(device) if device.type == "cuda" else sum(storages.values())
    )
    return count, allocated
