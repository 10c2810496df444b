"""What a method's hooks return: the errors for common slips name what to return instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from support.fakes import TARGET
from support.toy import TASKS, Joint, Toy, ToyDataset, spec

from ttt_bench.adapt.meta import meta_net, plan_of
from ttt_bench.adapt.protocol_run import ProtocolRun
from ttt_bench.adapt.record import Record
from ttt_bench.adapt.returned import needs_of
from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Needs, Norm, Optimiser, Plan, SourcePass, StepOut
from ttt_bench.config.preset import ModelConfig
from ttt_bench.errors import BenchError, DivergedError
from ttt_bench.losses import RECIPES
from ttt_bench.metrics.base import Scoring
from ttt_bench.network import Net
from ttt_bench.protocols import Online
from ttt_bench.registry import METHODS
from ttt_bench.train.chain import training_chain
from ttt_bench.train.net import build_net
from ttt_bench.train.source_statistics import measure_source
from ttt_bench.train.stage import StageRun
from ttt_bench.util.progress import Silent

IMAGES = ToyDataset().images[:4]


def session(adapter: Any) -> Session:
    """Return a session of a toy with an ordinary optimiser."""
    return Session(
        build_net(spec(), adapter),
        adapter,
        target=TARGET,
        optimiser=Optimiser(lr=0.01),
        statistics={},
        recipe=RECIPES["weighted"],
        seed=0,
    )


class Returning(Toy):
    """A toy whose `step` returns what a function makes of its result."""

    def __init__(self, change: Callable[[StepOut], Any]) -> None:
        super().__init__()
        self.change = change

    def step(self, *args: Any) -> Any:
        return self.change(super().step(*args))


def without(task: str, predictions: Any) -> dict[str, torch.Tensor]:
    return {name: value for name, value in predictions.items() if name != task}


def changed(out: StepOut, task: str, change: Callable[[torch.Tensor], Any]) -> StepOut:
    """Return a step's result with another prediction of a task."""
    assert out.predictions is not None
    return StepOut(out.losses, {**out.predictions, task: change(out.predictions[task])})


SLIPS: dict[str, tuple[Callable[[StepOut], Any], str]] = {
    "nothing": (lambda out: None, "returns None; return StepOut"),
    "losses alone": (lambda out: out.losses, "returns a dict; return StepOut"),
    "no losses": (lambda out: StepOut({}, out.predictions), "at least one scalar tensor by name"),
    "a list": (lambda out: StepOut([1], None), "a list as losses; return a dictionary"),
    "a number": (
        lambda out: StepOut({"size": 0.0}, None),
        "a float as loss 'size'; return a scalar tensor",
    ),
    "a vector": (
        lambda out: StepOut({"size": out.losses["size"].repeat(2)}, None),
        r"'size' of shape \(2,\); return a scalar",
    ),
    "no gradient": (
        lambda out: StepOut({"size": out.losses["size"].detach()}, None),
        "no loss .* has a gradient",
    ),
    "one task": (
        lambda out: StepOut(out.losses, without("depth", out.predictions)),
        "no prediction of depth",
    ),
    "labels": (
        lambda out: StepOut(
            out.losses, {**out.predictions, "semseg": out.predictions["semseg"].argmax(1)}
        ),
        "a tensor of torch.int64 as prediction of semseg",
    ),
    "a crop": (
        lambda out: StepOut(
            out.losses, {**out.predictions, "edge": out.predictions["edge"][..., 1:]}
        ),
        "a prediction of edge of shape .*31.*, not .*32",
    ),
}


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        (
            Needs(protocols=frozenset({"epsodic"})),
            "unknown protocol 'epsodic'; did you mean episod",
        ),
        (Needs(tasks=frozenset({"depht"})), "unknown task 'depht'; did you mean depth"),
        (
            Needs(tasks="depth"),  # type: ignore[arg-type]
            r'a str as `tasks`; .* such as frozenset\(\{"semseg"\}\)',
        ),
        (None, r"returns None; return a ttt_bench\.adapter\.Needs"),
    ],
)
def test_needs_with_unknown_names_are_refused(needs: Any, message: str) -> None:
    class Needing(Toy):
        def needs(self) -> Needs:
            return cast(Needs, needs)

    with pytest.raises(BenchError, match=f"`needs` of {Toy.name} .*{message}"):
        needs_of(Needing())


@pytest.mark.parametrize("name", METHODS.names())
def test_the_needs_of_every_method_are_returned(name: str) -> None:
    adapter = METHODS.load(name)()
    assert needs_of(adapter) == adapter.needs()


@pytest.mark.parametrize("slip", SLIPS)
def test_a_step_that_returns_something_else_is_told_what_to_return(slip: str) -> None:
    change, message = SLIPS[slip]
    with pytest.raises(BenchError, match=message):
        session(Returning(change)).adapt(IMAGES)


def test_a_step_whose_predictions_are_not_used_may_return_some() -> None:
    class Partial(Returning):
        def bind(self, net: Net, statistics: Any, target: Any) -> Plan:
            return replace(super().bind(net, statistics, target), exact=False)

    change, _ = SLIPS["one task"]
    session(Partial(change)).adapt(IMAGES)


