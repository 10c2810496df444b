"""TIPI: a whole adaptation by hand, its two sets of statistics, its passes, and the effects of
its options.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support.fakes import CHANNELS, TARGET, TASKS, random_images, tiny_net, tiny_session
from support.plain import PlainNet, assert_same_predictions
from support.settings import assert_settings
from torch import Tensor

from ttt_bench.adapt.session import Session, moved_parameters
from ttt_bench.adapter import Norm, Optimiser
from ttt_bench.config.preset import ModelConfig
from ttt_bench.errors import BenchError
from ttt_bench.losses import RECIPES, softmax_entropy
from ttt_bench.methods import tipi
from ttt_bench.methods.tipi import TIPI, TIPIOptions
from ttt_bench.model import running_statistics
from ttt_bench.model.architecture import build_model
from ttt_bench.model.parameters import count_parameters
from ttt_bench.network import Net
from ttt_bench.util.seeding import derive_seed

EPSILON = 2 / 255
SIZE = (64, 96)
REGRESSIONS = {task: k for task, k in TASKS.items() if task != "semseg"}


def adapter(**options: Any) -> TIPI:
    return TIPI(TIPIOptions(**options))


class ByHand:
    """TIPI's loss on a plain copy of the tiny network, from the equations."""

    def __init__(self, net: Net, compared: tuple[str, ...], **options: Any) -> None:
        self.plain, self.compared, self.options = PlainNet(net), compared, options
        self.draw = torch.Generator().manual_seed(derive_seed(0, "tipi", 0))
        self.second = [(mean.clone(), var.clone()) for mean, var in self.plain.running()]

    def divergence(self, clean: dict[str, Tensor], adversarial: dict[str, Tensor]) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for task in self.compared:
            a, b = clean[task].detach(), adversarial[task]
            if task in ("semseg", "human_parts"):
                p, q = (x.exp() / x.exp().sum(dim=1, keepdim=True) for x in (a, b))
                each = q * (q / p).log() if self.options.get("reverse", True) else p * (p / q).log()
            else:
                each = (a - b) ** 2 / (2 * self.options.get("sigma", 1.0) ** 2)
            total = total + each.sum() / a[:, 0].numel()
        return total

    def loss(self, images: Tensor) -> Tensor:
        def outputs(x: Tensor, statistics: list[tuple[Tensor, Tensor]] | None) -> dict[str, Tensor]:
            return self.plain.outputs(self.plain.stages(x, "ema", statistics=statistics), SIZE)

        epsilon = self.options.get("epsilon", EPSILON)
        clean = outputs(images, None)
        uniform = torch.empty_like(images).uniform_(generator=self.draw)
        start = (epsilon * (2 * uniform - 1)).requires_grad_()
        (gradient,) = torch.autograd.grad(
            self.divergence(clean, outputs(images + start, self.second)), start
        )
        moved = start.detach() + epsilon * gradient.sign()
        delta = torch.where(
            moved > epsilon, epsilon, torch.where(moved < -epsilon, -epsilon, moved)
        )
        loss = self.divergence(clean, outputs(images + delta, self.second))
        if "semseg" in self.compared:
            p = clean["semseg"].softmax(dim=1)
            loss = (
                loss - self.options.get("tent_coeff", 1.0) * (p * p.log()).sum() / p[:, 0].numel()
            )
        return loss


@pytest.mark.parametrize(
    ("tasks", "options", "compared"),
    [
        (TASKS, {}, ("semseg",)),
        (
            TASKS,
            {"tasks": "all", "sigma": 0.5, "reverse": False, "tent_coeff": 0.3, "epsilon": 0.05},
            tuple(TASKS),
        ),
        ({**TASKS, "human_parts": 7}, {"tasks": "all"}, ("semseg", "human_parts", *REGRESSIONS)),
        (TASKS, {"tasks": "regression", "sigma": 2.0}, tuple(REGRESSIONS)),
        (REGRESSIONS, {}, tuple(REGRESSIONS)),
        ({"semseg": 3, "depth": 1}, {"tent_coeff": 0.0}, ("semseg",)),
    ],
)
def test_two_steps_by_hand(
    tasks: dict[str, int], options: dict[str, Any], compared: tuple[str, ...]
) -> None:
    images = random_images(2, *SIZE)
    session = tiny_session(adapter(**options), Optimiser(lr=0.5, weight_decay=1e-2), tasks)
    reference = ByHand(tiny_net(adapter(**options), tasks), compared, **options)
    plain = reference.plain
    for k, predictions, losses in session.trajectory(images, 2):
        assert_same_predictions(predictions, plain.predict(images, "running"))
        if k < 2:
            loss = reference.loss(images)
            assert losses["invariance"].item() == pytest.approx(loss.item(), rel=1e-9)
            plain.descend(loss, lambda name: ".norms." in name, lr=0.5, weight_decay=1e-2)
    for number, (mean, var) in enumerate(reference.second):
        for kind, values in (("mean", mean), ("var", var)):
            plain.b[f"extra.backbone/norms/{number}/running_{kind}"] = values
    plain.assert_equal(session.net)
    start = PlainNet(tiny_net(adapter(**options), tasks))
    moved = {
        name
        for name, values in session.net.named_parameters()
        if not torch.equal(values, start.p[name])
    }
    assert moved == {
        f"model.backbone.norms.{n}.{kind}"
        for n in range(len(CHANNELS))
        for kind in ("weight", "bias")
    }


