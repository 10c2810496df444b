"""TTT++: a whole adaptation by hand, moments, the queue, source losses and statistics, options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from support.fakes import CHANNELS, TARGET, random_images, tiny_net, tiny_session
from support.plain import PlainNet, assert_same_predictions, view_by_hand
from support.settings import assert_settings
from support.toy import ToyDataset, same, source_terms, values
from torch import Tensor
from torch.nn import functional as F

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.session import Session, moved_parameters
from ttt_bench.adapter import Norm, Optimiser, Passes
from ttt_bench.config.preset import ModelConfig
from ttt_bench.errors import BenchError
from ttt_bench.losses import RECIPES
from ttt_bench.methods import _tttpp_features, tttpp
from ttt_bench.methods.tttpp import TTTPlusPlus, TTTPlusPlusOptions
from ttt_bench.model.architecture import build_model
from ttt_bench.model.parameters import count_parameters
from ttt_bench.network import Batch, Net
from ttt_bench.util.seeding import derive_seed

WIDTHS = {"ext": sum(CHANNELS), "ssh": 4}
SMALL = {"head_pool": 3, "head_hidden": 5, "head_out": WIDTHS["ssh"]}


def adapter(**options: Any) -> TTTPlusPlus:
    return TTTPlusPlus(TTTPlusPlusOptions(**{**SMALL, **options}))


def some_statistics() -> dict[str, Tensor]:
    """Return arbitrary statistics."""
    draw = torch.Generator().manual_seed(5)
    found = {}
    for name, width in WIDTHS.items():
        rows = torch.rand(20, width, generator=draw, dtype=torch.float64)
        found |= {f"{name}.covariance": rows.T.cov(), f"{name}.mean": rows.mean(dim=0)}
        found |= {f"{name}.coral_reference": rows[0, 0] / 10, f"{name}.mmd_reference": rows[1, 0]}
    return found


def session(method: TTTPlusPlus, lr: float = 1e-3, count: int = 3, **settings: Any) -> Session:
    images = random_images(count)
    return tiny_session(
        method, Optimiser(lr=lr, **settings), statistics=some_statistics(), images=images
    )


def projection_by_hand(plain: PlainNet, stages: list[Tensor]) -> Tensor:
    cells = F.adaptive_avg_pool2d(plain.hypercolumn(stages), SMALL["head_pool"]).flatten(1)
    hidden = (cells @ plain.p["extra.head.0.weight"].T + plain.p["extra.head.0.bias"]).clamp(min=0)
    return hidden @ plain.p["extra.head.2.weight"].T + plain.p["extra.head.2.bias"]


def contrastive_by_hand(
    plain: PlainNet, images: Tensor, draws: Tensor, temperature: float
) -> Tensor:
    """Return the loss; the first views of all images precede the second ones."""
    views = [
        view_by_hand(image, d.tolist())
        for image, d in zip([*images, *images], draws.double(), strict=True)
    ]
    z = projection_by_hand(plain, plain.stages(torch.stack(views), "ema"))
    z = z / (z**2).sum(dim=1, keepdim=True).sqrt()
    logs = []
    for i in range(len(z)):
        scores = [(z[i] @ z[j] / temperature).exp() for j in range(len(z)) if j != i]
        partner = (i + len(images)) % len(z)
        logs.append(z[i] @ z[partner] / temperature - torch.stack(scores).sum().log())
    return -temperature / 0.07 * torch.stack(logs).mean()


def features_by_hand(plain: PlainNet, stages: list[Tensor]) -> dict[str, Tensor]:
    return {
        "ext": plain.hypercolumn(stages).mean(dim=(2, 3)),
        "ssh": projection_by_hand(plain, stages),
    }


def alignment_by_hand(
    name: str, rows: Tensor, statistics: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return CORAL / CORAL_0 and MMD / MMD_0."""
    mean = rows.sum(dim=0) / len(rows)
    covariance = sum(torch.outer(row - mean, row - mean) for row in rows) / (len(rows) - 1)
    coral = ((statistics[f"{name}.covariance"] - covariance) ** 2).sum() / (4 * rows.shape[1] ** 2)
    mmd = ((statistics[f"{name}.mean"] - mean) ** 2).sum() / rows.shape[1]
    return coral / statistics[f"{name}.coral_reference"], mmd / statistics[f"{name}.mmd_reference"]


