"""ClusT3: whole adaptations by hand, what moves, the loss's properties, published counts, source
losses, options.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support.fakes import CHANNELS, TARGET, TASKS, random_images, tiny_net, tiny_session
from support.plain import PlainNet, assert_same_predictions
from support.settings import assert_settings
from support.toy import ToyDataset, same, source_terms, values
from torch import Tensor
from torch.nn import functional as F

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.session import Session, moved_parameters
from ttt_bench.adapter import Norm, Optimiser
from ttt_bench.config.preset import ModelConfig
from ttt_bench.losses import RECIPES
from ttt_bench.methods.clust3 import ClusT3, ClusT3Options, information_loss
from ttt_bench.model.architecture import build_model
from ttt_bench.model.parameters import count_parameters
from ttt_bench.network import Net


def adapter(**options: Any) -> ClusT3:
    return ClusT3(ClusT3Options(**{"K": 5, **options}))


def loss_by_hand(projections: list[Tensor], variant: str) -> Tensor:
    """Return the loss of the logits (B, K, h, w) of every projector, from its definition."""
    total = projections[0].new_zeros(())
    for logits in projections:
        clusters, places = logits.shape[1], logits.numel() // logits.shape[1]
        if variant == "corrected":
            rows = [logits[:, k].reshape(-1) for k in range(clusters)]
        else:
            memory = logits.reshape(-1)
            rows = [memory[k * places : (k + 1) * places] for k in range(clusters)]
        norms = torch.stack([row.exp() for row in rows]).sum(dim=0)
        p = [row.exp() / norms for row in rows]
        total = total - sum((p_k * p_k.log()).sum() for p_k in p) / places
        if variant == "corrected":
            q = [p_k.sum() / places for p_k in p]
            total = total + sum(q_k * (clusters * q_k).log() for q_k in q)
        else:
            means = (
                [row.sum() / places for row in rows]
                if variant == "official"
                else list(sum(rows) / clusters)
            )
            norm = torch.stack([mean.exp() for mean in means]).sum()
            for mean in means:
                total = total + (
                    math.log(1 / clusters) - (mean.exp() / norm).log()
                ) / clusters / len(means)
    return total


def projections_by_hand(
    plain: PlainNet, stages: list[Tensor], options: ClusT3Options
) -> list[Tensor]:
    found = []
    for stage in options.stages:
        for number in range(options.projectors):
            name, x = f"extra.stages.{stage}.{number}", stages[stage - 1]
            if options.size == "large":
                x = F.conv2d(x, plain.p[f"{name}.0.weight"], plain.p[f"{name}.0.bias"]).clamp(min=0)
                name = f"{name}.2"
            found.append(F.conv2d(x, plain.p[f"{name}.weight"], plain.p[f"{name}.bias"]))
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"variant": "corrected", "predict_norm": "batch"},
        {"variant": "official_visda", "stages": (2, 4), "projectors": 2, "size": "large"},
    ],
)
def test_two_steps_by_hand(options: dict[str, Any]) -> None:
    images = random_images(3, 64, 96)
    method = adapter(**options)
    session = tiny_session(method, Optimiser(lr=0.5, weight_decay=1e-2), images=images)
    plain = PlainNet(tiny_net(method))
    predicting = options.get("predict_norm", "running")
    for k, predictions, losses in session.trajectory(images, 2):
        assert_same_predictions(predictions, plain.predict(images, predicting))
        if k < 2:
            projections = projections_by_hand(plain, plain.stages(images, "ema"), method.options)
            loss = loss_by_hand(projections, method.options.variant)
            assert losses["information"].item() == pytest.approx(loss.item(), rel=1e-10)
            plain.descend(
                loss, lambda name: name.startswith("model.backbone."), lr=0.5, weight_decay=1e-2
            )
    plain.assert_equal(session.net)
    start = PlainNet(tiny_net(method))
    assert not torch.allclose(
        start.predict(images, predicting)["depth"], predictions["depth"], rtol=1e-3
    ), "it moved"


def test_the_backbone_and_its_statistics_move_heads_and_projectors_stay() -> None:
    session = tiny_session(adapter(), Optimiser(lr=0.1, weight_decay=0.1))
    assert not session.net.extra.training  # type: ignore[union-attr]
    before = values(session.net)
    list(session.trajectory(random_images(), 2))
    after = session.net.state_dict()
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name in after if name.startswith("model.backbone.")}
    assert [norm.num_batches_tracked.item() for norm in session.net.model.backbone.norms] == [
        2
    ] * len(CHANNELS)


def real_net(method: ClusT3, backbone: str = "test_resnet", tasks: dict[str, int] = TASKS) -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(ModelConfig(backbone=backbone, pretrained=False), tasks)
        return Net(model, method.build(model, tasks))


def test_extract_stage_limits_the_moved_parameters_and_not_the_loss() -> None:
    images = random_images(2, 64, 64).float()
    losses, gradients = {}, {}
    for stage in (2, 4):
        method = adapter(extract_stage=stage)
        session = Session(
            real_net(method),
            method,
            target=TARGET,
            optimiser=Optimiser(lr=0.1),
            statistics={},
            recipe=RECIPES["weighted"],
            seed=0,
        )
        before = values(session.net)
        losses[stage] = session.adapt(images)["information"]
        gradients[stage] = {
            n: p.grad for n, p in session.net.named_parameters() if p.grad is not None
        }
        assert gradients[stage].keys() == {
            f"model.{name}" for name in session.net.model.upstream(stage)
        }
        assert {
            n for n, p in session.net.named_parameters() if not torch.equal(p, before[n])
        } <= gradients[stage].keys()
    assert torch.equal(losses[2], losses[4])
    # deep projectors reach what moves through the frozen stages
    for name, gradient in gradients[2].items():
        torch.testing.assert_close(gradient, gradients[4][name])


@pytest.mark.parametrize(
    ("options", "last", "moves"),
    [({"stages": (1, 2)}, 2, 2), ({"stages": (3,), "extract_stage": 1}, 3, 1)],
)
def test_a_step_ends_at_the_deepest_projector(
    options: dict[str, Any], last: int, moves: int
) -> None:
    method = adapter(**options)
    net = real_net(method)
    session = Session(
        net,
        method,
        target=TARGET,
        optimiser=Optimiser(lr=0.1),
        statistics={},
        recipe=RECIPES["weighted"],
        seed=0,
    )
    assert method.passes(2) == (2, 2, last)
    assert session.plan.moves == tuple(f"model.{name}" for name in net.model.upstream(moves))
    run = set()
    for name, module in net.model.backbone.named_modules():
        module.register_forward_hook(lambda *_, name=name: run.add(name))
    session.adapt(random_images(2, 64, 64).float())
    assert f"layer{last}" in run
    assert f"layer{last + 1}" not in run
    assert adapter(**options, predict_norm="batch").passes(2) == (2, 2, 4), (
        "the heads need every stage"
    )


def test_the_steps_predictions_are_exact_with_batch_statistics_only() -> None:
    images = random_images()
    session = tiny_session(adapter(predict_norm="batch", stages=(1,)), Optimiser(lr=1e-2))
    assert (session.plan.adapt, session.plan.predict, session.plan.exact) == (
        Norm.EMA,
        Norm.BATCH,
        True,
    )
    for k, predictions, _ in session.trajectory(images, 2):
        if k < 2:
            assert same(predictions, session.predict(images))
    running = tiny_session(adapter(), Optimiser(lr=1e-2))
    assert (running.plan.predict, running.plan.exact) == (Norm.RUNNING, False)
    assert running.adapter.step(running.net, images, running.ctx).predictions is None


@pytest.mark.parametrize("size", [(64, 96), (61, 47), (33, 130)])
def test_any_size(size: tuple[int, int]) -> None:
    images = random_images(2, *size)
    for _, predictions, losses in tiny_session(adapter(), Optimiser(lr=1e-2)).trajectory(images, 1):
        assert {task: tuple(p.shape) for task, p in predictions.items()} == {
            t: (2, k, *size) for t, k in TASKS.items()
        }
        assert all(torch.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize("variant", ["official", "corrected"])
def test_information_grows(variant: str) -> None:
    session = tiny_session(adapter(variant=variant), Optimiser(lr=0.1))
    losses = [
        entry[2]["information"].item()
        for entry in list(session.trajectory(random_images(), 8))[:-1]
    ]
    assert losses[-1] < losses[0]


def test_corrected_is_zero_for_sure_and_balanced_clusters_and_log_k_for_useless_ones() -> None:
    places = torch.arange(2 * 4 * 4).view(2, 4, 4) % 4
    sure = 200 * F.one_hot(places, 4).permute(0, 3, 1, 2).double()
    assert information_loss([sure], "corrected").item() == pytest.approx(0, abs=1e-12)
    for useless in (torch.zeros_like(sure), sure[:, :, :1, :1].expand_as(sure)):
        assert information_loss([useless], "corrected").item() == pytest.approx(math.log(4))


def test_corrected_with_an_empty_cluster_has_a_finite_gradient() -> None:
    logits = torch.tensor([0.0, 1.0, -1000.0]).view(1, 3, 1, 1).repeat(2, 1, 2, 2).requires_grad_()
    loss = information_loss([logits], "corrected")
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def test_the_order_of_images_matters_to_the_official_loss_only() -> None:
    logits = torch.randn(
        3, 4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    turned = logits.flip(0)
    torch.testing.assert_close(
        information_loss([logits], "corrected"), information_loss([turned], "corrected")
    )
    for variant in ("official", "official_visda"):
        assert not torch.isclose(
            information_loss([logits], variant), information_loss([turned], variant), rtol=1e-6
        )  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", ["official", "official_visda", "corrected"])
def test_the_memory_format_does_not_matter(variant: Any) -> None:
    logits = torch.randn(
        3, 4, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    strided = logits.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        information_loss([strided], variant), loss_by_hand([logits], variant)
    )


def test_source_loss() -> None:
    method = adapter(projectors=2)
    net = tiny_net(method).float()
    ctx = HarnessContext(net, RECIPES["weighted"])
    batch = ToyDataset().batch([0, 1])
    features = net.model.stages(batch.images)
    terms = source_terms(method, net, batch, ctx, stages=features)
    projections = projections_by_hand(plain := PlainNet(net), features, method.options)
    assert len(projections) == 8
    assert list(terms) == ["information"], "one plain addend, of weight 1"
    torch.testing.assert_close(terms["information"], loss_by_hand(projections, "official"))
    terms["information"].backward()
    trained = {name for name, p in net.named_parameters() if p.grad is not None}
    assert trained == {name for name in plain.p if not name.startswith("model.heads.")}
    assert method.phases()[0].trains == ("model", "extra")


@pytest.mark.parametrize(
    ("tasks", "total"),
    [
        ({"semseg": 7, "depth": 1, "normals": 3, "edge": 1}, 23_592_564),
        ({"semseg": 6, "normals": 3, "edge": 1}, 23_584_882),
    ],
)
def test_published_numbers_of_parameters(tasks: dict[str, int], total: int) -> None:
    with torch.device("meta"):
        net = real_net(ClusT3(), "resnet50", tasks)
    counts = count_parameters(net)
    assert (counts.total, counts.added) == (total, 38_440)
    for stage, wanted in ((4, 23_508_032), (3, 8_543_296), (2, 1_444_928)):
        method = ClusT3(ClusT3Options(extract_stage=stage))
        moved = moved_parameters(net, method.bind(net, {}, TARGET).moves, "clust3")
        assert sum(p.numel() for p in moved.values()) == wanted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"K": 1}, "greater than or equal to 2"),
        ({"K": 257}, "less than or equal to 256"),
        ({"projectors": 0}, "greater than or equal to 1"),
        ({"projectors": 17}, "less than or equal to 16"),
        ({"stages": ()}, "clust3.stages .* at least one of the stages 1 to 4"),
        ({"stages": (1, 1)}, "each once"),
        ({"stages": (0,)}, "greater than or equal to 1"),
        ({"stages": (5,)}, "less than or equal to 4"),
        ({"extract_stage": 5}, "less than or equal to 4"),
        ({"size": "medium"}, "'small' or 'large'"),
        ({"variant": "paper"}, "'official', 'official_visda' or 'corrected'"),
    ],
)
def test_options_out_of_range_are_refused_with_what_is_allowed(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        ClusT3Options(**options)


def test_options_that_shape_the_source_model() -> None:
    assert set(ClusT3Options.source_fields()) == {"K", "projectors", "stages", "size", "variant"}
    assert ClusT3Options(stages=[4, 1]).stages == (1, 4), "a list, as a configuration file has it"  # type: ignore[arg-type]


def test_settings() -> None:
    assert_settings(ClusT3, optimiser="adam", lr=1e-5, steps=20)
