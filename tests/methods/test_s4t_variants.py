"""S4T's ablations: every variant by hand, masking strategies, channel order, source losses,
refused options.
"""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from support.fakes import TASKS, random_images, tiny_net, tiny_session
from support.plain import assert_same_predictions
from support.plain_s4t import PlainS4T
from support.toy import ToyDataset, source_terms
from torch import Tensor

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapter import Optimiser
from ttt_bench.config.merging import make_request
from ttt_bench.errors import BenchError
from ttt_bench.losses import RECIPES
from ttt_bench.methods import _s4t_network
from ttt_bench.methods.s4t import S4T, S4TOptions, Synchronizer, cut_by_position, visible_patches
from ttt_bench.network import Batch
from ttt_bench.sweep.plan import Sweep, plan_sweep
from ttt_bench.sweep.resolve import resolve
from ttt_bench.util.progress import Silent
from ttt_bench.util.seeding import derive_seed

TINY = {
    "R": 32,
    "patch": 8,
    "latent": 3,
    "embed": 8,
    "heads": 2,
    "depth": (1, 1),
    "mask_ratio": 0.6,
}
LENGTH = 16
ORDERS = {
    "taskonomy": ("depth", "edge", "normals", "semseg"),
    "weighted": ("semseg", "depth", "normals", "edge"),
}
ORDERS["taskonomy_official"] = ORDERS["taskonomy"]
VARIANTS: list[dict[str, Any]] = [
    {"projection": "shared"},
    {"projection": "none"},
    {"projection": "none", "drop": False},
    {"target": "image"},
    {"target": "image", "projection": "shared", "scale": 0.3},
    {"mask_ratio": 0.0},
    {"drop": False},
    {"masking": "random"},
    {"masking": "disjoint"},
    {"masking": "tasks"},
    {"masking": "tasks", "hidden_tasks": 1},
    {"tasks": "single:normals"},
    {"tasks": "single:depth", "masking": "random"},
]


def named(options: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in options.items())


def adapter(**options: Any) -> S4T:
    return S4T(S4TOptions(**{**TINY, **options}))


def own_tasks(method: S4T) -> dict[str, int]:
    return {task: TASKS[task] for task in method.own_tasks(tuple(TASKS))}


def used(name: str, options: S4TOptions) -> bool:
    """Return whether the synchronizer's output depends on a parameter."""
    if name == "extra.synchronizer.mask_token":
        return options.masking == "same" and options.drop and options.mask_ratio > 0
    return name.startswith(("model.backbone.", "extra.projection.", "extra.synchronizer."))


@pytest.mark.parametrize("variant", VARIANTS, ids=named)
def test_two_steps_by_hand(variant: dict[str, Any]) -> None:
    method, images = adapter(**variant), random_images(2, 61, 47)
    options, tasks = method.options, own_tasks(method)
    session = tiny_session(method, Optimiser(lr=1e-3, weight_decay=1e-2), tasks)
    # 0.6 of four tasks are 2.4
    plain = PlainS4T(
        tiny_net(method, tasks), options, tasks, hidden_tasks=variant.get("hidden_tasks", 2)
    )
    for k, predictions, losses in session.trajectory(images, 2):
        assert all(
            predictions[task].shape == (2, channels, 61, 47) for task, channels in tasks.items()
        )
        assert_same_predictions(predictions, plain.predict(images, "running"))
        if k < 2:
            loss = plain.loss(images)
            assert losses["tbs"].item() == pytest.approx(loss.item(), rel=1e-9)
            gradients = plain.descend(loss, lambda name: True, lr=1e-3, weight_decay=1e-2)
            assert gradients.keys() == {name for name in plain.p if used(name, options)}
            assert all(gradient.any() for gradient in gradients.values())
    plain.assert_equal(session.net)
    assert session.moved.keys() - {"extra.uncertainties"} == gradients.keys()


