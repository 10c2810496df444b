"""The evaluation protocols: when the network is reset, what it adapts on, and what is scored when.

This module imports no torch, so that the report and the command line can use it too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from ttt_bench.errors import unknown


class Actions(ABC):
    """The actions on one network and one target set that a protocol is composed of.

    `ttt_bench.adapt.protocol_run.ProtocolRun` implements them.

    Attributes:
        batches: number of evaluation batches.
        steps: number of adaptation steps.
        adapts: whether the method moves parameters.
    """

    batches: int
    steps: int
    adapts: bool

    @abstractmethod
    def reset(self) -> None:
        """Reset the network to the source model."""

    @abstractmethod
    def adapt_and_score(self, batch: int) -> None:
        """Adapt on a batch and score it before each update and after the last one."""

    @abstractmethod
    def begin(self, batch: int) -> None:
        """Take the batch that `adapt` and `end` work on, and show it to the method."""

    @abstractmethod
    def resume(self, batch: int) -> None:
        """Take a batch again within which the run was interrupted; the state is that of then."""

    @abstractmethod
    def adapt(self, step: int) -> None:
        """Make adaptation step `step`, counted from 1, on the batch taken, without scoring it."""

    @abstractmethod
    def end(self) -> None:
        """Tell the method that the last step on the batch taken is done."""

    @abstractmethod
    def score_target(self, step: int) -> None:
        """Score the whole target as step `step`."""

    @abstractmethod
    def repeat_scores(self) -> None:
        """Record the scores of step 0 at every later step."""

    @abstractmethod
    def finish(self, unit: int) -> None:
        """Report that unit `unit`, counted from 0, is complete, so that it may be saved."""


class Protocol(ABC):
    """One way to adapt to a target and score it.

    Its work consists of units. A run can be saved between two units and resumed there.

    Attributes:
        name: the name in options, rows and manifests.
        sentence: one sentence for help texts.
        note: one sentence for the notes below a table.
        starts_from_source: step 0 of every batch is the source model before adapting. Otherwise
            step 0 is the state that the previous batches left.
        step_zero: a clause on the network at step 0.
        batches_depend: the images of a batch depend on each other, because the network adapts on
            all of them before it predicts them. Otherwise images are scored independently.
        independent_batches: no batch depends on another one, so that several processes can share
            the batches of a cell.
        any_order: it accepts target images in another order than that of the files.
        step_axis: the label of the axis of steps in a figure.
    """

    name: ClassVar[str]
    sentence: ClassVar[str]
    note: ClassVar[str]
    starts_from_source: ClassVar[bool] = True
    step_zero: ClassVar[str] = "step 0 is the source model before adapting"
    batches_depend: ClassVar[bool] = True
    independent_batches: ClassVar[bool] = False
    any_order: ClassVar[bool] = False
    step_axis: ClassVar[str] = "adaptation step"

    @abstractmethod
    def scored_batches(self, actions: Actions, units: int | None = None) -> int:
        """Return how many times a batch is scored in the first `units` units, by default in all."""

    @abstractmethod
    def run(self, actions: Actions, start: int = 0) -> None:
        """Adapt and score from unit `start` on."""


class _BatchByBatch(Protocol):
    """A protocol that adapts on every batch and scores it; a unit is a batch."""

    def scored_batches(self, actions: Actions, units: int | None = None) -> int:
        return actions.batches if units is None else units

    def run(self, actions: Actions, start: int = 0) -> None:
        for batch in range(start, actions.batches):
            self._prepare(actions)
            actions.adapt_and_score(batch)
            actions.finish(batch)

    def _prepare(self, actions: Actions) -> None:
        """Prepare the network for the next batch."""


class Online(_BatchByBatch):
    """One pass over the target without a reset; adapts on each batch and scores it."""

    name = "online"
    sentence = "one pass over the target, never reset; adapts N steps on each batch and scores it"
    step_zero = "step 0 of a batch is the state that the previous batches left, not Base"
    note = (
        "online: one pass over the target, never reset; on each batch the method adapts and is "
        "then scored. Steps are within a batch: a run of fewer steps is not a prefix of this one, "
        f"and {step_zero}"
    )
    starts_from_source = False
    any_order = True
    step_axis = "adaptation step within batch\n(0: as the previous batches left it, not Base)"


class Episodic(_BatchByBatch):
    """A reset before each batch; adapts on the batch and scores it. Batches are independent."""

    name = "episodic"
    sentence = "reset before each batch, adapts N steps on it and scores it"
    note = "episodic: the model is reset before each batch, adapts on it and is then scored on it"
    independent_batches = True

    def _prepare(self, actions: Actions) -> None:
        actions.reset()


class SingleBatch(Protocol):
    """Adapts on the first batch only and scores the whole target; a unit is a step."""

    name = "single-batch"
    sentence = "adapts N steps on the first batch only and scores the whole target at every step"
    note = (
        "single-batch: the method adapts on the first batch only, and the whole target is scored "
        "at every step"
    )
    batches_depend = False

    def scored_batches(self, actions: Actions, units: int | None = None) -> int:
        steps = actions.steps + 1 if actions.adapts else 1
        return actions.batches * (steps if units is None else units)

    def run(self, actions: Actions, start: int = 0) -> None:
        if start == 0:
            actions.begin(0)
            actions.score_target(0)
            actions.finish(0)
        else:
            actions.resume(0)
        if not actions.adapts:
            actions.repeat_scores()
            return
        for step in range(max(start, 1), actions.steps + 1):
            actions.adapt(step)
            actions.score_target(step)
            actions.finish(step)
        actions.end()


PROTOCOLS: dict[str, Protocol] = {one.name: one for one in (Online(), Episodic(), SingleBatch())}
"""Every protocol by name; the first one is the default."""

DEFAULT = Online.name


def protocol_of(name: str) -> Protocol:
    """Return the protocol of that name.

    Raises:
        BenchError: no protocol has that name.
    """
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


CONTROLS = ("none", "frozen")
"""The controls; the first one is the default and means none."""
