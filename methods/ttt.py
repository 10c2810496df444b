"""TTT: test-time training with rotation prediction.

Sun et al., "Test-time training with self-supervision for generalization under distribution shifts",
ICML 2020. A shared encoder e with main heads and a head s that predicts by which of four angles an
image was rotated. With l_m the loss of the main task, l_s the cross-entropy of the rotation and r ~
U{0, 1, 2, 3},

    source (joint training):    min over e, heads, s of    l_m(x, y) + l_s(rot(v(x), r), r)
    target:                     min over e, s of           l_s(rot(v(x), r), r)

on random views v(x), drawn anew at every step. That s moves on the target too follows the authors'
code. The dense port puts s on the mean of the hypercolumn over all places. A rotated view must be
square: v(x) is a random crop of S x S out of the image padded by S/8 (reflected), S the largest
multiple of 32 that fits into the image, mirrored half of the
time: the authors' CIFAR recipe, 4 pixels around 32, scaled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ttt_bench.adapter import (
    Adapter,
    Card,
    Context,
    EmaOptions,
    Hparams,
    Needs,
    Norm,
    Optimiser,
    Options,
    Passes,
    Phase,
    Plan,
    Quirk,
    SourceStep,
    StepOut,
    option,
)
from ttt_bench.network import Net, Network

ANGLES = 4
VIEWS_OF_AUTHORS = 32
"""Views a step in the authors' code, all of one image."""


def quarter_turns(images: Tensor) -> Tensor:
    """Square images (N, C, S, S) turned counter-clockwise by 0, 90, 180 and 270 degrees: (4, N, C,
    S, S).

    Raises:
        ValueError: the images are not square.
    """
    height, width = images.shape[-2:]
    if height != width:
        raise ValueError(
            f"only square images can be rotated by 90 degrees and stay a batch, got {height} x {width}"
        )
    return torch.stack([images.rot90(turns, (-2, -1)) for turns in range(ANGLES)])


def rotate_batch(images: Tensor, labels: Tensor) -> Tensor:
    """Turn each image (N, C, S, S) counter-clockwise by its label (N,) int64 times 90 degrees."""
    return quarter_turns(images)[labels, torch.arange(len(images), device=images.device)]


def rotate_batch_expand(images: Tensor) -> tuple[Tensor, Tensor]:
    """Every image (N, C, S, S) at all four angles: (4 N, C, S, S), all of label 0 first, and the
    labels (4 N,).
    """
    labels = torch.arange(ANGLES, device=images.device).repeat_interleave(len(images))
    return quarter_turns(images).flatten(0, 1), labels


def square_side(height: int, width: int) -> int:
    """The largest multiple of 32 that fits into an image."""
    return min(height, width) // 32 * 32