def test_the_fused_features_are_stretched_one_image_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = []
    stretch = _s4t_network.stretched_patches
    monkeypatch.setattr(
        _s4t_network,
        "stretched_patches",
        lambda x, *rest: counts.append(len(x)) or stretch(x, *rest),
    )
    session = tiny_session(adapter(projection="none"), Optimiser(), images=random_images(3))
    session.adapt(random_images(3))
    assert counts == [1] * 6, "once forwards and once more backwards"


# masking: visible patches


def visible(masking: str, count: int, images: int = 4000, tasks: int = 3) -> Tensor:
    """Return the visible patches (images, tasks, LENGTH) bool of a seeded draw."""
    shape = S4TOptions(**{**TINY, "masking": masking}).noise_shape(tasks)
    noise = torch.rand(images, *shape, generator=torch.Generator().manual_seed(0))
    return visible_patches(masking, noise, tasks, count).expand(images, tasks, LENGTH)


def both_visible(seen: Tensor, first: int, second: int) -> float:
    """Return the share of patches that are visible for both tasks."""
    return (seen[:, first] & seen[:, second]).double().mean().item()


@pytest.mark.parametrize(("masking", "count"), [("same", 6), ("random", 6), ("disjoint", 5)])
def test_the_requested_number_of_patches_is_visible_and_each_equally_often(
    masking: str, count: int
) -> None:
    seen = visible(masking, count)
    assert (seen.sum(dim=2) == count).all()
    often = seen.double().mean(dim=0)
    torch.testing.assert_close(often, torch.full_like(often, count / LENGTH), rtol=0, atol=0.04)


def test_the_same_patches_of_all_tasks_are_visible() -> None:
    seen = visible("same", 6)
    assert (seen == seen[:, :1]).all()


def test_random_patches_of_each_task_are_visible_independently() -> None:
    seen = visible("random", 6)
    for first, second in combinations(range(3), 2):
        assert both_visible(seen, first, second) == pytest.approx((6 / LENGTH) ** 2, abs=0.01)


def test_disjoint_patches_are_slices_of_one_permutation() -> None:
    noise = torch.rand(50, 1, LENGTH, generator=torch.Generator().manual_seed(1))
    seen = visible_patches("disjoint", noise, 3, 5)
    assert not any(both_visible(seen, first, second) for first, second in combinations(range(3), 2))
    for numbers, sets in zip(noise[:, 0], seen, strict=True):
        low_to_high = [numbers[one].sort().values for one in sets]
        assert all(below[-1] < above[0] for below, above in pairwise(low_to_high))
        assert numbers[~sets.any(dim=0)].min() > low_to_high[-1][-1], (
            "patches that are visible for no task come last"
        )


@pytest.mark.parametrize("count", [1, 2])
def test_tasks_are_visible_whole_or_not_at_all_in_every_combination_equally_often(
    count: int,
) -> None:
    seen = visible("tasks", count)
    whole = seen.all(dim=2)
    assert (whole == seen.any(dim=2)).all()
    assert (whole.sum(dim=1) == count).all()
    often = whole.double().mean(dim=0)
    torch.testing.assert_close(often, torch.full_like(often, count / 3), rtol=0, atol=0.04)


@pytest.mark.parametrize(
    ("options", "tasks", "count"),
    [
        ({}, 4, 51),
        ({"masking": "random", "mask_ratio": 0.5}, 4, 128),
        ({"masking": "disjoint"}, 4, 51),
        ({"masking": "disjoint", "mask_ratio": 0.5}, 4, 64),
        ({"masking": "disjoint", "mask_ratio": 0.5}, 3, 85),
        ({"masking": "tasks"}, 4, 1),
        ({"masking": "tasks"}, 3, 1),
        ({"masking": "tasks", "mask_ratio": 0.99}, 4, 1),
        ({"masking": "tasks", "mask_ratio": 0.01}, 4, 3),
        ({"masking": "tasks", "mask_ratio": 0.999, "R": 32}, 2, 1),
        ({"masking": "tasks", "hidden_tasks": 1}, 4, 3),
    ],
)
def test_number_of_visible_patches(options: dict[str, Any], tasks: int, count: int) -> None:
    assert S4TOptions(**options).visible(tasks) == count