@pytest.mark.parametrize(
    ("options", "moved"),
    [
        ({}, ("model.backbone.",)),
        (
            {"fix_head": False, "predict_norm": "batch", "temperature": 0.3},
            ("model.backbone.", "extra."),
        ),
    ],
)
def test_two_steps_by_hand(options: dict[str, Any], moved: tuple[str, ...]) -> None:
    images, statistics = random_images(3, 32, 44), some_statistics()
    method = adapter(**options)
    one = tiny_session(
        method, Optimiser(lr=1e-2, weight_decay=1e-2), statistics=statistics, images=images
    )
    plain = PlainNet(tiny_net(method))
    draw = torch.Generator().manual_seed(derive_seed(0, "tttpp", 0))
    mode = options.get("predict_norm", "running")
    for k, predictions, losses in one.trajectory(images, 2):
        assert_same_predictions(predictions, plain.predict(images, mode))
        if k < 2:
            draws = torch.rand(6, 11, generator=draw)
            wanted = {
                "contrastive": contrastive_by_hand(
                    plain, images, draws, options.get("temperature", 0.5)
                )
            }
            features = features_by_hand(plain, plain.stages(images, "ema"))
            for name, scale in (("ext", 0.5), ("ssh", 0.2)):
                coral, mmd = alignment_by_hand(name, features[name], statistics)
                wanted |= {f"{name}_coral": scale * coral, f"{name}_mmd": scale * 0.5 * mmd}
            assert list(losses) == list(wanted)
            for name, value in wanted.items():
                assert losses[name].item() == pytest.approx(value.item(), rel=1e-7), name
            total = torch.stack(list(wanted.values())).sum()
            plain.descend(total, lambda name: name.startswith(moved), lr=1e-2, weight_decay=1e-2)
    plain.assert_equal(one.net)
    start = PlainNet(tiny_net(method))
    assert not torch.allclose(
        start.predict(images, mode)["depth"], predictions["depth"], rtol=1e-2
    ), "it moved"
    changed = {name for name, p in one.net.named_parameters() if not torch.equal(p, start.p[name])}
    assert changed == {name for name in start.p if name.startswith(moved)}


def test_the_queue_by_hand() -> None:
    method, statistics = adapter(queue_size=3, use="align"), some_statistics()
    one, plain = session(method, lr=0.1, count=2), PlainNet(tiny_net(method))
    rows: dict[str, list[Tensor]] = {"ext": [], "ssh": []}
    for number in range(4):
        images = random_images(2, seed=number)
        one.begin_batch(number, images)
        for _, _, losses in list(one.trajectory(images, 2))[:2]:
            features = features_by_hand(plain, plain.stages(images, "ema"))
            wanted = []
            for name, scale in (("ext", 0.5), ("ssh", 0.2)):
                coral, mmd = alignment_by_hand(
                    name, torch.stack([*features[name], *rows[name]]), statistics
                )
                wanted += [scale * coral, scale * 0.5 * mmd]
            assert [loss.item() for loss in losses.values()] == pytest.approx(
                [w.item() for w in wanted], rel=1e-8
            )
            plain.descend(
                torch.stack(wanted).sum(), lambda name: name.startswith("model.backbone."), lr=0.1
            )
        one.end_batch(images)
        last = features_by_hand(plain, plain.stages(images, "batch"))
        rows = {name: [*rows[name], *last[name].detach()][-3:] for name in rows}
    plain.assert_equal(one.net)


