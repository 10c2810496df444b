"""S4T: golden vectors, a whole adaptation by hand, published counts, masks, source losses, options."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from fakes import TASKS, random_images, tiny_net, tiny_session
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F
from toy import ToyDataset

from ttt_bench.adapter import Norm, Optimiser
from ttt_bench.config import ModelConfig
from ttt_bench.context import HarnessContext, derive_seed
from ttt_bench.losses import RECIPES, Recipe
from ttt_bench.methods import s4t
from ttt_bench.methods.s4t import S4T, S4TOptions, Synchronizer
from ttt_bench.model import Net, build_model, count_parameters
from ttt_bench.session import moved_parameters

TINY = {"R": 32, "patch": 8, "latent": 4, "embed": 8, "heads": 2, "depth": (1, 1), "mask_ratio": 0.5}
WEIGHTS = {"semseg": 1.0, "depth": 1.0, "normals": 10.0, "edge": 50.0}


def adapter(**options: Any) -> S4T:
    return S4T(S4TOptions(**{**TINY, **options}))


@pytest.mark.parametrize("size", [(8, 8), (5, 7), (20, 3)])
def test_stretched_patches_are_those_of_the_resized_latents(size: tuple[int, int]) -> None:
    latents = torch.randn(2, 3, *size, dtype=torch.float64)
    square = F.interpolate(latents, size=(8, 8), mode="bilinear", align_corners=False)
    torch.testing.assert_close(s4t.unpatchify(s4t.stretched_patches(latents, 8, 4), 4, 3), square)


class ByHand:
    """S4T on the tiny network from its equations; the transformer blocks are the only modules that are reused."""

    def __init__(self, net: Net, options: S4TOptions) -> None:
        self.net: Any = net
        self.options, self.grid = options, options.R // options.patch
        self.extra: Any = net.extra
        self.noise = torch.Generator().manual_seed(derive_seed(0, "s4t", 0))
        self.buffers = [(n.running_mean.clone(), n.running_var.clone()) for n in self.net.model.backbone.norms]

    def hypercolumn(self, images: Tensor) -> Tensor:
        model = self.net.model
        x, stages = (images - model.mean) / model.std, []
        for number, convolution in enumerate(model.backbone.convolutions):
            norm = model.backbone.norms[number]
            x = F.conv2d(x, convolution.weight, stride=4 if number == 0 else 2, padding=1)
            mean, var = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), unbiased=False)
            count, (old_mean, old_var) = x[:, 0].numel(), self.buffers[number]
            self.buffers[number] = (0.9 * old_mean + 0.1 * mean, 0.9 * old_var + 0.1 * var * count / (count - 1))
            x = (x - mean.view(1, -1, 1, 1)) / (var.view(1, -1, 1, 1) + norm.eps).sqrt()
            x = F.relu(x * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1))
            stages.append(x)
        return torch.cat([F.interpolate(s, size=stages[0].shape[-2:], mode="bilinear") for s in stages], dim=1)

    def position(self) -> Tensor:
        width = self.options.embed
        rows = []
        for place in range(self.grid**2):
            row, column = divmod(place, self.grid)
            angles = [[i / 10000 ** (2 * k / (width / 2)) for k in range(width // 4)] for i in (column, row)]
            rows.append([f(a) for group in angles for f in (math.sin, math.cos) for a in group])
        return torch.tensor(rows, dtype=torch.float64)

    def synchronizer(self, z: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        tbs, p, g = self.extra.synchronizer, self.options.patch, self.grid
        square = F.interpolate(z, size=(self.options.R, self.options.R), mode="bilinear")
        patches = square.reshape(len(z), -1, g, p, g, p).permute(0, 2, 4, 3, 5, 1).flatten(3)
        tokens = patches.flatten(1, 2) @ tbs.embed.weight.T + tbs.embed.bias + self.position()
        noise = torch.rand(len(z), g * g, generator=self.noise)
        full = []
        for sample, draws in zip(tokens, noise.tolist(), strict=True):
            chosen = sorted(range(g * g), key=draws.__getitem__)[: int(g * g * (1 - self.options.mask_ratio))]
            seen = tbs.between(tbs.encoder(sample[chosen][None])[0])
            places = [seen[chosen.index(n)] if n in chosen else tbs.mask_token[0, 0] for n in range(g * g)]
            full.append(torch.stack(places) + self.position())
        predicted = tbs.predict(tbs.decoder(torch.stack(full)))
        images = torch.einsum("bijuvk->bkiujv", predicted.reshape(len(z), g, g, p, p, -1)).reshape(
            len(z), -1, g * p, g * p
        )
        outputs, first = {}, 0
        for task, channels in TASKS.items():
            outputs[task] = F.interpolate(images[:, first : first + channels], size=size, mode="bilinear")
            first += channels
        return outputs

    def loss(self, images: Tensor) -> Tensor:
        size = (images.shape[2], images.shape[3])
        h = self.hypercolumn(images)
        tbs = self.synchronizer(F.conv2d(h, self.extra.projection.weight, self.extra.projection.bias), size)
        total = h.new_zeros(())
        for task, head in self.net.model.heads.items():
            main = F.interpolate(F.conv2d(h, head.weight, head.bias), size=size, mode="bilinear").detach()
            pixels = images.shape[0] * size[0] * size[1]
            total = total + 0.01 * WEIGHTS[task] ** 2 * (tbs[task] - main).abs().sum() / pixels
        return total

    def descend(self, images: Tensor, lr: float, weight_decay: float) -> float:
        loss = self.loss(images)
        parameters = list(self.net.parameters())
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    parameter -= lr * (gradient + weight_decay * parameter)
        return loss.item()


def test_two_steps_of_descent_by_hand() -> None:
    images = random_images(2, 64, 96)
    session = tiny_session(adapter(), Optimiser(lr=1e-3, weight_decay=1e-2))
    reference = ByHand(tiny_net(adapter()), S4TOptions(**TINY))
    start = {name: p.detach().clone() for name, p in reference.net.named_parameters()}
    for _, _, losses in list(session.trajectory(images, 2))[:2]:
        assert losses["tbs"].item() == pytest.approx(reference.descend(images, 1e-3, 1e-2), rel=1e-9)
    got = dict(session.net.named_parameters())
    for name, want in reference.net.named_parameters():
        torch.testing.assert_close(got[name], want, rtol=1e-8, atol=1e-11, msg=lambda m, name=name: f"{name}: {m}")
    moved = {name for name, p in got.items() if not torch.equal(p, start[name])}
    assert moved == {name for name in got if gets_gradient(name)}
    for norm, (mean, var) in zip(session.net.model.backbone.norms, reference.buffers, strict=True):
        torch.testing.assert_close(norm.running_mean, mean.detach())
        torch.testing.assert_close(norm.running_var, var.detach())


def gets_gradient(name: str) -> bool:
    """Everything but the heads, and the uncertainties where weights are fixed."""
    return not name.startswith(("model.heads.", "extra.auxiliary.", "extra.uncertainties"))


@pytest.mark.parametrize(
    ("tasks", "total", "added", "gradients"),
    [
        ({"semseg": 7, "depth": 1, "normals": 3, "edge": 1}, 29_236_632, 5_682_508, 29_189_760),
        ({"semseg": 6, "normals": 3, "edge": 1}, 27_901_140, 4_354_698, 27_862_080),
    ],
)
def test_published_numbers_of_parameters(tasks: dict[str, int], total: int, added: int, gradients: int) -> None:
    method = S4T()
    with torch.device("meta"):
        model = build_model(ModelConfig(backbone="resnet50"), tasks)
        net = Net(model, method.build(model, tasks))
    counts = count_parameters(net, method.uncounted)
    assert (counts.total, counts.added) == (total, added)
    assert sum(p.numel() for name, p in net.named_parameters() if gets_gradient(name)) == gradients
    moved = moved_parameters(net, method.bind(net, {}).moves, "s4t")
    assert {name for name in moved if name != "extra.uncertainties"} == {
        name for name, _ in net.named_parameters() if gets_gradient(name)
    }


@pytest.mark.parametrize("size", [(64, 96), (61, 47), (33, 130)])
def test_any_size(size: tuple[int, int]) -> None:
    images = random_images(2, *size)
    for _, predictions, losses in tiny_session(adapter(), Optimiser(lr=1e-4)).trajectory(images, 1):
        assert {task: tuple(p.shape) for task, p in predictions.items()} == {t: (2, k, *size) for t, k in TASKS.items()}
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


def test_what_is_masked_is_not_seen() -> None:
    options = S4TOptions(**TINY)
    torch.manual_seed(0)
    tbs = Synchronizer(options, 16, TASKS)
    latents, noise = torch.randn(1, 16, 32, 32), torch.rand(1, 16)
    before = tbs(latents, noise, (32, 32))
    row, column = divmod(int(noise.argmax()), 4)
    latents[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 1
    assert all(torch.equal(output, before[task]) for task, output in tbs(latents, noise, (32, 32)).items())
    row, column = divmod(int(noise.argmin()), 4)
    latents[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 1
    assert not torch.equal(tbs(latents, noise, (32, 32))["depth"], before["depth"])


def test_without_masking_order_and_mask_token_do_not_matter() -> None:
    torch.manual_seed(0)
    tbs = Synchronizer(S4TOptions(**{**TINY, "mask_ratio": 0.0}), 16, TASKS).double()
    latents = torch.randn(2, 16, 9, 7, dtype=torch.float64)
    first = tbs(latents, torch.rand(2, 16), (20, 30))
    tbs.mask_token.data += 1
    for task, output in tbs(latents, torch.rand(2, 16), (20, 30)).items():
        torch.testing.assert_close(output, first[task])


def test_the_steps_predictions_are_exact_with_batch_statistics_only() -> None:
    images = random_images()
    session = tiny_session(adapter(predict_norm="batch"), Optimiser(lr=1e-3))
    assert (session.plan.adapt, session.plan.predict, session.plan.exact) == (Norm.EMA, Norm.BATCH, True)
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
    """The network, a step's loss, and the unscaled distances of its tasks at unit weights."""
    method = adapter(**options)
    session = tiny_session(method, Optimiser(), recipe=recipe)
    session.ctx.norms.set(Norm.EMA)
    loss = method.step(session.net, random_images(), session.ctx).losses["tbs"]
    distances = {}
    for task in TASKS:
        session.begin_batch(0, random_images())
        session.ctx.norms.set(Norm.EMA)
        only = adapter(**{**options, "weighting": "fixed", "weight_power": 1, "scale": 1.0})
        session.ctx.recipe = Recipe("one", {}, {t: float(t == task) for t in TASKS}, False)
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
    assert torch.autograd.grad(loss, net.extra.uncertainties, allow_unused=True) == (None,)  # type: ignore[union-attr]


