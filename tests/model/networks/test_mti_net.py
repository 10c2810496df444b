"""MTI-Net as a network: published counts, its definition, its supervised outputs, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapter import Target
from ttt_bench.config.method_settings import resolve_method
from ttt_bench.config.preset import ModelConfig, resolve_preset
from ttt_bench.config.request import Request
from ttt_bench.describe.card import card_rows
from ttt_bench.errors import BenchError
from ttt_bench.losses import RECIPES
from ttt_bench.methods.base import Base
from ttt_bench.methods.nc_ttt import NCTTT
from ttt_bench.methods.s4t import S4T
from ttt_bench.model.architecture import build_model
from ttt_bench.model.batchnorm import NormController
from ttt_bench.model.networks._mti_net_decoder import Decoder
from ttt_bench.model.networks.mti_net import MTINet
from ttt_bench.model.parameters import count_parameters
from ttt_bench.network import Net
from ttt_bench.registry import METHODS

FOUR = {"semseg": 7, "depth": 1, "normals": 3, "edge": 1}
THREE = {"semseg": 6, "normals": 3, "edge": 1}


def build(backbone: str, tasks: dict[str, int], **settings: Any) -> MTINet:
    config = ModelConfig(architecture="mti_net", backbone=backbone, **settings)
    model = build_model(config, tasks)
    assert isinstance(model, MTINet)
    return model


@pytest.mark.parametrize(
    ("width", "tasks", "total"),
    [
        (18, FOUR, 14_082_240),
        (32, FOUR, 44_472_620),
        (64, FOUR, 177_799_708),
        (48, THREE, 127_633_232 - 65_325_120),  # without HRNet-W48
        (18, THREE, 12_635_086 - 3_860_720),  # without the small HRNet-W18
    ],
)
def test_parameters_of_the_decoder(width: int, tasks: dict[str, int], total: int) -> None:
    with torch.device("meta"):
        decoder = Decoder([width, 2 * width, 4 * width, 8 * width], tasks)
    assert sum(p.numel() for p in decoder.parameters()) == total


def test_parameters_of_the_published_network() -> None:
    with torch.device("meta"):
        model = build("hrnet_w48", FOUR)
        assert count_parameters(Net(model, None))[:2] == (65_325_120, 100_029_348)
        for method, total in ((Base(), 165_354_468), (NCTTT(), 165_423_973), (S4T(), 170_238_256)):
            net = Net(model, method.build(model, FOUR))
            assert count_parameters(net, method.uncounted).total == total


@pytest.fixture(scope="module")
def model() -> MTINet:
    torch.manual_seed(0)
    return build("test_resnet", {"semseg": 4, "depth": 1}).eval()


@pytest.mark.parametrize("size", [(64, 96), (61, 47)])
def test_predictions_are_the_first_of_the_supervised_outputs(
    model: MTINet, size: tuple[int, int]
) -> None:
    images = torch.rand(2, 3, *size)
    final, *initial = model.supervised_outputs(model.stages(images), size)
    predicted = model(images)
    assert all(torch.equal(predicted[task], final[task]) for task in model.tasks)
    assert len(initial) == 4
    for outputs in (final, *initial):
        shapes = {task: tuple(output.shape) for task, output in outputs.items()}
        assert shapes == {"semseg": (2, 4, *size), "depth": (2, 1, *size)}


def test_initial_predictions_have_no_part_in_the_final_output(model: MTINet) -> None:
    names = {name for name, _ in model.heads.named_parameters() if name.startswith("initial")}
    total = torch.stack([output.sum() for output in model(torch.rand(2, 3, 64, 64)).values()]).sum()
    gradients = torch.autograd.grad(total, list(model.parameters()), allow_unused=True)
    named = zip((name for name, _ in model.named_parameters()), gradients, strict=True)
    unused = {name.removeprefix("heads.") for name, gradient in named if gradient is None}
    assert unused == {name for name in names if ".out." in name}


def test_one_task_works(model: MTINet) -> None:
    single = MTINet(model.backbone, model.channels, {"depth": 1}).eval()
    assert single(torch.rand(1, 3, 64, 64))["depth"].shape == (1, 1, 64, 64)


def test_no_layer_works_in_place_and_the_options_reach_the_decoder() -> None:
    options = {"propagation": "across_tasks"}
    with torch.device("meta"):
        other = build("test_resnet", FOUR, architecture_args=options)
    assert not any(getattr(module, "inplace", False) for module in other.modules())
    assert other.options.propagation == "across_tasks"
    with pytest.raises(BenchError, match="propagation"):
        build("test_resnet", FOUR, architecture_args={"propagation": "both"})


def test_too_few_channels_are_refused() -> None:
    narrow = {"channels": [16, 16, 8, 32]}
    with torch.device("meta"), pytest.raises(BenchError, match=r"16 channels .* 16, 16, 8, 32"):
        build("resnet10t", FOUR, backbone_args=narrow)


def test_other_tasks_features_change_an_output(model: MTINet) -> None:
    """Zero the other task's features at the finest scale; depth's output must change."""
    stages = model.stages(torch.rand(1, 3, 64, 64))
    features = model.heads.features(stages)
    cut = [dict(scale) for scale in features]
    cut[0]["semseg"] = torch.zeros_like(cut[0]["semseg"])
    whole, without = (model.heads.final(scales)["depth"] for scales in (features, cut))
    assert not torch.allclose(whole, without)


def test_a_card_states_that_an_hrnet_runs_as_a_whole() -> None:
    words = []
    for backbone in ("test_resnet", "hrnet_w18_small"):
        rows = card_rows("nc_ttt", {"model.backbone": backbone})
        words.append(next(row["value"] for row in rows if row["field"] == "passes per step"))
    assert ", up to stage 2" in words[0]
    assert words[1] == words[0].replace(", up to stage 2", "")


@pytest.mark.parametrize(
    ("name", "options", "moves"),
    [("nc_ttt", {}, False), ("nc_ttt", {"nc_ttt.whole": True}, True), ("s4t", {}, True)],
)
def test_whether_a_step_moves_the_statistics_of_the_decoder(
    name: str, options: dict[str, Any], moves: bool
) -> None:
    preset = resolve_preset("smoke", {})
    method = resolve_method(METHODS.load(name), preset, Request(set=options)).adapter
    tasks = {"semseg": 4, "depth": 1}
    net = Net(build("test_resnet", tasks), method.build(build("test_resnet", tasks), tasks))
    plan = method.bind(net, {}, Target(batch=2, size=(64, 64)))
    NormController(net.model).set(plan.adapt)
    out = method.step(net, torch.rand(2, 3, 64, 64), HarnessContext(net, RECIPES["weighted"]))
    assert all(loss.isfinite() for loss in out.losses.values())
    layers = [m for m in net.model.heads.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {int(layer.num_batches_tracked) for layer in layers} == {int(moves)}
