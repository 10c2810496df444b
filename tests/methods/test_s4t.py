"""S4T as published: a whole adaptation by hand, parameter counts, masks, weights, source losses,
options.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.fakes import TARGET, TASKS, random_images, tiny_net, tiny_session
from support.plain import assert_same_predictions
from support.plain_s4t import PlainS4T
from support.settings import assert_settings
from support.toy import ToyDataset, source_terms
from torch import Tensor
from torch.nn import functional as F

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.parameters import moved_parameters
from ttt_bench.adapter import Norm, Optimiser
from ttt_bench.config.preset import ModelConfig
from ttt_bench.losses import RECIPES, Recipe
from ttt_bench.methods import _s4t_network, s4t
from ttt_bench.methods.s4t import S4T, S4TOptions, Synchronizer
from ttt_bench.model.architecture import build_model
from ttt_bench.model.parameters import count_parameters
from ttt_bench.network import Net

TINY = {
    "R": 32,
    "patch": 8,
    "latent": 4,
    "embed": 8,
    "heads": 2,
    "depth": (1, 1),
    "mask_ratio": 0.5,
}


def adapter(**options: Any) -> S4T:
    return S4T(S4TOptions(**{**TINY, **options}))


@pytest.mark.parametrize("size", [(8, 8), (5, 7), (20, 3)])
def test_stretched_patches_are_those_of_the_resized_latents(size: tuple[int, int]) -> None:
    latents = torch.randn(2, 3, *size, dtype=torch.float64)
    square = F.interpolate(latents, size=(8, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(
        s4t.unpatchify(_s4t_network.stretched_patches(latents, 8, 4), 4, 3), square
    )


def test_two_steps_of_descent_by_hand() -> None:
    images = random_images(2, 64, 96)
    session = tiny_session(adapter(), Optimiser(lr=1e-3, weight_decay=1e-2))
    plain = PlainS4T(tiny_net(adapter()), S4TOptions(**TINY), TASKS)
    start = plain.predict(images, "running")
    for k, predictions, losses in session.trajectory(images, 2):
        assert_same_predictions(predictions, plain.predict(images, "running"))
        if k < 2:
            loss = plain.loss(images)
            assert losses["tbs"].item() == pytest.approx(loss.item(), rel=1e-9)
            gradients = plain.descend(loss, lambda name: True, lr=1e-3, weight_decay=1e-2)
            assert gradients.keys() == {name for name in plain.p if gets_gradient(name)}
    plain.assert_equal(session.net)
    assert not torch.allclose(start["depth"], predictions["depth"], rtol=1e-3), "it moved"


def gets_gradient(name: str) -> bool:
    """Return whether a parameter gets a gradient; uncertainties do not under fixed weights."""
    return not name.startswith(("model.heads.", "extra.auxiliary.", "extra.uncertainties"))


FOUR, THREE = (
    {"semseg": 7, "depth": 1, "normals": 3, "edge": 1},
    {"semseg": 6, "normals": 3, "edge": 1},
)


def resnet50(pair: dict[str, int], **options: Any) -> tuple[S4T, Net]:
    """Return the method with these options and its network on the meta device, for these tasks."""
    method = S4T(S4TOptions(**options))
    own = {task: pair[task] for task in method.own_tasks(tuple(pair))}
    with torch.device("meta"):
        model = build_model(ModelConfig(backbone="resnet50"), own)
        return method, Net(model, method.build(model, own))


@pytest.mark.parametrize(
    ("tasks", "total", "added", "gradients"),
    [(FOUR, 29_236_632, 5_682_508, 29_189_760), (THREE, 27_901_140, 4_354_698, 27_862_080)],
)
def test_published_numbers_of_parameters(
    tasks: dict[str, int], total: int, added: int, gradients: int
) -> None:
    method, net = resnet50(tasks)
    counts = count_parameters(net, method.uncounted)
    assert (counts.total, counts.added) == (total, added)
    assert sum(p.numel() for name, p in net.named_parameters() if gets_gradient(name)) == gradients
    moved = moved_parameters(net, method.bind(net, {}, TARGET).moves, "s4t")
    assert {name for name in moved if name != "extra.uncertainties"} == {
        name for name, _ in net.named_parameters() if gets_gradient(name)
    }


@pytest.mark.parametrize(
    ("options", "total"),
    [
        ({"projection": "shared"}, 29_235_852),
        ({"projection": "none"}, 86_972_812),
        ({"mask_ratio": 0.0}, 29_236_632),
        ({"masking": "random"}, 29_236_632),
        ({"masking": "tasks", "hidden_tasks": 3}, 29_236_632),
        ({"target": "image"}, 29_086_872),
        ({"target": "image", "projection": "shared"}, 29_086_092),
        ({"tasks": "single:semseg"}, 25_250_702),
        ({"tasks": "single:depth"}, 25_127_426),
        ({"tasks": "single:normals"}, 25_168_518),
        ({"tasks": "single:edge"}, 25_127_426),
    ],
)
def test_numbers_of_parameters_of_the_ablations(options: dict[str, Any], total: int) -> None:
    method, net = resnet50(FOUR, **options)
    assert count_parameters(net, method.uncounted).total == total


@pytest.mark.parametrize("size", [(64, 96), (61, 47), (33, 130)])
def test_any_size(size: tuple[int, int]) -> None:
    images = random_images(2, *size)
    for _, predictions, losses in tiny_session(adapter(), Optimiser(lr=1e-4)).trajectory(images, 1):
        assert {task: tuple(p.shape) for task, p in predictions.items()} == {
            t: (2, k, *size) for t, k in TASKS.items()
        }
        assert all(torch.isfinite(loss) for loss in losses.values())


def first_loss(number: int) -> float:
    session = tiny_session(adapter(), Optimiser())
    session.begin_batch(number, random_images())
    return next(session.trajectory(random_images(), 1))[2]["tbs"].item()


def test_masks_follow_from_the_batchs_number_alone() -> None:
    state = torch.random.get_rng_state()
    first = first_loss(0)
    torch.rand(7)
    assert first_loss(0) == first
    assert first_loss(1) != first
    torch.random.set_rng_state(state)


def synchronized(tbs: Synchronizer, latents: Tensor, noise: Tensor) -> dict[str, Tensor]:
    return tbs(tbs.tokens(latents, noise), noise, (32, 32))


def test_masked_patches_have_no_influence() -> None:
    torch.manual_seed(0)
    tbs = Synchronizer(S4TOptions(**TINY), 16, TASKS)
    latents, noise = torch.randn(1, 16, 32, 32), torch.rand(1, 1, 16)
    before = synchronized(tbs, latents, noise)
    row, column = divmod(int(noise.argmax()), 4)
    latents[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 1
    assert all(
        torch.equal(output, before[task])
        for task, output in synchronized(tbs, latents, noise).items()
    )
    row, column = divmod(int(noise.argmin()), 4)
    latents[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 1
    assert not torch.equal(synchronized(tbs, latents, noise)["depth"], before["depth"])


def test_only_kept_tokens_are_embedded() -> None:
    tbs = Synchronizer(S4TOptions(**TINY), 16, TASKS)
    assert tbs.tokens(torch.randn(2, 16, 9, 7), torch.rand(2, 1, 16)).shape == (2, 8, 8)


def test_the_steps_predictions_are_exact_with_batch_statistics_only() -> None:
    images = random_images()
    session = tiny_session(adapter(predict_norm="batch"), Optimiser(lr=1e-3))
    assert (session.plan.adapt, session.plan.predict, session.plan.exact) == (
        Norm.EMA,
        Norm.BATCH,
        True,
    )
    for k, predictions, _ in session.trajectory(images, 2):
        if k < 2:
            separate = session.predict(images)
            assert all(torch.equal(predictions[task], separate[task]) for task in TASKS)
    running = tiny_session(adapter(), Optimiser(lr=1e-3))
    assert (running.plan.predict, running.plan.exact) == (Norm.RUNNING, False)


def test_the_loss_falls_without_masking() -> None:
    session = tiny_session(adapter(mask_ratio=0.0), Optimiser(lr=1e-4))
    losses = [entry[2]["tbs"].item() for entry in list(session.trajectory(random_images(), 8))[:-1]]
    assert losses[-1] < losses[0]


def step_loss(recipe: str, **options: Any) -> tuple[Net, Tensor, dict[str, Tensor]]:
    """Return the network, a step's loss, and its tasks' unscaled distances at unit weights."""
    method = adapter(**options)
    session = tiny_session(method, Optimiser(), recipe=recipe)
    session.ctx.norms.set(Norm.EMA)
    loss = method.step(session.net, random_images(), session.ctx).losses["tbs"]
    distances = {}
    for task in TASKS:
        session.begin_batch(0, random_images())
        session.ctx.norms.set(Norm.EMA)
        only = adapter(**{**options, "weighting": "fixed", "weight_power": 1, "scale": 1.0})
        session.ctx.recipe = Recipe(
            name="one", losses={}, weights={t: float(t == task) for t in TASKS}, uncertainty=False
        )
        distances[task] = only.step(session.net, random_images(), session.ctx).losses["tbs"]
    return session.net, loss, distances


@pytest.mark.parametrize(
    ("recipe", "options", "factors"),
    [
        ("weighted", {}, [1, 1, 100, 2500]),
        ("weighted", {"weight_power": 1}, [1, 1, 10, 50]),
        ("weighted", {"weight_power": 0, "scale": 0.5}, [50, 50, 50, 50]),
        ("taskonomy", {"weighting": "fixed"}, [1, 1, 1, 1]),
    ],
)
def test_fixed_weights(recipe: str, options: dict[str, Any], factors: list[int]) -> None:
    net, loss, distances = step_loss(recipe, **options)
    wanted = sum(0.01 * f * d.item() for f, d in zip(factors, distances.values(), strict=True))
    assert loss.item() == pytest.approx(wanted, rel=1e-9)
    loss.backward()
    assert dict(net.named_parameters())["extra.uncertainties"].grad is None


@pytest.mark.parametrize(
    ("recipe", "options"), [("taskonomy", {}), ("weighted", {"weighting": "uncertainty"})]
)
def test_trained_uncertainties(recipe: str, options: dict[str, Any]) -> None:
    net, loss, distances = step_loss(recipe, **options)
    wanted = sum(0.01 * d.item() / 2 + math.log(2) for d in distances.values())
    assert loss.item() == pytest.approx(wanted, rel=1e-9)
    (gradient,) = torch.autograd.grad(loss, net.extra.uncertainties)  # type: ignore[union-attr]
    # d/dp [L / (2 p^2) + log(1 + p^2)] = 1 - L at p = 1
    torch.testing.assert_close(gradient, 1 - 0.01 * torch.stack(list(distances.values())).detach())


@pytest.mark.parametrize("recipe", ["weighted", "taskonomy"])
def test_source_losses(recipe: str) -> None:
    method = adapter(lambda_tp=0.5, lambda_tbs=2.0)
    net = tiny_net(method).float()
    ctx = HarnessContext(net, RECIPES[recipe])
    batch = ToyDataset().batch([0, 1])
    features = net.model.stages(batch.images)
    ctx.seed(3)
    terms = source_terms(method, net, batch, ctx, stages=features)
    assert list(terms) == [f"{branch}/{task}" for branch in ("tp", "tbs") for task in TASKS]
    extra: Any = net.extra
    latents = F.conv2d(
        net.model.hypercolumn(features), extra.projection.weight, extra.projection.bias
    )
    ctx.seed(3)
    noise = ctx.rand(2, 1, 16)
    tbs = extra.synchronizer(extra.synchronizer.tokens(latents, noise), noise, (32, 32))
    for number, task in enumerate(TASKS):
        small = extra.auxiliary[task](latents[:, 4 * number : 4 * number + 4])
        own = F.interpolate(small, size=(32, 32), mode="bilinear")
        for branch, weight, output in (("tp", 0.5, own), ("tbs", 2.0, tbs[task])):
            wanted = weight * RECIPES[recipe].losses[task](output, batch.targets[task])
            torch.testing.assert_close(terms[f"{branch}/{task}"], wanted, rtol=1e-4, atol=1e-5)
    torch.stack(list(terms.values())).sum().backward()
    trained = {name for name, p in net.named_parameters() if p.grad is not None}
    assert trained == {
        n
        for n, _ in net.named_parameters()
        if not n.startswith(("model.heads", "extra.uncertainties"))
    }


def test_options_that_shape_the_source_model() -> None:
    assert set(S4TOptions.source_fields()) == {
        "projection", "target", "mask_ratio", "masking", "drop", "hidden_tasks", "tasks",
        "lambda_tp", "lambda_tbs",
        "latent", "embed", "depth", "heads", "R", "patch"
    }  # fmt: skip
    assert S4TOptions(depth=[4, 2]) == S4TOptions(), "a list, as a configuration file has it"  # type: ignore[arg-type]


def test_settings() -> None:
    assert_settings(
        S4T,
        lr=2e-5,
        weight_decay=1e-6,
        steps=40,
        options={"lambda_tp": "official", "lambda_tbs": "official"},
    )


@pytest.mark.parametrize(("recipe", "factor"), [("weighted", 0.01), ("taskonomy", 1.0)])
def test_the_authors_auxiliary_weights_depend_on_the_source(recipe: str, factor: float) -> None:
    terms = []
    for options in ({}, S4T.original.options):
        method = adapter(**options)
        net = tiny_net(method).float()
        ctx = HarnessContext(net, RECIPES[recipe])
        ctx.seed(3)
        batch = ToyDataset().batch([0, 1])
        terms.append(source_terms(method, net, batch, ctx, stages=net.model.stages(batch.images)))
    for name, plain in terms[0].items():
        torch.testing.assert_close(terms[1][name], factor * plain)
