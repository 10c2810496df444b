"""ActMAD: whole adaptations by hand, captured activations of real backbones, source statistics,
sizes, layers, options.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support.fakes import CHANNELS, TARGET, TASKS, random_images, tiny_net, tiny_session
from support.plain import PlainNet, assert_same_predictions, upsampled
from support.settings import assert_settings
from support.toy import same, values
from torch import Tensor, nn
from torch.nn import functional as F

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.parameters import moved_parameters
from ttt_bench.adapt.session import Session
from ttt_bench.adapter import SHARED, Norm, Optimiser, Plan, SourcePass
from ttt_bench.config.preset import ModelConfig
from ttt_bench.errors import BenchError
from ttt_bench.losses import RECIPES
from ttt_bench.methods import _activations
from ttt_bench.methods.actmad import (
    ActMAD,
    ActMADOptions,
    Watch,
    activation_statistics,
    chosen_layers,
    source_statistics,
)
from ttt_bench.model.architecture import build_model
from ttt_bench.model.parameters import count_parameters
from ttt_bench.network import Net

Maps = list[tuple[Tensor, Tensor]]


def adapter(**options: Any) -> ActMAD:
    return ActMAD(ActMADOptions(**options))


def maps_by_hand(outputs: Sequence[Tensor]) -> Maps:
    """Return mean and unbiased variance over the batch of every layer's outputs (N, C, h, w)."""
    found = []
    for y in outputs:
        mean = sum(y) / len(y)
        found.append((mean, sum((sample - mean) ** 2 for sample in y) / (len(y) - 1)))
    return found


def source_by_hand(batches: Sequence[Tensor]) -> Maps:
    """Return the mean over batches of the tiny network's maps."""
    plain = PlainNet(tiny_net(ActMAD()))
    with torch.no_grad():
        found = [maps_by_hand(plain.norm_outputs(images, "running")) for images in batches]
    return [
        (sum(one[i][0] for one in found) / len(found), sum(one[i][1] for one in found) / len(found))
        for i in range(len(CHANNELS))
    ]


def named(maps: Maps) -> dict[str, Tensor]:
    return {
        f"{kind}.norms.{i}": pair[j]
        for i, pair in enumerate(maps)
        for j, kind in enumerate(("mean", "var"))
    }


BATCHES = [random_images(2, 64, 64, seed=seed) for seed in (5, 6, 7)]
NORMALISATIONS = named(source_by_hand(BATCHES))


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (64, 64)),
        ({"weight": 0.5}, (64, 96)),
        ({"spatial": "channel"}, (64, 96)),
        ({"layers": ("norms.2", "norms.0")}, (64, 64)),
    ],
)
def test_two_steps_by_hand(options: dict[str, Any], size: tuple[int, int]) -> None:
    images = random_images(3, *size)
    method = adapter(**options)
    session = tiny_session(
        method, Optimiser(lr=0.2, weight_decay=1e-2), statistics=NORMALISATIONS, images=images
    )
    plain = PlainNet(tiny_net(method))
    layers = [0, 2] if "layers" in options else range(len(CHANNELS))
    for k, predictions, losses in session.trajectory(images, 2):
        assert_same_predictions(predictions, plain.predict(images, "running"))
        if k < 2:
            maps = maps_by_hand(plain.norm_outputs(images, "running"))
            loss = images.new_zeros(())
            for layer in layers:
                for i, kind in enumerate(("mean", "var")):
                    target, source = maps[layer][i], NORMALISATIONS[f"{kind}.norms.{layer}"]
                    if options.get("spatial") == "channel":
                        target, source = (
                            m.sum(dim=(1, 2)) / m[0].numel() for m in (target, source)
                        )
                    else:
                        source = upsampled(source[None], (target.shape[1], target.shape[2]))[0]
                    loss = (
                        loss
                        + options.get("weight", 1.0)
                        * (target - source).abs().sum()
                        / target.numel()
                    )
            assert losses["alignment"].item() == pytest.approx(loss.item(), rel=1e-10)
            plain.descend(loss, lambda name: name.startswith("model."), lr=0.2, weight_decay=1e-2)
    plain.assert_equal(session.net)
    start = PlainNet(tiny_net(method))
    assert not torch.allclose(
        start.predict(images, "running")["depth"], predictions["depth"], rtol=1e-3
    ), "it moved"


