"""CoTTA's teacher: the average of the student's weights, and its outputs on views of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.func import functional_call

from ttt_bench.errors import BenchError
from ttt_bench.methods._copies import Copies
from ttt_bench.model import resize
from ttt_bench.network import Net, Network

Outputs = dict[str, Tensor]
"""Task -> (B, K, H, W)."""
SMALLEST = 32
"""Shortest side of a view in pixels: stages of stride 32 need it."""


def teacher_update(
    teacher: Iterable[Tensor], student: Iterable[Tensor], share: float = 0.999
) -> list[Tensor]:
    """Return share * teacher + (1 - share) * student, tensor by tensor."""
    # equal weights stay equal bit for bit
    return [old.lerp(new, 1 - share) for old, new in zip(teacher, student, strict=True)]


def teacher_output(net: Net[Copies], images: Tensor) -> Outputs:
    """Return the teacher's output of every task on images (B, 3, H, W)."""
    return functional_call(net.model, net.extra.by_name(), (images,))


def view_size(size: Sequence[int], scale: float) -> tuple[int, int]:
    """Return the (H, W) of a view; no side gets shorter than backbones allow."""
    height, width = (max(round(side * scale), min(side, SMALLEST)) for side in size)
    return height, width


def require_views(model: Network, sizes: Iterable[tuple[int, int]]) -> None:
    """Raise a BenchError if a network cannot take views of these sizes (H, W).

    Only a network on the meta device is tried, where it costs no time: the one of the plan.
    """
    device = next(model.parameters()).device
    for size in sizes if device.type == "meta" else ():
        try:
            model(torch.empty(2, 3, *size, device=device))
        except Exception as error:  # timm's networks of fixed size raise various errors
            raise BenchError(
                f"the network cannot take a view of {size[0]}x{size[1]} ({error}); choose other "
                "sizes (--set cotta.scales=[...]), or a network of any size (a plain ViT: "
                "dynamic_img_size=true, dynamic_img_pad=true in model.backbone_args)"
            ) from error


def output_on_view(net: Net[Copies], images: Tensor, scale: float, *, mirrored: bool) -> Outputs:
    """Return the teacher's outputs on a view, (B, K, H, W); they are still mirrored."""
    size = images.shape[-2:]
    view = resize(images, view_size(size, scale))
    outputs = teacher_output(net, view.flip(-1) if mirrored else view)
    if mirrored and "normals" in outputs:  # the first component points right
        outputs["normals"] = outputs["normals"] * images.new_tensor([-1, 1, 1]).view(1, 3, 1, 1)
    return {task: resize(output, size) for task, output in outputs.items()}
