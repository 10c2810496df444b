"""The tiny network of `fakes` in plain tensors: an adaptation, computed without
the harness's modules.

A test builds a `PlainNet` from a network, computes a method's loss on it from the method's
equations, descends, and compares every parameter, buffer and prediction with those of the real
session.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from support.fakes import CHANNELS
from ttt_bench.network import Net

EPS, MOMENTUM = 1e-5, 0.1
Size = tuple[int, int]


def upsampled(x: Tensor, size: Size) -> Tensor:
    """Resize bilinearly, (B, C, h, w) -> (B, C, *size)."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class PlainNet:
    """A copy of a network's values, by the names that the network gives them.

    Attributes:
        p: every parameter, a leaf that takes a gradient.
        b: every buffer.
    """

    def __init__(self, net: Net) -> None:
        self.p = {
            name: value.detach().clone().requires_grad_() for name, value in net.named_parameters()
        }
        self.b = {name: value.detach().clone() for name, value in net.named_buffers()}

    def running(self) -> list[tuple[Tensor, Tensor]]:
        """Return the running mean and variance of every layer."""
        return [
            (
                self.b[f"model.backbone.norms.{i}.running_mean"],
                self.b[f"model.backbone.norms.{i}.running_var"],
            )
            for i in range(len(CHANNELS))
        ]

    def stages(
        self,
        images: Tensor,
        mode: str,
        last: int = 4,
        statistics: Sequence[tuple[Tensor, Tensor]] | None = None,
        share: float = 0.0,
    ) -> list[Tensor]:
        """Return s1..s`last`: normalised image, then convolution, BatchNorm, ReLU per stage.

        Args:
            mode: "running", "batch", "ema", "mix" or "robust", as `Norm` names them; "ema" and
            "robust" move the running statistics in place.
            statistics: a second set of them, by layer, in place of the network's own.
            share: weight of the batch under "mix".
        """
        found = self.norm_outputs(images, mode, last, statistics, share)
        return [outputs.relu() for outputs in found]

    def norm_outputs(
        self,
        images: Tensor,
        mode: str,
        last: int = 4,
        statistics: Sequence[tuple[Tensor, Tensor]] | None = None,
        share: float = 0.0,
    ) -> list[Tensor]:
        """Return every BatchNorm layer's output before the ReLU; arguments as of `stages`."""
        x = (images - self.b["model.mean"]) / self.b["model.std"]
        found = []
        for number, (mean, var) in zip(range(last), statistics or self.running(), strict=False):
            x = F.conv2d(
                x,
                self.p[f"model.backbone.convolutions.{number}.weight"],
                stride=4 if number == 0 else 2,
                padding=1,
            )
            if mode != "running":
                count = x[:, 0].numel()
                batch_mean = x.sum(dim=(0, 2, 3)) / count
                batch_var = ((x - batch_mean.view(1, -1, 1, 1)) ** 2).sum(dim=(0, 2, 3)) / count
                unbiased = batch_var.detach() * count / (count - 1)
                if mode == "ema":
                    mean.mul_(1 - MOMENTUM).add_(MOMENTUM * batch_mean.detach())
                    var.mul_(1 - MOMENTUM).add_(MOMENTUM * unbiased)
                used = batch_mean, batch_var
                if mode == "robust":
                    used = (
                        (1 - MOMENTUM) * mean + MOMENTUM * batch_mean,
                        (1 - MOMENTUM) * var + MOMENTUM * batch_var,
                    )
                    mean.copy_(used[0].detach())
                    var.copy_(used[1].detach())
                if mode == "mix":
                    used = (
                        (1 - share) * mean + share * batch_mean.detach(),
                        (1 - share) * var + share * unbiased,
                    )
            else:
                used = mean.clone(), var.clone()
            unit = (x - used[0].view(1, -1, 1, 1)) / (used[1].view(1, -1, 1, 1) + EPS) ** 0.5
            scale, shift = (
                self.p[f"model.backbone.norms.{number}.{name}"] for name in ("weight", "bias")
            )
            found.append(unit * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1))
            x = found[-1].relu()
        return found

    def hypercolumn(self, stages: Sequence[Tensor]) -> Tensor:
        """Return the stages at the size of the first, concatenated."""
        return torch.cat(
            [upsampled(stage, (stages[0].shape[2], stages[0].shape[3])) for stage in stages], dim=1
        )

    def outputs(self, stages: Sequence[Tensor], size: Size) -> dict[str, Tensor]:
        """Return every task's output."""
        h = self.hypercolumn(stages)
        tasks = [
            name.split(".")[2]
            for name in self.p
            if name.startswith("model.heads.") and name.endswith(".weight")
        ]
        return {
            task: upsampled(
                F.conv2d(
                    h, self.p[f"model.heads.{task}.weight"], self.p[f"model.heads.{task}.bias"]
                ),
                size,
            )
            for task in tasks
        }

    def predict(self, images: Tensor, mode: str, share: float = 0.0) -> dict[str, Tensor]:
        """Return every task's output on images; arguments as of `stages`."""
        with torch.no_grad():
            stages = self.stages(images, mode, share=share)
            return self.outputs(stages, (images.shape[2], images.shape[3]))

    def descend(
        self, loss: Tensor, moves: Callable[[str], bool], lr: float, weight_decay: float = 0.0
    ) -> dict[str, Tensor]:
        """Make one step of gradient descent on the parameters that `moves` accepts.

        Return their gradients.
        """
        names = [name for name in self.p if moves(name)]
        found = torch.autograd.grad(loss, [self.p[name] for name in names], allow_unused=True)
        gradients = {
            name: gradient
            for name, gradient in zip(names, found, strict=True)
            if gradient is not None
        }
        with torch.no_grad():
            for name, gradient in gradients.items():
                self.p[name] -= lr * (gradient + weight_decay * self.p[name])
        return gradients

    def assert_equal(self, net: Net, rtol: float = 1e-8, atol: float = 1e-10) -> None:
        """Assert that every parameter and floating-point buffer of a network equals its copy."""
        for name, value in net.state_dict().items():
            want = self.p[name] if name in self.p else self.b[name]
            if value.is_floating_point():
                torch.testing.assert_close(
                    value,
                    want.detach(),
                    rtol=rtol,
                    atol=atol,
                    msg=lambda m, name=name: f"{name}: {m}",
                )


