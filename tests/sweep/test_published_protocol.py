"""The paper preset on the published pairs, compared with the published settings."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.files import data_roots, taskonomy_files
from support.files.scenes import scene
from torch import Tensor

from ttt_bench.adapter import Optimiser
from ttt_bench.config.merging import make_request
from ttt_bench.losses import Recipe
from ttt_bench.methods.s4t import S4TOptions, tbs_loss
from ttt_bench.model.weights import initial_weights
from ttt_bench.sweep.cell import Cell
from ttt_bench.sweep.plan import plan_sweep
from ttt_bench.sweep.resolve import resolve
from ttt_bench.sweep.settings import recipe_of
from ttt_bench.util.progress import Silent

PAIRS = ("taskonomy:nyud", "taskonomy:pascal", "nyud:taskonomy", "pascal:taskonomy")
SIZES = {"taskonomy": (256, 256), "nyud": (448, 576), "pascal": (512, 512)}
CHANNELS = {
    "taskonomy:nyud": {"semseg": 7, "depth": 1, "normals": 3, "edge": 1},
    "nyud:taskonomy": {"semseg": 7, "depth": 1, "normals": 3, "edge": 1},
    "taskonomy:pascal": {"semseg": 6, "normals": 3, "edge": 1},
    "pascal:taskonomy": {"semseg": 6, "normals": 3, "edge": 1},
}
FIXED = {"semseg": 1.0, "depth": 1.0, "normals": 10.0, "edge": 50.0}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_roots.small(tmp_path_factory.mktemp("data"))


def plan(root: Path, results: Path, **given: Any) -> list[Cell]:
    """Plan the paper preset on every published pair.

    Only the test subset differs: a tenth of four frames would contain no image.
    """
    given = {
        "pair": PAIRS,
        "data_root": root,
        "results": results,
        "set": {"data.test_subset": "all"},
        **given,
    }
    return plan_sweep(resolve(make_request({}, given)), Silent()).cells


@pytest.fixture(scope="module")
def cells(root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Cell]:
    return plan(root, tmp_path_factory.mktemp("results"), methods="base,tent,s4t")


def test_source_models_are_trained_as_published(cells: list[Cell]) -> None:
    """Compare with the supplement of S4T.

    It states Adam at 2e-5 with weight decay 1e-6, polynomial decay, 60,000 iterations of 8 images.
    """
    assert {cell.opened.pair.name for cell in cells} == set(PAIRS)
    for cell in cells:
        spec = cell.spec
        (stage,) = cell.chain
        assert stage.iterations == 60_000
        assert stage.optimiser == Optimiser(
            optimiser="adam", lr=2e-5, weight_decay=1e-6, beta1=0.9, beta2=0.999
        )
        assert stage.phase.schedule == "polynomial"
        assert (spec.training.batch, spec.training.flip) == (8, True)
        assert (spec.model.backbone, spec.model.pretrained) == ("resnet50.tv_in1k", True)
        # torchvision's first ImageNet weights, which S4T's code loads
        assert initial_weights(spec.model) == {"weights": "timm tv_in1k"}
        assert dict(spec.tasks) == CHANNELS[cell.opened.pair.name]


def test_targets_are_adapted_to_as_published(cells: list[Cell]) -> None:
    for cell in cells:
        assert (cell.opened.preset_name, cell.protocol, cell.settings.steps) == (
            "paper",
            "online",
            40,
        )
        assert cell.settings.optimiser == Optimiser(
            optimiser="sgd", lr=2e-5, weight_decay=1e-6, momentum=0.0
        )
        source, target = cell.opened.pair.source.name, cell.opened.pair.target.name
        assert (cell.opened.source_data.size, cell.opened.target_data.size) == (
            SIZES[source],
            SIZES[target],
        )
        assert cell.opened.preset.batch == 8


def by_hand(
    source: str, prediction: dict[str, Tensor], target: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return the published losses of a source on targets that are valid everywhere."""
    losses = {"semseg": F.cross_entropy(prediction["semseg"], target["semseg"])}
    unit = prediction["normals"] / prediction["normals"].norm(dim=1, keepdim=True)
    if source == "taskonomy":
        losses["normals"] = (
            1 - F.cosine_similarity(prediction["normals"], target["normals"], dim=1).mean()
        )
        losses["edge"] = (prediction["edge"] - target["edge"]).abs().mean()
    else:
        losses["normals"] = (unit - target["normals"]).abs().sum(1).mean()
        weight = 0.95 * target["edge"] + 0.05 * (1 - target["edge"])
        losses["edge"] = F.binary_cross_entropy_with_logits(
            prediction["edge"], target["edge"], weight
        )
    if "depth" in prediction:
        losses["depth"] = (prediction["depth"] - target["depth"]).abs().mean()
    return losses


