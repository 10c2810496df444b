"""RoTTA's bank of images: which images it holds, and the weights of their ages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Held(NamedTuple):
    """One image of the bank.

    Attributes:
        number: its number among the held images and the new ones.
        label: its class.
        uncertainty: its uncertainty in nats.
        age: number of images that have arrived since it did, itself included.
    """

    number: int
    label: int
    uncertainty: float
    age: int


def insert(
    held_labels: Tensor,
    held_uncertainties: Tensor,
    held_ages: Tensor,
    labels: Tensor,
    uncertainties: Tensor,
    *,
    capacity: int,
    num_classes: int,
    lambda_t: float = 1.0,
    lambda_u: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Return the images of the bank after new ones have come one by one: numbers and ages, int64.

    Of M held images and the new ones, number i < M is the i-th held one and M + i the i-th new one.
    They are ordered by class, then by time of insertion.

    Args:
        held_labels: (M,), classes of the held images.
        held_uncertainties: (M,), in nats.
        held_ages: (M,), in images.
        labels: (n,), classes of the new images in the order of their arrival.
        uncertainties: (n,), in nats.
        capacity: largest number N of held images.
        num_classes: number K of classes; each has a share of N / K images.
        lambda_t: weight of the age in the score by which images leave.
        lambda_u: weight of the uncertainty in it.
    """

    def score(one: Held) -> float:
        aged = lambda_t / (1 + math.exp(-one.age / capacity))
        return aged + lambda_u * one.uncertainty / math.log(num_classes)

    held = _numbered(0, held_labels, held_uncertainties, held_ages)
    new = _numbered(len(held), labels, uncertainties, torch.zeros_like(labels))
    for newcomer in new:
        held = _arrived(held, newcomer, capacity, capacity / num_classes, score)
        held = [one._replace(age=one.age + 1) for one in held]
    held = _by_class(held)
    return torch.tensor([one.number for one in held]), torch.tensor([one.age for one in held])


def _numbered(first: int, labels: Tensor, uncertainties: Tensor, ages: Tensor) -> list[Held]:
    rows = zip(labels.tolist(), uncertainties.tolist(), ages.tolist(), strict=True)
    return [Held(first + i, label, u, int(age)) for i, (label, u, age) in enumerate(rows)]


def _arrived(
    held: list[Held],
    newcomer: Held,
    capacity: int,
    share: float,
    score: Callable[[Held], float],
) -> list[Held]:
    """Return the held images, in the order of their insertion, after one has arrived."""
    candidates = _candidates(held, newcomer.label, capacity, share)
    if not candidates:
        return [*held, newcomer]
    victim = max(reversed(candidates), key=score)  # of equal scores the last
    if score(victim) <= score(newcomer):
        return held
    return [*(one for one in held if one.number != victim.number), newcomer]


def _candidates(held: Sequence[Held], label: int, capacity: int, share: float) -> list[Held]:
    """Return the images of which one may leave for an image of a class; empty if there is space."""
    counts = Counter(one.label for one in held)
    classes = {label}
    if counts[label] < share:
        if len(held) < capacity:
            return []
        most = max(counts.values())
        classes = {one for one, count in counts.items() if count == most}
    return _by_class([one for one in held if one.label in classes])


def _by_class(held: Sequence[Held]) -> list[Held]:
    return sorted(held, key=lambda one: one.label)


def timeliness(ages: Tensor, capacity: int) -> Tensor:
    """Return the weights exp(-a) / (1 + exp(-a)) of ages a in bank lengths, of any shape."""
    return torch.sigmoid(-ages / capacity)
