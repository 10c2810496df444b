"""Short runs of a session, for the checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from ttt_bench.adapt.session import Session

STEPS = 3
"""Adaptation steps of a short run."""


def trajectory(
    session: Session, images: Tensor, steps: int = STEPS
) -> Iterable[tuple[int, dict[str, Tensor], dict[str, Tensor]]]:
    """Return what `Session.trajectory` yields; one prediction for a method that moves nothing."""
    if not session.moved:
        return [(0, session.predict(images), {})]
    return list(session.trajectory(images, steps))


def outputs(
    session: Session, images: Tensor, number: int = 0, steps: int = STEPS
) -> list[dict[str, Tensor]]:
    """Adapt on batch `number` to its end; return the predictions and losses of every step."""
    session.begin_batch(number, images)
    found = [
        _copies(predictions) | losses
        for _, predictions, losses in trajectory(session, images, steps)
    ]
    if session.moved:
        session.end_batch(images)
    return found


def _copies(predictions: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {task: prediction.clone() for task, prediction in predictions.items()}


def parameters(session: Session) -> dict[str, Tensor]:
    """Return copies of all parameters."""
    return {name: tensor.detach().clone() for name, tensor in session.net.named_parameters()}


def state(session: Session) -> dict[str, Tensor]:
    """Return copies of all parameters and buffers, including those that are not saved."""
    named = [*session.net.named_parameters(), *session.net.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in named}