def test_the_queue_is_emptied_by_a_reset_and_not_part_of_checkpoints() -> None:
    one = session(adapter(queue_size=5))
    initial = dict(one.net.named_buffers())["extra.queues.ext.rows"].clone()
    list(one.trajectory(random_images(3), 1))
    one.end_batch(random_images(3))
    filled = {name: b for name, b in one.net.named_buffers() if "queues" in name}
    assert [filled[f"extra.queues.{name}.taken"].item() for name in WIDTHS] == [3, 3]
    assert not torch.equal(filled["extra.queues.ext.rows"], initial)
    one.reset()
    assert not any(b.any() for b in filled.values())
    assert one.net.state_dict().keys() == tiny_net(adapter()).state_dict().keys()


def test_a_queue_keeps_the_latest_rows() -> None:
    queue, rows = _tttpp_features.Queue(4, 2), torch.arange(40.0).view(20, 2)
    first = 0
    for count in (3, 2, 1, 7, 4):
        behind, kept = queue.behind(rows[:2])
        assert torch.equal(behind[:2], rows[:2])
        wanted = rows[max(0, first - 4) : first]
        assert sorted(behind[kept.bool()][2:].tolist()) == wanted.tolist()
        assert kept.tolist() == [1] * (2 + len(wanted)) + [0] * (4 - len(wanted))
        queue.push(rows[first : first + count])
        first += count


def test_moments_of_kept_rows_are_those_of_these_rows_alone() -> None:
    rows = torch.rand(9, 5, dtype=torch.float64)
    kept = torch.tensor([1, 0, 1, 1, 0, 0, 1, 1, 0], dtype=torch.float64)
    for moment in (tttpp.mean, tttpp.covariance):
        torch.testing.assert_close(moment(rows, kept), moment(rows[kept.bool()]))
        torch.testing.assert_close(moment(rows, torch.ones(9).double()), moment(rows))


def test_source_statistics_keep_small_spreads_of_large_features() -> None:
    draw = torch.Generator().manual_seed(0)
    rows = 300 + torch.randn(40, 8, 6, generator=draw)
    covariance, _, mean, _ = tttpp.source_statistics(iter(rows))
    assert covariance.dtype == mean.dtype == torch.float32
    others = rows[1:].flatten(0, 1).double()
    torch.testing.assert_close(covariance.double(), others.T.cov(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mean.double(), others.mean(dim=0))


def test_too_few_batches_are_refused_with_what_to_change() -> None:
    for count in (0, 1, 2):
        with pytest.raises(
            BenchError, match=r"at least 3 batches.*tttpp\.stat_images.*tttpp\.stat_batch"
        ):
            tttpp.source_statistics([torch.rand(4, 3)] * count)


def test_source_statistics_of_a_network_by_hand() -> None:
    method = adapter(stat_images=12, stat_batch=4)
    wanted_pass = method.source_pass()
    assert wanted_pass is not None
    assert (wanted_pass.images, wanted_pass.batch, wanted_pass.at_target_size) == (12, 4, False)
    net = tiny_net(method).eval()
    ctx = HarnessContext(net, RECIPES["weighted"])
    ctx.norms.set(Norm.RUNNING)
    batches = [random_images(4, 33, 47, seed=n) for n in range(3)]
    with torch.no_grad():
        found = method.source_statistics(net, iter(batches), ctx)
    plain = PlainNet(net)
    features = [features_by_hand(plain, plain.stages(images, "running")) for images in batches]
    assert len(found) == 8
    for name in WIDTHS:
        first, *rest = (f[name].detach().numpy() for f in features)
        together = np.concatenate(rest)
        distances = [
            ((np.cov(first.T) - np.cov(other.T)) ** 2).sum() / (4 * first.shape[1] ** 2)
            for other in rest
        ]
        means = [((first.mean(0) - other.mean(0)) ** 2).mean() for other in rest]
        np.testing.assert_allclose(
            found[f"{name}.covariance"], np.cov(together.T), rtol=1e-8, atol=1e-12
        )
        np.testing.assert_allclose(found[f"{name}.mean"], together.mean(0))
        assert found[f"{name}.coral_reference"].item() == pytest.approx(sum(distances) / 2)
        assert found[f"{name}.mmd_reference"].item() == pytest.approx(sum(means) / 2)


def test_bind_takes_the_statistics_of_the_cell_at_hand() -> None:
    method = adapter(use="align")
    images = random_images(3)
    first = next(session(method).trajectory(images, 1))[2]
    double = {
        name: 2 * value if "reference" in name else value
        for name, value in some_statistics().items()
    }
    again = tiny_session(method, Optimiser(), statistics=double, images=images)
    for name, loss in next(again.trajectory(images, 1))[2].items():
        torch.testing.assert_close(2 * loss, first[name])


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (33, 47), (61, 130)])
@pytest.mark.parametrize("cells", [1, 3, 8, 11])
def test_the_grid_is_that_of_the_pooled_hypercolumn(size: tuple[int, int], cells: int) -> None:
    model = tiny_net(adapter()).model
    stages = model.stages(random_images(2, *size))
    wanted = F.adaptive_avg_pool2d(model.hypercolumn(stages), cells)
    torch.testing.assert_close(_tttpp_features.pooled_grid(stages, cells), wanted)


