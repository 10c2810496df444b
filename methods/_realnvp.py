"""RealNVP, the normalising flow of TTTFlow, on feature maps of any size.

Dinh et al., "Density estimation using Real NVP", ICLR 2017, with the couplings and actnorms of
TTTFlow's code; `tttflow.py` states the equations.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

SMALLEST_STD = 1e-6
"""Lower limit of a channel's standard deviation in `actnorm_init`.

A channel that is always 0 after its ReLU would otherwise get an infinite scale.
"""


def checkerboard_mask(height: int, width: int, parity: int) -> Tensor:
    """Return (row + column + parity) mod 2 as floats, (1, 1, H, W)."""
    # (H, 1) + (W,) -> (H, W)
    places = torch.arange(height)[:, None] + torch.arange(width) + parity
    return (places % 2).float()[None, None]


@lru_cache(maxsize=16)
def cached_mask(
    height: int, width: int, parity: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Return `checkerboard_mask` on a device in a dtype, made once per size."""
    return checkerboard_mask(height, width, parity).to(device, dtype)


def checkerboard_coupling(
    x: Tensor,
    mask: Tensor,
    *,
    raw_log_scale: Tensor,
    raw_shift: Tensor,
    tanh_scale: Tensor,
    offset: Tensor,
) -> tuple[Tensor, Tensor]:
    """Scale and shift those elements of x where the mask is 0.

    Args:
        x: (N, C, H, W).
        mask: (1, 1, H, W).
        raw_log_scale: (N, C, H, W), s in the equation before the tanh.
        raw_shift: (N, C, H, W), t in the equation.
        tanh_scale: (1,), a in the equation.
        offset: (1,), b in the equation.

    Returns:
        y and the log-determinant of each element, both (N, C, H, W).
    """
    free = 1 - mask
    log_scale = (raw_log_scale.tanh() * tanh_scale + offset) * free
    return x * log_scale.exp() + raw_shift * free, log_scale


def actnorm(x: Tensor, log_scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Return x exp(log_scale) + shift and the log-determinant of each element, both (N, C, H, W).

    `log_scale` and `shift` are (1, C, 1, 1).
    """
    return x * log_scale.exp() + shift, log_scale.expand_as(x)


def actnorm_init(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return -log of the unbiased standard deviation and -mean, both (1, C, 1, 1).

    The shift is that of the authors' code. The outputs would have mean 0 with -mean / std.
    """
    # over samples and positions: (N, C, H, W) -> (1, C, 1, 1)
    std, mean = torch.std_mean(x, dim=(0, 2, 3), keepdim=True)
    return -std.clamp(min=SMALLEST_STD).log(), -mean


def negative_log_likelihood(z: Tensor, log_det: Tensor) -> Tensor:
    """Return -mean over all elements of [log N(z; 0, 1) + log_det], in nats (scalar).

    `z` and `log_det` are (N, C, H, W).
    """
    return (0.5 * z.square() - log_det).mean() + 0.5 * math.log(2 * math.pi)


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Module:
    return weight_norm(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))


class ResidualBlock(nn.Module):
    """x plus a branch of three times BatchNorm, ReLU and convolution (1x1, 3x3, 1x1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(3))
        self.conv = nn.ModuleList(_convolution(width, width, kernel) for kernel in (1, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        inner = x
        for norm, convolution in zip(self.bn, self.conv, strict=True):
            inner = convolution(norm(inner).relu())
        return x + inner


class Coupling(nn.Module):
    """`checkerboard_coupling` with scale and shift from a residual network.

    The network sees the elements that the coupling does not change.
    """

    def __init__(self, channels: int, res_blocks: int, parity: int) -> None:
        super().__init__()
        self.parity = parity
        self.conv_in = _convolution(channels, channels, 3)
        self.block = nn.ModuleList(ResidualBlock(channels) for _ in range(res_blocks))
        self.bn_out = nn.BatchNorm2d(channels)
        self.conv_out = _convolution(channels, 2 * channels, 1)
        # a new coupling does not scale
        self.tanh_scale = nn.Parameter(torch.zeros(1))
        self.offset = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mask = cached_mask(x.shape[-2], x.shape[-1], self.parity, x.device, x.dtype)
        inner = self.conv_in(x * mask)
        for block in self.block:
            inner = block(inner)
        # (N, 2 C, H, W) -> twice (N, C, H, W)
        raw_log_scale, raw_shift = self.conv_out(self.bn_out(inner).relu()).chunk(2, dim=1)
        return checkerboard_coupling(
            x,
            mask,
            raw_log_scale=raw_log_scale,
            raw_shift=raw_shift,
            tanh_scale=self.tanh_scale,
            offset=self.offset,
        )


class ActNorm(nn.Module):
    """`actnorm` with trained scale and shift."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return actnorm(x, self.log_scale, self.shift)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set scale and shift by `actnorm_init` of the inputs x (N, C, H, W)."""
        for own, found in zip((self.log_scale, self.shift), actnorm_init(x), strict=True):
            own.copy_(found)

    def hold_in_buffers(self) -> None:
        """Turn scale and shift into buffers, so that a reset restores them.

        Values that come from the target are state.
        """
        for name in ("log_scale", "shift"):
            value = getattr(self, name).detach()
            delattr(self, name)
            self.register_buffer(name, value)


