"""NC-TTT: whole adaptations by hand, what moves, labels and noise, published counts, source
losses, options.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support.fakes import CHANNELS, TARGET, TASKS, random_images, tiny_net, tiny_session
from support.plain import EPS, MOMENTUM, PlainNet, assert_same_predictions
from support.settings import assert_settings
from support.toy import ToyDataset, source_terms, values
from torch import Tensor
from torch.nn import functional as F

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.parameters import moved_parameters
from ttt_bench.adapter import Norm, Optimiser
from ttt_bench.config.preset import ModelConfig
from ttt_bench.losses import RECIPES
from ttt_bench.methods import nc_ttt
from ttt_bench.methods.nc_ttt import NCTTT, NCTTTOptions
from ttt_bench.model.architecture import build_model
from ttt_bench.model.batchnorm import NormController
from ttt_bench.model.parameters import count_parameters
from ttt_bench.network import Net
from ttt_bench.util.seeding import derive_seed

DISCRIMINATOR = "extra.discriminator"


def adapter(**options: Any) -> NCTTT:
    return NCTTT(NCTTTOptions(**{"embed": 7, **options}))


def projected(plain: PlainNet, stages: list[Tensor], tap: int | str) -> Tensor:
    x = plain.hypercolumn(stages) if tap == "hypercolumn" else stages[int(tap) - 1]
    return F.conv2d(x, plain.p["extra.projection.weight"], plain.p["extra.projection.bias"])


def scores_by_hand(plain: PlainNet, x: Tensor, mode: str) -> Tensor:
    """Return the discriminator's outputs for projected features (B, D, h, w).

    Mode "ema" moves its running statistics.
    """
    x = F.conv2d(x, plain.p[f"{DISCRIMINATOR}.0.weight"], plain.p[f"{DISCRIMINATOR}.0.bias"])
    mean, var = (
        plain.b[f"{DISCRIMINATOR}.1.running_mean"],
        plain.b[f"{DISCRIMINATOR}.1.running_var"],
    )
    used_mean, used_var = mean.clone(), var.clone()
    if mode == "ema":
        count = x[:, 0].numel()
        used_mean = x.sum(dim=(0, 2, 3)) / count
        used_var = ((x - used_mean.view(1, -1, 1, 1)) ** 2).sum(dim=(0, 2, 3)) / count
        mean.mul_(1 - MOMENTUM).add_(MOMENTUM * used_mean.detach())
        var.mul_(1 - MOMENTUM).add_(MOMENTUM * used_var.detach() * count / (count - 1))
    x = (x - used_mean.view(1, -1, 1, 1)) / (used_var.view(1, -1, 1, 1) + EPS) ** 0.5
    scale, shift = plain.p[f"{DISCRIMINATOR}.1.weight"], plain.p[f"{DISCRIMINATOR}.1.bias"]
    x = x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
    x = torch.where(x > 0, x, 0.2 * x)
    return F.conv2d(x, plain.p[f"{DISCRIMINATOR}.3.weight"], plain.p[f"{DISCRIMINATOR}.3.bias"])


@pytest.mark.parametrize(
    "options",
    [
        {"tap": 4},
        {"tap": "hypercolumn", "disc_norm": "running", "predict_norm": "batch"},
    ],
)
def test_two_steps_by_hand(options: dict[str, Any]) -> None:
    # the tiny backbone runs as a whole, so with these taps all statistics move
    images = random_images(3, 64, 96)
    method = adapter(**options)
    session = tiny_session(method, Optimiser(lr=0.2, weight_decay=1e-2), images=images)
    plain = PlainNet(tiny_net(method))
    predicting = options.get("predict_norm", "running")
    for k, predictions, losses in session.trajectory(images, 2):
        assert_same_predictions(predictions, plain.predict(images, predicting))
        if k < 2:
            features = projected(plain, plain.stages(images, "ema"), options["tap"])
            scores = scores_by_hand(plain, features, options.get("disc_norm", "ema"))
            # the loss lowers the probability of the larger noise
            loss = -(1 - 1 / (1 + (-scores).exp())).log().sum() / scores.numel()
            assert losses["noise"].item() == pytest.approx(loss.item(), rel=1e-10)
            plain.descend(
                loss, lambda name: name.startswith("model.backbone."), lr=0.2, weight_decay=1e-2
            )
    plain.assert_equal(session.net)
    start = PlainNet(tiny_net(method))
    assert not torch.allclose(
        start.predict(images, predicting)["depth"], predictions["depth"], rtol=1e-3
    ), "it moved"


def real_net(method: NCTTT, backbone: str = "test_resnet", tasks: dict[str, int] = TASKS) -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(ModelConfig(backbone=backbone, pretrained=False), tasks)
        return Net(model, method.build(model, tasks))


@pytest.mark.parametrize(("tap", "last"), [(1, 1), (2, 2), (3, 3), (4, 4), ("hypercolumn", 4)])
def test_a_step_ends_at_the_tap_and_moves_the_layers_before_it(tap: Any, last: int) -> None:
    method = adapter(tap=tap)
    net = real_net(method)
    plan = method.bind(net, {}, TARGET)
    assert (plan.adapt, plan.predict, plan.exact) == (Norm.EMA, Norm.RUNNING, False)
    assert plan.moves == tuple(f"model.{name}" for name in net.model.upstream(last))
    assert method.passes(2) == (2, 2, last)
    run = set()
    for name, module in net.model.backbone.named_modules():
        module.register_forward_hook(lambda *_, name=name: run.add(name))
    out = method.step(
        net, random_images(2, 64, 64).float(), HarnessContext(net, RECIPES["weighted"])
    )
    assert {f"layer{stage}" for stage in range(1, 5)} & run == {
        f"layer{stage}" for stage in range(1, last + 1)
    }
    assert out.predictions is None
    out.losses["noise"].backward()
    reached = {name for name, p in net.model.named_parameters(prefix="model") if p.grad is not None}
    assert reached == set(plan.moves), "all that is declared gets a gradient, and no head does"


@pytest.mark.parametrize(("disc_norm", "moving"), [("ema", True), ("running", False)])
def test_the_discriminators_statistics_move_where_asked_for_and_are_reset(
    disc_norm: str, moving: bool
) -> None:
    method = adapter(disc_norm=disc_norm)
    session = tiny_session(method, Optimiser(lr=0.1, weight_decay=0.1))
    before = values(session.net)
    list(session.trajectory(random_images(), 2))
    after = session.net.state_dict()
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    # the tiny backbone runs as a whole; the default tap is stage 2
    buffers = {
        n
        for n, _ in session.net.named_buffers()
        if "norms." in n or (moving and "discriminator." in n)
    }
    parameters = {n for n, _ in session.net.named_parameters() if n.split(".")[1:2] == ["backbone"]}
    assert moved == buffers | {n for n in parameters if int(n.split(".")[3]) < 2}
    assert sum("discriminator." in n for n in buffers) == (3 if moving else 0)
    assert [norm.num_batches_tracked.item() for norm in session.net.model.backbone.norms] == [
        2
    ] * len(CHANNELS)
    session.reset()
    assert all(
        torch.equal(tensor, before[name]) for name, tensor in session.net.state_dict().items()
    )
    # the same adapter is bound to several networks in turn
    other = tiny_net(method)
    other.extra.train(not moving)  # type: ignore[union-attr]
    method.bind(other, {}, TARGET)
    assert other.extra.discriminator.training is moving  # type: ignore[union-attr]


def test_a_whole_step_moves_all_statistics_and_the_same_parameters() -> None:
    """The loss and its gradient are those of a step that ends at the tap."""
    plain, whole = adapter(), adapter(whole=True, predict_norm="batch")
    images = random_images(2, 64, 64).float()
    found = {}
    for method in (plain, whole):
        net = real_net(method)
        plan = method.bind(net, {}, TARGET)
        controller = NormController(net.model)
        controller.set(plan.adapt)
        out = method.step(net, images, HarnessContext(net, RECIPES["weighted"]))
        out.losses["noise"].backward()
        controller.set(plan.predict)
        found[method.options.whole] = (net, plan, out)
    (ended, plan, _), (net, whole_plan, out) = found[False], found[True]
    assert (plan.exact, whole_plan.exact) == (False, True)
    assert whole_plan.moves == plan.moves
    assert whole.passes(2) == (2, 2, 4)
    for name, own in net.named_parameters():
        expected = ended.get_parameter(name).grad
        assert (own.grad is None) == (expected is None)
        assert own.grad is None or torch.equal(own.grad, expected)
    counts = {n: b.item() for n, b in net.model.named_buffers() if n.endswith("batches_tracked")}
    assert set(counts.values()) == {1}
    with torch.no_grad():
        predictions = net.model(images)
    assert all(torch.equal(out.predictions[task], predictions[task]) for task in TASKS)


@pytest.mark.parametrize("size", [(64, 96), (61, 47), (33, 130)])
@pytest.mark.parametrize("tap", [2, "hypercolumn"])
def test_any_size(size: tuple[int, int], tap: Any) -> None:
    images = random_images(2, *size)
    for _, predictions, losses in tiny_session(adapter(tap=tap), Optimiser(lr=1e-2)).trajectory(
        images, 1
    ):
        assert {task: tuple(p.shape) for task, p in predictions.items()} == {
            t: (2, k, *size) for t, k in TASKS.items()
        }
        assert all(torch.isfinite(loss) for loss in losses.values())


def test_the_loss_falls() -> None:
    session = tiny_session(adapter(), Optimiser(lr=0.1))
    losses = [
        entry[2]["noise"].item() for entry in list(session.trajectory(random_images(), 8))[:-1]
    ]
    assert losses[-1] < losses[0]


def gaussian(noise: Tensor, std: float) -> Tensor:
    """Return the density of an isotropic Gaussian at every position: (N, D, h, w) to (N, h, w)."""
    d = noise.shape[1]
    return (2 * math.pi * std**2) ** (-d / 2) * (-(noise**2).sum(dim=1) / (2 * std**2)).exp()


def test_labels_are_the_posterior_of_the_larger_noise() -> None:
    draw = torch.Generator().manual_seed(0)
    unit = torch.randn(6, 3, 4, 5, generator=draw, dtype=torch.float64)
    noise = torch.cat([0.2 * unit[:3], 0.1 * unit[3:]])
    first, second = gaussian(noise, 0.2), gaussian(noise, 0.1)
    # up to the 1e-6 that the authors' code adds to the larger deviation
    torch.testing.assert_close(
        nc_ttt.noise_labels(noise, 0.2, 0.1), first / (first + second), rtol=1e-4, atol=1e-6
    )
    assert first.min() > 0, "no density rounds to 0"


def test_labels_below_a_millionth_are_zero_and_large_noise_does_not_overflow() -> None:
    noise = torch.zeros(1, 64, 1, 1)
    assert nc_ttt.noise_labels(noise, 0.1, 0.015).item() == 0
    # 688 channels at 5 sigma_1: |n|^2 / sigma_2^2 = 7.6e5 is more than half precision holds
    assert (
        nc_ttt.noise_labels(torch.full((1, 688, 1, 1), 0.5, dtype=torch.float16), 0.1, 0.015).item()
        == 1
    )


def test_the_losses_are_stable_where_probabilities_round_to_zero_or_one() -> None:
    scores = torch.tensor([-200.0, 200.0]).view(2, 1, 1, 1).requires_grad_()
    loss = nc_ttt.train_loss(scores, torch.tensor([1.0, 0.0]).view(2, 1, 1))
    assert loss.item() == pytest.approx(200)
    assert nc_ttt.test_loss(scores).item() == pytest.approx(100)
    assert torch.isfinite(torch.autograd.grad(loss, scores)[0]).all()


@pytest.mark.parametrize("noise", ["independent", "batch_summed"])
@pytest.mark.parametrize("tap", [2, "hypercolumn"])
def test_source_loss(noise: str, tap: Any) -> None:
    method = adapter(noise=noise, tap=tap, sigma_1=0.4, sigma_2=0.1)
    net = tiny_net(method)
    batch = ToyDataset().batch([0, 1])
    images = batch.images.double()
    net.extra.train()  # type: ignore[union-attr]
    ctx = HarnessContext(net, RECIPES["weighted"])
    ctx.seed(0, "nc_ttt", 0)
    plain = PlainNet(net)
    features = net.model.stages(images)
    terms = source_terms(method, net, batch, ctx, stages=features)
    f = projected(plain, [stage.detach() for stage in features], tap)
    views, labels = [], []
    for level, sigma in ((1, 0.4), (2, 0.1)):
        seed = derive_seed(0, "nc_ttt", 0, "stream", f"noise {level}")
        draw = torch.Generator().manual_seed(seed)
        n = sigma * torch.empty_like(f).normal_(generator=draw)
        if noise == "batch_summed":
            n = torch.stack([n[0] + n[1], n[0] + n[1]])
        views.append(f + n)
        # log of the ratio of both densities
        z = (
            -(n**2).sum(dim=1) / (2 * 0.4**2)
            + (n**2).sum(dim=1) / (2 * 0.1**2)
            - 7 * math.log(0.4 / 0.1)
        )
        labels.append(1 / (1 + (-z).exp()))
    y = torch.cat(labels)
    chance = 1 / (1 + (-scores_by_hand(plain, torch.cat(views), "ema")[:, 0]).exp())
    loss = -(y * chance.log() + (1 - y) * (1 - chance).log()).mean()
    assert list(terms) == ["noise"], "one plain addend, of weight 1"
    assert 0.1 < y.mean() < 0.9
    torch.testing.assert_close(terms["noise"], loss, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        net.extra.discriminator[1].running_var, plain.b[f"{DISCRIMINATOR}.1.running_var"]
    )  # type: ignore[union-attr]
    terms["noise"].backward()
    trained = {name for name, p in net.named_parameters() if p.grad is not None}
    last = CHANNELS.index(CHANNELS[-1]) if tap == "hypercolumn" else 1
    backbone = {
        n for n in plain.p if n.startswith("model.backbone.") and int(n.split(".")[3]) <= last
    }
    assert trained == backbone | {n for n in plain.p if n.startswith("extra.")}
    assert method.phases()[0].trains == ("model", "extra")


def test_summed_noise_voids_the_labels_of_larger_batches() -> None:
    draw = torch.Generator().manual_seed(0)
    for count, void in ((2, False), (5, True), (8, True)):
        noise = 0.015 * torch.randn(count, 688, 4, 4, generator=draw)
        assert nc_ttt.noise_labels(noise, 0.1, 0.015).max() == 0, (
            "the loss separates only each image's smaller noise"
        )
        labels = nc_ttt.noise_labels(nc_ttt.batch_summed_noise(noise), 0.1, 0.015)
        assert bool((labels == 1).all()) is void


@pytest.mark.parametrize(
    ("tasks", "total"),
    [
        ({"semseg": 7, "depth": 1, "normals": 3, "edge": 1}, 23_909_837),
        ({"semseg": 6, "normals": 3, "edge": 1}, 23_902_155),
    ],
)
def test_published_numbers_of_parameters(tasks: dict[str, int], total: int) -> None:
    method = NCTTT()
    with torch.device("meta"):
        net = real_net(method, "resnet50", tasks)
    counts = count_parameters(net)
    assert (counts.total, counts.added) == (total, 355_713)
    moved = moved_parameters(net, method.bind(net, {}, TARGET).moves, "nc_ttt")
    assert sum(p.numel() for p in moved.values()) == 1_444_928


@pytest.mark.parametrize(
    ("tap", "channels"), [(1, 256), (3, 1024), (4, 2048), ("hypercolumn", 3840)]
)
def test_numbers_of_parameters_at_other_taps(tap: Any, channels: int) -> None:
    method = NCTTT(NCTTTOptions(tap=tap, embed=92))
    with torch.device("meta"):
        counts = count_parameters(real_net(method, "resnet50"))
    assert counts.added == 92 * (channels + 5) + 17


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"sigma_1": 0.01, "sigma_2": 0.015},
            "nc_ttt.sigma_1 = 0.01 must be larger than nc_ttt.sigma_2 = 0.015",
        ),
        ({"sigma_1": 0.1, "sigma_2": 0.1}, "must be larger"),
        ({"sigma_2": 0.0}, "greater than 0"),
        ({"embed": 0}, "greater than or equal to 1"),
        ({"tap": 5}, "1, 2, 3, 4 or 'hypercolumn'"),
        ({"tap": "stage2"}, "1, 2, 3, 4 or 'hypercolumn'"),
        ({"noise": "none"}, "'independent' or 'batch_summed'"),
        ({"disc_norm": "batch"}, "'ema' or 'running'"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_what_is_allowed(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        NCTTTOptions(**options)


def test_options_that_shape_the_source_model() -> None:
    assert set(NCTTTOptions.source_fields()) == {"tap", "embed", "sigma_1", "sigma_2", "noise"}


def test_settings() -> None:
    assert_settings(NCTTT, optimiser="adam", lr=1e-5, steps=50)
