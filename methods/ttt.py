"""TTT: test-time training with rotation prediction.

Sun et al., "Test-time training with self-supervision for generalization under distribution shifts",
ICML 2020. A shared encoder e has main heads and a head s that predicts by which of four angles an
image was rotated. With l_m the loss of the main task, l_s the cross-entropy of the rotation and r ~
U{0, 1, 2, 3},

    source (joint training):    min over e, heads, s of    l_m(x, y) + l_s(rot(v(x), r), r)
    target:                     min over e, s of           l_s(rot(v(x), r), r)

on random views v(x), drawn again at every step. As in the authors' code, s moves on the target too.

The dense port applies s to the mean of the hypercolumn over all positions. A rotated view must be
square. v(x) is a random crop of S x S from the image padded by S/8 (reflected), mirrored with
probability 1/2, where S is the largest multiple of 32 that fits into the image. This is the
authors' CIFAR recipe (4 pixels around 32), scaled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

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
    Target,
    option,
)
from ttt_bench.network import Net, Network

ANGLES = 4
VIEWS_OF_AUTHORS = 32
"""Views per step in the authors' CIFAR-10-C script, all of one image."""


def quarter_turns(images: Tensor) -> Tensor:
    """Return images turned counter-clockwise by 0, 90, 180 and 270 degrees, (4, N, C, S, S).

    Args:
        images: square images (N, C, S, S).

    Raises:
        ValueError: the images are not square.
    """
    height, width = images.shape[-2:]
    if height != width:
        raise ValueError(
            f"only square images can be rotated by 90 degrees in one batch, got {height} x "
            f"{width}; crop them first"
        )
    return torch.stack([images.rot90(turns, (-2, -1)) for turns in range(ANGLES)])


def rotate_batch(images: Tensor, labels: Tensor) -> Tensor:
    """Turn each image (N, C, S, S) counter-clockwise by its label (N,) int64 times 90 degrees."""
    # (4, N, C, S, S) -> (N, C, S, S): of image n the turn labels[n]
    return quarter_turns(images)[labels, torch.arange(len(images), device=images.device)]


