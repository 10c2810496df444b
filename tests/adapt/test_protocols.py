"""The protocols: resets, scored batches, resuming, and that methods never read target labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support.fakes import TARGET
from support.toy import TASKS, Drifting, Exploding, Toy, ToyDataset, spec

from ttt_bench.adapt.protocol_run import ProtocolRun
from ttt_bench.adapt.record import Record
from ttt_bench.adapt.run_progress import RunProgress
from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Norm, Optimiser, Plan, StepOut
from ttt_bench.data.base import PlacedBatch
from ttt_bench.data.batching import split_batches
from ttt_bench.errors import DivergedError
from ttt_bench.losses import RECIPES
from ttt_bench.metrics.base import Scoring
from ttt_bench.network import Batch
from ttt_bench.protocols import PROTOCOLS, protocol_of
from ttt_bench.train.net import build_net

STEPS = 3


def measure(
    adapter: Any,
    protocol: str,
    data: Any = None,
    *,
    size: int = 4,
    start: Any = None,
    stop: int | None = None,
) -> Any:
    """Run a protocol and return its record.

    Args:
        stop: interrupt the run after this unit, and return what was saved instead.
        start: what an interrupted run saved; the run resumes from it.
    """
    data = data or ToyDataset(images=9)
    session = Session(
        build_net(spec(), adapter),
        adapter,
        target=TARGET,
        optimiser=Optimiser(lr=2e-3),
        statistics={},
        recipe=RECIPES["weighted"],
        seed=0,
    )
    record = Record(batches=split_batches(len(data), size), steps=STEPS)
    saved: list[Any] = []
    first = 0
    if start is not None:
        first, state, tensors, losses = start
        session.restore(state)
        record.from_tensors(tensors)
        record.losses = losses

    def save(unit: int) -> None:
        clone = {k: v.detach().clone() for k, v in session.state().items()}
        kept = {k: v.clone() for k, v in record.to_tensors().items()}
        saved.append((unit, clone, kept, list(record.losses)))
        if unit == stop:
            raise KeyboardInterrupt

    run = ProtocolRun(
        session=session,
        dataset=data,
        tasks=tuple(TASKS),
        scoring=Scoring(edge_sigmoid=True, depth_nonnegative=True),
        record=record,
        device=torch.device("cpu"),
        progress=RunProgress(save=save, save_seconds=-1),
        keep_examples=True,
    )
    try:
        run.run(protocol_of(protocol), first)
    except KeyboardInterrupt:
        return saved[-1]
    return record


def equal(first: Record, second: Record) -> bool:
    statistics = all(
        np.array_equal(first.image_sums[task], second.image_sums[task]) for task in TASKS
    )
    totals = first.set_sums.keys() == second.set_sums.keys() == TASKS.keys() - {"semseg"}
    totals &= all(
        np.array_equal(first.set_sums[task], second.set_sums[task]) for task in first.set_sums
    )
    signals = first.signals.keys() == second.signals.keys() and all(
        np.array_equal(first.signals[name], second.signals[name], equal_nan=True)
        for name in first.signals
    )
    return statistics and totals and signals and first.losses == second.losses


def test_a_last_batch_of_one_image_joins_the_one_before_it() -> None:
    assert [len(batch) for batch in split_batches(9, 4)] == [4, 5]
    assert [len(batch) for batch in split_batches(10, 4)] == [4, 4, 2]
    assert [len(batch) for batch in split_batches(1, 4)] == [1]
    assert [i for batch in split_batches(5105, 8) for i in batch] == list(range(5105))
    assert len(split_batches(5105, 8)[-1]) == 9


def test_episodic_batches_are_independent() -> None:
    class Reordered(ToyDataset):
        def batch(self, indices: Any) -> Batch:
            return super().batch([(i + 4) % 8 for i in indices])

    # the same two batches in the other order, under a method without noise (that is seeded by the
    # batch's number)
    straight, swapped = (
        measure(Toy(), "episodic", data(images=8)) for data in (ToyDataset, Reordered)
    )
    for task in TASKS:
        assert np.array_equal(straight.image_sums[task][:4], swapped.image_sums[task][4:])


def test_online_carries_over_and_its_first_batch_is_the_episodic_one() -> None:
    online, episodic = (measure(Toy(), protocol) for protocol in ("online", "episodic"))
    for task in TASKS:
        assert np.array_equal(online.image_sums[task][:4], episodic.image_sums[task][:4])
    assert not np.array_equal(
        online.image_sums["depth"][4:, 0], episodic.image_sums["depth"][4:, 0]
    )
    # the second batch begins with the gain of the first one
    online_first, episodic_first = (
        {batch: loss for batch, step, _, loss in r.losses if step == 0} for r in (online, episodic)
    )
    assert online_first[0] == episodic_first[0]
    assert online_first[1] < episodic_first[1]


def test_single_batch_adapts_on_the_first_batch_and_scores_everything_at_every_step() -> None:
    single, episodic = measure(Toy(), "single-batch"), measure(Toy(), "episodic")
    assert {batch for batch, *_ in single.losses} == {0}
    assert [step for _, step, *_ in single.losses] == list(range(STEPS))
    for task in TASKS:
        np.testing.assert_allclose(
            single.image_sums[task][:4], episodic.image_sums[task][:4], rtol=1e-5
        )
        assert np.isfinite(single.image_sums[task]).all()
        assert not np.array_equal(
            single.image_sums["depth"][4:, 1], episodic.image_sums["depth"][4:, 1]
        )


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("adapter", [Toy, Drifting])
def test_a_stopped_measurement_ends_with_the_same_numbers(protocol: str, adapter: Any) -> None:
    undisturbed = measure(adapter(), protocol)
    stopped = measure(adapter(), protocol, stop=1)
    resumed = measure(adapter(), protocol, start=stopped)
    assert equal(undisturbed, resumed)
    for name, array in undisturbed.examples.items():
        assert np.array_equal(array, resumed.examples[name]), name


class Anchored(Drifting):
    """Keep the first predictions and random numbers of a batch, and the last step's loss."""

    name = "anchored"

    def begin_batch(self, net: Any, images: Any, ctx: Any) -> None:
        ctx.batch["anchor"] = net.model(images)["depth"]
        ctx.batch["noise"] = ctx.rand(*images.shape)
        ctx.batch["before"] = torch.zeros(())

    def step(self, net: Any, images: Any, ctx: Any) -> StepOut:
        losses = super().step(net, images + 0.1 * ctx.batch["noise"], ctx).losses
        distance = (net.model(images)["depth"] - ctx.batch["anchor"]).square().mean()
        loss = losses["size"] + distance + ctx.batch["before"]
        ctx.batch["before"] = loss.detach()
        return StepOut({"size": loss}, None)


