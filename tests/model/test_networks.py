"""Networks by name: options, backbones, tasks, supervised outputs, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from pydantic import Field
from support.fakes import CHANNELS, TinyBackbone
from support.runs import plan, run
from support.toy import ToyDataset, spec
from torch import Tensor, nn

from ttt_bench.config.preset import ModelConfig
from ttt_bench.conformance.expect import ViolationError
from ttt_bench.conformance.networks import CHECKS, NetworkSubject, assert_network_conforms
from ttt_bench.errors import BenchError
from ttt_bench.losses import RECIPES
from ttt_bench.methods.base import Base
from ttt_bench.model import Hypercolumn
from ttt_bench.model.architecture import build_model, network_fields, resolved_model
from ttt_bench.model.weights import initial_weights
from ttt_bench.network import NetworkOptions
from ttt_bench.registry import NETWORKS
from ttt_bench.train.chain import training_chain
from ttt_bench.train.net import build_net
from ttt_bench.train.stage import StageRun

TASKS = {"semseg": 4, "depth": 1}
VIT = {"backbone": "test_vit", "architecture": "dpt", "architecture_args": {"width": 8}}


class TinyOptions(NetworkOptions):
    scale: float = Field(1.0, gt=0, description="factor of the outputs")


class Tiny(Hypercolumn):
    """The hypercolumn network on a backbone that it makes itself, without edges."""

    name = "tiny"
    Options = TinyOptions
    head_tasks = frozenset({"semseg", "depth", "normals"})
    own_backbone = "four_convolutions"

    @classmethod
    def make_backbone(cls, config: ModelConfig, options: Any) -> tuple[nn.Module, Sequence[int]]:
        return TinyBackbone(), CHANNELS

    def supervised_outputs(
        self, stages: Sequence[Tensor], size: Sequence[int]
    ) -> list[dict[str, Tensor]]:
        first = self.outputs(stages, size)
        return [first, {task: 2 * output for task, output in first.items()}]


def config(**fields: Any) -> ModelConfig:
    return ModelConfig(**{"architecture": "tiny", **fields})


def test_a_network_may_bring_its_backbone() -> None:
    with NETWORKS.extended({"tiny": Tiny}):
        network = build_model(config(), TASKS)
        assert isinstance(network.backbone, TinyBackbone)
        assert network.options == TinyOptions()
        used = resolved_model(config(pretrained=True))
        assert used.label == "tiny on four_convolutions"
        assert initial_weights(used) == {"weights": None}
        fields = network_fields(config(backbone="resnet50"))
        assert fields == network_fields(config(backbone="resnet18"))
        assert fields["architecture_args"] == {"scale": 1.0}
        assert "backbone_code" not in fields


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"architecture": "tyni"}, "unknown network 'tyni'; did you mean tiny"),
        (
            {"architecture_args": {"scal": 2}},
            r"setting model\.architecture_args\.scal: unknown setting 'scal'; did you mean scale",
        ),
        ({"architecture_args": {"scale": 0}}, r"architecture_args\.scale: .*greater than 0"),
    ],
)
def test_mistakes_are_named_when_the_plan_is_made(
    given: dict[str, Any], message: str, tmp_path: Any
) -> None:
    settings = {f"model.{key}": value for key, value in {"architecture": "tiny", **given}.items()}
    with NETWORKS.extended({"tiny": Tiny}), pytest.raises(BenchError, match=message):
        plan(tmp_path, set=settings)


def test_a_task_without_a_head_is_refused_by_name(tmp_path: Any) -> None:
    with (
        NETWORKS.extended({"tiny": Tiny}),
        pytest.raises(BenchError, match="network tiny has no head for edge"),
    ):
        plan(tmp_path, set={"model.architecture": "tiny"})


def test_an_error_in_a_network_is_one_line_with_its_place() -> None:
    class Failing(Tiny):
        name = "failing"

        def __init__(self, *arguments: Any) -> None:
            raise KeyError("no such layer")

    with (
        NETWORKS.extended({"failing": Failing}),
        pytest.raises(BenchError, match=r"failing on four_.* cannot be built: KeyError.*test_net"),
    ):
        build_model(config(architecture="failing"), TASKS)


def test_source_training_sums_a_tasks_losses_over_the_supervised_outputs() -> None:
    one, recipe = spec(), RECIPES["weighted"]
    batch, net = ToyDataset().batch([0, 1, 2]), build_net(one, Base())
    net.model = Tiny(TinyBackbone(), CHANNELS, one.tasks)
    total = StageRun(net, training_chain(one, Base())[-1], one, torch.device("cpu")).objective(
        batch
    )
    outputs = net.model(batch.images)
    losses = {
        task: recipe.losses[task](output, batch.targets[task])
        + recipe.losses[task](2 * output, batch.targets[task])
        for task, output in outputs.items()
    }
    wanted = losses["semseg"] + losses["depth"] + 10 * losses["normals"] + 50 * losses["edge"]
    torch.testing.assert_close(total, wanted)


def test_the_stages_can_be_chosen() -> None:
    arguments = {"out_indices": [0, 1, 3, 5]}
    network = build_model(ModelConfig(backbone="test_vit", backbone_args=arguments), TASKS)
    assert [tuple(s.shape[1:]) for s in network.stages(torch.rand(1, 3, 160, 160))] == [
        (64, 10, 10)
    ] * 4
    last = build_model(
        ModelConfig(backbone="test_resnet", backbone_args={"out_indices": [1, 2, 3, 4]}), TASKS
    )
    assert last.channels == build_model(ModelConfig(backbone="test_resnet"), TASKS).channels


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out_indices": [1, 2, 3]}, r"out_indices must name 4 feature maps .*got \[1, 2, 3\]"),
        ({"out_indices": [4, 3, 2, 1]}, "in ascending order"),
        ({"out_indices": [1, 2, 3, 9]}, "cannot be built with model.backbone_args"),
        ({"out_indices": "last"}, "cannot be built with model.backbone_args"),
        ({"pretrained": True}, "cannot have 'pretrained'; use --set model.pretrained=true"),
        ({"pretrained_cfg_overlay": {}}, "use --set model.weights=FILE"),
        ({"checkpoint_path": "x"}, "use --set model.weights=FILE"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        build_model(ModelConfig(backbone="test_resnet", backbone_args=arguments), TASKS)


def test_dpt_needs_a_plain_vit_and_has_no_batchnorm(tmp_path: Any) -> None:
    with pytest.raises(BenchError, match="dpt needs a plain ViT, unlike test_resnet"):
        build_model(ModelConfig(architecture="dpt", backbone="test_resnet"), TASKS)
    settings = {f"model.{key}": value for key, value in VIT.items()}
    with pytest.raises(BenchError) as error:
        plan(tmp_path, methods=("tent", "actmad"), set=settings)
    for method in ("tent", "actmad"):
        assert f"{method} needs BatchNorm layers, which dpt on test_vit does not have" in str(
            error.value
        )
    assert "which dpt on test_vit does not have; --set tent.affine=any avoids this" in str(
        error.value
    )


def test_tent_and_tipi_move_the_layer_norms_of_dpt(tmp_path: Any) -> None:
    settings = {f"model.{key}": value for key, value in VIT.items()} | {"tent.affine": "any"}
    cells = plan(tmp_path, methods=("tent", "tipi"), set=settings).cells
    network = build_model(ModelConfig(**VIT), TASKS)
    norms = [layer for layer in network.modules() if isinstance(layer, nn.LayerNorm)]
    moved = sum(p.numel() for layer in norms for p in layer.parameters())
    counts = {cell.method: cell.variant.parameters for cell in cells}
    assert {name: (count or {})["moved"] for name, count in counts.items()} == {
        "tent": moved,
        "tipi": moved,
    }


@pytest.mark.slow
def test_methods_run_on_dpt_with_vit_tiny(tmp_path: Any) -> None:
    settings = {
        "model.architecture": "dpt",
        "model.backbone": "vit_tiny_patch16_224",
        "model.architecture_args": {"width": 16},
        "tent.affine": "any",
    }
    outcome = run(tmp_path, methods=("base", "tent", "tipi", "s4t"), steps=1, set=settings)
    assert outcome.computed == {"done": 4}


def test_the_built_in_networks_conform() -> None:
    for name in ("hypercolumn", "dpt"):
        assert_network_conforms(NETWORKS.load(name))


class OutsideHeads(Tiny):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.scale = nn.Parameter(torch.ones(1))


class WrongChannels(Tiny):
    @classmethod
    def make_backbone(cls, config: ModelConfig, options: Any) -> tuple[nn.Module, Sequence[int]]:
        return TinyBackbone(), (4, 6, 8, 12)


class ShortUpstream(Tiny):
    def upstream(self, last: int) -> tuple[str, ...]:
        return super().upstream(last)[1:]


class AtStageSize(Tiny):
    def outputs(self, stages: Sequence[Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        return super().outputs(stages, stages[0].shape[-2:])


class SeesImages(Tiny):
    def outputs(self, stages: Sequence[Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        self.backbone(torch.zeros(1, 3, 32, 32))
        return super().outputs(stages, size)


class AcrossTheBatch(Tiny):
    def outputs(self, stages: Sequence[Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        return super().outputs([s - s.mean(dim=0, keepdim=True) / 2 for s in stages], size)


class OtherFirst(Tiny):
    def supervised_outputs(
        self, stages: Sequence[Tensor], size: Sequence[int]
    ) -> list[dict[str, Tensor]]:
        return super().supervised_outputs(stages, size)[::-1]


class IdleHead(Tiny):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.heads["unused"] = nn.Conv2d(1, 1, 1)


class Detached(Tiny):
    def outputs(self, stages: Sequence[Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        return super().outputs([stage.detach() for stage in stages], size)


class HiddenState(Tiny):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.factor = float(torch.rand(1))

    def outputs(self, stages: Sequence[Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        return {t: self.factor * x for t, x in super().outputs(stages, size).items()}


class ReadsValues(Tiny):
    def outputs(self, stages: Sequence[Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        sign = 1 if float(stages[0].detach().sum()) > 0 else -1
        return {task: sign * x for task, x in super().outputs(stages, size).items()}


BROKEN: Mapping[str, tuple[type[Tiny], str]] = {
    "parts": (OutsideHeads, r"outside `backbone` and `heads` \(scale\)"),
    "stages": (WrongChannels, r"`channels` is \(4, 6, 8, 12\)"),
    "first stages": (ShortUpstream, r"upstream\(1\) lacks backbone\.convolutions\.0\.weight"),
    "sizes": (AtStageSize, "predictions of .* have the shapes"),
    "heads": (SeesImages, "`outputs` runs layers of the backbone"),
    "repeats": (AcrossTheBatch, "depends on the other images"),
    "state": (HiddenState, "keep what it depends on in parameters and buffers"),
    "supervised outputs": (OtherFirst, "the first entry of `supervised_outputs` differs"),
    "gradients": (IdleHead, r"no supervised output depends on heads\.unused\.bias"),
    "meta device": (ReadsValues, "meta"),
}


@pytest.mark.parametrize("check", CHECKS)
def test_each_check_finds_a_network_that_breaks_its_rule(check: str) -> None:
    kind, message = BROKEN[check]
    device = torch.device("cpu")
    CHECKS[check](NetworkSubject.create(Tiny, {}, device))
    with pytest.raises((ViolationError, RuntimeError, NotImplementedError), match=message):
        CHECKS[check](NetworkSubject.create(kind, {}, device))


def test_a_task_whose_gradient_ends_in_the_heads_is_found() -> None:
    subject = NetworkSubject.create(Detached, {}, torch.device("cpu"))
    with pytest.raises(ViolationError, match="the gradient of semseg ends in the heads"):
        CHECKS["gradients"](subject)


def test_every_broken_rule_is_listed() -> None:
    with pytest.raises(AssertionError, match="tiny, state: a network that has loaded"):
        assert_network_conforms(HiddenState)