def test_one_set_moves_once_and_the_other_twice_a_step() -> None:
    images = torch.full((2, 3, 64, 64), 0.5, dtype=torch.float64)
    session = tiny_session(adapter(epsilon=1e-12), Optimiser(lr=0.0), images=images)
    before = {name: values.clone() for name, values in session.net.named_buffers()}
    session.adapt(images)
    after = dict(session.net.named_buffers())
    with torch.no_grad():
        x = (images - session.net.model.mean) / session.net.model.std
        batch_mean = session.net.model.backbone.convolutions[0](x).mean(dim=(0, 2, 3))
    main, second = "model.backbone.norms.0.running_mean", "extra.backbone/norms/0/running_mean"
    assert torch.equal(before[main], before[second]), "the second set starts as the source's"
    torch.testing.assert_close(after[main], 0.9 * before[main] + 0.1 * batch_mean)
    torch.testing.assert_close(after[second], 0.81 * before[second] + 0.19 * batch_mean)


def test_the_second_set_is_that_of_the_weights_loaded_after_building() -> None:
    net = tiny_net(adapter())
    net.model.backbone.norms[1].running_var.fill_(7.0)
    TIPI().bind(net, {}, TARGET)
    assert (net.extra.get_buffer("backbone/norms/1/running_var") == 7).all()  # type: ignore[union-attr]


@pytest.mark.parametrize("start", ["random", "zero"])
def test_a_step_leaves_no_gradient_in_a_parameter(start: str) -> None:
    method = adapter(start=start)
    session = tiny_session(method, Optimiser())
    session.ctx.norms.set(Norm.EMA)
    loss = method.step(session.net, random_images(), session.ctx).losses["invariance"]
    assert all(p.grad is None for p in session.net.parameters())
    loss.backward()
    assert {name for name, p in session.net.named_parameters() if p.grad is not None} == set(
        session.plan.moves
    )


class Passes:
    """Counts a model's forwards, and for each the gradients that come back through its last
    stage.
    """

    def __init__(self, model: Any) -> None:
        self.forwards = self.backwards = 0
        model.backbone.register_forward_hook(self.forward)

    def forward(self, module: Any, inputs: Any, stages: list[Tensor]) -> None:
        self.forwards += 1
        stages[-1].register_hook(self.backward)

    def backward(self, gradient: Tensor) -> None:
        self.backwards += 1


@pytest.mark.parametrize(
    ("options", "passes"),
    [
        ({}, (3, 3)),
        ({"tent_coeff": 0.0}, (3, 2)),
        ({"tasks": "regression"}, (3, 2)),
        ({"start": "zero"}, (2, 3)),
        ({"start": "zero", "tent_coeff": 0.0}, (2, 2)),
    ],
)
def test_passes(options: dict[str, Any], passes: tuple[int, int]) -> None:
    method = adapter(**options)
    session = tiny_session(method, Optimiser())
    counter = Passes(session.net.model)
    session.adapt(random_images())
    assert (counter.forwards, counter.backwards) == passes
    assert tuple(method.passes(2)) == (2 * passes[0], 2 * passes[1], 4)


def adversarial_perturbation(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Tensor:
    """Return the perturbation that a step adds to its images."""
    seen: list[Tensor] = []
    real = tipi.adversarial_loss

    def watched(*args: Any, **kwargs: Any) -> Any:
        loss, images = real(*args, **kwargs)
        seen.append(images - args[2])
        return loss, images

    monkeypatch.setattr(tipi, "adversarial_loss", watched)
    tiny_session(adapter(**options), Optimiser()).adapt(random_images())
    return seen[0]


def test_epsilon_of_normalised_images_is_that_times_the_standard_deviation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixel = adversarial_perturbation(monkeypatch)
    normalised = adversarial_perturbation(monkeypatch, eps_space="normalised")
    largest = pixel.abs().amax(dim=(0, 2, 3))
    torch.testing.assert_close(largest, torch.full((3,), EPSILON, dtype=torch.float64))
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64)
    torch.testing.assert_close(
        normalised.abs().amax(dim=(0, 2, 3)), EPSILON * std, rtol=1e-6, atol=0
    )