def outputs(options: dict[str, Any], latents: Tensor, noise: Tensor) -> dict[str, Tensor]:
    """Return a seeded synchronizer's outputs; its weights do not depend on the masking."""
    torch.manual_seed(0)
    tbs = Synchronizer(S4TOptions(**{**TINY, **options}), 12, TASKS).double()
    return tbs(tbs.tokens(latents, noise), noise, (32, 32))


@pytest.mark.parametrize(
    "options",
    [{"drop": False}, {"masking": "random"}, {"masking": "disjoint"}, {"masking": "tasks"}],
    ids=named,
)
def test_only_the_hidden_part_of_a_task_is_zero(options: dict[str, Any]) -> None:
    settings = S4TOptions(**{**TINY, **options})
    latents = torch.randn(2, 12, 32, 32, dtype=torch.float64)
    noise = torch.rand(2, *settings.noise_shape(4))
    seen = visible_patches(settings.masking, noise, 4, settings.visible(4)).expand(2, 4, LENGTH)
    by_place = seen.reshape(2, 4, 4, 4).repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    zeroed = latents * by_place.repeat_interleave(3, dim=1)
    wanted = outputs({"mask_ratio": 0.0}, zeroed, noise)
    for task, output in outputs(options, latents, noise).items():
        torch.testing.assert_close(output, wanted[task])
        assert not torch.allclose(output, outputs({"mask_ratio": 0.0}, latents, noise)[task])


@pytest.mark.parametrize("options", [{}, {"drop": False}, {"masking": "random"}], ids=named)
def test_ratio_0_masks_nothing(options: dict[str, Any]) -> None:
    options = {**options, "mask_ratio": 0.0}
    shape = S4TOptions(**{**TINY, **options}).noise_shape(4)
    latents = torch.randn(2, 12, 9, 7, dtype=torch.float64)
    first, second = (outputs(options, latents, torch.rand(2, *shape)) for _ in range(2))
    for task, output in first.items():
        torch.testing.assert_close(output, second[task], rtol=0, atol=0)
        torch.testing.assert_close(
            output, outputs({"mask_ratio": 0.0}, latents, torch.rand(2, 1, LENGTH))[task]
        )
        # the smallest ratio that hides a patch makes a difference
        assert not torch.equal(
            output, outputs({**options, "mask_ratio": 0.07}, latents, torch.rand(2, *shape))[task]
        )


# channel order


def coded(**channels: list[int]) -> dict[str, Tensor]:
    """Return outputs whose channels are constant numbers."""
    return {
        task: torch.tensor(numbers).view(1, -1, 1, 1).expand(2, -1, 3, 3)
        for task, numbers in channels.items()
    }


DEPTH, EDGE, NORMALS, SEMSEG = [50], [60], [70, 71, 72], [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("source", "target", "wanted"),
    [
        ("taskonomy", "weighted", [[50, 60, 70, 71, 72, 0, 1], [2], [3, 4, 5], [6]]),
        ("weighted", "taskonomy", [[5, 6, 50, 70, 71, 72, 60], [0], [2, 3, 4], [1]]),
        ("weighted", "weighted", [SEMSEG, DEPTH, NORMALS, EDGE]),
        ("taskonomy", "taskonomy", [SEMSEG, DEPTH, NORMALS, EDGE]),
    ],
)
def test_the_channels_of_one_order_cut_in_another(
    source: str, target: str, wanted: list[list[int]]
) -> None:
    given = coded(semseg=SEMSEG, depth=DEPTH, normals=NORMALS, edge=EDGE)
    found = cut_by_position(given, ORDERS[source], ORDERS[target])
    assert list(found) == list(given), "the uncertainties are in this order"
    for task, numbers in zip(given, wanted, strict=True):
        assert torch.equal(found[task], coded(x=numbers)["x"]), task


