"""Sessions: updates, resetting, exact trajectories, permitted changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from support.fakes import TARGET
from support.toy import Drifting, Toy, ToyDataset, same, spec, values

from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Norm, Optimiser, Plan
from ttt_bench.errors import BenchError
from ttt_bench.losses import RECIPES
from ttt_bench.model.network import Network
from ttt_bench.train.net import build_net

SGD = Optimiser(lr=0.1)
IMAGES = ToyDataset().images[:4]


def session(adapter: Any, optimiser: Optimiser = SGD) -> Session:
    return Session(
        build_net(spec(), adapter),
        adapter,
        target=TARGET,
        optimiser=optimiser,
        statistics={},
        recipe=RECIPES["weighted"],
        seed=0,
    )


def run(one: Session, steps: int = 3, number: int = 0) -> list[dict[str, torch.Tensor]]:
    one.begin_batch(number, IMAGES)
    return [
        {task: p.clone() for task, p in predictions.items()}
        for _, predictions, _ in one.trajectory(IMAGES, steps)
    ]


def test_two_steps_are_gradient_descent_by_hand() -> None:
    one = session(Toy())
    reference = build_net(spec(), Toy()).model.eval()
    run(one, steps=2)
    for _ in range(2):
        loss = sum((p**2).mean() for p in reference(IMAGES).values())
        biases = [head.bias for head in reference.heads.values()]
        gradients = torch.autograd.grad(loss, biases)  # type: ignore[arg-type]
        with torch.no_grad():
            for bias, gradient in zip(biases, gradients, strict=True):
                bias -= 0.1 * gradient
    for (name, got), want in zip(
        one.net.model.named_parameters(), reference.parameters(), strict=True
    ):
        torch.testing.assert_close(got, want, msg=name)


def test_only_declared_parameters_move_and_buffers_stay_under_running_statistics() -> None:
    one = session(Toy())
    before = values(one.net)
    run(one)
    moved = {
        name for name, tensor in values(one.net).items() if not torch.equal(tensor, before[name])
    }
    assert moved == {f"model.heads.{task}.bias" for task in ("semseg", "depth", "normals", "edge")}


@pytest.mark.parametrize("adapter", [Toy(), Drifting()])
@pytest.mark.parametrize(
    "optimiser", [SGD, Optimiser(lr=0.1, momentum=0.9), Optimiser(optimiser="adam", lr=0.01)]
)
def test_reset_restores_everything_bit_for_bit(adapter: Any, optimiser: Optimiser) -> None:
    one = session(adapter, optimiser)
    before, first = values(one.net), run(one)
    one.reset()
    assert same(before, values(one.net))
    for got, want in zip(run(one), first, strict=True):
        assert same(got, want)


def test_without_a_reset_the_optimisers_momentum_carries_over() -> None:
    one = session(Toy(), Optimiser(lr=0.1, momentum=0.9))
    first = run(one)
    assert not torch.equal(run(one)[-1]["depth"], first[-1]["depth"])


def test_an_exact_trajectory_equals_separate_predictions_and_saves_their_passes() -> None:
    class Counted(Toy):
        forwards = 0

        def step(self, *args: Any) -> Any:
            Counted.forwards += 1
            return super().step(*args)

        def predict(self, *args: Any) -> Any:
            Counted.forwards += 1
            return super().predict(*args)

    class Honest(Counted):
        def bind(self, *args: Any) -> Plan:
            return Plan(
                moves=("model.heads.*.bias",), adapt=Norm.RUNNING, predict=Norm.RUNNING, exact=False
            )

    exact = run(session(Counted()), steps=5)
    assert Counted.forwards == 6
    Counted.forwards = 0
    separate = run(session(Honest()), steps=5)
    assert Counted.forwards == 11
    for got, want in zip(exact, separate, strict=True):
        assert same(got, want)


def test_predictions_of_step_k_are_made_after_k_updates_with_buffers_moved_k_times() -> None:
    one = session(Drifting())
    counts = []
    one.begin_batch(0, IMAGES)
    for _ in one.trajectory(IMAGES, 3):
        counts.append(int(one.net.model.backbone.get_buffer("bn1.num_batches_tracked")))
    # the buffers move once more after a step's predictions, before its losses are returned
    assert counts == [1, 2, 3, 3]
    assert one.net.model.backbone.get_submodule("bn1").training is False, (
        "the last prediction was in running mode"
    )


def test_randomness_depends_on_seed_method_and_batch_only() -> None:
    first, second = session(Drifting()), session(Drifting())
    run(second, number=7)
    second.reset()
    assert same(run(first)[-1], run(second)[-1])
    first.reset()
    assert not torch.equal(run(first, number=1)[-1]["depth"], run(second, number=0)[-1]["depth"])


def test_a_restored_state_continues_with_the_same_numbers() -> None:
    for optimiser in (
        Optimiser(lr=1e-3),
        Optimiser(lr=1e-3, momentum=0.9),
        Optimiser(optimiser="adam", lr=1e-3),
    ):
        first = session(Drifting(), optimiser)
        run(first)
        state = {name: tensor.detach().clone() for name, tensor in first.state().items()}
        want = run(first, number=1)
        second = session(Drifting(), optimiser)
        second.restore(state)
        assert same(run(second, number=1)[-1], want[-1])


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    class Wrong(Toy):
        def bind(self, *args: Any) -> Plan:
            return Plan(
                moves=("model.neck.*",), adapt=Norm.RUNNING, predict=Norm.RUNNING, exact=True
            )

    problem = r"`moves` of toy: 'model\.neck\.\*' matches no parameter of the network"
    with pytest.raises(BenchError, match=problem):
        session(Wrong())


def test_a_plan_without_moves_cannot_adapt_with_ema() -> None:
    class Wrong(Toy):
        def bind(self, *args: Any) -> Plan:
            return Plan(moves=(), adapt=Norm.EMA, predict=Norm.RUNNING, exact=False)

    with pytest.raises(BenchError, match=r"declares no `moves` but adapt=Norm\.EMA"):
        session(Wrong())


def test_an_exact_plan_must_return_predictions() -> None:
    class Wrong(Drifting):
        def bind(self, *args: Any) -> Plan:
            return Plan(moves=("model.*",), adapt=Norm.BATCH, predict=Norm.BATCH, exact=True)

    with pytest.raises(
        BenchError, match="declares exact=True, but its step returned no predictions"
    ):
        run(session(Wrong()))


@pytest.mark.parametrize("images", [4, 1])
def test_a_rate_per_sample_is_that_of_the_batch_at_each_update(images: int) -> None:
    scaled, plain = (
        session(Toy(), Optimiser(lr=lr, momentum=0.9, lr_per_sample=per_sample))
        for lr, per_sample in ((0.025, True), (0.025 * images, False))
    )
    for one in (scaled, plain):
        one.begin_batch(0, IMAGES[:images])
        for _ in range(2):
            one.adapt(IMAGES[:images])
    assert same(values(scaled.net), values(plain.net))


def test_a_rate_per_sample_follows_a_smaller_last_batch() -> None:
    one = session(Toy(), Optimiser(lr=0.25, lr_per_sample=True))
    rates = []
    for number, images in enumerate((4, 3)):
        one.begin_batch(number, IMAGES[:images])
        one.adapt(IMAGES[:images])
        assert one.optimiser is not None
        rates.append(one.optimiser.param_groups[0]["lr"])
    assert rates == [1.0, 0.75]


def test_momentum_of_the_running_statistics_is_the_methods_option() -> None:
    adapter = Drifting(Drifting.Options(norm_momentum=1.0))
    one = session(adapter)
    one.begin_batch(0, IMAGES)
    one.adapt(IMAGES)
    norm = one.net.model.backbone.get_submodule("bn1")
    assert norm.momentum == 1.0
    assert not torch.equal(
        norm.get_buffer("running_mean"), torch.zeros_like(norm.get_buffer("running_mean"))
    )


def test_out_of_memory_a_prediction_under_running_statistics_is_made_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, sizes = session(Toy()), []
    whole, real = one.predict(IMAGES), Network.forward

    def small(self: Network, images: torch.Tensor) -> dict[str, torch.Tensor]:
        sizes.append(len(images))
        if len(images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return real(self, images)

    monkeypatch.setattr(Network, "forward", small)
    found = one.predict(IMAGES)
    assert sizes == [4, 2, 1, 1, 2, 1, 1]
    for task, prediction in whole.items():
        torch.testing.assert_close(found[task], prediction, rtol=1e-5, atol=1e-6)
    one.plan = replace(one.plan, predict=Norm.BATCH)
    with pytest.raises(torch.OutOfMemoryError):
        one.predict(IMAGES)