def test_from_zero_every_pixel_goes_to_the_rim_or_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    delta = adversarial_perturbation(monkeypatch, start="zero")
    steps = (delta / EPSILON).round()
    torch.testing.assert_close(delta, steps * EPSILON, rtol=0, atol=1e-12)
    assert set(steps.unique().tolist()) <= {-1.0, 0.0, 1.0}


def test_from_zero_the_clean_prediction_serves_as_the_perturbed_one() -> None:
    calls = []

    def forward(name: str) -> Any:
        def run(x: Tensor) -> Tensor:
            calls.append((name, x.detach()))
            return torch.cat([x, x * x], dim=1)

        return run

    images = random_images()
    # not symmetric, so that its gradient where both are equal is not zero
    _, perturbed = tipi.adversarial_loss(
        forward("main"),
        forward("second"),
        images,
        None,
        0.01,
        divergence=lambda a, b: (b - a).sum(dim=1),
    )
    assert [name for name, _ in calls] == ["main", "second"]
    assert torch.equal(calls[0][1], images)
    assert torch.equal(calls[1][1], perturbed)
    torch.testing.assert_close(perturbed, images + 0.01)


def test_a_sign_of_zero_keeps_the_start() -> None:
    images, start = random_images(), 0.01 * (random_images(seed=5) - 0.5)
    blind = torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64).view(1, 3, 1, 1)
    _, perturbed = tipi.adversarial_loss(lambda x: 0 * x, lambda x: x * blind, images, start, 0.01)
    torch.testing.assert_close(perturbed[:, 0], (images + start)[:, 0])
    assert not torch.allclose(perturbed[:, 1:], (images + start)[:, 1:])


def test_logits_far_apart_give_finite_losses_and_gradients() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0]])[:, :, None, None].requires_grad_()
    for reverse in (True, False):
        loss = (
            tipi.kl_divergence(logits.detach().flip(1), logits, reverse=reverse).sum()
            + softmax_entropy(logits).sum()
        )
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(("count", "mode"), [(64, Norm.RUNNING), (65, Norm.EMA)])
def test_large_batches_predict_in_train_mode_where_asked_to(count: int, mode: Norm) -> None:
    images = random_images(count, 32, 32)
    session = tiny_session(adapter(large_batch_bn=True), Optimiser())
    plain = PlainNet(tiny_net(adapter()))
    for _ in range(2):
        assert_same_predictions(session.predict(images), plain.predict(images, mode.value))
    plain.assert_equal(session.net)
    assert_same_predictions(
        tiny_session(adapter(), Optimiser()).predict(images),
        PlainNet(tiny_net(adapter())).predict(images, Norm.RUNNING.value),
    )


@pytest.mark.parametrize(
    ("backbone", "moved", "missed"), [("resnet50", 45_440, 4), ("resnet18", 7_808, 3)]
)
def test_the_authors_code_misses_layers_with_a_number_for_a_name(
    backbone: str, moved: int, missed: int
) -> None:
    method = adapter(layers="official")
    with torch.device("meta"):
        model = build_model(ModelConfig(backbone=backbone), TASKS)
        net = Net(model, method.build(model, TASKS))
    moves = moved_parameters(net, method.bind(net, {}, TARGET).moves, "tipi")
    assert sum(p.numel() for p in moves.values()) == moved
    extra = dict(net.extra.named_buffers())  # type: ignore[union-attr]
    assert sum(values.numel() for values in extra.values()) == moved
    layers = {name.rpartition(".")[0] for name in running_statistics(model)}
    left_out = {name for name in layers if f"model.{name}.weight" not in moves}
    assert left_out == {f"backbone.layer{n}.0.downsample.1" for n in range(5 - missed, 5)}


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_convnext"])
def test_subclasses_of_batch_norm_are_missed_and_layer_norms_are_found(backbone: str) -> None:
    method = adapter(layers="official")
    with torch.device("meta"):
        model = build_model(ModelConfig(backbone=backbone, pretrained=False), TASKS)
        net = Net(model, method.build(model, TASKS))
    if backbone == "test_convnext":
        assert method.bind(net, {}, TARGET).moves == adapter().bind(net, {}, TARGET).moves
        return
    with pytest.raises(BenchError, match="layers = official finds no normalisation layer"):
        method.bind(net, {}, TARGET)