def test_a_predict_that_returns_something_else_is_told_what_to_return() -> None:
    class Predicting(Toy):
        def predict(self, net: Net, *args: Any) -> Any:
            return net.model(args[0])["depth"]

    with pytest.raises(BenchError, match=r"`predict` of toy returns a tensor .*; return a dict"):
        session(Predicting()).predict(IMAGES)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (None, "`bind` of toy returns None; return a ttt_bench.adapter.Plan"),
        (
            Plan(moves="model.*", adapt=Norm.BATCH, predict=Norm.BATCH, exact=True),
            "`moves` in the plan of toy is a str; give a tuple",
        ),
    ],
)
def test_a_bind_that_returns_no_plan_is_refused_by_the_plan_of_a_run(
    plan: Any, message: str
) -> None:
    class Binding(Toy):
        def bind(self, *args: Any) -> Any:
            return plan

    with pytest.raises(BenchError, match=message):
        session(Binding())
    with pytest.raises(BenchError, match=message):
        plan_of(meta_net(ModelConfig(backbone="test_resnet"), TASKS), Binding(), TARGET)


@pytest.mark.parametrize("when", ["after bind", "reshaped"])
def test_a_late_buffer_is_named_at_the_reset(when: str) -> None:
    class Banking(Toy):
        def build(self, *args: Any) -> torch.nn.Module:
            module = torch.nn.Module()
            if when == "reshaped":
                module.register_buffer("bank", torch.zeros(1))
            return module

        def end_batch(self, net: Net, images: torch.Tensor, *args: Any) -> None:
            net.extra.register_buffer("bank", images.clone())

    one = session(Banking())
    one.end_batch(IMAGES)
    with pytest.raises(BenchError, match=r"the buffer extra\.bank after `bind`; register it in"):
        one.reset()
    with pytest.raises(BenchError, match=r"the buffer extra\.bank after `bind`; register it in"):
        session(Banking()).restore(one.state())


def test_source_statistics_that_are_no_tensors_are_refused() -> None:
    class Counting(Toy):
        def source_pass(self) -> SourcePass:
            return SourcePass(images=4, batch=2)

        def source_statistics(self, net: Net, images: Any, ctx: Any) -> Any:
            return {"images": sum(len(batch) for batch in images)}

    with pytest.raises(BenchError, match="returns an int as 'images'; return a tensor"):
        measure_source(
            build_net(spec(), Counting()),
            spec(),
            Counting(),
            ToyDataset(),
            target_size=(32, 32),
            progress=Silent(),
        )


def test_source_losses_that_are_no_scalars_are_refused() -> None:
    class Vector(Joint):
        def source_loss(self, *args: Any) -> Any:
            return {"plain": torch.ones(3, requires_grad=True)}

    adapter = Vector()
    stage = training_chain(spec(), adapter)[-1]
    run = StageRun(build_net(spec(), adapter), stage, spec(), torch.device("cpu"))
    with pytest.raises(BenchError, match=r"`source_loss` of joint returns loss 'plain' of shape"):
        run.iterate(ToyDataset().batch(range(4)))


def online(adapter: Any, dataset: ToyDataset, steps: int = 2) -> Record:
    """Run a toy on two batches of a data set and return what was measured."""
    record = Record(batches=[[0, 1], [2, 3]], steps=steps)
    ProtocolRun(
        session=session(adapter),
        dataset=dataset,
        tasks=tuple(TASKS),
        scoring=Scoring(edge_sigmoid=True, depth_nonnegative=True),
        record=record,
        device=torch.device("cpu"),
    ).run(Online())
    return record


def test_losses_whose_names_change_are_recorded_under_the_names_of_their_step() -> None:
    class Alternating(Toy):
        count = 0

        def step(self, *args: Any) -> StepOut:
            out = super().step(*args)
            self.count += 1
            named = {f"step{self.count}": out.losses["size"]}
            extra = {"more": out.losses["size"] * 0 + 7.0} if self.count == 2 else {}
            return StepOut({**named, **extra}, out.predictions)

    found = [row[:3] for row in online(Alternating(), ToyDataset()).losses]
    assert found == [
        (0, 0, "step1"),
        (0, 1, "step2"),
        (0, 1, "more"),
        (1, 0, "step3"),
        (1, 1, "step4"),
    ]


class Halving(Toy):
    """Predicts values near the largest ones of half precision; their sum overflows there."""

    def __init__(self, dtype: torch.dtype, value: float = 60000.0) -> None:
        super().__init__()
        self.dtype, self.value = dtype, value

    def bind(self, *args: Any) -> Plan:
        return Plan(moves=(), adapt=Norm.RUNNING, predict=Norm.RUNNING, exact=False)

    def predict(self, net: Net, images: torch.Tensor, *args: Any) -> dict[str, torch.Tensor]:
        return {
            task: torch.full_like(output, self.value).to(self.dtype)
            for task, output in net.model(images).items()
        }


def test_half_precision_predictions_are_measured_in_full_precision() -> None:
    half, full = (online(Halving(dtype), ToyDataset()) for dtype in (torch.half, torch.float))
    for task, sums in full.image_sums.items():
        assert (half.image_sums[task] == sums).all(), task


def test_large_finite_predictions_are_not_taken_for_infinite_ones() -> None:
    online(Halving(torch.float, 1e37), ToyDataset(size=(64, 64)))
    with pytest.raises(DivergedError, match="prediction of"):
        online(Halving(torch.half, 70000.0), ToyDataset())
