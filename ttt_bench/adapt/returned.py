"""Checks of the values that a method's hooks return; their errors say what to return instead."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from ttt_bench.adapter import Adapter, Needs, Norm, Plan, StepOut
from ttt_bench.errors import BenchError, unknown
from ttt_bench.protocols import PROTOCOLS
from ttt_bench.tasks import TASKS


def needs_of(adapter: Adapter) -> Needs:
    """Return the requirements of a method.

    Raises:
        BenchError: `needs` does not return `Needs` whose tasks and protocols have known names.
    """
    needs, hook = adapter.needs(), f"`needs` of {adapter.name}"
    if not isinstance(needs, Needs):
        raise BenchError(f"{hook} returns {_kind(needs)}; return a ttt_bench.adapter.Needs")
    if not isinstance(needs.batch, int | None) or not isinstance(needs.min_batch, int):
        raise BenchError(f"{hook} returns a batch that is no whole number; give a number of images")
    _check_names(needs.tasks, hook, "task", TASKS)
    _check_names(needs.protocols, hook, "protocol", PROTOCOLS)
    return needs


def _check_names(names: Any, hook: str, kind: str, known: Collection[str]) -> None:
    if not isinstance(names, frozenset | set):
        example = next(iter(known))
        raise BenchError(
            f"{hook} returns {_kind(names)} as `{kind}s`; return a frozenset of names, such as "
            f'frozenset({{"{example}"}})'
        )
    for name in names:
        if name not in known:
            raise BenchError(f"{hook} returns `{kind}s` with an {unknown(kind, str(name), known)}")


def checked_plan(plan: Any, method: str) -> Plan:
    """Return what `bind` returned.

    Raises:
        BenchError: it is not a `Plan` whose `moves` is a tuple of names, or its share is invalid.
    """
    if not isinstance(plan, Plan):
        raise BenchError(
            f"`bind` of {method} returns {_kind(plan)}; return a ttt_bench.adapter.Plan"
        )
    if Norm.MIX in (plan.adapt, plan.predict) and not (plan.share and 0 < plan.share <= 1):
        raise BenchError(
            f"the plan of {method} uses Norm.MIX with share={plan.share!r}; give the weight of the "
            "batch, above 0 and at most 1"
        )
    if isinstance(plan.moves, str) or not all(isinstance(name, str) for name in plan.moves):
        raise BenchError(
            f"`moves` in the plan of {method} is {_kind(plan.moves)}; give a tuple of names or "
            'patterns, such as ("model.heads.*",)'
        )
    return plan


def checked_step(out: Any, method: str) -> StepOut:
    """Return what `step` returned; the predictions are not looked at.

    Raises:
        BenchError: it is not a `StepOut`, or its losses are no scalar tensors or have no gradient.
    """
    hook = f"`step` of {method}"
    if not isinstance(out, StepOut):
        raise BenchError(f"{hook} returns {_kind(out)}; return StepOut(losses, predictions)")
    losses = checked_losses(out.losses, hook)
    if not losses:
        raise BenchError(
            f"{hook} returns no losses; return at least one scalar tensor by name, such as "
            '{"entropy": loss}'
        )
    if not any(loss.requires_grad for loss in losses.values()):
        raise BenchError(
            f"no loss that {hook} returns has a gradient; compute one from the network's outputs "
            "by parameters that `moves` names, without detach() or no_grad()"
        )
    if out.update is not None and not _is_flag(out.update):
        raise BenchError(
            f"{hook} returns {_kind(out.update)} as `update`; return None or a bool tensor of "
            "shape (), such as mask.any()"
        )
    return out._replace(losses=losses)


def _is_flag(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bool and value.dim() == 0


def checked_losses(losses: Any, hook: str) -> dict[str, Tensor]:
    """Return the losses that a hook returned.

    Raises:
        BenchError: they are not scalar tensors by name.
    """
    if not isinstance(losses, Mapping):
        raise BenchError(
            f"{hook} returns {_kind(losses)} as losses; return a dictionary of scalar tensors by "
            'name, such as {"entropy": loss}'
        )
    for name, loss in losses.items():
        if not isinstance(loss, Tensor):
            raise BenchError(
                f"{hook} returns {_kind(loss)} as loss {name!r}; return a scalar tensor (for an "
                "update without effect, 0 times a loss of the network's outputs)"
            )
        if loss.dim() != 0:
            raise BenchError(
                f"{hook} returns loss {name!r} of shape {tuple(loss.shape)}; return a scalar, "
                "such as its mean()"
            )
    return dict(losses)


def checked_predictions(
    predictions: Any, hook: str, channels: Mapping[str, int], images: Tensor
) -> dict[str, Tensor]:
    """Return the predictions that a hook returned for images (B, 3, H, W).

    Raises:
        BenchError: they are not floating-point tensors (B, K, H, W) for every task.
    """
    size = (len(images), *images.shape[-2:])
    if not isinstance(predictions, Mapping):
        raise BenchError(
            f"{hook} returns {_kind(predictions)} as predictions; return a dictionary from task to "
            "(B, K, H, W), as net.model(images) does"
        )
    for task, k in channels.items():
        if task not in predictions:
            raise BenchError(
                f"{hook} returns no prediction of {task}; predict every task of net.model.tasks"
            )
        _check_prediction(predictions[task], f"{hook} returns", task, (size[0], k, *size[1:]))
    return dict(predictions)


def _check_prediction(prediction: Any, returns: str, task: str, shape: tuple[int, ...]) -> None:
    if not (isinstance(prediction, Tensor) and prediction.is_floating_point()):
        raise BenchError(
            f"{returns} {_kind(prediction)} as prediction of {task}; return a float32 tensor"
        )
    if prediction.shape != shape:
        raise BenchError(
            f"{returns} a prediction of {task} of shape {tuple(prediction.shape)}, not {shape}; "
            "predict logits, depth, vectors and edges at the size of the images"
        )


def check_batch_values(values: Mapping[Any, Any], hook: str, changing: Collection[int]) -> None:
    """Raise an error if a hook has put values into `ctx.batch` that cannot be saved and restored.

    Args:
        values: `ctx.batch` after the hook.
        hook: the hook in words.
        changing: addresses of the memory of parameters and buffers that change (`storage_of`).

    Raises:
        BenchError: a name is no text, or a value is no dense tensor, has a gradient, or shares the
            memory of a parameter or buffer.
    """
    for name, value in values.items():
        place = f"{hook} puts %s into ctx.batch[{name!r}]; put "
        if not isinstance(name, str):
            raise BenchError(place % "a value" + "it under a text as its name")
        if not isinstance(value, Tensor):
            raise BenchError(place % _kind(value) + "a tensor, such as torch.tensor(value)")
        if value.layout is not torch.strided or value.is_nested or value.is_meta:
            raise BenchError(place % "a tensor that cannot be saved" + "a dense tensor with values")
        if storage_of(value) in changing:
            raise BenchError(
                place % "a parameter that moves, a buffer, or a view of one," + "a copy, such as "
                "value.detach().clone()"
            )
        if value.requires_grad:
            raise BenchError(place % "a tensor with a gradient" + "its values, such as x.detach()")


def storage_of(tensor: Tensor) -> int:
    """Return the address of a tensor's memory, which its views share."""
    return tensor.untyped_storage().data_ptr()


def checked_statistics(statistics: Any, method: str) -> dict[str, Tensor]:
    """Return what `source_statistics` returned.

    Raises:
        BenchError: they are not tensors by name.
    """
    wrong = f"`source_statistics` of {method} returns"
    if not isinstance(statistics, Mapping):
        raise BenchError(f"{wrong} {_kind(statistics)}; return a dictionary of tensors by name")
    for name, value in statistics.items():
        if not isinstance(value, Tensor):
            raise BenchError(
                f"{wrong} {_kind(value)} as {name!r}; return a tensor, such as torch.tensor(value)"
            )
    return dict(statistics)


def _kind(value: Any) -> str:
    """Return the type of a value in words, such as "a float" or "a tensor of torch.int64"."""
    if isinstance(value, Tensor):
        return f"a tensor of {value.dtype}"
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
