"""Instruments of the checks: passes through the backbone, living tensors, host decisions."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ttt_bench.adapter import Passes
from ttt_bench.metrics.base import Scoring
from ttt_bench.network import STAGES, Network


@dataclass(frozen=True, kw_only=True)
class Recording(Scoring):
    """A scoring that keeps a copy of every raw prediction.

    Attributes:
        seen: the predictions, one entry per call.
    """

    seen: list[dict[str, Tensor]] = field(default_factory=list)

    def apply(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keep a copy of the predictions, then return what `Scoring` returns."""
        self.seen.append(
            {task: prediction.detach().clone() for task, prediction in outputs.items()}
        )
        return super().apply(outputs)


@dataclass
class _Call:
    """One call of `stages`.

    Attributes:
        images: number of images, each counted by its share of the target's area.
        last: the last stage that it computed.
        gradients: stage -> number of backward passes through it.
    """

    images: float
    last: int
    gradients: dict[int, int] = field(default_factory=dict)


@dataclass
class PassCounter:
    """A counter of passes through a model's stages.

    Attributes:
        area: pixels of a target image.
        calls: one entry per call of `stages`.
    """

    area: int
    calls: list[_Call] = field(default_factory=list)

    @contextmanager
    def watching(self, model: Network) -> Iterator[None]:
        """Count every call of `model.stages` within the block."""
        stages = model.stages

        def counted(images: Tensor, *args: Any, **kwargs: Any) -> list[Tensor]:
            found = stages(images, *args, **kwargs)
            call = _Call(len(images) * images.shape[-2:].numel() / self.area, len(found))
            self.calls.append(call)
            for number, stage in enumerate(found):
                if stage.requires_grad:
                    stage.register_hook(lambda _, number=number: self._came_back(call, number))
            return found

        with patch.object(model, "stages", counted):
            yield

    @staticmethod
    def _came_back(call: _Call, stage: int) -> None:
        call.gradients[stage] = call.gradients.get(stage, 0) + 1

    def passes(self) -> Passes:
        """Return the passes that were counted."""
        return Passes(
            forwards=sum(call.images for call in self.calls),
            backwards=sum(
                call.images * max(call.gradients.values(), default=0) for call in self.calls
            ),
            stages=max((call.last for call in self.calls), default=STAGES),
        )


class HostDecisionError(Exception):
    """A value was copied to the host, or a shape depends on values."""


class NoHostDecisions(TorchDispatchMode):
    """Raise an error within the block when an operation needs a tensor's values on the host."""

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


class WithoutInitialisation(TorchFunctionMode):
    """Skip the functions of `torch.nn.init` within the block, for weights to be loaded after it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


class DescentError(Exception):
    """A step called `backward` or an optimiser."""


@contextmanager
def no_descent() -> Iterator[None]:
    """Raise an error within the block when `backward` or an optimiser's `step` is called.

    `torch.autograd.grad` is allowed.
    """

    def refused(*args: Any, **kwargs: Any) -> None:
        raise DescentError("`backward`")

    def refused_step(*args: Any, **kwargs: Any) -> None:
        raise DescentError("an optimiser")

    hook = register_optimizer_step_pre_hook(refused_step)
    try:
        with patch.object(torch.autograd, "backward", refused):  # `Tensor.backward` calls it
            yield
    finally:
        hook.remove()


@contextmanager
def new_objects_only() -> Iterator[None]:
    """Hide all objects made before the block from the garbage collector and `living_memory`.

    A collection takes a third of a second with all the objects of this package's imports.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def living_memory(device: torch.device) -> tuple[int, int]:
    """Return the number of tensors in Python, and the bytes that they use.

    On a GPU the bytes are those of all allocations.
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
