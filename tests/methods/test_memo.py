"""MEMO: steps by hand and by the authors' code, its views, and the statistics with a prior."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from PIL import Image, ImageOps
from support.author_net import author_session
from support.fakes import random_images, tiny_net, tiny_session
from support.golden_cases import assert_close, cases
from support.plain import PlainNet, assert_same_predictions
from support.settings import assert_settings
from torch import Tensor, nn

from ttt_bench.adapter import Norm, Optimiser
from ttt_bench.methods import memo
from ttt_bench.methods.memo import MEMO, MEMOOptions, augmix, prior_batch_norm, prior_share
from ttt_bench.model.batchnorm import NormController

SHARE = 1 / 17
PIXELS = (1, 3, 8, 9)


def give_views(monkeypatch: pytest.MonkeyPatch, views: list[Tensor], mirrored: Tensor) -> None:
    """Replace AugMix by given views, one tensor per step."""
    given = iter(views)
    monkeypatch.setattr(memo, "augmix", lambda images, draws: (next(given), mirrored))


@pytest.mark.parametrize("batch", [1, 2])
def test_two_steps_by_hand(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    adapter = MEMO(MEMOOptions(views=3, shared=batch > 1))
    images = random_images(batch)
    views = [random_images(3 * batch, seed=seed) for seed in (5, 6)]
    # (N B,): the second view of every image is not mirrored
    mirrored = torch.tensor([True, False, True]).repeat_interleave(batch)
    give_views(monkeypatch, views, mirrored)
    session = tiny_session(adapter, Optimiser(lr=0.5, weight_decay=1e-2), images=images)
    plain = PlainNet(tiny_net(adapter))
    for k, predictions, losses in session.trajectory(images, 2):
        assert_same_predictions(predictions, plain.predict(images, "mix", SHARE))
        if k < 2:
            stages = plain.stages(views[k], "mix", share=SHARE)
            probabilities = plain.outputs(stages, (64, 64))["semseg"].softmax(dim=1)
            aligned = [p.flip(2) if m else p for p, m in zip(probabilities, mirrored, strict=True)]
            means = [sum(aligned[b::batch]) / 3 for b in range(batch)]
            entropies = [-(mean * mean.log()).sum(dim=0).mean() for mean in means]
            loss = torch.stack(entropies).mean()
            assert losses["marginal"].item() == pytest.approx(loss.item(), rel=1e-10)
            plain.descend(
                loss,
                lambda name: name.startswith(("model.backbone.", "model.heads.semseg.")),
                lr=0.5,
                weight_decay=1e-2,
            )
    plain.assert_equal(session.net)
    start = PlainNet(tiny_net(adapter)).predict(images, "mix", SHARE)
    assert not torch.allclose(start["depth"], predictions["depth"], rtol=1e-3), "it moved"


def test_the_authors_trajectory(monkeypatch: pytest.MonkeyPatch) -> None:
    case = cases("trajectories/memo")[0]
    given = case.inputs
    steps, copies = given["steps"], given["copies"]
    adapter = MEMO(MEMOOptions(views=copies, prior=given["prior"]))
    images = [image[None] for image in given["images"]]
    session = author_session(adapter, given["net"], images, Optimiser(lr=given["lr"]))
    for number, image in enumerate(images):
        views = list(given["views"][number].split(copies))
        give_views(monkeypatch, views, torch.zeros(copies, dtype=torch.bool))
        session.reset()
        session.begin_batch(number, image)
        *_, (_, predictions, _) = session.trajectory(image, steps)
        assert_close(predictions["semseg"], case.outputs["logits"][number], case)
        moved = dict(session.net.model.layers.named_parameters())
        assert_close(moved, case.outputs[f"parameters_{number}"], case)


def test_a_reset_restores_the_source_model() -> None:
    adapter, images = MEMO(MEMOOptions(views=2)), random_images(1)
    session = tiny_session(adapter, Optimiser(optimiser="adamw", lr=0.1), images=images)
    first = list(session.trajectory(images, 2))[-1][1]
    session.reset()
    PlainNet(tiny_net(adapter)).assert_equal(session.net, rtol=0, atol=0)
    session.begin_batch(0, images)
    again = list(session.trajectory(images, 2))[-1][1]
    assert all(torch.equal(first[task], again[task]) for task in first)


def view_by_hand(image: Tensor, numbers: list[float]) -> Tensor:
    """Return a view of an image (3, H, W)."""
    mirror, kept, *rest = numbers
    image = image.flip(2) if mirror < 0.5 else image
    shares, results = [], []
    while rest:
        (share, length), operations, rest = rest[:2], rest[2:8], rest[8:]
        shares.append(-torch.tensor(1 - share, dtype=image.dtype).log())
        result = image
        for number in range(1 + int(3 * length)):
            result = operated(result, int(4 * operations[2 * number]), operations[2 * number + 1])
        results.append(result)
    mixture = sum(s * result for s, result in zip(shares, results, strict=True)) / sum(shares)
    return kept * image + (1 - kept) * mixture


def operated(image: Tensor, kind: int, level: float) -> Tensor:
    """Return an image (3, H, W) after an operation."""
    channels = [image.new_tensor(list(values(c, kind, level))).view_as(c) for c in image]
    return torch.stack(channels)


def values(channel: Tensor, kind: int, level: float) -> Iterator[float]:
    """Yield the values of a channel (H, W) after an operation."""
    pixels = channel.flatten().tolist()
    low, high = min(pixels), max(pixels)
    levels = [round(x * 255) for x in pixels]
    most = sum(level < max(levels) for level in levels)
    for x, own in zip(pixels, levels, strict=True):
        if kind == 0:
            yield (x - low) / (high - low) if high > low else x
        elif kind == 1:
            yield sum(level < own for level in levels) / most if most else x
        elif kind == 2:
            yield own // 16 * 16 / 255
        else:
            yield x if x < 1 - (0.01 + 0.09 * level) else 1 - x


def test_views_by_hand() -> None:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(6, *PIXELS[1:], generator=generator, dtype=torch.float64)
    images[0, 1] = 0.3  # a constant channel
    draws = torch.rand(6, memo.VIEW_DRAWS, generator=generator, dtype=torch.float64)
    views, mirrored = augmix(images, draws)
    assert mirrored.tolist() == (draws[:, 0] < 0.5).tolist()
    for image, numbers, view in zip(images, draws.tolist(), views, strict=True):
        torch.testing.assert_close(view, view_by_hand(image, numbers), rtol=1e-9, atol=1e-9)


def test_operations_equal_those_of_pillow_on_images_of_8_bits() -> None:
    levels = torch.randint(20, 230, PIXELS, generator=torch.Generator().manual_seed(4))
    picture = Image.fromarray(levels[0].movedim(0, 2).to(torch.uint8).numpy())
    images = levels / 255

    def compare(ours: Tensor, theirs: Image.Image, tolerance: float) -> None:
        wanted = torch.tensor(list(theirs.tobytes())).view(8, 9, 3).movedim(2, 0) / 255
        torch.testing.assert_close(ours[0], wanted, rtol=0, atol=tolerance)

    compare(memo.posterise(images), ImageOps.posterize(picture, 4), 1e-6)
    solarised = memo.solarise(images, torch.tensor([(1 - 199.5 / 255 - 0.01) / 0.09]))
    compare(solarised, ImageOps.solarize(picture, 200), 1e-6)
    compare(memo.autocontrast(images), ImageOps.autocontrast(picture), 1.001 / 255)


def test_the_prior_is_the_share_of_mixed_statistics() -> None:
    generator = torch.Generator().manual_seed(5)
    layer = nn.BatchNorm2d(3).double()
    layer.running_mean.normal_(generator=generator)
    layer.running_var.uniform_(0.5, 2, generator=generator)
    x = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    controller = NormController(nn.Sequential(layer))
    controller.share = prior_share(16)
    wanted = prior_batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias)
    with controller.within(Norm.MIX):
        torch.testing.assert_close(layer(x), wanted, rtol=1e-12, atol=1e-12)


def test_needs_and_cost() -> None:
    needs = MEMO().needs()
    assert (needs.batch, needs.protocols, needs.tasks) == (1, {"episodic"}, {"semseg"})
    shared = MEMO(MEMOOptions(shared=True)).needs()
    assert (shared.batch, shared.protocols) == (None, frozenset())
    assert MEMO().passes(1) == (32, 32, 4)
    assert tiny_session(MEMO(), Optimiser()).plan.share == SHARE
    assert tiny_session(MEMO(MEMOOptions(prior=0)), Optimiser()).plan.share == 1


def test_settings() -> None:
    options: dict[str, Any] = {"views": 64}
    assert_settings(MEMO, lr=2.5e-4, steps=1, options=options)