def crop(images: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """From each image (N, C, H, W) its own square (N, C, side, side); `top` and `left` (N,)
    int64.
    """
    samples, channels = (torch.arange(length, device=images.device) for length in images.shape[:2])
    offsets = torch.arange(side, device=images.device)
    rows, columns = top[:, None] + offsets, left[:, None] + offsets
    return images[
        samples[:, None, None, None],
        channels[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None],
    ]


def random_view(images: Tensor, place: Tensor, mirror: Tensor) -> Tensor:
    """v(x): a square crop of the padded image, mirrored or not; (N, C, H, W) -> (N, C, S, S).

    Args:
        images: both sides at least 32.
        place: (N, 2) uniform in [0, 1), where the crop lies, from top to bottom and from left to
        right.
        mirror: (N,) bool.
    """
    side = square_side(*images.shape[-2:])
    padded = F.pad(images, [side // 8] * 4, mode="reflect")
    top, left = (
        (share * (length - side + 1)).long()
        for share, length in zip(place.unbind(1), padded.shape[-2:], strict=True)
    )
    square = crop(padded, top, left, side)
    return torch.where(mirror[:, None, None, None], square.flip(-1), square)


def centre_view(images: Tensor) -> Tensor:
    """The square in the middle of each image: (N, C, H, W) -> (N, C, S, S)."""
    height, width = images.shape[-2:]
    side = square_side(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side]


class TTTOptions(EmaOptions):
    """Options of `TTT`."""

    rotation: Literal["rand", "expand"] = option(
        "rand",
        "angles of a view: one at random, or all four (four times the images)",
        citation="authors' code, while adapting",
    )
    copies: int = option(
        1,
        "views of each image a step; 0: as many as make 32 with the batch (32 // batch, at least 1)",
        citation="this project: the batch takes the place of the authors' 32 views of one image",
        ge=0,
    )
    augment: bool = option(
        True,
        "random views while adapting; false: the square in the middle of the image",
        citation="authors' code",
    )
    fix_head: bool = option(
        False, "the backbone moves alone, the rotation head stays", citation="authors' code"
    )
    norm_adapt: Literal["ema", "running"] = option(
        "ema",
        "normalisation while adapting; running: the statistics of rotated views do not enter the stored ones",
        citation="authors' code",
    )
    hidden: int = option(
        1024,
        "width of the rotation head's hidden layer; 0: a linear head",
        citation="inferred from the published number of parameters",
        shapes_source=True,
        ge=0,
    )


class TTT(Adapter):
    """Adaptation by predicting rotations."""

    name: ClassVar[str] = "ttt"
    Options: ClassVar[type[Options]] = TTTOptions
    original: ClassVar[Hparams] = Hparams(
        citation="authors' code, ImageNet-C, each image alone: SGD, 10 steps, batches of 32 views of the image",
        optimiser=Optimiser(lr=1e-3),
        steps=10,
        options={"copies": 0},
    )
    card: ClassVar[Card] = Card(
        title="TTT: test-time training with rotation prediction",
        paper="Sun et al., Test-time training with self-supervision for generalization under distribution shifts, "
        "ICML 2020",
        source_training="the shared network jointly with a head that predicts rotations, on a second forward of rotated views",
        moves="the backbone and the rotation head",
        sizes="any from 32x32: views are square, as large as the largest multiple of 32 that fits into the image",
        architecture="inferred from the published count",
        quirks=(
            Quirk(
                "adapts to each image alone",
                "the batch is adapted to as a whole; --set batch=1 does as the authors'",
            ),
            Quirk(
                "takes each step on 32 views", "on one view of every image of the batch", "copies=0"
            ),
            Quirk(
                "leaves out images whose unrotated view its head already recognises with a probability above a "
                "threshold (1 by default: none)",
                "every image takes part",
            ),
            Quirk(
                "pads the images with zeros before it crops",
                "with their reflection, which adds no edge",
            ),
            Quirk("uses networks with GroupNorm", "BatchNorm stays, and sees the rotated views"),
            Quirk("takes one step an image in the online setting", "as many as --steps says"),
        ),
    )

    def needs(self) -> Needs:
        return Needs(min_side=32)

    def build(self, model: nn.Module, tasks: Mapping[str, int]) -> nn.Module:
        width, hidden = sum(cast(Network, model).channels), self.options.hidden
        if not hidden:
            return nn.Linear(width, ANGLES)
        return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, ANGLES))

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(name="joint", trains=("model", "extra")),)

    def source_loss(self, step: SourceStep) -> dict[str, Tensor]:
        # a second forward in train mode, so BatchNorm's statistics move twice an iteration, as in
        # the authors' code
        rotated, labels = _randomly_rotated(_random_views(step.batch.images, step.ctx), step.ctx)
        return {"rotation": _rotation_loss(step.net, rotated, labels)}

    def bind(self, net: Net, statistics: Mapping[str, Tensor]) -> Plan:
        head = () if self.options.fix_head else ("extra.*",)
        return Plan(
            moves=("model.backbone.*", *head),
            adapt=Norm(self.options.norm_adapt),
            predict=Norm(self.options.predict_norm),
            exact=False,
        )

    def passes(self, batch: int) -> Passes:
        views = self._copies(batch) * (ANGLES if self.options.rotation == "expand" else 1)
        return Passes(views, views)

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        images = images.repeat(self._copies(len(images)), 1, 1, 1)
        views = _random_views(images, ctx) if self.options.augment else centre_view(images)
        expand = self.options.rotation == "expand"
        rotated, labels = rotate_batch_expand(views) if expand else _randomly_rotated(views, ctx)
        return StepOut({"rotation": _rotation_loss(net, rotated, labels)}, None)

    def _copies(self, batch: int) -> int:
        return self.options.copies or max(VIEWS_OF_AUTHORS // batch, 1)


def _rotation_loss(net: Net, rotated: Tensor, labels: Tensor) -> Tensor:
    """l_s: cross-entropy of the rotation head, mean over the views."""
    head = cast(nn.Module, net.extra)
    return F.cross_entropy(head(net.model.pooled(net.model.stages(rotated))), labels)


def _random_views(images: Tensor, ctx: Context) -> Tensor:
    return random_view(images, place=ctx.rand(len(images), 2), mirror=ctx.rand(len(images)) < 0.5)


def _randomly_rotated(views: Tensor, ctx: Context) -> tuple[Tensor, Tensor]:
    """Every view at an angle of its own, and the angles' labels."""
    labels = (ctx.rand(len(views)) * ANGLES).long()
    return rotate_batch(views, labels), labels