@pytest.mark.parametrize("pair", PAIRS)
def test_each_source_has_its_losses_and_its_weights(cells: list[Cell], pair: str) -> None:
    opened = next(cell.opened for cell in cells if cell.opened.pair.name == pair)
    recipe = recipe_of(opened.pair.source, opened.variant)
    draw = torch.Generator().manual_seed(0)
    predictions = {
        task: torch.randn(2, k, 5, 6, generator=draw) for task, k in CHANNELS[pair].items()
    }
    targets = {task: torch.randn(2, k, 5, 6, generator=draw) for task, k in CHANNELS[pair].items()}
    targets["semseg"] = targets["semseg"].argmax(1)
    targets["normals"] = F.normalize(targets["normals"], dim=1)
    targets["edge"] = (targets["edge"] > 0).float()
    source = pair.split(":")[0]
    wanted = by_hand(source, predictions, targets)
    found = {task: recipe.losses[task](predictions[task], targets[task]) for task in predictions}
    for task, loss in found.items():
        assert loss.item() == pytest.approx(wanted[task].item(), rel=1e-5), task
    if source == "taskonomy":  # uncertainties start at 1
        total = sum(loss.item() / 2 + math.log(2) for loss in wanted.values())
    else:
        total = sum(FIXED[task] * loss.item() for task, loss in wanted.items())
    assert recipe.combine(found, torch.ones(len(found))).item() == pytest.approx(total, rel=1e-5)


def s4t_on(cells: list[Cell], pair: str) -> tuple[Recipe, S4TOptions]:
    """Return the target's recipe and S4T's options on a pair."""
    cell = next(c for c in cells if c.opened.pair.name == pair and c.method == "s4t")
    options = cell.settings.adapter.options
    assert isinstance(options, S4TOptions)
    return recipe_of(cell.opened.pair.target, cell.opened.variant), options


@pytest.mark.parametrize("pair", PAIRS)
def test_the_synchronizers_loss_counts_a_hundredth_at_test(cells: list[Cell], pair: str) -> None:
    recipe, options = s4t_on(cells, pair)
    assert (options.scale, options.lambda_tp, options.lambda_tbs, options.mask_ratio) == (
        0.01,
        1,
        1,
        0.8,
    )
    assert (options.weighting, options.weight_power) == ("auto", 2)
    assert recipe.uncertainty == pair.endswith(":taskonomy"), (
        "trained uncertainties on Taskonomy, else fixed weights"
    )
    if not recipe.uncertainty:
        for task, factor in (("semseg", 0.01), ("normals", 1.0), ("edge", 25.0)):
            one, zero = {task: torch.ones(1, 1, 2, 2)}, {task: torch.zeros(1, 1, 2, 2)}
            loss = tbs_loss(one, zero, recipe.weights, options.scale, options.weight_power)
            assert loss.item() == pytest.approx(factor)


def test_taskonomys_published_test_set_is_the_default(root: Path, tmp_path: Path) -> None:
    """Take a tenth of thirty frames: the first three, or every tenth."""
    stems = [f"point_{number}_view_0" for number in range(30)]
    data = tmp_path / "data"
    taskonomy_files.write(data / "taskonomy", {"ihlen": stems})
    (data / "nyud").symlink_to(root / "nyud")
    given = {
        "methods": "base",
        "pair": "nyud:taskonomy",
        "root": data,
        "results": tmp_path / "results",
    }
    default, spread, everything = (
        plan(**given, set={"data.test_subset": subset} if subset else {})[0].opened
        for subset in ("", "stride10", "all")
    )
    in_order = sorted(stems)
    assert [len(opened.target_data) for opened in (default, spread, everything)] == [3, 3, 30]
    assert any(
        "test subset first_tenth: 3 frames, from ihlen" in notice for notice in default.notices
    )
    for opened, wanted in (
        (default, in_order[:3]),
        (spread, in_order[::10]),
        (everything, in_order),
    ):
        seeds = [stems.index(stem) for stem in wanted]
        red = [scene(64, seed).rgb[..., 0].mean() for seed in seeds]
        found = opened.target_data.batch(range(len(seeds))).images[:, 0].mean(dim=(1, 2)) * 255
        assert found.tolist() == pytest.approx(red, rel=0.001)
