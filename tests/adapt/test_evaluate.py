"""The position prior compared with plain means, and the number of images that it uses."""

from __future__ import annotations

import pytest
import torch
from support.toy import TASKS, ToyDataset

from ttt_bench.train import prior as evaluate
from ttt_bench.util.progress import Silent


def test_the_prior_is_the_mean_of_what_is_labelled() -> None:
    data = ToyDataset(images=5)
    data.targets["depth"][2, 0, 7, 9] = 255
    prior = evaluate.position_prior(data, TASKS, 2, Silent())
    assert {task: tuple(values.shape) for task, values in prior.items()} == {
        t: (k, 32, 32) for t, k in TASKS.items()
    }
    for row, column in ((7, 9), (20, 3)):
        labels = data.targets["semseg"][:, row, column].tolist()
        shares = [labels.count(label) / 5 for label in range(3)]
        assert prior["semseg"][:, row, column].tolist() == pytest.approx(shares)
        depths = data.targets["depth"][:, 0, row, column]
        assert prior["depth"][0, row, column].item() == pytest.approx(
            depths[depths != 255].mean().item()
        )
        for channel in range(3):
            vectors = data.targets["normals"][:, channel, row, column]
            assert prior["normals"][channel, row, column].item() == pytest.approx(
                vectors.mean().item(), abs=1e-6
            )
    assert not prior["semseg"][:, 0].any(), "nothing is labelled there"


def test_of_many_images_a_spread_few_make_the_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "PRIOR_IMAGES", 3)
    data = ToyDataset(images=12)
    prior = evaluate.position_prior(data, {"edge": 1}, 2, Silent())
    torch.testing.assert_close(prior["edge"], data.targets["edge"][[0, 4, 8]].mean(0))
