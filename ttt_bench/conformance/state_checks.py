"""Checks of what a method changes, and of what a reset and resuming restore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ttt_bench.adapt.protocol_run import ProtocolRun
from ttt_bench.adapt.record import Record
from ttt_bench.adapt.run_progress import RunProgress
from ttt_bench.adapt.session import Session
from ttt_bench.adapt.verified import VerifiedSession
from ttt_bench.conformance.attributes import own_attributes, shared_attributes
from ttt_bench.conformance.expect import Outputs, demand, same_outputs
from ttt_bench.conformance.instruments import Recording
from ttt_bench.conformance.random_images import RandomImages
from ttt_bench.conformance.runs import outputs, parameters, state
from ttt_bench.conformance.subject import TARGET_SIZE, Subject
from ttt_bench.protocols import SingleBatch
from ttt_bench.util.text import listed

STEPS, SAVED = 3, 2
"""Steps of the run that is interrupted within a batch, and the step before which it is saved.

One update is before that, which may leave state, and two are after it: values that share memory
with the network differ after the first of them.
"""


class _Verified(VerifiedSession):
    """A session that verifies everything but exactness, which another check covers."""

    def _verify_exact(self, images: Tensor, made: Mapping[str, Tensor], when: str) -> None:
        return


def moves(subject: Subject) -> None:
    """Only the declared parameters and the allowed buffers change, and something changes.

    This includes `bind`, `begin_batch`, `predict` and `end_batch`.
    """
    session = subject.session(kind=_Verified)
    before = parameters(session)
    for number in range(2):
        outputs(session, subject.images(seed=7 + number), number, steps=2)
    demand(
        not session.moved or bool(_changed(before, parameters(session))),
        "declares moves, but no parameter changes in a few steps on random images. If the method "
        "selects confident predictions, set options that select all of them in its class "
        'attribute `check_options` (such as {"margin": 10.0}), or with --set',
    )


def updates(subject: Subject) -> None:
    """Only the harness's optimiser updates parameters: with a learning rate of 0 none changes."""
    session = subject.session(still=True)
    images = subject.images()
    source = parameters(session)
    for hook in _called(session, images):
        changed = _changed(source, parameters(session))
        demand(
            not changed,
            f"`{hook}` changes {listed(changed)} without the harness's optimiser, as a run with a "
            "learning rate of 0 shows; return a loss, and leave the update to the harness",
        )


def _called(session: Session, images: Tensor) -> Iterator[str]:
    """Call the hooks as the protocols do, on one batch twice; yield the name of each after it."""
    for steps in (2, 1):
        session.begin_batch(0, images)
        yield "begin_batch"
        for _ in range(steps if session.moved else 0):
            out = session.step(images)
            yield "step"
            session.update(out, images)
            yield "after_step"
        session.predict(images)
        yield "predict"
        if session.moved:
            session.end_batch(images)
            yield "end_batch"


def _changed(before: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> list[str]:
    return [name for name, value in before.items() if not torch.equal(value, now[name])]


def reset(subject: Subject) -> None:
    """A reset restores everything: parameters and buffers, attributes, globals, and the numbers.

    A session that adapts on another batch before its reset equals a new one.
    """
    images, others = subject.images(), subject.images(seed=9)
    new = subject.session()
    first = outputs(new, images)
    expected = _attributes(new)
    session = subject.session()
    before = state(session)
    outputs(session, others, number=1)
    session.reset()
    for name, tensor in state(session).items():
        demand(torch.equal(tensor, before[name]), f"a reset does not restore {name}")
    second = outputs(session, images)
    _check_kept(expected, _attributes(session))
    same_outputs(
        first,
        second,
        "a run after a reset gives other numbers than a new one: the method keeps state outside "
        "parameters and buffers",
    )
    _check_first_values(subject, expected, others)


def _attributes(session: Session) -> dict[str, Any]:
    adapter = session.adapter
    return {**own_attributes(adapter, session.net), **shared_attributes(type(adapter))}


def _check_kept(expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    names = sorted(expected.keys() | found.keys())
    kept = [name for name in names if expected.get(name) != found.get(name)]
    demand(
        not kept,
        f"keeps values of earlier batches in {listed(kept)}, which a reset does not restore; use "
        "buffers of the module that `build` returns",
    )


def _check_first_values(subject: Subject, expected: Mapping[str, Any], others: Tensor) -> None:
    """Check that class attributes and globals do not depend on the first batch of the process."""
    before = shared_attributes(subject.method)
    subject.shared.put_back()
    if shared_attributes(subject.method) == before:  # nothing has changed since the start
        return
    outputs(subject.session(), others)
    found = shared_attributes(subject.method)
    _check_kept({name: expected.get(name) for name in found}, found)


def resuming(subject: Subject) -> None:
    """A run that was interrupted, between batches or within one, gives the same numbers."""
    _between_batches(subject)
    session = subject.session()
    if session.moved:
        _within_a_batch(subject, session)


def _between_batches(subject: Subject) -> None:
    images, following = subject.images(), subject.images(seed=8)
    session = subject.session()
    outputs(session, images)
    saved = _saved(session)
    first = outputs(session, following, number=1)
    fresh = subject.session()
    fresh.restore(saved)
    _same_resumed(first, outputs(fresh, following, number=1), "between two batches")


def _within_a_batch(subject: Subject, session: Session) -> None:
    whole = _SingleBatchRun(subject=subject, session=session)
    whole.run()
    fresh = subject.session()
    fresh.restore(whole.saved)
    resumed = _SingleBatchRun(subject=subject, session=fresh)
    resumed.run(start=SAVED)
    count = len(resumed.found())
    _same_resumed(whole.found()[-count:], resumed.found(), "within a batch")


def _same_resumed(first: Outputs, second: Outputs, where: str) -> None:
    same_outputs(
        first,
        second,
        f"a run that was interrupted {where} and resumed gives other numbers: the method keeps "
        "state outside parameters, buffers and `ctx.batch`, or changes a tensor that two of these "
        "share, in place",
    )


def _saved(session: Session) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in session.state().items()}


@dataclass(kw_only=True)
class _SingleBatchRun:
    """A run under the single-batch protocol.

    Attributes:
        subject: the method.
        session: the session that adapts.
        saved: the session's state before step `SAVED`, as a run saves it.
    """

    subject: Subject
    session: Session
    saved: dict[str, Tensor] = field(default_factory=dict)
    _scoring: Recording = field(
        default_factory=lambda: Recording(edge_sigmoid=True, depth_nonnegative=True)
    )

    def run(self, start: int = 0) -> None:
        """Run from a unit of the protocol on."""
        subject, batch = self.subject, list(range(self.subject.batch))
        ProtocolRun(
            session=self.session,
            dataset=RandomImages(subject.tasks, subject.batch, TARGET_SIZE, seed=5),
            tasks=subject.tasks,
            scoring=self._scoring,
            record=Record(batches=[batch], steps=STEPS),
            device=subject.device,
            progress=RunProgress(save=self._save, save_seconds=-1),
        ).run(SingleBatch(), start)

    def _save(self, unit: int) -> None:
        if unit == SAVED:
            self.saved = _saved(self.session)

    def found(self) -> list[dict[str, Tensor]]:
        """Return the predictions of every scored batch."""
        return self._scoring.seen