def rotate_batch_expand(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return every image (N, C, S, S) at all four angles, (4 N, C, S, S), and the labels (4 N,).

    All images of label 0 come first.
    """
    labels = torch.arange(ANGLES, device=images.device).repeat_interleave(len(images))
    # (4, N, C, S, S) -> (4 N, C, S, S)
    return quarter_turns(images).flatten(0, 1), labels


def square_side(height: int, width: int) -> int:
    """Return the largest multiple of 32 that fits into an image."""
    return min(height, width) // 32 * 32


def crop(images: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """Cut a square out of each image, (N, C, H, W) -> (N, C, side, side).

    `top` and `left` (N,) int64 are the corner of each image's square.
    """
    samples, channels = (torch.arange(length, device=images.device) for length in images.shape[:2])
    offsets = torch.arange(side, device=images.device)
    rows, columns = top[:, None] + offsets, left[:, None] + offsets
    # indices (N, 1, 1, 1), (C, 1, 1), (N, 1, side, 1) and (N, 1, 1, side) broadcast to the result
    return images[
        samples[:, None, None, None],
        channels[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None],
    ]


def random_view(images: Tensor, place: Tensor, mirror: Tensor) -> Tensor:
    """Return v(x), a square crop of each padded image: (N, C, H, W) -> (N, C, S, S).

    Args:
        images: both sides at least 32.
        place: (N, 2) uniform in [0, 1), position of the crop from top to bottom and from left to
            right.
        mirror: (N,) bool, whether the crop is mirrored.
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
    """Return the central square of each image: (N, C, H, W) -> (N, C, S, S)."""
    height, width = images.shape[-2:]
    side = square_side(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side]


class TTTOptions(EmaOptions):
    """Options of `TTT`."""

    rotation: Literal["rand", "expand"] = option(
        "rand",
        "angles of a view: rand (one at random) or expand (all four, which makes four times the "
        "images)",
        citation="authors' code, during adaptation",
    )
    copies: int = option(
        1,
        "views of each image per step; 0: 32 // batch, at least 1",
        citation="this project: the batch takes the place of the authors' 32 views of one image",
        ge=0,
    )
    augment: bool = option(
        default=True,
        description="whether views are random during adaptation; false: the central square of the "
        "image",
        citation="authors' code",
    )
    fix_head: bool = option(
        default=False,
        description="whether the rotation head is frozen during adaptation",
        citation="authors' code",
    )
    norm_adapt: Literal["ema", "running"] = option(
        "ema",
        "normalisation during adaptation: ema, or running (the statistics of rotated views do not "
        "enter the stored ones)",
        citation="authors' code",
    )
    hidden: int = option(
        1024,
        "width of the rotation head's hidden layer; 0: a linear head",
        citation="inferred from the published number of parameters",
        shapes_source=True,
        ge=0,
    )


class TTT(Adapter[TTTOptions, nn.Module]):
    """Adaptation by predicting rotations."""

    name: ClassVar[str] = "ttt"
    Options: ClassVar[type[Options]] = TTTOptions
    original: ClassVar[Hparams] = Hparams(
        citation="authors' code, CIFAR-10-C, each image alone: SGD, 10 steps, batches of 32 views "
        "of the image. On ImageNet-C: 64 views, all else equal (batch=1, ttt.copies=64)",
        optimiser=Optimiser(lr=1e-3),
        steps=10,
        options={"copies": 0},
    )
    card: ClassVar[Card] = Card(
        title="TTT: test-time training with rotation prediction",
        paper="Sun et al., Test-time training with self-supervision for generalization under "
        "distribution shifts, ICML 2020",
        source_training="the shared network jointly with a head that predicts rotations, on a "
        "second forward of rotated views",
        moves="the backbone and the rotation head",
        sizes="any from 32x32: views are squares whose side is the largest multiple of 32 that "
        "fits into the image",
        architecture="inferred from the published number of parameters",
        quirks=(
            Quirk(
                "adapts to each image separately",
                "adapts to the whole batch; --set batch=1 does as the authors' code",
            ),
            Quirk(
                "takes each step on 32 views of one image (on ImageNet-C: 64)",
                "takes each step on one view of every image of the batch; with the option on 32 "
                "views in total",
                "copies=0",
            ),
            Quirk(
                "skips images whose unrotated view its head already recognises with a probability "
                "above a threshold (default 1: none is skipped)",
                "uses every image",
            ),
            Quirk(
                "pads the images with zeros before it crops",
                "pads with their reflection, which adds no edge",
            ),
            Quirk("uses networks with GroupNorm", "keeps BatchNorm, which sees the rotated views"),
            Quirk(
                "takes one step per image in the online setting",
                "takes the number given by --steps",
            ),
        ),
    )

    def needs(self) -> Needs:
        return Needs(min_side=32)

    def build(self, model: Network, tasks: Mapping[str, int]) -> nn.Module:
        width, hidden = sum(model.channels), self.options.hidden
        if not hidden:
            return nn.Linear(width, ANGLES)
        return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, ANGLES))

    # -- source training

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(name="joint", trains=("model", "extra")),)

    def source_loss(self, step: SourceStep[nn.Module]) -> dict[str, Tensor]:
        # a second forward pass in train mode: as in the authors' code, BatchNorm's statistics are
        # updated twice per iteration
        views = _random_views(step.batch.images, step.ctx)
        rotated, labels = _randomly_rotated(views, step.ctx)
        return {"rotation": _rotation_loss(step.net, rotated, labels)}

    # -- test time

    def bind(self, net: Net[nn.Module], statistics: Mapping[str, Tensor], target: Target) -> Plan:
        self._size = target.size
        head = () if self.options.fix_head else ("extra.*",)
        return Plan(
            moves=("model.backbone.*", *head),
            adapt=Norm(self.options.norm_adapt),
            predict=Norm(self.options.predict_norm),
            exact=False,
        )

    def passes(self, batch: int) -> Passes:
        views = self._copies(batch) * (ANGLES if self.options.rotation == "expand" else 1)
        # a view is a square in an image (H, W)
        height, width = self._size
        images = views * batch * square_side(height, width) ** 2 / (height * width)
        return Passes(images, images)

    def step(self, net: Net[nn.Module], images: Tensor, ctx: Context) -> StepOut:
        # (B, 3, H, W) -> (copies B, 3, H, W)
        images = images.repeat(self._copies(len(images)), 1, 1, 1)
        views = _random_views(images, ctx) if self.options.augment else centre_view(images)
        expand = self.options.rotation == "expand"
        rotated, labels = rotate_batch_expand(views) if expand else _randomly_rotated(views, ctx)
        return StepOut({"rotation": _rotation_loss(net, rotated, labels)}, None)

    def _copies(self, batch: int) -> int:
        return self.options.copies or max(VIEWS_OF_AUTHORS // batch, 1)


def _rotation_loss(net: Net[nn.Module], rotated: Tensor, labels: Tensor) -> Tensor:
    """Return l_s, the cross-entropy of the rotation head, mean over the views."""
    return F.cross_entropy(net.extra(net.model.pooled(net.model.stages(rotated))), labels)


def _random_views(images: Tensor, ctx: Context) -> Tensor:
    place = ctx.stream("place").rand(len(images), 2)
    return random_view(images, place, mirror=ctx.stream("mirror").rand(len(images)) < 0.5)


def _randomly_rotated(views: Tensor, ctx: Context) -> tuple[Tensor, Tensor]:
    """Turn every view by a random angle; return the views and the labels of the angles."""
    labels = (ctx.stream("angle").rand(len(views)) * ANGLES).long()
    return rotate_batch(views, labels), labels