def test_the_channels_of_a_pair_without_depth() -> None:
    given = coded(semseg=SEMSEG[:6], normals=NORMALS, edge=EDGE)
    found = cut_by_position(given, ORDERS["taskonomy"], ORDERS["weighted"])
    wanted = coded(semseg=[60, 70, 71, 72, 0, 1], normals=[2, 3, 4], edge=[5])
    assert all(torch.equal(found[task], wanted[task]) for task in given)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("taskonomy", "weighted"),
        ("weighted", "taskonomy"),
        ("taskonomy_official", "weighted"),
        ("weighted", "taskonomy_official"),
    ],
)
def test_a_step_in_the_official_order_by_hand(source: str, target: str) -> None:
    images = random_images(2, 61, 47)
    session = tiny_session(adapter(channel_order="official"), Optimiser(lr=1e-3), recipe=target)
    session.ctx.source_recipe = RECIPES[source]
    orders = ORDERS[source], ORDERS[target]
    plain = PlainS4T(tiny_net(adapter()), session.adapter.options, TASKS, orders=orders)
    loss = plain.loss(images, uncertainty=target != "weighted")
    plain.descend(loss, lambda name: True, lr=1e-3)
    assert session.adapt(images)["tbs"].item() == pytest.approx(loss.item(), rel=1e-9)
    plain.assert_equal(session.net)


@pytest.mark.parametrize("recipe", ["weighted", "taskonomy"])
def test_equal_orders_are_those_by_name(recipe: str) -> None:
    by_name, official = (
        tiny_session(adapter(channel_order=order), Optimiser(), recipe=recipe).adapt(
            random_images()
        )["tbs"]
        for order in ("by_name", "official")
    )
    assert torch.equal(by_name, official)


# source training


@pytest.mark.parametrize("variant", VARIANTS, ids=named)
def test_source_losses(variant: dict[str, Any]) -> None:
    method = adapter(**variant, lambda_tp=0.5, lambda_tbs=2.0)
    options, tasks, recipe = method.options, own_tasks(method), RECIPES["weighted"]
    net = tiny_net(method, tasks).train()
    batch = ToyDataset().batch([0, 1])
    batch = Batch(batch.images.double(), batch.targets)
    stages = net.model.stages(batch.images)
    ctx = HarnessContext(net, recipe)
    ctx.seed("here")
    terms = source_terms(method, net, batch, ctx, stages=stages)
    plain = PlainS4T(net, options, tasks, hidden_tasks=variant.get("hidden_tasks", 2))
    plain.draws.manual_seed(derive_seed("here"))
    outputs = plain.synchronizer(plain.latents(stages), (32, 32))
    if options.target == "image":
        image = (batch.images - net.model.mean) / net.model.std
        wanted = {"tbs": 2 * plain.distance(outputs["image"], image)}
    else:
        wanted = {
            f"tbs/{task}": 2 * recipe.losses[task](outputs[task], batch.targets[task])
            for task in tasks
        }
    auxiliary = {f"tp/{task}" for task in tasks} if options.projection == "task" else set()
    assert terms.keys() == wanted.keys() | auxiliary
    for name, term in wanted.items():
        torch.testing.assert_close(terms[name], term, rtol=1e-8, atol=1e-10)
    torch.stack(list(terms.values())).sum().backward()
    reached = {name for name, p in net.named_parameters() if p.grad is not None}
    assert reached == {n for n in plain.p if used(n, options) or n.startswith("extra.auxiliary.")}
    assert any(n.startswith("extra.auxiliary.") for n in plain.p) == bool(auxiliary)


# one task alone


def test_a_single_task_network_needs_that_task_and_has_no_other() -> None:
    method = adapter(tasks="single:normals")
    assert method.needs().tasks == {"normals"}
    assert method.own_tasks(("semseg", "normals", "edge")) == ("normals",)
    assert adapter().own_tasks(("semseg", "edge")) == ("semseg", "edge")
    assert not adapter().needs().tasks


def plan(tmp_path: Path, **options: Any) -> Sweep:
    settings = {f"s4t.{key}": value for key, value in options.items()}
    given = {
        "preset": "smoke",
        "methods": "s4t",
        "results": tmp_path,
        "device": "cpu",
        "set": settings,
    }
    return plan_sweep(resolve(make_request({}, given)), Silent())


