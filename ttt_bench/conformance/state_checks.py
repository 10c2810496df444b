"""Checks of what a method changes and of what its numbers depend on."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

import torch
from torch import Tensor

from ttt_bench.adapt.protocol_run import ProtocolRun
from ttt_bench.adapt.record import Record
from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Norm
from ttt_bench.conformance.expect import demand, same_outputs
from ttt_bench.conformance.instruments import Recording
from ttt_bench.conformance.random_images import RandomImages
from ttt_bench.conformance.runs import STEPS, outputs, state, trajectory
from ttt_bench.conformance.subject import TARGET_SIZE, Subject
from ttt_bench.model.batchnorm import running_statistics
from ttt_bench.protocols import Online
from ttt_bench.util.text import listed


def moves(subject: Subject) -> None:
    """Only the declared parameters and the allowed buffers change, and something changes."""
    images = subject.images()
    session = subject.session(begin=images)
    before = state(session)
    trajectory(session, images)
    changed = {
        name for name, tensor in state(session).items() if not torch.equal(tensor, before[name])
    }
    parameters = {name for name, _ in session.net.named_parameters()}
    _check_parameters(changed & parameters, session.plan.moves)
    _check_buffers(changed - parameters, session)


def _check_parameters(changed: set[str], patterns: Sequence[str]) -> None:
    declared = [name for pattern in patterns for name in fnmatch.filter(changed, pattern)]
    undeclared = sorted(changed.difference(declared))
    demand(not undeclared, f"moves {listed(undeclared)}, which its plan does not declare")
    demand(not patterns or bool(changed), "declares moves, but no parameter changes in a few steps")


def _check_buffers(changed: set[str], session: Session) -> None:
    """Check that buffers of the network change only under `Norm.EMA`; the method's own may."""
    ema = Norm.EMA in (session.plan.adapt, session.plan.predict)
    statistics = {f"model.{name}" for name in running_statistics(session.net.model)}
    stray = [
        name
        for name in sorted(changed - statistics if ema else changed)
        if not name.startswith("extra.") and not name.endswith("num_batches_tracked")
    ]
    demand(not stray, f"changes the buffers {listed(stray)}, though no mode of its plan is `ema`")


def reset(subject: Subject) -> None:
    """A reset restores parameters and buffers bit for bit, and a second run equals the first."""
    images = subject.images()
    session = subject.session()
    before = state(session)
    first = outputs(session, images)
    session.reset()
    for name, tensor in state(session).items():
        demand(torch.equal(tensor, before[name]), f"a reset does not restore {name}")
    same_outputs(
        first,
        outputs(session, images),
        "a second run after a reset gives other numbers: the method keeps state outside "
        "parameters and buffers",
    )


def resuming(subject: Subject) -> None:
    """A new session that restores another's state gives the numbers that the other gives."""
    images, following = subject.images(), subject.images(seed=8)
    session = subject.session()
    outputs(session, images)
    session.end_batch(images)
    saved = {name: tensor.clone() for name, tensor in session.state().items()}
    first = outputs(session, following, number=1)
    fresh = subject.session()
    fresh.restore(saved)
    same_outputs(
        first,
        outputs(fresh, following, number=1),
        "a run that was interrupted and resumed gives other numbers: the method keeps state "
        "outside parameters and buffers",
    )


def seeds(subject: Subject) -> None:
    """The numbers depend on the seed, not on the global random state, which stays unchanged."""
    images = subject.images()
    runs = []
    for global_seed in (1, 2):
        session = subject.session()
        with torch.random.fork_rng():
            torch.manual_seed(global_seed)
            before = torch.random.get_rng_state()
            runs.append(outputs(session, images))
            demand(
                torch.equal(before, torch.random.get_rng_state()),
                "draws from the global random state; use ctx.rand",
            )
    first, second = runs
    same_outputs(first, second, "two runs with the same seed give other numbers: draw from `ctx`")


def labels(subject: Subject) -> None:
    """Other target labels do not change a prediction or a loss."""
    first, second = (_scored(subject, targets_seed) for targets_seed in (0, 1))
    same_outputs(
        first, second, "other target labels give other predictions or losses: labels are read"
    )


def _scored(subject: Subject, targets_seed: int) -> list[dict[str, Tensor]]:
    """Return the predictions and losses of an online run with the targets of this seed."""
    dataset = RandomImages(
        subject.tasks, 2 * subject.batch, TARGET_SIZE, seed=5, targets_seed=targets_seed
    )
    scoring = Recording(edge_sigmoid=True, depth_nonnegative=True)
    batches = [list(range(i * subject.batch, (i + 1) * subject.batch)) for i in range(2)]
    record = Record(batches=batches, steps=STEPS)
    ProtocolRun(
        session=subject.session(),
        dataset=dataset,
        tasks=subject.tasks,
        scoring=scoring,
        record=record,
        device=subject.device,
    ).run(Online())
    losses = [{"loss": torch.tensor(value, device=subject.device)} for *_, value in record.losses]
    return [*scoring.seen, *losses]