@pytest.mark.parametrize(("recipe", "options"), [("taskonomy", {}), ("weighted", {"weighting": "uncertainty"})])
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
    terms = method.source_loss(net, batch, features, {}, method.phases()[0], ctx)
    assert list(terms) == [f"{branch}/{task}" for branch in ("tp", "tbs") for task in TASKS]
    extra: Any = net.extra
    latents = F.conv2d(net.model.hypercolumn(features), extra.projection.weight, extra.projection.bias)
    ctx.seed(3)
    tbs = extra.synchronizer(latents, ctx.rand(2, 16), (32, 32))
    for number, task in enumerate(TASKS):
        small = extra.auxiliary[task](latents[:, 4 * number : 4 * number + 4])
        own = F.interpolate(small, size=(32, 32), mode="bilinear")
        for branch, weight, output in (("tp", 0.5, own), ("tbs", 2.0, tbs[task])):
            wanted = weight * RECIPES[recipe].losses[task](output, batch.targets[task])
            torch.testing.assert_close(terms[f"{branch}/{task}"], wanted, rtol=1e-4, atol=1e-5)
    torch.stack(list(terms.values())).sum().backward()
    trained = {name for name, p in net.named_parameters() if p.grad is not None}
    assert trained == {n for n, _ in net.named_parameters() if not n.startswith(("model.heads", "extra.uncertainties"))}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"R": 60, "patch": 16}, "multiple of s4t.patch = 16 and at least twice it"),
        ({"R": 16, "patch": 16}, "at least twice it"),
        ({"R": 32, "patch": 16, "mask_ratio": 0.8}, "keeps none of the 4 patches"),
        ({"embed": 30, "heads": 2}, "divisible by 4"),
        ({"embed": 64, "heads": 3}, "divisible by 4 .* and by s4t.heads = 3"),
        ({"mask_ratio": 1.0}, "less than 1"),
        ({"weight_power": 3}, "0, 1 or 2"),
        ({"depth": (4, 0)}, "greater than or equal to 1"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_what_is_allowed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        S4TOptions(**options)


def test_options_that_shape_the_source_model_and_the_authors_settings() -> None:
    assert set(S4TOptions.source_fields()) == {
        "mask_ratio", "lambda_tp", "lambda_tbs", "latent", "embed", "depth", "heads", "R", "patch"
    }  # fmt: skip
    assert S4TOptions(depth=[4, 2]) == S4TOptions(), "a list, as a configuration file has it"  # type: ignore[arg-type]
    original = S4T.original
    assert (original.optimiser.lr, original.steps) == (2e-5, 40)
    assert original.options == {"lambda_tp": 0.01, "lambda_tbs": 0.01}
    assert S4TOptions(**original.options).lambda_tp == 0.01