def test_the_harness_plans_a_single_task(tmp_path: Path) -> None:
    (cell,) = plan(tmp_path, tasks="single:depth").cells
    assert cell.config["tasks"] == ["depth"]
    assert cell.reason is None


# refused options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"R": 60, "patch": 16}, "multiple of s4t.patch = 16 and at least twice it"),
        ({"R": 16, "patch": 16}, "at least twice it"),
        ({"R": 32, "patch": 16, "mask_ratio": 0.8}, "leaves 0 of 4 patches visible"),
        ({"embed": 30, "heads": 2}, "divisible by 4"),
        ({"embed": 64, "heads": 3}, "divisible by 4 .* and by s4t.heads = 3"),
        ({"mask_ratio": 1.0}, "less than 1"),
        ({"mask_ratio": -0.1}, "greater than or equal to 0"),
        ({"weight_power": 3}, "0, 1 or 2"),
        ({"depth": (4, 0)}, "greater than or equal to 1"),
        ({"projection": "tasks"}, "'task', 'shared' or 'none'"),
        ({"channel_order": "name"}, "'by_name' or 'official'"),
        (
            {"masking": "random", "projection": "shared"},
            "s4t.projection=task; use that or s4t.masking=same",
        ),
        ({"masking": "tasks", "projection": "none"}, "needs the latents of s4t.projection=task"),
        ({"masking": "random", "drop": False}, "s4t.drop=false needs s4t.masking=same"),
        ({"masking": "tasks", "mask_ratio": 0.0}, "use a ratio above 0 or s4t.masking=same"),
        ({"masking": "disjoint", "mask_ratio": 0.0}, "use a ratio above 0"),
        ({"hidden_tasks": 1}, "s4t.hidden_tasks needs s4t.masking=tasks"),
        ({"masking": "tasks", "hidden_tasks": 0}, "greater than or equal to 1"),
        ({"target": "image", "weighting": "fixed"}, "leave s4t.weighting=auto"),
        ({"target": "image", "channel_order": "official"}, "s4t.channel_order=by_name"),
        ({"tasks": "single:depth,edge"}, "exactly one task of semseg, depth, normals, edge"),
        (
            {"tasks": "single:dpeth"},
            '"single:NAME" with exactly one task of semseg, depth, normals, edge',
        ),
        ({"tasks": "depth"}, 'must be "all", or "single:NAME"'),
        (
            {"tasks": "single:depth", "masking": "disjoint"},
            "needs at least two tasks, got one",
        ),
        ({"tasks": "single:depth", "masking": "tasks"}, "needs at least two tasks, got one"),
    ],
    ids=lambda value: named(value) if isinstance(value, dict) else "",
)
def test_options_that_do_not_fit_are_refused_with_what_is_allowed(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        S4TOptions(**options)


@pytest.mark.parametrize(
    ("options", "tasks", "message"),
    [
        (
            {"masking": "disjoint"},
            {"depth": 1},
            "needs at least two tasks, got one; use same or random",
        ),
        ({"masking": "tasks"}, {"depth": 1}, "needs at least two tasks"),
        (
            {"masking": "tasks", "hidden_tasks": 2},
            {"depth": 1, "edge": 1},
            "one of 2 tasks visible; use 1 to 1",
        ),
        (
            {"tasks": "single:depth"},
            {},
            "s4t.tasks=single:depth names a task that is not available",
        ),
    ],
    ids=lambda value: named(value) if isinstance(value, dict) else "",
)
def test_options_that_do_not_fit_the_pair_are_refused(
    options: dict[str, Any], tasks: dict[str, int], message: str
) -> None:
    with pytest.raises(BenchError, match=message):
        tiny_net(adapter(**options), tasks)


def test_a_plan_reports_options_that_do_not_fit_the_pair(tmp_path: Path) -> None:
    assert plan(tmp_path, masking="tasks", hidden_tasks=3).cells
    with pytest.raises(
        BenchError,
        match=r"s4t .*s4t.hidden_tasks = 4 must leave one of 4 tasks visible; use 1 to 3",
    ):
        plan(tmp_path, masking="tasks", hidden_tasks=4)
