"""TTTFlow: a whole adaptation by hand, the flow against Jacobians, its training, its state,
published counts.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support.fakes import CHANNELS, TARGET, TASKS, random_images, tiny_net
from support.plain import PlainNet, assert_same_predictions
from support.settings import assert_settings
from support.toy import Toy, ToyDataset, source_terms, spec
from torch import Tensor
from torch.nn import functional as F

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.parameters import moved_parameters
from ttt_bench.adapt.session import Session
from ttt_bench.adapter import SHARED, Norm, Optimiser
from ttt_bench.config.preset import ModelConfig
from ttt_bench.losses import RECIPES
from ttt_bench.methods import tttflow
from ttt_bench.methods._realnvp import cached_mask
from ttt_bench.methods.tttflow import RealNVP, TTTFlow, TTTFlowOptions
from ttt_bench.model.architecture import build_model
from ttt_bench.model.parameters import count_parameters
from ttt_bench.network import Batch, Net
from ttt_bench.train.chain import training_chain
from ttt_bench.train.trainer import Trainer
from ttt_bench.util.progress import Silent

EPS = 1e-5


def adapter(**options: Any) -> TTTFlow:
    return TTTFlow(TTTFlowOptions(**options))


def shaken(module: torch.nn.Module, seed: int = 3) -> torch.nn.Module:
    """Return a flow with no parameter or running statistic at its initial value."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, values in module.state_dict().items():
            if values.is_floating_point():
                noise = 0.3 * torch.randn(values.shape, generator=draw, dtype=torch.float64)
                values.copy_(
                    (1 + noise).clamp(min=0.3) if name.endswith("running_var") else values + noise
                )
    return module


def flow_net(method: TTTFlow) -> Net:
    net = tiny_net(method)
    assert net.extra is not None
    shaken(net.extra)
    return net


def session_of(method: TTTFlow, optimiser: Optimiser, begin: bool = True) -> Session:
    session = Session(
        flow_net(method),
        method,
        target=TARGET,
        optimiser=optimiser,
        statistics={},
        recipe=RECIPES["weighted"],
        seed=0,
    )
    if begin:
        session.begin_batch(0, random_images())
    return session