def test_the_backbone_moves_heads_do_not_shrink_and_statistics_stay() -> None:
    optimiser = Optimiser(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.5)
    session = tiny_session(ActMAD(), optimiser, statistics=NORMALISATIONS)
    before = values(session.net)
    list(session.trajectory(random_images(), 2))
    moved = {
        name
        for name, tensor in session.net.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert moved == {
        name for name, _ in session.net.named_parameters() if name.startswith("model.backbone.")
    }
    assert {name for name, p in session.net.named_parameters() if p.grad is not None} == moved


def real_session(backbone: str, inplace: bool = False) -> Session:
    """Return a session with random weights and running statistics; source statistics are zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(ModelConfig(backbone=backbone, pretrained=False), TASKS).double()
        for module in model.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.5, 0.5)
                module.running_mean.uniform_(-0.5, 0.5)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
            if inplace and hasattr(module, "inplace"):
                module.inplace = True
    zeros = {
        f"{kind}.{n}": torch.zeros(1, 1, 1)
        for n in chosen_layers(model.backbone, "all")
        for kind in ("mean", "var")
    }
    return Session(
        Net(model, None),
        ActMAD(),
        target=TARGET,
        optimiser=Optimiser(),
        statistics=zeros,
        recipe=RECIPES["weighted"],
        seed=0,
    )


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("backbone", ["test_resnet", "resnet26", "test_efficientnet"])
def test_the_output_before_the_activation_is_captured(backbone: str, inplace: bool) -> None:
    """Operations in place, such as residual sums and activations, do not change it."""
    session = real_session(backbone, inplace)
    model = session.net.model
    layers = chosen_layers(model.backbone, "all")
    assert list(layers) == [
        n for n, m in model.backbone.named_modules() if isinstance(m, nn.BatchNorm2d)
    ]
    given: dict[str, Tensor] = {}
    kept: dict[str, Tensor] = {}
    for name, layer in layers.items():
        layer.register_forward_pre_hook(
            lambda _, x, name=name: given.update({name: x[0].detach().clone()})
        )
        layer.register_forward_hook(lambda _, __, y, name=name: kept.update({name: y.detach()}))
    with Watch(layers).recording() as found:
        model.stages(random_images(3))
    wrong = 0
    for name, layer in layers.items():
        buffers = layer.running_mean, layer.running_var, layer.weight, layer.bias
        output = F.batch_norm(given[name], *buffers, training=False, eps=layer.eps)
        var, mean = torch.var_mean(output, dim=0)
        torch.testing.assert_close(found[name], (mean, var))
        wrong += not torch.allclose(kept[name], output)
    assert wrong, "a reference to the layer's output would hold other values"


@pytest.mark.parametrize("backbone", ["test_resnet", "resnet26"])
def test_gradients_are_those_of_copied_outputs(backbone: str) -> None:
    session = real_session(backbone)
    images = random_images(3)
    out = session.adapter.step(session.net, images, session.ctx)
    out.losses["alignment"].backward()
    got = {name: p.grad for name, p in session.net.named_parameters()}
    session.net.zero_grad(set_to_none=True)
    copies: list[Tensor] = []
    for layer in chosen_layers(session.net.model.backbone, "all").values():
        layer.register_forward_hook(lambda _, __, y: copies.append(y.clone()))
    session.net.model.stages(images)
    loss = sum(x.abs().mean() for y in copies for x in torch.var_mean(y, dim=0))
    torch.testing.assert_close(out.losses["alignment"], loss)
    loss.backward()  # type: ignore[union-attr]
    for name, p in session.net.named_parameters():
        torch.testing.assert_close(got[name], p.grad, msg=lambda m, name=name: f"{name}: {m}")
        assert (got[name] is None) is name.startswith("model.heads.")


def test_hooks_are_registered_once_and_look_during_a_step_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = tiny_session(ActMAD(), Optimiser(), statistics=NORMALISATIONS)

    def hooks() -> list[int]:
        return [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in session.net.modules()]

    before = hooks()
    assert sum(before) == len(chosen_layers(session.net.model.backbone, "all"))
    looks: list[int] = []
    measure = _activations.activation_statistics
    monkeypatch.setattr(
        _activations, "activation_statistics", lambda x: (looks.append(1), measure(x))[1]
    )
    for steps in (1, 2):
        session.adapt(random_images())
        session.predict(random_images())
        assert len(looks) == steps * sum(before)
    assert hooks() == before


def test_source_statistics_are_averages_over_batches() -> None:
    net = tiny_net(ActMAD())
    ctx = HarnessContext(net, RECIPES["weighted"])
    with torch.no_grad(), ctx.norm(Norm.RUNNING):
        found = ActMAD().source_statistics(net, iter(BATCHES), ctx)
        some = adapter(layers="skip:3").source_statistics(net, iter(BATCHES), ctx)
    assert found.keys() == NORMALISATIONS.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, NORMALISATIONS[name])
    assert same(some, {name: value for name, value in found.items() if name.endswith(".3")})
    plain = PlainNet(net)
    features = [plain.norm_outputs(images, "running")[1].detach() for images in BATCHES]
    for got, kind in zip(source_statistics(iter(features)), ("mean", "var"), strict=True):
        torch.testing.assert_close(got, found[f"{kind}.norms.1"])
    pooled = torch.cat(features).var(dim=0)
    assert not torch.allclose(found["var.norms.1"], pooled, rtol=0.1), (
        "not the variance of all images together"
    )


def test_single_images_have_no_variance() -> None:
    pair, single = torch.randn(2, 3, 4, 4), torch.randn(1, 3, 4, 4)
    for got, want in zip(
        source_statistics([single, pair]), activation_statistics(pair), strict=True
    ):
        assert torch.equal(got, want)
    with pytest.raises(ValueError, match="at least two images"):
        source_statistics([single])


def test_statistics_are_differentiable_and_keep_precision_far_from_zero() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(4, 2, 3, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(activation_statistics, x)
    far = torch.randn(8, 2, 3, 3, generator=draw) + 1000
    torch.testing.assert_close(
        activation_statistics(far)[1], far.double().var(dim=0).float(), rtol=1e-3, atol=1e-4
    )


def test_step_0_is_base_and_the_steps_predictions_are_exact() -> None:
    images = random_images()
    session = tiny_session(ActMAD(), Optimiser(lr=1e-2), statistics=NORMALISATIONS)
    plan = session.plan
    assert plan == Plan(
        moves=("model.backbone.*",), adapt=Norm.RUNNING, predict=Norm.RUNNING, exact=True
    )
    with torch.no_grad():
        base = tiny_net(ActMAD()).eval().model(images)
    for k, predictions, _ in session.trajectory(images, 2):
        if k < 2:
            assert same(predictions, session.predict(images))
            assert same(predictions, base) is (k == 0)


def test_the_loss_is_zero_on_the_source_itself_and_falls_on_the_target() -> None:
    own = named(source_by_hand(BATCHES[:1]))
    session = tiny_session(ActMAD(), Optimiser(), statistics=own)
    assert (
        session.adapter.step(session.net, BATCHES[0], session.ctx).losses["alignment"].item()
        < 1e-12
    )
    session = tiny_session(ActMAD(), Optimiser(lr=1e-2), statistics=NORMALISATIONS)
    losses = [
        entry[2]["alignment"].item() for entry in list(session.trajectory(random_images(), 8))[:-1]
    ]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("spatial", ["interpolate", "resize_source", "channel"])
@pytest.mark.parametrize("size", [(64, 96), (61, 47), (33, 130)])
def test_any_size(size: tuple[int, int], spatial: str) -> None:
    images = random_images(2, *size)
    session = tiny_session(adapter(spatial=spatial), Optimiser(lr=1e-2), statistics=NORMALISATIONS)
    for _, predictions, losses in session.trajectory(images, 1):
        assert {task: tuple(p.shape) for task, p in predictions.items()} == {
            t: (2, k, *size) for t, k in TASKS.items()
        }
        assert all(torch.isfinite(loss) for loss in losses.values())


def test_maps_are_resized_once_a_size_and_forgotten_with_the_network() -> None:
    method = ActMAD()
    session = tiny_session(method, Optimiser(), statistics=NORMALISATIONS)
    wide, square = random_images(2, 64, 96), random_images(2, 64, 64)
    resized: list[tuple[int, ...]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "ttt_bench.methods.actmad.resize",
            lambda x, size: resized.append(tuple(size)) or upsampled(x, size),
        )
        for images in (wide, wide, square, wide):
            session.adapt(images)
    assert len(resized) == 2 * 2 * len(CHANNELS)
    first = method.step(session.net, wide, session.ctx).losses["alignment"]
    twice = {name: 2 * value for name, value in NORMALISATIONS.items()}
    again = tiny_session(method, Optimiser(), statistics=twice)
    fresh = tiny_session(ActMAD(), Optimiser(), statistics=twice)
    losses = [s.adapter.step(s.net, wide, s.ctx).losses["alignment"] for s in (again, fresh)]
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], first)


def test_the_loss_is_a_sum_over_the_chosen_layers() -> None:
    def loss(layers: Any) -> float:
        session = tiny_session(adapter(layers=layers), Optimiser(), statistics=NORMALISATIONS)
        return (
            session.adapter.step(session.net, random_images(), session.ctx)
            .losses["alignment"]
            .item()
        )

    single = [loss((f"norms.{i}",)) for i in range(len(CHANNELS))]
    assert loss("all") == pytest.approx(sum(single))
    assert loss("skip:1") == pytest.approx(sum(single[1:]))
    assert loss(("norms.3", "norms.1")) == pytest.approx(single[1] + single[3])


def test_unknown_layers_are_refused_with_the_nearest() -> None:
    with torch.device("meta"):
        net = Net(build_model(ModelConfig(backbone="resnet50", pretrained=False), TASKS), None)
    with pytest.raises(BenchError, match=r"'layer1\.0\.bn4'; did you mean layer1\.0\.bn\d"):
        adapter(layers=("bn1", "layer1.0.bn4")).bind(net, {}, TARGET)
    with pytest.raises(BenchError, match=r"'skip:53' skips all 53 BatchNorm layers"):
        adapter(layers="skip:53").bind(net, {}, TARGET)
    assert len(chosen_layers(net.model.backbone, "skip:26")) == 27
    names = list(chosen_layers(net.model.backbone, ["layer4.2.bn3", "bn1"]))  # type: ignore[arg-type]
    assert names == ["bn1", "layer4.2.bn3"], "in the backbone's order"


def test_layers_that_see_no_maps_or_are_not_run_are_left_out() -> None:
    mixed = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm2d(3))
    assert list(chosen_layers(mixed, "all")) == ["1"]
    net = tiny_net(ActMAD())
    net.model.backbone.unused = nn.BatchNorm2d(3)
    found = ActMAD().source_statistics(
        net.eval(), BATCHES, HarnessContext(net, RECIPES["weighted"])
    )
    assert found.keys() == NORMALISATIONS.keys()
    session = Session(
        net,
        ActMAD(),
        target=TARGET,
        optimiser=Optimiser(),
        statistics=found,
        recipe=RECIPES["weighted"],
        seed=0,
    )
    assert torch.isfinite(session.adapt(random_images())["alignment"])


@pytest.mark.parametrize(
    ("tasks", "total"),
    [
        ({"semseg": 7, "depth": 1, "normals": 3, "edge": 1}, 23_554_124),
        ({"semseg": 6, "normals": 3, "edge": 1}, 23_546_442),
    ],
)
def test_published_numbers_of_parameters(tasks: dict[str, int], total: int) -> None:
    method, ctx = ActMAD(), HarnessContext(tiny_net(ActMAD()), RECIPES["weighted"])
    with torch.device("meta"):
        net = Net(
            build_model(ModelConfig(backbone="resnet50", pretrained=False), tasks), None
        ).eval()
        images = torch.empty(2, 3, 64, 64)
        with torch.no_grad():
            statistics = method.source_statistics(net, [images], ctx)
        moves = method.bind(net, statistics, TARGET).moves
        method.step(net, images, ctx).losses["alignment"].backward()
    counts = count_parameters(net)
    assert (counts.total, counts.added) == (total, 0)
    moved = moved_parameters(net, moves, "actmad")
    assert sum(p.numel() for p in moved.values()) == 23_508_032
    assert {name for name, p in net.named_parameters() if p.grad is not None} == set(moved)
    assert len(statistics) == 2 * 53


def test_requirements_and_source_pass() -> None:
    assert (ActMAD().needs().min_batch, ActMAD().needs().batchnorm) == (2, True)
    assert ActMAD().phases() == (SHARED,)
    assert ActMAD().source_pass() == SourcePass(images=4096, batch=8, at_target_size=False)
    other = adapter(spatial="resize_source", stat_images=24, stat_batch=4)
    assert other.source_pass() == SourcePass(images=24, batch=4, at_target_size=True)
    assert tuple(ActMAD().passes(8)) == (8, 8, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 0}, "greater than 0"),
        ({"layers": "skip"}, "actmad.layers = 'skip' must be 'all', 'skip:N'"),
        ({"layers": "skip:-1"}, "must be 'all', 'skip:N'"),
        ({"layers": []}, "or a list of names"),
        ({"spatial": "crop"}, "'interpolate', 'resize_source' or 'channel'"),
        ({"stat_batch": 1}, "greater than or equal to 2"),
        ({"stat_images": 4}, "actmad.stat_images = 4 must be at least actmad.stat_batch = 8"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_what_is_allowed(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        ActMADOptions(**options)


def test_options_that_shape_the_source_statistics() -> None:
    assert set(ActMADOptions.source_fields()) == {"layers", "stat_batch", "stat_images"}
    assert ActMADOptions(layers=["bn1"]).layers == ("bn1",), (
        "a list, as a configuration file has it"
    )  # type: ignore[arg-type]


def test_settings() -> None:
    assert_settings(ActMAD, lr=1e-4, momentum=0.9, nesterov=True, weight_decay=5e-4, steps=1)
