"""Checks of the arguments of the public metrics, so that no wrong dtype or shape gives a number."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import torch
from torch import Tensor

from ttt_bench.errors import BenchError

Pairs = list[tuple[Tensor, Tensor]]
_WHAT = ("predictions", "targets")


def paired(predictions: Sequence[Tensor], targets: Sequence[Tensor], axes: str) -> Pairs:
    """Return pairs of tensors, one per batch.

    Args:
        predictions: one tensor per batch.
        targets: the same number of tensors of the same shapes.
        axes: names of the axes, such as "N, H, W"; a number is the required length. Empty if any
            shape is allowed.

    Raises:
        BenchError: there is no batch, the numbers of batches or the shapes differ, or an element is
            no tensor of such a shape.
    """
    if len(predictions) != len(targets):
        raise BenchError(
            f"{len(predictions)} batches of predictions for {len(targets)} of targets; give one "
            "target per prediction"
        )
    if not len(predictions):
        raise BenchError("no batches were given; give at least one prediction and its target")
    pairs = list(zip(predictions, targets, strict=True))
    for number, pair in enumerate(pairs):
        for what, values in zip(_WHAT, pair, strict=True):
            _check_tensor(values, f"{what}[{number}]", axes)
        check_same_shape(*pair, f"targets[{number}]")
    return [(prediction.detach(), target.detach()) for prediction, target in pairs]


def _check_tensor(values: Any, where: str, axes: str) -> None:
    check_is_tensor(values, where)
    wanted = axes.split(", ") if axes else []
    lengths = zip(wanted, values.shape, strict=False)
    fits = len(wanted) == values.ndim and all(
        not axis.isdigit() or int(axis) == length for axis, length in lengths
    )
    if wanted and not fits:
        raise BenchError(f"{where} has the shape {tuple(values.shape)}, expected ({axes})")


def check_is_tensor(values: Any, where: str) -> None:
    """Raise a BenchError if a value is not a tensor."""
    if not isinstance(values, Tensor):
        raise BenchError(
            f"{where} is of type {type(values).__name__}; give a tensor (torch.from_numpy)"
        )


def check_same_shape(prediction: Tensor, other: Tensor, where: str) -> None:
    """Raise a BenchError if the shapes of a prediction and another tensor differ."""
    if prediction.shape != other.shape:
        raise BenchError(
            f"{where} has the shape {tuple(other.shape)}, its prediction "
            f"{tuple(prediction.shape)}; they must be equal"
        )


def check_class_count(num_classes: int) -> None:
    """Raise a BenchError if there are fewer than two classes: with one, every pixel is right."""
    try:
        enough = index(num_classes) >= 2
    except TypeError:
        enough = False
    if not enough:
        raise BenchError(f"num_classes = {num_classes!r}; give a whole number of at least 2")


def class_indices(pair: tuple[Tensor, Tensor], number: int) -> tuple[Tensor, Tensor]:
    """Return a batch's predicted and true classes, of any integer dtype or bool, as int64.

    Raises:
        BenchError: a dtype is not an integer; names the batch by its number.
    """
    for what, values in zip(_WHAT, pair, strict=True):
        if values.is_floating_point() or values.is_complex():
            raise BenchError(
                f"{what}[{number}] has the dtype {_dtype(values)}; give class indices of an "
                "integer dtype, such as logits.argmax(1)"
            )
    prediction, target = pair
    return prediction.long(), target.long()


def check_classes(values: Tensor, counted: Tensor, classes: int, where: str) -> None:
    """Raise a BenchError if a counted pixel has no class in 0..K-1.

    Args:
        values: class indices, int64.
        counted: the same shape, bool.
        classes: K.
        where: name of the values.
    """
    wrong = values[counted & ((values < 0) | (values >= classes))]
    if len(wrong):
        raise BenchError(
            f"{where} holds the class {wrong[0].item()}, expected 0..{classes - 1}; pixels whose "
            "target is ignore_index are not counted"
        )


def real(values: Tensor, where: str) -> Tensor:
    """Return values as float32, or as float64 if they are, so that no arithmetic overflows.

    Raises:
        BenchError: they are complex.
    """
    if values.is_complex():
        raise BenchError(f"{where} has the dtype {_dtype(values)}; give real numbers")
    return values if values.dtype == torch.float64 else values.float()


def _dtype(values: Tensor) -> str:
    return str(values.dtype).removeprefix("torch.")