class PlainFlow:
    """The flow in plain tensors, in eval mode, from the flow's state."""

    def __init__(self, state: dict[str, Tensor], res_blocks: int) -> None:
        self.state, self.res_blocks = state, res_blocks

    def convolution(self, name: str, x: Tensor) -> Tensor:
        g, v = (self.state[f"{name}.parametrizations.weight.original{i}"] for i in (0, 1))
        weight = g * v / (v**2).sum(dim=(1, 2, 3), keepdim=True) ** 0.5
        return F.conv2d(x, weight, self.state[f"{name}.bias"], padding=v.shape[-1] // 2)

    def norm_relu(self, name: str, x: Tensor) -> Tensor:
        mean, var, scale, shift = (
            self.state[f"{name}.{key}"].view(1, -1, 1, 1)
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return F.relu((x - mean) / (var + EPS) ** 0.5 * scale + shift)

    def coupling(self, number: int, x: Tensor) -> tuple[Tensor, Tensor]:
        prefix, parity = f"coupling.{number}", (1, 0, 1)[number]
        rows, columns = x.shape[2:]
        seen = torch.tensor(
            [[float((r + c + parity) % 2) for c in range(columns)] for r in range(rows)]
        ).double()
        inner = self.convolution(f"{prefix}.conv_in", x * seen)
        for block in range(self.res_blocks):
            residual = inner
            for layer in range(3):
                residual = self.norm_relu(f"{prefix}.block.{block}.bn.{layer}", residual)
                residual = self.convolution(f"{prefix}.block.{block}.conv.{layer}", residual)
            inner = inner + residual
        raw = self.convolution(f"{prefix}.conv_out", self.norm_relu(f"{prefix}.bn_out", inner))
        channels = x.shape[1]
        a, b = self.state[f"{prefix}.tanh_scale"], self.state[f"{prefix}.offset"]
        s = torch.where(seen == 0, a * torch.tanh(raw[:, :channels]) + b, 0.0)
        return torch.where(seen == 0, x * s.exp() + raw[:, channels:], x), s

    def loss(self, x: Tensor) -> Tensor:
        total = torch.zeros_like(x)
        for number in range(3):
            x, s = self.coupling(number, x)
            total = total + s
            if number < 2:
                log_scale, shift = (
                    self.state[f"actnorm.{number}.{key}"] for key in ("log_scale", "shift")
                )
                x, total = x * log_scale.exp() + shift, total + log_scale
        return -(torch.distributions.Normal(0.0, 1.0).log_prob(x) + total).mean()


@pytest.mark.parametrize(("tap", "res_blocks"), [(2, 2), (3, 1)])
def test_two_steps_by_hand(tap: int, res_blocks: int) -> None:
    images, method = random_images(2, 64, 96), adapter(tap=tap, res_blocks=res_blocks)
    session = session_of(method, Optimiser(lr=0.1, weight_decay=1e-2))
    plain = PlainNet(flow_net(method))
    state = {
        n.removeprefix("extra."): v
        for n, v in [*plain.p.items(), *plain.b.items()]
        if n.startswith("extra.")
    }
    flow = PlainFlow(state, res_blocks)
    start = {name: values.detach().clone() for name, values in plain.p.items()}
    for k, predictions, losses in session.trajectory(images, 2):
        assert_same_predictions(predictions, plain.predict(images, "running"))
        if k < 2:
            # the tiny backbone cannot stop at a stage, so all its statistics move
            loss = flow.loss(plain.stages(images, "ema")[tap - 1])
            assert losses["negative log-likelihood"].item() == pytest.approx(loss.item(), rel=1e-9)
            plain.descend(loss, lambda name: name.startswith("model."), lr=0.1, weight_decay=1e-2)
    plain.assert_equal(session.net)
    moved = {
        name
        for name, values in session.net.named_parameters()
        if not torch.equal(values, start[name])
    }
    below = [f"convolutions.{n}.weight" for n in range(tap)]
    below += [f"norms.{n}.{kind}" for n in range(tap) for kind in ("weight", "bias")]
    assert moved == {f"model.backbone.{name}" for name in below}


def resnet_session(method: TTTFlow) -> Session:
    """Return a session on a backbone that can stop at a stage."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(ModelConfig(backbone="test_resnet", pretrained=False), TASKS)
        net = Net(model, method.build(model, TASKS))
    return Session(
        net,
        method,
        target=TARGET,
        optimiser=Optimiser(lr=1e-3),
        statistics={},
        recipe=RECIPES["weighted"],
        seed=0,
    )


@pytest.mark.parametrize("tap", [1, 2, 3, 4])
def test_statistics_move_once_a_step_and_only_up_to_the_tap(tap: int) -> None:
    session = resnet_session(adapter(tap=tap, res_blocks=1))
    before = {name: values.clone() for name, values in session.net.named_buffers()}
    for _ in range(2):
        session.adapt(random_images().float())
    changed = {
        name
        for name, values in session.net.named_buffers()
        if not torch.equal(values, before[name])
    }
    prefixes = (
        "model.backbone.conv1.",
        "model.backbone.bn1.",
        *(f"model.backbone.layer{n + 1}." for n in range(tap)),
    )
    assert changed == {name for name in before if name.startswith(prefixes)}
    assert {
        int(session.net.get_buffer(n)) for n in changed if n.endswith("num_batches_tracked")
    } == {2}
    assert all(name.startswith(prefixes) for name in session.moved)


@pytest.mark.parametrize("size", [(4, 4), (3, 5)])
def test_the_log_determinant_is_that_of_the_jacobian(size: tuple[int, int]) -> None:
    flow = shaken(RealNVP(2, res_blocks=1).double().eval())
    x = torch.randn(1, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    jacobian: Any = torch.autograd.functional.jacobian(lambda x: flow(x)[0], x)
    sign, determinant = torch.linalg.slogdet(jacobian.view(x.numel(), x.numel()))
    assert sign == 1
    torch.testing.assert_close(flow(x)[1].sum(), determinant)
    assert determinant.abs() > 0.1


def test_the_likelihood_is_that_of_the_density_of_a_known_distribution() -> None:
    # z = (x - 3) / 2 is standard normal where x is normal with mean 3 and deviation 2
    x = torch.randn(4, 2, 3, 5, dtype=torch.float64) * 2 + 3
    log_det = torch.full_like(x, -math.log(2))
    wanted = -torch.distributions.Normal(3.0, 2.0).log_prob(x).mean()
    torch.testing.assert_close(tttflow.negative_log_likelihood((x - 3) / 2, log_det), wanted)


def test_couplings_see_complementary_halves_of_any_rectangle() -> None:
    one, other = (tttflow.checkerboard_mask(3, 4, parity) for parity in (1, 0))
    assert other[0, 0].tolist() == [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]
    assert torch.equal(one + other, torch.ones(1, 1, 3, 4))
    assert [coupling.parity for coupling in RealNVP(2).coupling] == [1, 0, 1]


def test_masks_are_made_once_for_a_size_and_are_no_state() -> None:
    flow = RealNVP(2, 1).eval()
    names = set(flow.state_dict())
    for _ in range(2):
        for size in ((4, 6), (6, 4)):
            flow(torch.randn(1, 2, *size))
    assert set(flow.state_dict()) == names
    device = torch.device("cpu")
    assert cached_mask(4, 6, 1, device, torch.float32) is cached_mask(
        4, 6, 1, device, torch.float32
    )


def test_the_first_batch_gives_actnorms_unit_scale_and_a_dead_channel_a_finite_one() -> None:
    x = torch.randn(3, 4, 6, 5, dtype=torch.float64) * 3 + 1
    x[:, 2] = 0
    log_scale, shift = tttflow.actnorm_init(x)
    outputs, _ = tttflow.actnorm(x, log_scale, shift)
    deviation = outputs.std(dim=(0, 2, 3))
    torch.testing.assert_close(deviation[[0, 1, 3]], torch.ones(3, dtype=torch.float64))
    assert (deviation[2], log_scale[0, 2].item()) == (0, pytest.approx(math.log(1e6)))
    # the authors' shift: the mean is left at mean / std - mean
    mean = x.mean(dim=(0, 2, 3))
    torch.testing.assert_close(
        outputs.mean(dim=(0, 2, 3))[:2], (mean / x.std(dim=(0, 2, 3)) - mean)[:2]
    )


def flow_loss(net: Net, method: TTTFlow, images: Tensor) -> Tensor:
    """Return the loss of the flow's phase, with the network in the harness's modes."""
    flow_phase = method.phases()[1]
    ctx = HarnessContext(net, RECIPES["weighted"])
    net.model.eval().requires_grad_(requires_grad=False)
    net.extra.train()  # type: ignore[union-attr]
    ctx.norms.set(Norm.RUNNING)
    terms = source_terms(method, net, Batch(images, {}), ctx, phase=flow_phase)
    assert list(terms) == ["negative log-likelihood"]
    return terms["negative log-likelihood"]


def test_source_loss_initialises_once_and_reaches_the_flow_alone() -> None:
    method, images = adapter(tap=3, res_blocks=1), random_images(4)
    net = tiny_net(method)
    flow: Any = net.extra
    plain = PlainNet(net)
    features = plain.stages(images, "running", last=3)[-1].detach()
    loss = flow_loss(net, method, images)
    first = {name: values.detach().clone() for name, values in flow.state_dict().items()}
    # new couplings do not scale, so that the first one only shifts; its networks normalise with the
    # batch
    shifted = flow.coupling[0](features)[0].detach()
    torch.testing.assert_close(
        first["actnorm.0.log_scale"][0, :, 0, 0], -shifted.std(dim=(0, 2, 3)).log()
    )
    torch.testing.assert_close(first["actnorm.0.shift"][0, :, 0, 0], -shifted.mean(dim=(0, 2, 3)))
    assert first["initialised"]
    z, log_det = flow(features)
    torch.testing.assert_close(
        loss, -(torch.distributions.Normal(0.0, 1.0).log_prob(z) + log_det).mean()
    )
    loss.backward()
    assert {name for name, p in net.named_parameters() if p.grad is not None} == {
        f"extra.{name}" for name, _ in flow.named_parameters()
    }
    flow_loss(net, method, random_images(4, seed=9))
    assert torch.equal(flow.actnorm[0].shift, first["actnorm.0.shift"]), (
        "the second batch does not initialise"
    )
    for name, values in net.model.named_buffers():
        assert torch.equal(values, plain.b[f"model.{name}"]), name


def test_training_does_not_change_bases_network(tmp_path: Path) -> None:
    method = adapter(flow_iterations=3, res_blocks=1, tap=1)
    trainer = Trainer(folder=tmp_path, device=torch.device("cpu"), progress=Silent())
    base, net = (trainer.source_model(spec(), which, ToyDataset()) for which in (Toy(), method))
    assert all(
        torch.equal(values, base.model.state_dict()[name])
        for name, values in net.model.state_dict().items()
    )
    assert training_chain(spec(), method)[-2].key == training_chain(spec(), Toy())[-1].key, (
        "Base's checkpoint is shared"
    )
    flow: Any = net.extra
    assert flow.initialised
    assert int(flow.coupling[0].bn_out.num_batches_tracked) == 3
    assert flow.coupling[0].tanh_scale != 0
    again: Any = trainer.source_model(spec(), method, ToyDataset()).extra
    assert again.initialised, "it is stored with the weights"


def test_the_flows_phase() -> None:
    shared, flow = adapter().phases()
    assert shared == SHARED
    assert (flow.trains, flow.supervised, flow.iterations, flow.schedule) == (
        ("extra",),
        False,
        10_000,
        "polynomial",
    )
    assert flow.optimiser == Optimiser(optimiser="adam", lr=1e-3, weight_decay=1e-6)
    flow = adapter(**TTTFlow.original.options).phases()[1]
    assert (flow.iterations, flow.schedule) == (10_000, "cosine")
    assert flow.optimiser == Optimiser(optimiser="sgd", lr=0.1, momentum=0.9, weight_decay=5e-4)


def actnorms(session: Session) -> list[Tensor]:
    flow: Any = session.net.extra
    return [
        values.detach().clone() for norm in flow.actnorm for values in (norm.log_scale, norm.shift)
    ]


def test_actnorms_are_taken_from_the_first_target_batch_where_asked_to() -> None:
    first, second = random_images(seed=1), random_images(seed=2)
    session = session_of(adapter(reinit_actnorm=True), Optimiser(lr=0.01), begin=False)
    trained = actnorms(session)
    session.begin_batch(0, first)
    # the first coupling's outputs on the features that the source model has
    plain, flow = PlainNet(flow_net(adapter())), session.net.extra
    with torch.no_grad():
        inputs = flow.coupling[0](plain.stages(first, "running", last=2)[-1])[0]  # type: ignore[index, union-attr]
    for name, values in session.net.model.named_buffers():
        assert torch.equal(values, plain.b[f"model.{name}"]), "the model's statistics stay"
    found = actnorms(session)
    torch.testing.assert_close(found[0][0, :, 0, 0], -inputs.std(dim=(0, 2, 3)).log())
    torch.testing.assert_close(found[1][0, :, 0, 0], -inputs.mean(dim=(0, 2, 3)))
    session.adapt(first)
    session.begin_batch(1, second)
    assert all(torch.equal(a, b) for a, b in zip(actnorms(session), found, strict=True)), (
        "online: once"
    )
    carried = {name: values.clone() for name, values in session.state().items()}
    session.reset()
    assert all(torch.equal(a, b) for a, b in zip(actnorms(session), trained, strict=True))
    session.begin_batch(1, second)
    assert not torch.equal(actnorms(session)[0], found[0]), (
        "after a reset: from the batch that comes"
    )
    session.restore(carried)
    assert all(torch.equal(a, b) for a, b in zip(actnorms(session), found, strict=True)), (
        "and it can be resumed"
    )
    assert not any(name.startswith("extra.") for name in session.moved)


def test_actnorms_keep_their_trained_values_by_default() -> None:
    session = session_of(adapter(), Optimiser(lr=0.01))
    before = actnorms(session)
    session.adapt(random_images())
    assert all(torch.equal(a, b) for a, b in zip(actnorms(session), before, strict=True))


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext", "test_efficientnet"])
@pytest.mark.parametrize(("tap", "size"), [(2, (61, 47)), (4, (33, 130))])
def test_any_size_and_backbone(backbone: str, tap: int, size: tuple[int, int]) -> None:
    method = adapter(tap=tap, res_blocks=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(ModelConfig(backbone=backbone, pretrained=False), TASKS)
        net = Net(model, method.build(model, TASKS))
    session = Session(
        net,
        method,
        target=TARGET,
        optimiser=Optimiser(lr=1e-3),
        statistics={},
        recipe=RECIPES["weighted"],
        seed=0,
    )
    images = random_images(2, *size).float()
    session.begin_batch(0, images)
    before = {name: values.clone() for name, values in session.moved.items()}
    for _, predictions, losses in session.trajectory(images, 1):
        assert {task: tuple(p.shape) for task, p in predictions.items()} == {
            t: (2, k, *size) for t, k in TASKS.items()
        }
        assert all(torch.isfinite(loss) for loss in losses.values())
    assert any(not torch.equal(values, before[name]) for name, values in session.moved.items())


@pytest.mark.parametrize(
    ("tap", "tasks", "total", "added", "moved"),
    [
        (1, {"semseg": 7, "depth": 1, "normals": 3, "edge": 1}, 30_067_794, 6_513_670, 225_344),
        (2, {"semseg": 7, "depth": 1, "normals": 3, "edge": 1}, 49_557_586, 26_003_462, 1_444_928),
        (2, {"semseg": 6, "normals": 3, "edge": 1}, 49_549_904, 26_003_462, 1_444_928),
        (
            3,
            {"semseg": 7, "depth": 1, "normals": 3, "edge": 1},
            127_465_554,
            103_911_430,
            8_543_296,
        ),
        (
            4,
            {"semseg": 7, "depth": 1, "normals": 3, "edge": 1},
            438_995_026,
            415_440_902,
            23_508_032,
        ),
    ],
)
def test_published_numbers_of_parameters(
    tap: int, tasks: dict[str, int], total: int, added: int, moved: int
) -> None:
    method = adapter(tap=tap)
    with torch.device("meta"):
        model = build_model(ModelConfig(backbone="resnet50"), tasks)
        net = Net(model, method.build(model, tasks))
    counts = count_parameters(net)
    assert (counts.total, counts.added) == (total, added)
    plan = method.bind(net, {}, TARGET)
    assert sum(p.numel() for p in moved_parameters(net, plan.moves, "tttflow").values()) == moved
    assert (plan.adapt, plan.predict, plan.exact) == (Norm.EMA, Norm.RUNNING, False)
    assert tuple(method.passes(8)) == (8, 8, tap)


def test_the_flow_is_frozen_and_in_eval_mode_at_test() -> None:
    session = session_of(adapter(), Optimiser())
    flow: Any = session.net.extra
    assert not any(p.requires_grad for p in flow.parameters())
    assert not any(module.training for module in flow.modules())


def test_weights_that_do_not_fit_are_refused_by_name() -> None:
    flow = RealNVP(CHANNELS[0], 1)
    with pytest.raises(
        ValueError, match=r"missing .*coupling.0.tanh_scale.* unknown .*coupling.3.offset"
    ):
        flow.load_weights({"coupling3.offset": torch.zeros(1)})


def test_options() -> None:
    assert set(TTTFlowOptions.source_fields()) == {
        "tap", "res_blocks", "flow_iterations", "flow_lr", "flow_optimiser"
    }  # fmt: skip
    for options, message in (
        ({"tap": 5}, "less than or equal to 4"),
        ({"tap": 0}, "greater than or equal to 1"),
        ({"res_blocks": 0}, "greater than or equal to 1"),
        ({"flow_iterations": 0}, "greater than or equal to 1"),
        ({"flow_lr": 0.0}, "greater than 0"),
        ({"flow_optimiser": "rmsprop"}, "'adam' or 'sgd'"),
    ):
        with pytest.raises(ValidationError, match=message):
            TTTFlowOptions(**options)  # type: ignore[arg-type]


def test_settings() -> None:
    assert_settings(
        TTTFlow,
        lr=1e-3,
        momentum=0.9,
        weight_decay=5e-4,
        steps=10,
        options={"flow_optimiser": "sgd", "flow_lr": 0.1},
    )
