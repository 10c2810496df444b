"""MTI-Net: tasks that exchange their features at four scales, on the stages of a backbone.

Vandenhende et al., "MTI-Net: Multi-Scale Task Interaction Networks for Multi-Task Learning", ECCV
2020; `_mti_net_decoder` has the equations. Every task of the pair has initial predictions at every
scale, which source training compares with the targets too, and a final output.

The authors' backbone is an HRNet. That of timm differs in the resizing between its branches
(nearest, not bilinear) and in BatchNorm's momentum (0.1, not 0.01).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field
from torch import Tensor, nn

from ttt_bench.config.preset import ModelConfig
from ttt_bench.errors import BenchError
from ttt_bench.model.network import StagedNetwork, resize
from ttt_bench.model.networks._mti_net_decoder import REDUCTION, Decoder, Features, Softmax
from ttt_bench.network import NetworkOptions


class MTINetOptions(NetworkOptions):
    """Options of `MTINet`."""

    propagation: Softmax = Field(
        "official",
        description="groups of the softmax between scales: official (neighbouring channels, as in "
        "the authors' code) or across_tasks (one channel of every task)",
    )


class MTINet(StagedNetwork):
    """RGB in [0, 1] to the output of every task, by multi-scale interaction of the tasks.

    Attributes:
        heads: the decoder, all layers behind the stages.
    """

    name = "mti_net"
    summary = "tasks exchange their features at four scales (Vandenhende et al., ECCV 2020)"
    Options = MTINetOptions
    heads: Decoder

    def __init__(
        self,
        backbone: nn.Module,
        channels: Sequence[int],
        tasks: Mapping[str, int],
        options: MTINetOptions | None = None,
    ) -> None:
        super().__init__(backbone, channels, tasks, options)
        self.heads = Decoder(self.channels, self.tasks, propagation=self.options.propagation)

    @classmethod
    def make_backbone(
        cls, config: ModelConfig, options: MTINetOptions
    ) -> tuple[nn.Module, Sequence[int]]:
        """Return the timm backbone of a configuration, and the channels of its four stages.

        The stages of an HRNet are its branches, without the layers of timm that widen them.

        Raises:
            BenchError: the backbone cannot be built, or a stage has too few channels.
        """
        if config.backbone_name.startswith("hrnet"):
            arguments = {"feature_location": "", **config.backbone_args}
            config = config.model_copy(update={"backbone_args": arguments})
        backbone, channels = super().make_backbone(config, options)
        if min(channels[1:]) < REDUCTION:
            raise BenchError(
                f"network {cls.name} needs at least {REDUCTION} channels in stages 2 to 4, but "
                f"{config.backbone} has {', '.join(map(str, channels))}; use a wider backbone "
                "(--set model.backbone=NAME)"
            )
        return backbone, channels

    def outputs(self, stages: Sequence[Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        """Return the final output of every task, (B, K, H, W) at `size` = (H, W)."""
        return _resized(self.heads.final(self.heads.features(stages)), size)

    def supervised_outputs(
        self, stages: Sequence[Tensor], size: Sequence[int]
    ) -> list[dict[str, Tensor]]:
        """Return the final outputs and the initial predictions of the four scales, at `size`."""
        features = self.heads.features(stages)
        found = [self.heads.final(features), *self.heads.initial_predictions(features)]
        return [_resized(outputs, size) for outputs in found]


def _resized(outputs: Features, size: Sequence[int]) -> dict[str, Tensor]:
    return {task: resize(output, size) for task, output in outputs.items()}
