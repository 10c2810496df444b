"""Synchronisation with intervals, against the scores of images drawn by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.generated import generate

from ttt_bench import open_results, sync
from ttt_bench.analysis.images import images_of
from ttt_bench.analysis.results import Results
from ttt_bench.analysis.synchronisation import draws, synchronised
from ttt_bench.metrics.base import metrics_of
from ttt_bench.stats.bootstrap import weights
from ttt_bench.stats.synchronisation import MEASURES, RANGES

METHODS = ("base", "actmad", "s4t")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("results")
    generate(folder, methods=METHODS, seeds=2, steps=5, images=12, batch=3, workers=1)
    return open_results(folder)


def test_a_replicate_has_the_measures_of_its_images(results: Results) -> None:
    (evidence,) = results.evidence
    found, observed = synchronised(evidence), evidence.observed
    images = images_of(evidence.comparison, observed)
    assert found.replicates is not None
    drawn = weights(images.units)[7].astype(int)
    assert found.replicates.shape == (
        draws(len(observed.cells)),
        len(observed.cells),
        len(MEASURES),
    )
    lower = [metrics_of(task).lower_is_better for task in observed.tasks]
    place = list(observed.cells).index(("s4t", 1))
    sums = images.cells[place]
    assert sums is not None
    # the sums of every drawn batch, as often as it is drawn: (n, T + 1)
    curves = np.stack(
        [
            metrics_of(task).score_of_sums(np.repeat(sums[task], drawn, axis=0).sum(axis=0))
            for task in observed.tasks
        ]
    )
    flat = sync.flat_curves(observed.scores[place].T)
    units = sync.unit_curves(curves, lower, flat)
    expected = {
        "step_variance": sync.step_variance(curves[:, 1:], lower),
        "peak_spread": sync.peak_spread(units),
        "curve_distance": sync.curve_distance(units),
        "direction_agreement": sync.direction_agreement(units),
    }
    measured = dict(zip(MEASURES, found.replicates[7, place], strict=True))
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, rel=1e-9)


def test_many_cells_have_fewer_replicates() -> None:
    assert [draws(cells) for cells in (0, 30, 60, 1000, 10_000)] == [1000, 1000, 500, 30, 20]


def test_estimates_and_differences_to_the_frozen_control(results: Results) -> None:
    frame = results.synchronisation()
    own = frame[frame["reference"] == ""].set_index(["label", "quantity"])
    assert set(frame["label"]) == {"actmad", "actmad (frozen)", "s4t", "s4t (frozen)"}
    assert own["p"].isna().all()
    for (_, quantity), row in own.iterrows():
        lowest, highest = RANGES[quantity]
        assert lowest <= row["low"] <= row["mean"] <= row["high"] <= highest
    differences = frame[frame["reference"] == "frozen"]
    assert len(differences)
    for row in differences.itertuples():
        a, b = own.loc[(row.label, row.quantity)], own.loc[(row.reference_label, row.quantity)]
        paired = {seed: a["values"][seed] - b["values"][seed] for seed in a["values"]}
        assert row.values == pytest.approx(paired)
        assert row.mean == pytest.approx(np.mean(list(paired.values())))
        assert row.low <= row.mean <= row.high
        assert row.units == 4


def test_selected_methods_only(results: Results, tmp_path: Path) -> None:
    frame = results.select(methods="s4t").synchronisation()
    assert set(frame["label"]) == {"s4t", "s4t (frozen)"}
