"""What a step may change: updates that are left out, the optimiser's state, values of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from support.fakes import TARGET, tiny_net
from torch import Tensor

from ttt_bench.adapt.session import Session
from ttt_bench.adapt.verified import VerifiedSession
from ttt_bench.adapter import Adapter, Context, Norm, Optimiser, Plan, StepOut, Target
from ttt_bench.errors import BenchError, ClaimError
from ttt_bench.losses import RECIPES
from ttt_bench.network import Net

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(3)).double()
PLAN = Plan(moves=("model.heads.*",), adapt=Norm.RUNNING, predict=Norm.RUNNING, exact=True)
OPTIMISERS = [
    Optimiser(lr=0.1, momentum=0.9),
    Optimiser(optimiser="adam", lr=0.1),
    Optimiser(optimiser="adamw", lr=0.1, weight_decay=0.1),
]


class Stepping(Adapter):
    """Descends the depth; `updates` and `forgets` have a sign per step, "x" for yes."""

    name = "stepping"

    def __init__(self, updates: str = "", forgets: str = "") -> None:
        super().__init__()
        self.updates, self.forgets = updates, forgets

    def bind(self, net: Net, statistics: Mapping[str, Tensor], target: Target) -> Plan:
        return PLAN

    def begin_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        assert ctx.batch == {}
        ctx.batch["steps"] = torch.zeros(())

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        predictions = net.model(images)
        update = None
        if self.updates:
            update = torch.tensor(self.updates[int(ctx.batch["steps"])] == "x")
        return StepOut({"depth": predictions["depth"].square().mean()}, predictions, update)

    def after_step(self, net: Net, images: Tensor, ctx: Context) -> None:
        number = int(ctx.batch["steps"])
        ctx.batch["steps"] = ctx.batch["steps"] + 1
        if self.forgets:
            ctx.reset_optimiser(torch.tensor(self.forgets[number] == "x"))


def session(adapter: Adapter, optimiser: Optimiser, kind: type[Session] = Session) -> Session:
    one = kind(
        tiny_net(adapter),
        adapter,
        target=TARGET,
        optimiser=optimiser,
        statistics={},
        recipe=RECIPES["weighted"],
        seed=0,
    )
    one.begin_batch(0, IMAGES)
    return one


def weights(one: Session) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in one.moved.items()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_step_without_an_update_moves_neither_weights_nor_the_optimiser(
    optimiser: Optimiser,
) -> None:
    first, second = (session(Stepping(updates), optimiser) for updates in ("..x.xx", "xxx"))
    for _ in range(6):
        first.adapt(IMAGES)
    for _ in range(3):
        second.adapt(IMAGES)
    assert same(weights(first), weights(second))


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_a_forgotten_state_is_that_of_a_new_optimiser(optimiser: Optimiser) -> None:
    one = session(Stepping(forgets=".x..."), optimiser)
    one.adapt(IMAGES)
    kept = session(Stepping(), optimiser)
    kept.adapt(IMAGES)
    for each in (one, kept):
        each.adapt(IMAGES)  # the first one forgets after it
    assert same(weights(one), weights(kept))
    new = session(Stepping(), optimiser)
    with torch.no_grad():
        for name, parameter in new.moved.items():
            parameter.copy_(one.moved[name])
    for each in (one, kept, new):
        each.adapt(IMAGES)
    assert same(weights(one), weights(new))
    assert not same(weights(one), weights(kept))


def test_values_of_a_batch_are_saved_and_restored() -> None:
    whole = session(Stepping(updates="x.xx"), OPTIMISERS[0])
    for _ in range(2):
        whole.adapt(IMAGES)
    saved = {name: tensor.clone() for name, tensor in whole.state().items()}
    fresh = session(Stepping(updates="x.xx"), OPTIMISERS[0])
    fresh.restore(saved)
    for one in (whole, fresh):
        one.adapt(IMAGES)
    assert same(weights(whole), weights(fresh))
    assert int(fresh.ctx.batch["steps"]) == 3


def test_a_prediction_aside_keeps_the_values_of_the_batch() -> None:
    class Predicting(Stepping):
        def predict(self, net: Net, images: Tensor, ctx: Context) -> dict[str, Tensor]:
            ctx.batch["seen"] = images
            return super().predict(net, images, ctx)

    one = session(Predicting(), OPTIMISERS[0])
    one.separate_prediction(IMAGES)
    assert "seen" not in one.ctx.batch


def test_after_step_comes_before_the_next_prediction() -> None:
    class Restoring(Stepping):
        def after_step(self, net: Net, images: Tensor, ctx: Context) -> None:
            net.model.heads["depth"].bias.zero_()

    one = session(Restoring(), OPTIMISERS[0])
    biases = [float(one.net.model.heads["depth"].bias) for _ in one.trajectory(IMAGES, 3)]
    assert biases[0] != 0
    assert biases[1:] == [0, 0, 0]


def test_after_step_may_not_move_undeclared_parameters() -> None:
    class Undeclared(Stepping):
        def after_step(self, net: Net, images: Tensor, ctx: Context) -> None:
            next(net.model.backbone.parameters()).mul_(0.9)

    one = session(Undeclared(), OPTIMISERS[0], VerifiedSession)
    with pytest.raises(ClaimError, match=r"model\.backbone\..* changed in or before `after_step`"):
        one.adapt(IMAGES)


@pytest.mark.parametrize("value", [True, torch.tensor(1.0), torch.tensor([True])])
def test_update_is_a_bool_of_no_dimension(value: Any) -> None:
    class Wrong(Stepping):
        def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
            return super().step(net, images, ctx)._replace(update=value)

    with pytest.raises(BenchError, match="as `update`; return None or a bool tensor"):
        session(Wrong(), OPTIMISERS[0]).adapt(IMAGES)


@pytest.mark.parametrize("share", [None, 0.0, 1.5])
def test_mix_needs_a_share(share: float | None) -> None:
    class Mixing(Stepping):
        def bind(self, *args: Any) -> Plan:
            return Plan(moves=(), adapt=Norm.MIX, predict=Norm.MIX, exact=True, share=share)

    with pytest.raises(BenchError, match=r"uses Norm\.MIX with share="):
        session(Mixing(), OPTIMISERS[0])


def _view(net: Net) -> Tensor:
    return net.model.heads["depth"].bias.detach()[:1]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda net: 1, "puts an int into ctx.batch"),
        (_view, "puts a parameter that moves, a buffer, or a view of one, into ctx.batch"),
        (lambda net: net.model.heads["depth"].bias, "puts a parameter that moves"),
        (lambda net: net.model(IMAGES)["depth"].mean(), "puts a tensor with a gradient into"),
        (lambda net: net.model.mean[..., :1], "puts a parameter that moves, a buffer, or a view"),
        (lambda net: IMAGES.to_sparse(), "puts a tensor that cannot be saved into ctx.batch"),
    ],
)
@pytest.mark.parametrize("hook", ["begin_batch", "step", "after_step", "predict", "end_batch"])
def test_values_of_a_batch_are_new_tensors(hook: str, value: Any, message: str) -> None:
    class Keeps(Stepping):
        pass

    def keep(self: Stepping, net: Net, images: Tensor, ctx: Context) -> Any:
        with torch.enable_grad():
            ctx.batch["kept"] = value(net)
        ctx.batch.setdefault("steps", torch.zeros(()))
        return {} if hook == "begin_batch" else getattr(super(Keeps, self), hook)(net, images, ctx)

    setattr(Keeps, hook, keep)
    with pytest.raises(BenchError) as refusal:
        _step_and_prediction(Keeps())
    assert str(refusal.value).startswith(f"`{hook}` of stepping {message}")
    assert "ctx.batch['kept']; put " in str(refusal.value)


def _step_and_prediction(adapter: Adapter) -> None:
    one = session(adapter, OPTIMISERS[0])
    one.adapt(IMAGES)
    one.predict(IMAGES)
    one.end_batch(IMAGES)
