"""The signals of a run: change and agreement of predictions, without labels or further passes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from support.fakes import TARGET
from support.toy import TASKS, Drifting, Toy, ToyDataset, spec

from ttt_bench.adapt.protocol_run import ProtocolRun
from ttt_bench.adapt.record import Record
from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Norm, Optimiser, Plan
from ttt_bench.data.batching import split_batches
from ttt_bench.losses import RECIPES
from ttt_bench.metrics.base import Scoring
from ttt_bench.metrics.measure.base import measurement_of
from ttt_bench.model.network import StagedNetwork
from ttt_bench.network import Batch
from ttt_bench.protocols import PROTOCOLS, protocol_of
from ttt_bench.train.net import build_net

STEPS = 3
SCORING = Scoring(edge_sigmoid=True, depth_nonnegative=True)


class Still(Toy):
    """A toy that moves nothing."""

    name = "still"

    def bind(self, *args: Any) -> Plan:
        return Plan(moves=(), adapt=Norm.RUNNING, predict=Norm.RUNNING, exact=True)


def session(adapter: Any) -> Session:
    return Session(
        build_net(spec(), adapter),
        adapter,
        target=TARGET,
        optimiser=Optimiser(lr=2e-3),
        statistics={},
        recipe=RECIPES["weighted"],
        seed=0,
    )


def recorded(adapter: Any, protocol: str, data: Any = None, *, agreement: bool = False) -> Record:
    record = Record(batches=split_batches(9, 4), steps=STEPS)
    ProtocolRun(
        session=session(adapter),
        dataset=data or ToyDataset(images=9),
        tasks=tuple(TASKS),
        scoring=SCORING,
        record=record,
        device=torch.device("cpu"),
        agreement=agreement,
    ).run(protocol_of(protocol))
    return record


@pytest.mark.parametrize("adapter", [Toy, Drifting])
@pytest.mark.parametrize("protocol", ["episodic", "single-batch"])
def test_signals_equal_those_of_a_trajectory_predicted_by_hand(adapter: Any, protocol: str) -> None:
    """Predict the first batch, which both protocols adapt on from the source model."""
    one, images = session(adapter()), ToyDataset(images=9).batch(range(4)).images
    one.begin_batch(0, images)
    straight, mirrored = [], []
    for _ in range(STEPS + 1):
        straight.append(SCORING.apply(one.predict(images)))
        mirrored.append(SCORING.apply(one.predict(images.flip(-1))))
        one.adapt(images)
    found = recorded(adapter(), protocol, agreement=True).signals
    for task in TASKS:
        measurement = measurement_of(task)
        values = [measurement.compared(predictions[task]) for predictions in straight]
        back = [
            measurement.compared(measurement.mirrored(predictions[task]))
            for predictions in mirrored
        ]
        changes = [measurement.difference(p, q).mean().item() for p, q in pairwise(values)]
        agree = [
            1 - measurement.difference(p, q).mean().item()
            for p, q in zip(values, back, strict=True)
        ]
        assert np.isnan(found[f"change.{task}"][0, 0])
        np.testing.assert_allclose(found[f"change.{task}"][0, 1:], changes, rtol=1e-4)
        np.testing.assert_allclose(found[f"agreement.{task}"][0], agree, rtol=1e-4)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_predictions_that_stay_the_same_do_not_change(protocol: str) -> None:
    found = recorded(Still(), protocol, agreement=True).signals
    adapted_on = slice(0, 1) if protocol == "single-batch" else slice(0, 2)
    for task in TASKS:
        assert (found[f"change.{task}"][adapted_on, 1:] == 0).all()
        agreement = found[f"agreement.{task}"][adapted_on]
        assert (agreement == agreement[:, :1]).all()


def test_a_single_batch_run_has_signals_of_the_batch_that_it_adapts_on() -> None:
    table = recorded(Toy(), "single-batch").signals_table()
    assert set(table["batch"]) == {0}
    assert sorted(set(table["step"])) == [1, 2, 3]


def test_signals_are_finite_and_do_not_depend_on_labels() -> None:
    class Unlabelled(ToyDataset):
        def batch(self, indices: Any) -> Batch:
            batch = super().batch(indices)
            shuffled = {task: target.flip(0) for task, target in batch.targets.items()}
            return Batch(batch.images, shuffled)

    table, other = (
        recorded(Drifting(), "online", data, agreement=True).signals_table()
        for data in (ToyDataset(images=9), Unlabelled(images=9))
    )
    assert table.equals(other)
    assert np.isfinite(table["value"]).all()
    assert len(table) == 2 * len(TASKS) * (STEPS + STEPS + 1)


def test_changes_cost_no_forward_pass_and_agreement_costs_one_per_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passes = []
    forward = StagedNetwork.forward
    monkeypatch.setattr(
        StagedNetwork, "forward", lambda self, x: (passes.append(1), forward(self, x))[1]
    )
    recorded(Toy(), "online")
    batches = 2
    assert len(passes) == batches * (STEPS + 1)
    passes.clear()
    recorded(Toy(), "online", agreement=True)
    assert len(passes) == 2 * batches * (STEPS + 1)