def test_the_source_loss_by_hand() -> None:
    method = adapter(temperature=0.1)
    net = tiny_net(method)
    plain = PlainNet(net)
    ctx = HarnessContext(net, RECIPES["weighted"])
    ctx.norms.set(Norm.EMA)
    ctx.seed(3)
    batch = ToyDataset(size=(32, 40)).batch([0, 1])
    images, phase = batch.images.double(), method.phases()[0]
    terms = source_terms(method, net, Batch(images, batch.targets), ctx)
    assert (phase.trains, phase.supervised) == (("model", "extra"), True)
    draws = torch.rand(4, 11, generator=torch.Generator().manual_seed(derive_seed(3)))
    assert list(terms) == ["contrastive"], "a plain addend"
    torch.testing.assert_close(terms["contrastive"], contrastive_by_hand(plain, images, draws, 0.5))
    plain.assert_equal(net)
    terms["contrastive"].backward()
    reached = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {name for name in plain.p if not name.startswith("model.heads.")}


@pytest.mark.parametrize(
    ("options", "terms", "seen"),
    [
        ({}, ["contrastive", "ext_coral", "ext_mmd", "ssh_coral", "ssh_mmd"], [6, 3]),
        ({"use": "ssl"}, ["contrastive"], [6]),
        ({"use": "align"}, ["ext_coral", "ext_mmd", "ssh_coral", "ssh_mmd"], [3]),
        ({"scale_ext": 0, "divergence": "coral"}, ["contrastive", "ssh_coral"], [6, 3]),
        ({"scale_ssh": 0, "divergence": "mmd"}, ["contrastive", "ext_mmd"], [6, 3]),
        ({"scale_ext": 0, "scale_ssh": 0}, ["contrastive"], [6]),
    ],
)
def test_terms_and_passes(options: dict[str, Any], terms: list[str], seen: list[int]) -> None:
    method, counts = adapter(**options), []
    one = session(method)
    one.net.model.backbone.register_forward_hook(
        lambda _, inputs, __: counts.append(len(inputs[0]))
    )
    assert list(one.adapt(random_images(3))) == terms
    assert counts == seen
    assert method.passes(3) == Passes(sum(seen), sum(seen))
    assert (method.source_pass() is None) == (terms == ["contrastive"])


@pytest.mark.parametrize(
    ("options", "predict", "exact"),
    [
        ({}, "running", False),
        ({"predict_norm": "batch"}, "batch", True),
        ({"predict_norm": "batch", "use": "ssl"}, "batch", False),
    ],
)
def test_modes(options: dict[str, Any], predict: str, exact: bool) -> None:
    plan = session(adapter(**options)).plan
    assert (plan.adapt, plan.predict, plan.exact) == (Norm.EMA, Norm(predict), exact)


def test_the_steps_predictions_equal_separate_ones_under_batch_statistics() -> None:
    images, one = random_images(3), session(adapter(predict_norm="batch"))
    for k, predictions, _ in one.trajectory(images, 2):
        if k < 2:
            assert same(predictions, one.predict(images))


