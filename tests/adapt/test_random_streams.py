"""A further draw in one stream of random numbers moves no number of another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support.fakes import TARGET
from support.toy import Drifting, Joint, ToyDataset, spec
from torch import Tensor

from ttt_bench.adapt.context import Streams
from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Context, Optimiser, SourcePass
from ttt_bench.data.images.augment_sample import augmented_sample, streams_of
from ttt_bench.losses import RECIPES
from ttt_bench.stats import bootstrap, cross_fitting
from ttt_bench.train.chain import training_chain
from ttt_bench.train.loader import training_batches
from ttt_bench.train.net import build_net
from ttt_bench.train.source_statistics import measure_source
from ttt_bench.train.stage import StageRun
from ttt_bench.util.progress import Silent

CPU = torch.device("cpu")


def drawn(streams: Streams) -> dict[str, list[float]]:
    return {name: streams.named(name).rand(3).tolist() for name in ("", "mask", "noise")}


@pytest.mark.parametrize("extra", ["", "mask", "noise"])
def test_streams_of_a_context_are_independent(extra: str) -> None:
    one, other = Streams(CPU), Streams(CPU)
    for streams in (one, other):
        streams.seed(0, "tent", 4)
    other.named(extra).rand(1)
    with other.within("predict"):
        other.named(extra).rand(1)
    first, second = drawn(one), drawn(other)
    assert [name for name in first if first[name] != second[name]] == [extra]
    assert len({tuple(numbers) for numbers in first.values()}) == 3


def test_a_restored_state_continues_every_stream() -> None:
    streams = Streams(CPU)
    streams.seed(0)
    streams.named("mask").rand(2)
    saved = streams.state()
    expected = drawn(streams)
    for again in (streams, Streams(CPU)):
        again.seed(0)
        again.named("noise").rand(5)  # it is not in the state, so it is seeded again
        again.restore(saved)
        assert drawn(again) == expected


class Eager(Drifting):
    """Draws more than `Drifting`, in every hook and in a stream that no loss depends on."""

    name = Drifting.name

    def begin_batch(self, net: Any, images: Any, ctx: Context) -> None:
        ctx.rand(7)

    def end_batch(self, net: Any, images: Any, ctx: Context) -> None:
        ctx.normal_like(images)

    def predict(self, net: Any, images: Any, ctx: Context) -> dict[str, Tensor]:
        ctx.rand(3)
        return super().predict(net, images, ctx)

    def step(self, net: Any, images: Any, ctx: Context) -> Any:
        ctx.stream("further").uniform_like(images)
        return super().step(net, images, ctx)


def adapted(adapter: Drifting) -> list[Tensor]:
    """Return the losses and predictions of two batches."""
    session = Session(
        build_net(spec(), adapter),
        adapter,
        target=TARGET,
        optimiser=Optimiser(lr=0.01),
        statistics={},
        recipe=RECIPES["weighted"],
        seed=0,
    )
    found: list[Tensor] = []
    for number in range(2):
        images = ToyDataset(seed=number).batch([0, 1]).images
        session.begin_batch(number, images)
        for _, predictions, losses in session.trajectory(images, 2):
            found += [*predictions.values(), *losses.values()]
        session.end_batch(images)
    return found


def test_further_draws_of_a_method_move_no_step_and_no_prediction() -> None:
    expected, found = adapted(Drifting()), adapted(Eager())
    assert len(expected) == len(found)
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))


class EagerJoint(Joint):
    """Draws more than `Joint` while it is built, in training and for its statistics."""

    name = Joint.name

    def build(self, model: Any, tasks: Any) -> Any:
        found = super().build(model, tasks)
        torch.rand(5)  # the global generator, seeded for `build`
        return found

    def source_loss(self, step: Any) -> dict[str, Tensor]:
        step.ctx.rand(4)
        step.ctx.stream("further").rand(4)
        torch.rand(4)  # the global generator, seeded for every iteration
        return super().source_loss(step)


def trained(adapter: Joint) -> dict[str, Tensor]:
    """Return the images that training sees, and the weights before and after it."""
    net = build_net(spec(), adapter)
    before = {f"before.{name}": tensor.clone() for name, tensor in net.state_dict().items()}
    seen: dict[str, Tensor] = {}
    stage = training_chain(spec(), adapter)[-1]
    run = StageRun(net, stage, spec(), CPU)
    for number, batch in enumerate(training_batches(ToyDataset(), spec(), stage)):
        seen[f"images.{number}"] = batch.images
        run.iterate(batch)
    return {**before, **seen, **net.state_dict()}


def test_further_draws_in_training_move_no_weight_and_no_image() -> None:
    expected, found = trained(Joint()), trained(EagerJoint())
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


class Measuring(Drifting):
    """Keeps a random number and the images that its source statistics are measured on."""

    def source_pass(self) -> SourcePass:
        return SourcePass(images=8, batch=4)

    def source_statistics(self, net: Any, images: Any, ctx: Context) -> dict[str, Tensor]:
        return {"drawn": ctx.rand(3), "images": torch.cat(list(images))}


class EagerMeasuring(Measuring):
    """Draws more than `Measuring` before."""

    def source_statistics(self, net: Any, images: Any, ctx: Context) -> dict[str, Tensor]:
        ctx.stream("further").rand(9)
        return super().source_statistics(net, images, ctx)


def statistics(adapter: Measuring) -> dict[str, Tensor]:
    net, data = build_net(spec(), adapter), ToyDataset()
    return measure_source(net, spec(), adapter, data, target_size=data.size, progress=Silent())


def test_the_images_of_source_statistics_have_a_stream_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = statistics(Measuring())
    found = statistics(EagerMeasuring())
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    permutation = torch.randperm

    def after_another_draw(*args: Any, generator: torch.Generator) -> Tensor:
        torch.rand(1, generator=generator)
        return permutation(*args, generator=generator)

    monkeypatch.setattr(torch, "randperm", after_another_draw)
    moved = statistics(Measuring())
    assert torch.equal(expected["drawn"], moved["drawn"])
    assert not torch.equal(expected["images"], moved["images"])


@pytest.mark.parametrize("extra", ["scale", "crop", "mirror", "colour"])
def test_a_further_draw_of_an_augmentation_moves_no_other_one(extra: str) -> None:
    sample = {"image": np.zeros((3, 20, 20), np.uint8)}

    def rest(*, disturbed: bool) -> dict[str, float]:
        """Return the next number of every purpose after a sample was augmented."""
        made: dict[str, np.random.Generator] = {}
        stream: Callable[[str], np.random.Generator] = streams_of(3, 1)

        def kept(name: str) -> np.random.Generator:
            made[name] = stream(name)
            if disturbed and name == extra:
                made[name].random()
            return made[name]

        augmented_sample(sample, (10, 10), kept)
        return {name: generator.random() for name, generator in made.items()}

    usual, changed = rest(disturbed=False), rest(disturbed=True)
    assert usual.keys() == {"scale", "crop", "mirror", "colour"}
    assert {name for name in usual if usual[name] != changed[name]} <= {extra}


def test_draws_of_statistics_do_not_depend_on_each_other() -> None:
    weights = bootstrap.weights(12, 20)
    cross_fitting.partitions(12)
    np.random.default_rng().random(5)
    assert np.array_equal(bootstrap.weights(12, 20), weights)
