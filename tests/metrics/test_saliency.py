"""The metrics of saliency and of human parts against plain loops over raw pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ttt_bench.adapt.record import Record
from ttt_bench.metrics.base import metrics_of
from ttt_bench.metrics.measure.base import measurement_of
from ttt_bench.metrics.saliency import max_f, mean_jaccard
from ttt_bench.results.schema import ROW_COLUMNS
from ttt_bench.tasks import HUMAN_PARTS

SHAPE = (3, 1, 6, 7)


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return outputs in [0, 1] and 0/1 targets, a fifth of the pixels without a target."""
    draw = torch.Generator().manual_seed(seed)
    prediction = torch.rand(SHAPE, generator=draw)
    target = (0.4 * torch.rand(SHAPE, generator=draw) + prediction > 0.8).float()
    target[torch.rand(SHAPE, generator=draw) < 0.2] = 255
    return prediction, target


def test_max_f_and_mean_iou_equal_those_of_plain_loops() -> None:
    prediction, target = drawn(0)
    sums = measurement_of("saliency").image_sums(prediction, target).numpy()
    valid = target != 255
    f = []
    for k in range(1, 20):
        reached, salient = prediction[valid] >= k / 20, target[valid] == 1
        precision = (reached & salient).sum() / reached.sum()
        recall = (reached & salient).sum() / salient.sum()
        f.append(float(1.3 * precision * recall / (0.3 * precision + recall)))
    found = metrics_of("saliency").score([sums[:2], sums[2:]])
    assert found == pytest.approx(100 * np.nanmax(f))
    means = []
    for k in range(4, 19):
        reached, salient = (prediction >= k / 20) & valid, target == 1
        both = (reached & salient).flatten(1).sum(1) / (reached | salient).flatten(1).sum(1)
        means.append(float(both.mean()))
    assert mean_jaccard(sums) == pytest.approx(100 * max(means))


def test_an_image_with_nothing_salient_counts_as_found_if_nothing_is_predicted() -> None:
    nothing, all_of_it = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    measure = measurement_of("saliency").image_sums
    assert mean_jaccard(measure(nothing, nothing).numpy()) == 100
    assert mean_jaccard(measure(all_of_it, nothing).numpy()) == 0
    assert max_f(measure(nothing, nothing)[0].numpy()) == 0
    assert mean_jaccard(measure(nothing, nothing + 255).numpy()) is None


def test_the_best_constant_calls_every_pixel_salient() -> None:
    _, target = drawn(1)
    sums = measurement_of("saliency").image_sums(torch.ones(SHAPE), target).numpy()
    metrics = metrics_of("saliency")
    constant = metrics.constant_score([sums.sum(axis=0)])
    assert constant == pytest.approx(metrics.score([sums]))
    assert metrics.constant_warning(constant, constant) is not None
    assert metrics.constant_warning(constant + 1, constant) is None


def test_images_without_people_do_not_count_and_parts_have_their_names() -> None:
    logits = torch.randn(2, 7, 4, 5, generator=torch.Generator().manual_seed(2))
    target = logits.argmax(1)
    target[1] = 255
    target[0, 0] = 0
    record = Record(batches=[[0, 1]], steps=0)
    sums = measurement_of("human_parts").image_sums(logits, target)
    record.put([0, 1], slice(0, 1), {"human_parts": sums[None]})
    rows = record.rows(dict.fromkeys(ROW_COLUMNS, 0), classes=("a", "b"))
    assert rows[rows["metric"] == "iou"]["class"].tolist() == list(HUMAN_PARTS)
    predicted, truth = logits[0].argmax(0).numpy(), target[0].numpy()
    alone = [
        ((predicted == k) & (truth == k)).sum() / ((predicted == k) | (truth == k)).sum()
        for k in range(7)
    ]
    assert rows["value"].iloc[0] == pytest.approx(100 * np.mean(alone))
    picture = metrics_of("human_parts").picture(np.array([[0, 1, 255]]))
    assert len({tuple(colour) for colour in picture[0].tolist()}) == 3
    assert [name for name, _ in metrics_of("human_parts").legend(("a", "b"))] == list(HUMAN_PARTS)
