"""A plain vision transformer with a convolutional decoder, without BatchNorm.

Source: Ranftl, Bochkovskiy, Koltun, "Vision Transformers for Dense Prediction", ICCV 2021
(arXiv 2103.13413), section 3.1 and Figure 1. Differences: the tasks share reassembling and fusion,
class tokens are not used, and the maps are resized to the size of the next one, so that sides need
not be multiples of 32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, cast

import timm
import torch
from pydantic import Field
from torch import Tensor, nn

from ttt_bench.config.preset import ModelConfig
from ttt_bench.errors import BenchError
from ttt_bench.model.backbone import timm_backbone
from ttt_bench.model.network import StagedNetwork, resize
from ttt_bench.network import STAGES, NetworkOptions

RESAMPLE: tuple[Callable[[int, int], nn.Module], ...] = (
    partial(nn.ConvTranspose2d, kernel_size=4, stride=4),
    partial(nn.ConvTranspose2d, kernel_size=2, stride=2),
    nn.Identity,
    partial(nn.Conv2d, kernel_size=3, stride=2, padding=1),
)
"""The layers that take the stages from stride 16 to 4, 8, 16 and 32."""


class DPTOptions(NetworkOptions):
    """Options of `DPT`."""

    width: int = Field(256, ge=2, description="channels of the fused maps (section 3.1: 256)")


class DPT(StagedNetwork[DPTOptions]):
    """Four blocks of a ViT, reassembled at strides 4 to 32 and fused from the coarsest map on.

    The stages (B, C, H/16, W/16) are the outputs of four evenly spaced blocks, or of those that
    `out_indices` in `model.backbone_args` names.

    Attributes:
        heads: `reassemble` and `fuse`, each with one module per stage, and `predict`, task -> head.
    """

    name = "dpt"
    summary = "a plain ViT with the decoder of DPT (Ranftl et al. 2021), without BatchNorm"
    Options = DPTOptions
    check_model: ClassVar = {"backbone": "test_vit", "architecture_args": {"width": 16}}
    heads: nn.ModuleDict

    def __init__(
        self,
        backbone: nn.Module,
        channels: Sequence[int],
        tasks: Mapping[str, int],
        options: DPTOptions | None = None,
    ) -> None:
        super().__init__(backbone, channels, tasks, options)
        width = self.options.width
        self.heads = nn.ModuleDict(
            {
                "reassemble": nn.ModuleList(
                    _reassemble(number, size, width) for number, size in enumerate(channels)
                ),
                "fuse": nn.ModuleList(_Fusion(width) for _ in channels),
                "predict": nn.ModuleDict({task: _head(width, k) for task, k in tasks.items()}),
            }
        )

    @classmethod
    def make_backbone(
        cls, config: ModelConfig, options: DPTOptions
    ) -> tuple[nn.Module, Sequence[int]]:
        """Return a ViT with four blocks as stages; it takes images of any size.

        Raises:
            BenchError: the backbone is not a plain ViT.
        """
        arguments = {
            "dynamic_img_size": True,
            "dynamic_img_pad": True,
            "out_indices": _even_blocks(config),
            **config.backbone_args,
        }
        return timm_backbone(config.model_copy(update={"backbone_args": arguments}))

    def outputs(self, stages: Sequence[Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        """Return the raw output of every task, (B, K, H, W) at `size` = (H, W)."""
        reassemble, fuse = (
            cast(nn.ModuleList, self.heads[part]) for part in ("reassemble", "fuse")
        )
        # each (B, C, h, w) -> (B, width, 4h, 4w), (2h, 2w), (h, w), (h/2, w/2)
        maps = [layer(stage) for layer, stage in zip(reassemble, stages, strict=True)]
        fused = torch.zeros_like(maps[-1])
        for layer, one in zip(reversed(fuse), reversed(maps), strict=True):
            fused = layer(one, resize(fused, one.shape[-2:]))
        predict = cast(nn.ModuleDict, self.heads["predict"])
        return {task: resize(head(fused), size) for task, head in predict.items()}


def _even_blocks(config: ModelConfig) -> list[int]:
    """Return the last block of each quarter of a ViT."""
    known = timm.is_model(config.backbone_name)
    with torch.device("meta"):
        whole: Any = timm.create_model(config.backbone_name) if known else None
    blocks: Sequence[nn.Module] = getattr(whole, "blocks", ())
    if known and not (len(blocks) >= STAGES and hasattr(blocks[0], "attn")):
        raise BenchError(
            f"network dpt needs a plain ViT, unlike {config.backbone}; use for instance "
            "--set model.backbone=vit_tiny_patch16_224"
        )
    return [(part + 1) * len(blocks) // STAGES - 1 for part in range(STAGES)]


def _reassemble(number: int, channels: int, width: int) -> nn.Sequential:
    """Return the layers that take a stage (B, C, h, w) to `width` channels and its own stride."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1),
        RESAMPLE[number](channels, channels),
        nn.Conv2d(channels, width, 3, padding=1),
    )


def _head(width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width // 2, 3, padding=1), nn.ReLU(), nn.Conv2d(width // 2, outputs, 1)
    )


class _Residual(nn.Module):
    """x + conv(ReLU(conv(ReLU(x)))), without normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.second(self.first(x.relu()).relu())
        return x + inner


class _Fusion(nn.Module):
    """Adds a stage's map to the fused map of the coarser stages, both (B, width, h, w)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own, self.both = _Residual(width), _Residual(width)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, own: Tensor, coarser: Tensor) -> Tensor:
        fused: Tensor = self.out(self.both(self.own(own) + coarser))
        return fused
