"""Checks of what a method's numbers depend on: seeds, but neither surroundings nor labels."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import numpy as np
import torch

from ttt_bench.adapt.protocol_run import ProtocolRun
from ttt_bench.adapt.record import Record
from ttt_bench.conformance.expect import Outputs, demand, equal_outputs
from ttt_bench.conformance.instruments import Recording
from ttt_bench.conformance.random_images import RandomImages
from ttt_bench.conformance.runs import STEPS, outputs
from ttt_bench.conformance.subject import TARGET_SIZE, Subject
from ttt_bench.protocols import Online

BATCHES = 2
"""Batches of a run whose labels change; the data set has one more."""
_CLOCKS = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")
_LATER = 10**6


def seeds(subject: Subject) -> None:
    """The numbers depend on the seed, and not on global random states, time or surroundings."""
    images = subject.images()
    runs = [outputs(subject.session(), images)]
    with _other_surroundings():
        before = _random_states()
        runs.append(outputs(subject.session(), images))
        drawn = [name for name, state in _random_states().items() if state != before[name]]
    demand(not drawn, f"draws from the global random state of {', '.join(drawn)}; use `ctx.rand`")
    demand(
        equal_outputs(*runs),
        "is not reproducible: two runs with the same seed and images give other numbers; they may "
        "depend on time, folders, the environment, or an earlier run",
    )


@contextmanager
def _other_surroundings() -> Iterator[None]:
    """Change seeds of global generators, clocks, folder and environment within the block."""
    states = (random.getstate(), np.random.get_state())
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(_working_in(folder))
        stack.enter_context(patch.dict(os.environ, {"USER": "another", "HOSTNAME": "another"}))
        for clock in _CLOCKS:
            stack.enter_context(patch.object(time, clock, _later(getattr(time, clock))))
        for seed in (torch.manual_seed, random.seed, np.random.seed):
            seed(12345)
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])


@contextmanager
def _working_in(folder: str) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _later(clock: Callable[[], float]) -> Callable[[], float]:
    return lambda: clock() + _LATER


def _random_states() -> dict[str, str]:
    """Return the state of every global generator as text, by the name of its library."""
    states = {"torch": torch.random.get_rng_state().tolist()}
    found = {
        **states,
        "Python's `random`": random.getstate(),
        "numpy": np.random.get_state(legacy=False),
    }
    if torch.cuda.is_available():
        found["torch.cuda"] = [state.tolist() for state in torch.cuda.get_rng_state_all()]
    with np.printoptions(threshold=10**6):
        return {name: repr(state) for name, state in found.items()}


def labels(subject: Subject) -> None:
    """Neither the target's labels nor images of later batches change a prediction or a loss."""
    first = _scored(subject)
    if equal_outputs(first, _scored(subject, targets_seed=1, later_seed=1)):
        return
    demand(
        equal_outputs(first, _scored(subject)),
        "is not reproducible under the online protocol: two runs with the same seed, images and "
        "labels give other numbers",
    )
    demand(
        equal_outputs(first, _scored(subject, later_seed=1)),
        "other images in later batches give other predictions or losses: they are read early",
    )
    demand(
        equal_outputs(first, _scored(subject, targets_seed=1)),
        "other target labels give other predictions or losses: labels are read",
    )


def _scored(subject: Subject, *, targets_seed: int = 0, later_seed: int = 0) -> Outputs:
    """Return the predictions and losses of an online run on the first batches of a data set.

    Args:
        subject: the method.
        targets_seed: seeds the labels.
        later_seed: seeds the images after these batches.
    """
    count, size = BATCHES * subject.batch, subject.batch
    dataset = RandomImages(
        subject.tasks, count + size, TARGET_SIZE, seed=5, targets_seed=targets_seed
    )
    draw = torch.Generator().manual_seed(later_seed)
    dataset.images[count:] = torch.rand(dataset.images[count:].shape, generator=draw)
    scoring = Recording(edge_sigmoid=True, depth_nonnegative=True)
    record = Record(batches=[list(range(i, i + size)) for i in range(0, count, size)], steps=STEPS)
    ProtocolRun(
        session=subject.session(),
        dataset=dataset,
        tasks=subject.tasks,
        scoring=scoring,
        record=record,
        device=subject.device,
    ).run(Online())
    losses = [
        {term: torch.tensor(value, device=subject.device)} for *_, term, value in record.losses
    ]
    return [*scoring.seen, *losses]