@pytest.mark.parametrize("stop", range(STEPS + 1))
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_values_kept_for_a_batch_survive_a_stop(protocol: str, stop: int) -> None:
    undisturbed = measure(Anchored(), protocol)
    stopped = measure(Anchored(), protocol, stop=stop)
    if isinstance(stopped, Record):  # it has fewer units
        return
    assert equal(undisturbed, measure(Anchored(), protocol, start=stopped))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_totals_are_of_all_images_at_every_step(protocol: str) -> None:
    record = measure(Toy(), protocol)
    pixels = record.image_sums["normals"][:, :, 0].sum(axis=0)
    assert (
        record.set_sums["normals"].sum(axis=1).tolist()
        == pixels.tolist()
        == [9 * 31 * 32] * (STEPS + 1)
    )
    # an angle is at most 1/16 degree above its bin
    below = record.set_sums["normals"] @ np.arange(2880) / 16
    excess = record.image_sums["normals"][:, :, 1].sum(axis=0) - below
    assert ((excess > 0) & (excess < pixels / 16)).all()
    assert record.set_sums["depth"][:, 0].tolist() == [9 * 32 * 32] * (STEPS + 1)
    assert (
        record.set_sums["edge"].reshape(STEPS + 1, 3, 100)[:, :2].sum(axis=(1, 2)).tolist()
        == [9 * 32 * 32] * 4
    )
    for task, values in record.set_sums.items():
        assert len(np.unique(values, axis=0)) == STEPS + 1, (
            f"{task} is measured again at every step"
        )


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("adapter", [Drifting, Toy])
def test_example_predictions_are_those_that_were_scored(adapter: Any, protocol: str) -> None:
    record = measure(adapter(), protocol)
    examples = record.examples
    assert record.example_steps() == [0, 1, STEPS]
    for step in (0, 1, STEPS):
        # a method that moves nothing has the predictions of step 0 at every step
        predictions = examples.get(f"prediction_semseg_{step}", examples["prediction_semseg_0"])
        for place, image in enumerate(examples["indices"]):
            counts = record.image_sums["semseg"][image, step].reshape(-1)
            classes = round(len(counts) ** 0.5)
            truth, predicted = examples["truth_semseg"][place], predictions[place]
            valid = truth != 255
            pairs = truth[valid].astype(int) * classes + predicted[valid]
            assert np.bincount(pairs, minlength=len(counts)).tolist() == counts.tolist()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_labels_are_never_read_by_a_method(protocol: str) -> None:
    class Poisoned(ToyDataset):
        def batch(self, indices: Any) -> Batch:
            batch = super().batch(indices)
            return Batch(
                batch.images,
                {task: torch.full_like(target, 255) for task, target in batch.targets.items()},
            )

    honest, poisoned = (
        measure(Drifting(), protocol),
        measure(Drifting(), protocol, Poisoned(images=9)),
    )
    assert honest.losses == poisoned.losses
    assert np.array_equal(
        honest.examples[f"prediction_depth_{STEPS}"],
        poisoned.examples[f"prediction_depth_{STEPS}"],
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_loss_that_is_not_a_number_is_reported_with_its_step(protocol: str) -> None:
    with pytest.raises(
        DivergedError, match="loss 'size' is not finite at step 2 of batch 0"
    ) as caught:
        measure(Exploding(), protocol)
    assert caught.value.step == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("task", list(TASKS))
def test_a_prediction_that_is_not_finite_is_reported_even_where_scoring_hides_it(
    task: str, value: float
) -> None:
    class Broken(Toy):
        def predict(self, net: Any, images: Any, ctx: Any) -> Any:
            predictions = super().predict(net, images, ctx)
            return {**predictions, task: torch.full_like(predictions[task], value)}

    with pytest.raises(DivergedError, match=f"prediction of {task} is not finite at step 3"):
        measure(Broken(), "episodic")


def test_a_method_without_moves_makes_one_pass_per_batch() -> None:
    class Still(Toy):
        passes = 0

        def bind(self, *args: Any) -> Plan:
            return Plan(moves=(), adapt=Norm.BATCH, predict=Norm.BATCH, exact=True)

        def predict(self, *args: Any) -> Any:
            Still.passes += 1
            return super().predict(*args)

    for protocol in PROTOCOLS:
        Still.passes = 0
        record = measure(Still(), protocol)
        assert Still.passes == 2
        for values in record.image_sums.values():
            assert (values == values[:, :1]).all()
        for values in record.set_sums.values():
            assert (values == values[:1]).all()
            assert values.any()


def test_examples_are_spread_over_the_set_and_show_the_last_step() -> None:
    record = measure(Drifting(), "episodic")
    assert record.examples["indices"].tolist() == [0, 2, 5, 8]
    assert record.examples["image"].shape == (4, 32, 32, 3)
    assert record.examples[f"prediction_normals_{STEPS}"].shape == (4, 3, 32, 32)
    np.testing.assert_allclose(
        np.linalg.norm(record.examples[f"prediction_normals_{STEPS}"].astype(float), axis=1),
        1,
        atol=2e-3,
    )


def test_scoring_the_target_makes_no_mask_of_padded_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[PlacedBatch] = []
    monkeypatch.setattr(PlacedBatch, "valid", lambda placed: made.append(placed))
    measure(Toy(), "single-batch")
    assert len(made) == 1  # of the batch that is adapted on
