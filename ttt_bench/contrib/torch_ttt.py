"""Engines of the library torch-ttt (https://github.com/nikitadurasov/torch-ttt) as methods.

An engine wraps a network that returns one tensor. Its `ttt_forward` returns the output and a loss,
and in eval mode the engine descends this loss over all parameters of the network that have a
gradient. `from_torch_ttt` runs `ttt_forward` as a step; the harness descends.

`UNFIT` names the engines that cannot be such a method.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

from torch import Tensor, nn

from ttt_bench.adapter import (
    Adapter,
    Card,
    Context,
    Hparams,
    Needs,
    Norm,
    Optimiser,
    Options,
    Passes,
    Plan,
    SourcePass,
    StepOut,
    Target,
)
from ttt_bench.errors import BenchError
from ttt_bench.network import Net, Network

_SELECTS = "it selects images by one prediction per image, and there is one per pixel"
_TRAINS = "it needs a source model that was trained with it, and gets Base's"

UNFIT: Mapping[str, str] = {
    "DeYOEngine": _SELECTS,
    "EataEngine": _SELECTS,
    "IT3Engine": _TRAINS,
    "MaskedTTTEngine": "it masks tokens of a text, and there are only images",
    "MemoEngine": (
        "its BatchNorm layers fail in torch-ttt 0.0.2, and it takes the columns of a picture for "
        "the classes"
    ),
    "TTTEngine": _TRAINS,
    "TTTPPEngine": _TRAINS,
}
"""Engine of torch-ttt 0.0.2 -> the reason why its step cannot be that of a method."""


class SegmentationView(nn.Module):
    """The shared network with the output of semantic segmentation alone, as engines expect it.

    Its modules and parameters have the names that they have in the network.

    Attributes:
        predictions: the outputs of all tasks in the last forward pass.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        for name, module in network.named_children():
            self.add_module(name, module)
        self._forward = network.forward  # not the network itself: its modules are registered once
        self.predictions: dict[str, Tensor] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, K, H, W) of images (B, 3, H, W)."""
        self.predictions = self._forward(images)
        return self.predictions["semseg"]


class TorchTTT(Adapter[Options, None]):
    """A method that is an engine of torch-ttt; `from_torch_ttt` makes subclasses."""

    engine: ClassVar[type[nn.Module]]
    arguments: ClassVar[Mapping[str, Any]]
    cost: ClassVar[tuple[float, float]]
    original: ClassVar[Hparams] = Hparams(
        citation="torch-ttt's defaults: Adam, three steps",
        optimiser=Optimiser(optimiser="adam", lr=1e-2, beta1=0.9),
        steps=3,
    )

    def needs(self) -> Needs:
        return Needs(tasks=frozenset({"semseg"}), min_batch=2)

    def source_pass(self) -> SourcePass | None:
        return (
            SourcePass(at_target_size=True) if hasattr(self.engine, "compute_statistics") else None
        )

    def source_statistics(
        self, net: Net[None], images: Iterable[Tensor], ctx: Context
    ) -> dict[str, Tensor]:
        engine = self._built(net)
        before = dict(vars(engine))
        engine.compute_statistics([(batch,) for batch in images])
        changed = {name: value for name, value in vars(engine).items() if value is not before[name]}
        return {
            f"{name}.{number}": tensor
            for name, tensors in changed.items()
            for number, tensor in enumerate(tensors)
        }

    def bind(self, net: Net[None], statistics: Mapping[str, Tensor], target: Target) -> Plan:
        net.requires_grad_()
        self.bound = self._built(net)
        lists: dict[str, list[Tensor]] = {}
        for key, tensor in statistics.items():
            lists.setdefault(key.rpartition(".")[0], []).append(tensor)
        for name, tensors in lists.items():
            setattr(self.bound, name, tensors)
        moves = [
            f"model.{name}"
            for name, parameter in self.bound.model.named_parameters()
            if parameter.requires_grad
        ]
        # engines adapt in eval mode, also those that switch BatchNorm's statistics off
        return Plan(moves=tuple(moves), adapt=Norm.RUNNING, predict=Norm.RUNNING, exact=True)

    def passes(self, batch: int) -> Passes:
        forwards, backwards = self.cost
        return Passes(forwards * batch, backwards * batch)

    def step(self, net: Net[None], images: Tensor, ctx: Context) -> StepOut:
        with redirect_stdout(io.StringIO()):  # ActMAD's engine prints at every step
            _, loss = self.bound.ttt_forward(images)
        return StepOut({"engine": loss}, self.bound.model.predictions)

    def _built(self, net: Net[None]) -> Any:
        """Return the engine on a network, in eval mode."""
        return self.engine(SegmentationView(net.model), **self.arguments).eval()


def from_torch_ttt(
    engine: type[nn.Module],
    *,
    name: str,
    passes: tuple[float, float] = (1, 1),
    **arguments: Any,
) -> type[TorchTTT]:
    """Return a method that runs an engine of torch-ttt on the output of semantic segmentation.

    Other tasks change through the shared backbone. Register the class as any method, in a module of
    a package with an entry point:

        Tent = from_torch_ttt(TentEngine, name="torch_ttt_tent")

    Args:
        engine: a subclass of `torch_ttt.engine.base_engine.BaseEngine`.
        name: the method's name.
        passes: forward and backward passes of the batch per step.
        arguments: arguments of the engine; names of layers are those in the shared network, such as
            "backbone.layer4".

    Raises:
        BenchError: it is no engine, or its `ttt_forward` is that of an engine in `UNFIT`.
    """
    if not (isinstance(engine, type) and hasattr(engine, "ttt_forward")):
        raise BenchError(
            f"from_torch_ttt: {engine!r} is not a class with `ttt_forward`; give a class of "
            "torch_ttt.engine, such as TentEngine, and its arguments by name"
        )
    if reason := _unfit(engine):
        raise BenchError(
            f"from_torch_ttt: {engine.__name__} cannot be a method: {reason}; use TentEngine, "
            "ActMADEngine or a subclass with another `ttt_forward`"
        )
    card = Card(
        title=f"{engine.__name__} of torch-ttt {_version()}",
        paper="see the engine's documentation",
        source_training="nothing; uses Base's source model",
        moves="the parameters that the engine leaves with a gradient",
        sizes="any",
    )
    caller = sys._getframe(1).f_globals["__name__"]  # its code belongs to the keys of cells
    entries = {
        "__module__": caller,
        "__doc__": f"{card.title} as a method.",
        "name": name,
        "card": card,
        "engine": engine,
        "arguments": arguments,
        "cost": passes,
        "depends_on": (engine,),
    }
    return type(engine.__name__, (TorchTTT,), entries)


def _unfit(engine: type[nn.Module]) -> str | None:
    """Return the reason why an engine cannot be a method; None if none is known."""
    owner = next(base for base in engine.__mro__ if "ttt_forward" in vars(base))
    return UNFIT.get(owner.__name__) if owner.__module__.startswith("torch_ttt.") else None


def _version() -> str:
    try:
        return version("torch-ttt")
    except PackageNotFoundError:
        return "(not installed)"