def assert_same_predictions(got: dict[str, Tensor], want: dict[str, Tensor]) -> None:
    """Assert that two predictions agree up to rounding."""
    assert got.keys() == want.keys()
    for task, prediction in got.items():
        torch.testing.assert_close(prediction, want[task], rtol=1e-8, atol=1e-10)


def view_by_hand(image: Tensor, numbers: list[float]) -> Tensor:
    """Return a view of an image (3, H, W), pixel by pixel; colours by Python's own colorsys."""
    area, aspect, left, top, mirror, brightness, contrast, saturation, hue, jittered, grey = numbers
    _, rows, columns = image.shape
    area = 0.2 + 0.8 * area
    ratio = math.exp((2 * aspect - 1) * min(math.log(4 / 3), -math.log(area)))
    width, height = math.sqrt(area * ratio), math.sqrt(area / ratio)
    left, top = left * (1 - width), top * (1 - height)
    result = torch.empty_like(image)
    for i in range(rows):
        for j in range(columns):
            across = (j + 0.5) / columns
            across = 1 - across if mirror < 0.5 else across
            x = min(max((left + width * across) * columns - 0.5, 0.0), columns - 1.0)
            y = min(max((top + height * (i + 0.5) / rows) * rows - 0.5, 0.0), rows - 1.0)
            x0, y0 = int(x), int(y)
            x1, y1 = min(x0 + 1, columns - 1), min(y0 + 1, rows - 1)
            upper = image[:, y0, x0] * (x0 + 1 - x) + image[:, y0, x1] * (x - x0)
            lower = image[:, y1, x0] * (x0 + 1 - x) + image[:, y1, x1] * (x - x0)
            result[:, i, j] = upper * (y0 + 1 - y) + lower * (y - y0)
    luma = torch.tensor([0.2989, 0.587, 0.114], dtype=image.dtype).view(3, 1, 1)
    if jittered < 0.8:
        b, c, s = (0.6 + 0.8 * number for number in (brightness, contrast, saturation))
        result = (b * result).clamp(0, 1)
        result = (c * result + (1 - c) * (luma * result).sum(dim=0).mean()).clamp(0, 1)
        result = (s * result + (1 - s) * (luma * result).sum(dim=0)).clamp(0, 1)
        turned = []
        for pixel in result.flatten(1).T.tolist():
            h, s_hsv, v = colorsys.rgb_to_hsv(*pixel)
            turned.append(colorsys.hsv_to_rgb((h + 0.2 * hue - 0.1) % 1, s_hsv, v))
        result = torch.tensor(turned, dtype=image.dtype).T.view_as(image)
    return (luma * result).sum(dim=0).expand_as(image) if grey < 0.2 else result
