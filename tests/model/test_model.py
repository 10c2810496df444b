"""The shared network: counts, projection without the hypercolumn, odd sizes, weights and their
errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from support.fakes import tiny_net
from torch import nn
from torch.nn import functional as F

from ttt_bench.config.preset import ModelConfig
from ttt_bench.errors import BenchError
from ttt_bench.methods.base import Base
from ttt_bench.model.architecture import build_model
from ttt_bench.model.network import StagedNetwork
from ttt_bench.model.normalisation import NORMALISATIONS, normalisation_notice
from ttt_bench.model.parameters import count_parameters
from ttt_bench.model.weights import initial_weights, load_weights
from ttt_bench.network import Net

TASKS = {"semseg": 4, "depth": 1, "normals": 3}
SMALL = ModelConfig(backbone="test_resnet")


@pytest.fixture(scope="module")
def model() -> StagedNetwork:
    torch.manual_seed(0)
    return build_model(SMALL, TASKS).eval()


@pytest.mark.parametrize(
    ("tasks", "total"),
    [
        ({"semseg": 7, "depth": 1, "normals": 3, "edge": 1}, 23_554_124),
        ({"semseg": 6, "normals": 3, "edge": 1}, 23_546_442),
    ],
)
def test_resnet50_has_the_published_number_of_parameters(tasks: dict[str, int], total: int) -> None:
    with torch.device("meta"):
        counts = count_parameters(Net(build_model(ModelConfig(backbone="resnet50"), tasks), None))
    assert (counts.backbone, counts.total, counts.added) == (23_508_032, total, 0)
    assert counts.heads == sum(tasks.values()) * 3841


def test_counts_leave_out_what_is_frozen_or_belongs_to_the_recipe() -> None:
    extra = nn.Module()
    extra.kept, extra.recipes = nn.Parameter(torch.ones(5)), nn.Parameter(torch.ones(3))
    extra.frozen = nn.Parameter(torch.ones(7), requires_grad=False)
    model = tiny_net(Base()).model
    assert count_parameters(Net(model, extra)).added == 8
    assert count_parameters(Net(model, extra), uncounted=("recipes",)).added == 5


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (61, 47)])
def test_projection_equals_the_convolution_of_the_built_hypercolumn(
    model: StagedNetwork, size: tuple[int, int]
) -> None:
    stages = model.stages(torch.rand(2, 3, *size))
    width = sum(model.channels)
    weight, bias = torch.randn(5, width, 1, 1), torch.randn(5)
    hypercolumn = model.hypercolumn(stages)
    assert hypercolumn.shape == (2, width, *stages[0].shape[-2:])
    torch.testing.assert_close(
        model.project(stages, weight, bias),
        F.conv2d(hypercolumn, weight, bias),
        rtol=1e-4,
        atol=1e-4,
    )
    torch.testing.assert_close(
        model.project(stages, weight), F.conv2d(hypercolumn, weight), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("size", [(64, 64), (33, 70), (61, 47)])
def test_outputs_have_the_images_size_and_follow_the_definition(
    model: StagedNetwork, size: tuple[int, int]
) -> None:
    images = torch.rand(2, 3, *size)
    outputs = model(images)
    assert {task: tuple(o.shape) for task, o in outputs.items()} == {
        t: (2, k, *size) for t, k in TASKS.items()
    }
    hypercolumn = model.hypercolumn(model.stages(images))
    for task, output in outputs.items():
        wanted = F.interpolate(
            model.heads[task](hypercolumn), size=size, mode="bilinear", align_corners=False
        )
        torch.testing.assert_close(output, wanted, rtol=1e-4, atol=1e-4)


def test_the_first_stages_are_a_prefix_and_nothing_behind_them_runs(model: StagedNetwork) -> None:
    images = torch.rand(1, 3, 64, 64)
    ran: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, module in model.backbone.named_children()
    ]
    try:
        everything = model.stages(images)
        all_layers = list(ran)
        ran.clear()
        first = model.stages(images, last=2)
    finally:
        for hook in hooks:
            hook.remove()
    assert len(first) == 2
    assert all(torch.equal(a, b) for a, b in zip(first, everything, strict=False))
    assert all_layers[-2:] == ["layer3", "layer4"]
    assert ran == all_layers[:-2]


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_convnext"])
def test_other_backbones_give_four_stages_too(backbone: str) -> None:
    other = build_model(ModelConfig(backbone=backbone), TASKS).eval()
    stages = other.stages(torch.rand(1, 3, 64, 96))
    assert [tuple(s.shape[-2:]) for s in stages] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert tuple(s.shape[1] for s in stages) == other.channels
    assert len(other.stages(torch.rand(1, 3, 64, 96), last=2)) == 2


def test_the_network_normalises_its_own_input(model: StagedNetwork) -> None:
    images = torch.rand(1, 3, 32, 32)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in NORMALISATIONS["imagenet"])
    wanted = model.backbone((images - mean) / std)
    assert all(
        torch.allclose(a, b, atol=1e-5) for a, b in zip(model.stages(images), wanted, strict=True)
    )


def test_unscaled_statistics_take_black_to_minus_one_and_white_to_one() -> None:
    other = build_model(ModelConfig(backbone="test_resnet"), TASKS)
    other.normalise_by("unscaled")
    ends = torch.tensor([0.0, 0.25, 1.0]).expand(1, 3, 1, 3)
    assert torch.equal(other.normalise(ends)[0, :, 0], torch.tensor([-1.0, -0.5, 1.0]).expand(3, 3))


def test_no_activation_overwrites_its_input(model: StagedNetwork) -> None:
    assert not any(getattr(module, "inplace", False) for module in model.modules())


def test_saved_weights_come_back(model: StagedNetwork, tmp_path: Path) -> None:
    save_file(model.state_dict(), tmp_path / "source.safetensors")
    torch.manual_seed(9)
    other = build_model(SMALL, TASKS).eval()
    images = torch.rand(1, 3, 32, 32)
    assert not torch.equal(other(images)["depth"], model(images)["depth"])
    load_weights(other, tmp_path / "source.safetensors")
    assert torch.equal(other(images)["depth"], model(images)["depth"])


def test_weights_that_do_not_fit_are_refused_by_name(model: StagedNetwork, tmp_path: Path) -> None:
    path = tmp_path / "source.safetensors"
    with pytest.raises(BenchError, match="no such file"):
        load_weights(model, path)
    path.write_bytes(b"not safetensors")
    with pytest.raises(BenchError, match="not a readable safetensors file"):
        load_weights(model, path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors = dict(before)
    del tensors["heads.depth.bias"]
    tensors["heads.albedo.bias"] = torch.zeros(1)
    tensors["heads.semseg.bias"] = torch.zeros(9)
    save_file(tensors, path)
    with pytest.raises(BenchError) as error:
        load_weights(model, path)
    for part in (
        "missing heads.depth.bias",
        "unexpected heads.albedo.bias",
        "heads.semseg.bias is (9,), needs (4,)",
        str(path),
    ):
        assert part in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    save_file({"nothing": torch.zeros(1)}, path)
    with pytest.raises(BenchError, match=r"missing .* and \d+ more"):
        load_weights(model, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensor: tensor > 0, "wrong type: .* is bool, needs float32"),
        (lambda tensor: tensor * math.nan, "not finite in "),
    ],
)
def test_weights_that_would_be_changed_or_are_broken_are_refused(
    model: StagedNetwork,
    tmp_path: Path,
    change: Callable[[torch.Tensor], torch.Tensor],
    message: str,
) -> None:
    path = tmp_path / "source.safetensors"
    weights = {n: t for n, t in model.state_dict().items() if t.is_floating_point()}
    counters = {n: t for n, t in model.state_dict().items() if n not in weights}
    save_file({**{n: change(t) for n, t in weights.items()}, **counters}, path)
    with pytest.raises(BenchError, match=message):
        load_weights(model, path)


def test_a_prefix_of_every_name_is_pointed_out(model: StagedNetwork, tmp_path: Path) -> None:
    path = tmp_path / "source.safetensors"
    save_file({f"module.{name}": tensor for name, tensor in model.state_dict().items()}, path)
    with pytest.raises(BenchError, match=r"module\. \(remove it from every name"):
        load_weights(model, path)


def test_half_precision_weights_are_loaded_exactly(model: StagedNetwork, tmp_path: Path) -> None:
    halves = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    save_file(halves, tmp_path / "source.safetensors")
    other = build_model(SMALL, TASKS)
    load_weights(other, tmp_path / "source.safetensors")
    assert all(torch.equal(other.state_dict()[name], halves[name].float()) for name in halves)


def test_an_unknown_backbone_suggests_near_names_and_lists_no_thousand_others() -> None:
    with pytest.raises(
        BenchError, match=r"unknown backbone 'resnet5O'; did you mean resnet50"
    ) as error:
        build_model(ModelConfig(backbone="resnet5O"), TASKS)
    assert len(str(error.value)) < 250


def test_an_unknown_tag_of_weights_is_refused_even_without_weights() -> None:
    with pytest.raises(
        BenchError, match="unknown tag of resnet50's weights 'tv_in2k'; did you mean tv_in1k"
    ):
        build_model(ModelConfig(backbone="resnet50.tv_in2k"), TASKS)


def test_weights_are_identified_by_their_tag() -> None:
    def tag(backbone: str, *, pretrained: bool) -> str | None:
        config = ModelConfig(backbone=backbone, pretrained=pretrained)
        return initial_weights(config)["weights"]

    assert tag("resnet50.tv_in1k", pretrained=True) == "timm tv_in1k"
    assert tag("resnet50", pretrained=True) == "timm a1_in1k"
    assert tag("resnet50", pretrained=False) is None


def test_weights_of_another_normalisation_are_noticed() -> None:
    def notice(backbone: str, *, pretrained: bool = True) -> str | None:
        return normalisation_notice(ModelConfig(backbone=backbone, pretrained=pretrained))

    assert notice("resnet50.tv_in1k") is None
    assert "mean (0.5, 0.5, 0.5)" in (notice("tf_efficientnet_b0.ap_in1k") or "")
    assert notice("tf_efficientnet_b0.ap_in1k", pretrained=False) is None


def test_a_backbone_without_four_scales_is_refused() -> None:
    with pytest.raises(BenchError, match="four are needed"):
        build_model(ModelConfig(backbone="test_vit"), TASKS)


def test_arguments_that_a_backbone_does_not_take_are_named() -> None:
    with pytest.raises(BenchError, match=r"backbone_args.*nonsense"):
        build_model(ModelConfig(backbone="test_resnet", backbone_args={"nonsense": 1}), TASKS)


def test_without_a_network_connection_the_error_states_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    genuine = timm.create_model

    def offline(*args: Any, pretrained: bool = False, **kwargs: Any) -> nn.Module:
        if pretrained:
            raise OSError("cannot reach the hub")
        return genuine(*args, **kwargs)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(BenchError) as error:
        build_model(ModelConfig(backbone="test_resnet", pretrained=True), TASKS)
    for part in (
        "test_resnet",
        "timm's tag r160_in1k",
        "cannot reach the hub",
        "model.weights=FILE",
        "model.pretrained=false",
    ):
        assert part in str(error.value)


def test_local_backbone_weights_are_loaded(tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    state = timm.create_model("test_resnet").state_dict()
    save_file(state, path)
    model = build_model(ModelConfig(backbone="test_resnet", weights=path), TASKS)
    assert all(
        torch.equal(tensor, state[name]) for name, tensor in model.backbone.state_dict().items()
    )


def test_local_backbone_weights_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    config = ModelConfig(backbone="test_resnet", weights=tmp_path / "backbone.safetensors")
    with pytest.raises(BenchError, match=r"backbone\.safetensors: no such file"):
        build_model(config, TASKS)
    assert config.weights is not None
    config.weights.write_bytes(b"no weights")
    with pytest.raises(
        BenchError, match=r"backbone\.safetensors could not be loaded into test_resnet"
    ):
        build_model(config, TASKS)
    save_file(timm.create_model("resnet10t").state_dict(), config.weights)
    with pytest.raises(BenchError, match="size mismatch"):
        build_model(config, TASKS)
    state = timm.create_model("test_resnet").state_dict()
    save_file({f"encoder.{name}": tensor for name, tensor in state.items()}, config.weights)
    with pytest.raises(
        BenchError, match=r"backbone\.safetensors lack conv1\..* and \d+ more of test_resnet"
    ):
        build_model(config, TASKS)