@pytest.mark.parametrize("size", [(61, 47), (33, 130)])
@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext", "test_efficientnet"])
def test_any_size_and_backbone(backbone: str, size: tuple[int, int]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(ModelConfig(backbone=backbone, pretrained=False), TASKS)
    method = TIPI()
    session = Session(
        Net(model, method.build(model, TASKS)),
        method,
        target=TARGET,
        optimiser=Optimiser(lr=0.1),
        statistics={},
        recipe=RECIPES["weighted"],
        seed=0,
    )
    images = random_images(2, *size).float()
    session.begin_batch(0, images)
    assert (backbone == "test_convnext") == (not list(session.net.extra.buffers()))  # type: ignore[union-attr]
    before = {name: values.clone() for name, values in session.moved.items()}
    for _, predictions, losses in session.trajectory(images, 1):
        assert {task: tuple(p.shape) for task, p in predictions.items()} == {
            t: (2, k, *size) for t, k in TASKS.items()
        }
        assert all(torch.isfinite(loss) for loss in losses.values())
    assert any(not torch.equal(values, before[name]) for name, values in session.moved.items())


@pytest.mark.parametrize(
    ("tasks", "total"),
    [
        ({"semseg": 7, "depth": 1, "normals": 3, "edge": 1}, 23_554_124),
        ({"semseg": 6, "normals": 3, "edge": 1}, 23_546_442),
    ],
)
def test_published_numbers_of_parameters(tasks: dict[str, int], total: int) -> None:
    method = TIPI()
    with torch.device("meta"):
        model = build_model(ModelConfig(backbone="resnet50"), tasks)
        net = Net(model, method.build(model, tasks))
    plan = method.bind(net, {}, TARGET)
    assert (count_parameters(net).total, count_parameters(net).added) == (total, 0)
    assert sum(p.numel() for p in moved_parameters(net, plan.moves, "tipi").values()) == 53_120
    assert sum(values.numel() for values in net.extra.buffers()) == 53_120  # type: ignore[union-attr]
    assert (plan.adapt, plan.predict, plan.exact) == (Norm.EMA, Norm.RUNNING, False)


def test_a_reset_restores_both_sets_and_the_draws() -> None:
    images = random_images()
    session = tiny_session(adapter(), Optimiser(lr=0.1, momentum=0.9))
    before = {name: values.clone() for name, values in session.net.state_dict().items()}
    first = session.adapt(images)["invariance"]
    assert session.adapt(images)["invariance"] != first
    session.reset()
    session.begin_batch(0, images)
    assert all(
        torch.equal(values, before[name]) for name, values in session.net.state_dict().items()
    )
    assert torch.equal(session.adapt(images)["invariance"], first)


def test_requirements() -> None:
    assert adapter().needs().affine
    assert not adapter().needs().batchnorm
    assert not adapter().needs().tasks
    assert adapter(start="zero").needs().tasks == {"semseg"}
    assert not TIPIOptions.source_fields()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"start": "zero", "tasks": "regression"},
            "tipi.start = zero does not work with tipi.tasks = regression",
        ),
        ({"epsilon": 0.0}, "greater than 0"),
        ({"epsilon": 0.2}, "less than or equal to 0.1"),
        ({"sigma": 0.0}, "greater than 0"),
        ({"tent_coeff": -1.0}, "greater than or equal to 0"),
        ({"tasks": "depth"}, "'semseg', 'all' or 'regression'"),
        ({"eps_space": "lab"}, "'pixel' or 'normalised'"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_what_is_allowed(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        TIPIOptions(**options)


def test_regressions_of_a_network_without_any_are_refused() -> None:
    with pytest.raises(BenchError, match="needs a task without classes"):
        tiny_session(adapter(tasks="regression"), Optimiser(), {"semseg": 3})


def test_draws_follow_from_the_batchs_number_alone() -> None:
    def first_loss(number: int) -> float:
        session = tiny_session(adapter(), Optimiser())
        session.begin_batch(number, random_images())
        return session.adapt(random_images())["invariance"].item()

    assert first_loss(0) == first_loss(0)
    assert first_loss(1) != first_loss(0)


def test_settings() -> None:
    assert_settings(
        TIPI,
        lr=0.00025 / 64,
        momentum=0.9,
        lr_per_sample=True,
        steps=1,
        options={"eps_space": "normalised"},
    )