class RealNVP(nn.Module):
    """The flow: x (N, C, H, W) to z and the log-determinant of each element, both of x's shape.

    Args:
        channels: C, also the width of the couplings' networks.
        res_blocks: residual blocks per coupling.

    Attributes:
        initialised: whether the actnorms are initialised; a buffer, because it belongs to the
            weights.
    """

    initialised: Tensor

    def __init__(self, channels: int, res_blocks: int = 2) -> None:
        super().__init__()
        self.coupling = nn.ModuleList(
            Coupling(channels, res_blocks, parity) for parity in (1, 0, 1)
        )
        self.actnorm = nn.ModuleList(ActNorm(channels) for _ in range(2))
        self.register_buffer("initialised", torch.zeros((), dtype=torch.bool))

    def forward(self, x: Tensor, *, initialise: bool = False) -> tuple[Tensor, Tensor]:
        """Return z and the log-determinants; `initialise` first sets each actnorm by its inputs."""
        x, log_det = self.coupling[0](x)
        for norm, coupling in zip(self.actnorm, self.coupling[1:], strict=True):
            if initialise:
                cast(ActNorm, norm).initialise(x)
            for layer in (norm, coupling):
                x, more = layer(x)
                log_det = log_det + more
        if initialise:
            self.initialised.fill_(value=True)
        return x, log_det

    def forget_initialisation(self) -> None:
        """Mark the actnorms as not initialised and turn their values into buffers."""
        for norm in self.actnorm:
            cast(ActNorm, norm).hold_in_buffers()
        self.initialised.fill_(value=False)

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Load trained weights by the authors' names, and mark the actnorms as initialised.

        Args:
            weights: `coupling{i}.{tanh_scale, offset}`, `coupling{i}.conv_in`, `.block{j}.{bn0,
                conv0 .. bn2, conv2}`, `.bn_out`, `.conv_out` with `weight_v` (direction),
                `weight_g` (norm per output channel) and `bias`, or with those of BatchNorm;
                `actnorm{i}.{log_scale, shift}`.

        Raises:
            ValueError: names are missing or unknown.
        """
        own = {_own_name(name): value for name, value in weights.items()}
        result = self.load_state_dict(own, strict=False)
        counters = ("num_batches_tracked", "initialised")
        missing = [name for name in result.missing_keys if not name.endswith(counters)]
        if missing or result.unexpected_keys:
            raise ValueError(
                f"the weights do not fit the flow: missing {missing}, unknown "
                f"{result.unexpected_keys}; pass the weights of all layers by the authors' names"
            )
        self.initialised.fill_(value=True)


def _own_name(name: str) -> str:
    """Translate an authors' name to that of this module.

    `coupling0.block1.conv2.weight_g` becomes
    `coupling.0.block.1.conv.2.parametrizations.weight.original0`.
    """
    name = name.replace("weight_g", "parametrizations.weight.original0")
    name = name.replace("weight_v", "parametrizations.weight.original1")
    return re.sub(r"(coupling|block|actnorm|bn|conv)(\d)\.", r"\1.\2.", name)
