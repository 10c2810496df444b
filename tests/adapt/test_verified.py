"""What a session of a run finds out about a method that does not do what it claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from support.fakes import TARGET
from support.toy import Drifting, Toy, ToyDataset, same, spec, values
from torch import Tensor, nn

from ttt_bench.adapt.session import Session
from ttt_bench.adapt.verified import VerifiedSession
from ttt_bench.adapter import Adapter, Context, Norm, Optimiser, Plan, StepOut, Target
from ttt_bench.errors import BenchError, ClaimError
from ttt_bench.losses import RECIPES
from ttt_bench.model.batchnorm import running_statistics
from ttt_bench.network import Net
from ttt_bench.train.net import build_net

IMAGES = ToyDataset().images[:4]
STEPS = 3


def session(
    adapter: Adapter, kind: type[Session] = VerifiedSession, optimiser: Optimiser | None = None
) -> Session:
    return kind(
        build_net(spec(), adapter),
        adapter,
        target=TARGET,
        optimiser=optimiser or Optimiser(lr=0.1),
        statistics={},
        recipe=RECIPES["weighted"],
        seed=0,
    )


def run(one: Session, batches: int = 1) -> list[dict[str, Tensor]]:
    """Adapt to some batches, and return copies of all predictions."""
    found = []
    for number in range(batches):
        one.begin_batch(number, IMAGES.clone())
        for _, predictions, _ in one.trajectory(IMAGES.clone(), STEPS):
            found.append({task: p.clone() for task, p in predictions.items()})
        one.end_batch(IMAGES.clone())
    return found


def refused(adapter: Adapter, *words: str, batches: int = 1) -> None:
    """Demand that a run of the method fails with a message that has these words."""
    with pytest.raises(ClaimError) as caught:
        run(session(adapter), batches)
    assert str(caught.value).startswith(f"method {adapter.name}, ")
    for word in words:
        assert word in str(caught.value)


def first_weight(net: Net) -> Tensor:
    """Return a parameter of the model that no toy declares."""
    return next(net.model.backbone.parameters())


class WithModule(Toy):
    """A toy whose own module has a buffer."""

    def build(self, model: nn.Module, tasks: Mapping[str, int]) -> nn.Module:
        own = nn.Module()
        own.register_buffer("calls", torch.zeros(()))
        return own


class FalseExact(Toy):
    """Adapts under the batch's statistics and predicts under the running ones."""

    name = "false-exact"

    def bind(self, net: Net, statistics: Mapping[str, Tensor], target: Target) -> Plan:
        moves = ("model.heads.*.bias",)
        return Plan(moves=moves, adapt=Norm.BATCH, predict=Norm.RUNNING, exact=True)


class Stale(WithModule):
    """Its predictions are right at the first step only."""

    name = "stale"

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        out = super().step(net, images, ctx)
        assert out.predictions is not None
        calls = net.extra.get_buffer("calls")  # type: ignore[union-attr]
        late = {task: p + 0.1 * calls for task, p in out.predictions.items()}
        calls.add_(1)
        return StepOut(out.losses, late)


@pytest.mark.parametrize(
    ("adapter", "words"),
    [
        (FalseExact(), ("claims exact=True", "of step 0 differ", "% of its largest value")),
        (Stale(), ("claims exact=True", f"of step {STEPS - 1} differ")),
    ],
)
def test_a_false_claim_of_exact_predictions_fails(adapter: Adapter, words: tuple[str, ...]) -> None:
    refused(adapter, *words)


def test_a_false_claim_fails_where_the_predictions_of_steps_are_not_used() -> None:
    one = session(FalseExact())
    one.begin_batch(0, IMAGES)
    with pytest.raises(ClaimError, match="predictions of the first step differ"):
        one.adapt(IMAGES)


def test_undeclared_moves_fail_in_every_call() -> None:
    class Moving(Toy):
        name = "moving"

        def __init__(self, call: str) -> None:
            super().__init__()
            self.call = call

        def _move(self, call: str, net: Net) -> None:
            if call == self.call:
                with torch.no_grad():
                    first_weight(net).view(-1)[0].add_(1e-7)

        def begin_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
            self._move("begin_batch", net)

        def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
            self._move("step", net)
            return super().step(net, images, ctx)

        def predict(self, net: Net, images: Tensor, ctx: Context) -> dict[str, Tensor]:
            self._move("predict", net)
            return super().predict(net, images, ctx)

        def end_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
            self._move("end_batch", net)

    for call in ("begin_batch", "step", "predict", "end_batch"):
        refused(Moving(call), "model.backbone.", f"`{call}`", "`moves` does not declare it")
    run(session(Moving("never")))


def test_a_move_in_a_later_batch_fails() -> None:
    class Late(WithModule):
        name = "late"

        def end_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
            calls = net.extra.get_buffer("calls")  # type: ignore[union-attr]
            first_weight(net).add_(calls)
            calls.add_(1)

    run(session(Late()))
    refused(Late(), "batch 1", "model.backbone.", batches=2)


def test_a_prediction_that_moves_a_declared_parameter_fails() -> None:
    class Predicting(Toy):
        name = "predicting"

        def predict(self, net: Net, images: Tensor, ctx: Context) -> dict[str, Tensor]:
            net.model.heads["depth"].get_parameter("bias").mul_(0.999)
            return super().predict(net, images, ctx)

    refused(Predicting(), "`predict` changes model.heads.depth.bias")