def test_the_end_of_a_batch_moves_the_queue_alone() -> None:
    one = session(adapter(queue_size=2))
    before = values(one.net)
    one.end_batch(random_images(3))
    assert same(values(one.net), before)


@pytest.mark.parametrize(
    ("tasks", "total"),
    [
        ({"semseg": 7, "depth": 1, "normals": 3, "edge": 1}, 149_400_172),
        ({"semseg": 6, "normals": 3, "edge": 1}, 149_392_490),
    ],
)
def test_published_numbers_of_parameters(tasks: dict[str, int], total: int) -> None:
    for options, moved in (
        ({}, 23_508_032),
        ({"fix_head": False, "queue_size": 16}, 23_508_032 + 125_846_048),
    ):
        method = TTTPlusPlus(TTTPlusPlusOptions(**options))
        with torch.device("meta"):
            model = build_model(ModelConfig(backbone="resnet50"), tasks)
            net = Net(model, method.build(model, tasks))
        counts = count_parameters(net)
        assert (counts.total, counts.added) == (total, 125_846_048)
        assert (
            sum(
                p.numel()
                for p in moved_parameters(net, method.bind(net, {}, TARGET).moves, "tttpp").values()
            )
            == moved
        )


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext", "test_efficientnet"])
@pytest.mark.parametrize("size", [(32, 32), (61, 47)])
def test_any_backbone_and_size_without_some_tasks(backbone: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    method, tasks = adapter(queue_size=3, predict_norm="batch"), {"normals": 3, "edge": 1}
    model = build_model(ModelConfig(backbone=backbone, pretrained=False), tasks)
    net = Net(model, method.build(model, tasks)).eval()
    images = random_images(2, *size).float()
    ctx = HarnessContext(net, RECIPES["weighted"])
    with torch.no_grad():
        statistics = method.source_statistics(
            net, [random_images(4, seed=n).float() for n in range(3)], ctx
        )
    one = Session(
        net,
        method,
        target=TARGET,
        optimiser=Optimiser(lr=1e-4),
        statistics=statistics,
        recipe=RECIPES["weighted"],
        seed=0,
    )
    before, state = images.clone(), torch.random.get_rng_state()
    one.begin_batch(0, images)
    for _, predictions, losses in one.trajectory(images, 1):
        assert {task: tuple(p.shape) for task, p in predictions.items()} == {
            t: (2, k, *size) for t, k in tasks.items()
        }
        assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())
    one.end_batch(images)
    assert torch.equal(images, before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_aligned_features_come_closer() -> None:
    one = session(adapter(use="align", scale_ssh=0), lr=1e-2)
    totals = [
        sum(entry[2].values()).item() for entry in list(one.trajectory(random_images(3), 4))[:-1]
    ]  # type: ignore[union-attr]
    assert totals[-1] < totals[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"use": "align", "scale_ext": 0, "scale_ssh": 0},
            r"tttpp\.scale_ext or tttpp\.scale_ssh above 0",
        ),
        (
            {"use": "ssl", "queue_size": 8},
            r"tttpp\.queue_size = 8 has no effect without an alignment",
        ),
        (
            {"stat_images": 20, "stat_batch": 8},
            r"tttpp\.stat_images = 20 must be .* three times tttpp\.stat_batch = 8",
        ),
        ({"stat_batch": 1}, "greater than or equal to 2"),
        ({"queue_size": 5000}, "less than or equal to 4096"),
        ({"temperature": 0}, "greater than 0"),
        ({"scale_ssh": -1}, "greater than or equal to 0"),
        ({"divergence": "none"}, "'all', 'coral' or 'mmd'"),
    ],
)
def test_options_that_do_not_fit_are_refused_with_what_is_allowed(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        TTTPlusPlusOptions(**options)


def test_requirements_and_options_that_shape_the_source_model() -> None:
    assert TTTPlusPlus().needs().min_batch == 2
    assert TTTPlusPlusOptions.source_fields() == ("head_pool", "head_hidden", "head_out")


def test_settings() -> None:
    assert_settings(TTTPlusPlus, lr=1e-2, momentum=0.9, steps=40)
