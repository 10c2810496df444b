"""Checks of a method's predictions."""

from __future__ import annotations

import torch
from torch import Tensor

from ttt_bench.adapt.returned import needs_of
from ttt_bench.adapt.session import Session
from ttt_bench.conformance.expect import ViolationError, demand, losses_fit, predictions_fit
from ttt_bench.conformance.runs import STEPS, trajectory
from ttt_bench.conformance.subject import CHANNELS, SIZES, TARGET_SIZE, Subject, words


def shapes(subject: Subject) -> None:
    """Predictions have the images' size and losses are finite scalars.

    This includes rectangular and odd sizes, images with padding (`ctx.valid`), and pairs with fewer
    tasks; these are checked at one odd size.
    """
    for channels in subject.task_sets:
        for size in SIZES if channels == CHANNELS else SIZES[-1:]:
            images = subject.images(size=size)
            where = f"on {words(channels)} at {size[0]}x{size[1]}"
            _check_shapes(subject, subject.session(channels, begin=images), images, where)
    _check_padded(subject)


def _check_padded(subject: Subject) -> None:
    """Check a batch whose images have padding at the right, and the first one below as well."""
    images = subject.images()
    valid = torch.ones_like(images[:, :1], dtype=torch.bool)
    valid[..., -16:] = False
    valid[0, :, -16:] = False
    session = subject.session()
    session.begin_batch(0, images * valid, valid)
    _check_shapes(subject, session, images * valid, "on images with padding (`ctx.valid`)")


def _check_shapes(subject: Subject, session: Session, images: Tensor, where: str) -> None:
    """Check the predictions and losses of a step on a batch that has begun."""
    channels, (height, width) = session.net.model.tasks, images.shape[-2:]
    for _, predictions, losses in trajectory(session, images, 1):
        predictions_fit(predictions, channels, len(images), (height, width), where)
        losses_fit(losses, where)


def batch_sizes(subject: Subject) -> None:
    """The method works on the smallest batch that it declares, and on one image more.

    A method that needs batches of one size works on these.
    """
    needs = needs_of(subject.adapter)
    for count in [needs.batch] if needs.batch else [needs.min_batch, needs.min_batch + 1]:
        images, where = subject.images(count), f"on batches of {count}"
        for _, predictions, _ in trajectory(subject.session(begin=images), images, 1):
            predictions_fit(predictions, subject.tasks, count, TARGET_SIZE, where)


def exact(subject: Subject) -> None:
    """If the plan is exact, a step's predictions equal those of a separate prediction."""
    images = subject.images()
    session = subject.session(begin=images)
    if not session.plan.exact or not session.moved:
        return
    for _ in range(STEPS):
        state = {name: tensor.clone() for name, tensor in session.state().items()}
        made = session.step(images).predictions
        if made is None:
            raise ViolationError("claims exact predictions, but its step returns none")
        for task, separate in session.predict(images).items():
            demand(
                torch.allclose(made[task], separate, rtol=1e-4, atol=1e-5),
                f"claims exact predictions, but the {task} of a step differs from that of a "
                "separate prediction",
            )
        session.restore(state)
        session.adapt(images)
