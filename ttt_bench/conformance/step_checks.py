"""Checks of a single adaptation step."""

from __future__ import annotations

import threading
from math import isclose

from ttt_bench.conformance.expect import ViolationError, demand
from ttt_bench.conformance.instruments import (
    DescentError,
    HostDecisionError,
    NoHostDecisions,
    PassCounter,
    living_memory,
    new_objects_only,
    no_descent,
)
from ttt_bench.conformance.runs import STEPS, outputs, trajectory
from ttt_bench.conformance.subject import Subject


def passes(subject: Subject) -> None:
    """A step makes the forward and backward passes that the method states."""
    images = subject.images()
    session = subject.session(begin=images)
    if not session.moved:
        return
    counter = PassCounter(area=images.shape[-2:].numel())
    with counter.watching(session.net.model):
        session.adapt(images)
    stated, counted = session.adapter.passes(len(images)), counter.passes()
    equal = all(
        isclose(one, other, rel_tol=1e-6) for one, other in zip(stated, counted, strict=True)
    )
    demand(
        equal,
        f"for a batch of {len(images)} images, states passes of {stated.forwards:g} images forward "
        f"and {stated.backwards:g} backward up to stage {stated.stages}; counted "
        f"{counted.forwards:g} and {counted.backwards:g} up to stage {counted.stages} (through "
        "`net.model.stages`)",
    )


def memory(subject: Subject) -> None:
    """The memory in use does not grow with steps or batches, and no thread is left running."""
    held: list[tuple[int, int]] = []
    threads = threading.active_count()
    with new_objects_only():
        session = subject.session()
        for number in range(3):  # the first batch fills caches
            outputs(session, subject.images(seed=number), number)
            held.append(living_memory(subject.device))
    _, before, after = held
    demand(
        after[0] <= before[0] and after[1] <= before[1],
        f"uses more memory with every batch of {STEPS} steps: {before[0]} tensors and {before[1]} "
        f"bytes, one batch later {after[0]} tensors and {after[1]} bytes",
    )
    running = threading.active_count() - threads
    demand(running <= 0, f"leaves {running} threads running")


def inputs(subject: Subject) -> None:
    """Images are not changed."""
    images = subject.images()
    given = images.clone()
    session = subject.session(begin=images)
    trajectory(session, images, 1)
    session.end_batch(images)
    demand(bool((images == given).all()), "changes the images that it is given")


def host(subject: Subject) -> None:
    """A step, and what follows it, need no tensor values on the host.

    It calls no `.item()`, does not branch on values, and makes no shape that depends on values.
    """
    images = subject.images()
    session, hook = subject.session(begin=images), "step"
    try:
        with NoHostDecisions():  # type: ignore[no-untyped-call]
            if session.moved:
                session.step(images)
                hook = "after_step"
                session.after_step(images)
    except HostDecisionError as error:
        raise ViolationError(
            f"`{hook}` needs values on the host (the operation {error})"
        ) from error


def descent(subject: Subject) -> None:
    """A step leaves the descent to the harness: it calls neither `backward` nor an optimiser."""
    images = subject.images()
    session = subject.session(begin=images)
    try:
        with no_descent():
            if session.moved:
                session.step(images)
    except DescentError as error:
        raise ViolationError(
            f"a step calls {error}; return the losses, the harness descends"
        ) from error