def test_a_weight_that_bind_changes_fails() -> None:
    class Binding(Toy):
        name = "binding"

        def bind(self, net: Net, statistics: Mapping[str, Tensor], target: Target) -> Plan:
            with torch.no_grad():
                net.model.heads["edge"].get_parameter("bias").add_(1)
            return super().bind(net, statistics, target)

    refused(Binding(), "`bind` changes model.heads.edge.bias", "source model")


def test_bind_may_fill_the_methods_own_module() -> None:
    class Teacher(Toy):
        name = "teacher"

        def build(self, model: nn.Module, tasks: Mapping[str, int]) -> nn.Module:
            return nn.Linear(2, 2)

        def bind(self, net: Net, statistics: Mapping[str, Tensor], target: Target) -> Plan:
            with torch.no_grad():
                net.extra.weight.fill_(1)
            return super().bind(net, statistics, target)

    run(session(Teacher()), batches=2)


def test_statistics_of_batchnorm_that_a_step_changes_by_hand_fail() -> None:
    class ByHand(Toy):
        name = "by-hand"

        def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
            net.model.backbone.get_buffer("bn1.running_mean").add_(0.1)
            return super().step(net, images, ctx)

    refused(ByHand(), "model.backbone.bn1.running_mean changed", "`step`", "Norm.EMA")


def test_statistics_of_normalising_images_may_not_change_at_all() -> None:
    class Brighter(Drifting):
        name = "brighter"

        def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
            net.model.mean.add_(0.1)
            return super().step(net, images, ctx)

    refused(Brighter(), "model.mean changed")


def test_statistics_may_change_under_ema_in_a_block_of_the_context() -> None:
    class Block(Toy):
        name = "block"

        def begin_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
            with ctx.norm(Norm.EMA):
                net.model.stages(images)

    run(session(Block()), batches=2)


def test_a_second_set_of_statistics_does_not_permit_changes_of_the_models_own() -> None:
    class Second(Toy):
        name = "second"

        def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
            own = running_statistics(net.model)
            with ctx.norm(Norm.EMA, {name: tensor.clone() for name, tensor in own.items()}):
                net.model.stages(images)
            own["backbone.bn1.running_var"].mul_(1.1)
            return super().step(net, images, ctx)

    refused(Second(), "model.backbone.bn1.running_var changed")


def test_a_buffer_that_a_step_registers_fails() -> None:
    class Registering(WithModule):
        name = "registering"

        def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
            net.extra.register_buffer("bank", images[:1].clone())  # type: ignore[union-attr]
            return super().step(net, images, ctx)

    with pytest.raises(BenchError, match=r"reshaped the buffer extra\.bank after `bind`"):
        run(session(Registering()))


def test_a_declared_parameter_that_is_replaced_fails() -> None:
    class Replacing(Toy):
        name = "replacing"

        def begin_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
            head = net.model.heads["depth"]
            head.bias = nn.Parameter(head.get_parameter("bias").detach().clone())

    refused(Replacing(), "`begin_batch` replaces model.heads.depth.bias")


@pytest.mark.parametrize("call", ["step", "predict"])
def test_images_that_are_changed_in_place_fail(call: str) -> None:
    class InPlace(Toy):
        name = "in-place"

    def changing(self: Toy, net: Net, images: Tensor, ctx: Context) -> Any:
        images.clamp_(max=0.5)
        return getattr(Toy, call)(self, net, images, ctx)

    setattr(InPlace, call, changing)
    refused(InPlace(), f"`{call}` changes the images in place")


class Noisy(Toy):
    """An exact method that draws from its generator, moves buffers, and draws when it predicts."""

    name = "noisy"

    def bind(self, net: Net, statistics: Mapping[str, Tensor], target: Target) -> Plan:
        return Plan(moves=("model.*",), adapt=Norm.EMA, predict=Norm.EMA, exact=True)

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        predictions = net.model(images)
        noise = ctx.rand(*predictions["depth"].shape)
        return StepOut({"size": ((predictions["depth"] - noise) ** 2).mean()}, predictions)

    def predict(self, net: Net, images: Tensor, ctx: Context) -> dict[str, Tensor]:
        found = super().predict(net, images, ctx)
        return {task: p + 1e-6 * ctx.rand(*p.shape) for task, p in found.items()}


@pytest.mark.parametrize("adapter", [Toy(), Drifting(), Noisy()])
@pytest.mark.parametrize("optimiser", [Optimiser(lr=1e-3), Optimiser(optimiser="adam", lr=1e-3)])
def test_verifying_changes_no_number(adapter: Adapter, optimiser: Optimiser) -> None:
    plain, verified = (session(adapter, kind, optimiser) for kind in (Session, VerifiedSession))
    draws = torch.random.get_rng_state()
    for want, got in zip(run(plain, 2), run(verified, 2), strict=True):
        assert same(want, got)
    assert same(values(plain.net), values(verified.net))
    assert same(plain.state(), verified.state())
    assert torch.equal(draws, torch.random.get_rng_state())


@pytest.mark.parametrize("adapter", [Drifting(), Noisy()])
def test_a_restored_or_reset_session_is_not_accused(adapter: Adapter) -> None:
    first = session(adapter, optimiser=Optimiser(lr=1e-3))
    run(first)
    second = session(adapter, optimiser=Optimiser(lr=1e-3))
    second.restore({name: tensor.detach().clone() for name, tensor in first.state().items()})
    assert same(run(first)[-1], run(second)[-1])
    second.reset()
    run(second)


def test_numbers_that_are_not_finite_are_left_to_the_protocol() -> None:
    """A diverged method has not broken a claim."""
    run(session(Toy(), optimiser=Optimiser(lr=1e38)))
    run(session(Drifting(), optimiser=Optimiser(lr=1e38)))
