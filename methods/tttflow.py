"""TTTFlow: test-time training with a normalising flow.

Osowiechi et al., "TTTFlow: Unsupervised test-time training with normalizing flow", WACV 2023. A
RealNVP (Dinh et al., "Density estimation using Real NVP", ICLR 2017) learns the density of the
trained network's features at one stage; at test time the layers up to that stage move so that
target features become likely under the frozen flow. With x the features, m a checkerboard mask, and
all products per element,

    coupling    s, t = net(x m),    s <- (a tanh(s) + b) (1 - m),    y = x exp(s) + t (1 - m),
    log det = s actnorm     y = x exp(l) + c,
    log det = l loss        - mean over elements of [log N(z; 0, 1) + log det],    z and log det of
    the whole flow

The flow is coupling, actnorm, coupling, actnorm, coupling, with masks of alternating parity. It is
trained apart, after Base, whose network it leaves as it is; here on the features of stage 2 (512
channels at H/8 of ResNet-50), as the authors do. It is fully convolutional, so that images of any
size go through it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ttt_bench.adapter import (
    SHARED,
    Adapter,
    Card,
    Context,
    EmaOptions,
    Hparams,
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

SMALLEST_STD = 1e-6
"""Of a channel that is always 0 after its ReLU; without it the actnorm's scale would be
infinite.
"""


def checkerboard_mask(height: int, width: int, parity: int) -> Tensor:
    """(1, 1, H, W) float: (row + column + parity) mod 2."""
    places = torch.arange(height)[:, None] + torch.arange(width) + parity
    return (places % 2).float()[None, None]


@lru_cache(maxsize=16)
def _mask(height: int, width: int, parity: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return checkerboard_mask(height, width, parity).to(device, dtype)


def checkerboard_coupling(
    x: Tensor,
    mask: Tensor,
    raw_log_scale: Tensor,
    raw_shift: Tensor,
    tanh_scale: Tensor,
    offset: Tensor,
) -> tuple[Tensor, Tensor]:
    """Scale and shift those elements of x where the mask (1, 1, H, W) is 0.

    Args:
        x: (N, C, H, W), as are `raw_log_scale` and `raw_shift`.
        tanh_scale: (1,), as is `offset`.

    Returns:
        y and the log-determinant of each element, both (N, C, H, W).
    """
    free = 1 - mask
    log_scale = (raw_log_scale.tanh() * tanh_scale + offset) * free
    return x * log_scale.exp() + raw_shift * free, log_scale


def actnorm(x: Tensor, log_scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """x exp(log_scale) + shift and the log-determinant of each element, both (N, C, H, W); by
    channel (1, C, 1, 1).
    """
    return x * log_scale.exp() + shift, log_scale.expand_as(x)


def actnorm_init(x: Tensor) -> tuple[Tensor, Tensor]:
    """-log of the unbiased standard deviation and -mean over (N, H, W), (1, C, 1, 1) each.

    The shift is that of the authors' code; it would have to be -mean / std to make the outputs'
    mean 0.
    """
    std, mean = torch.std_mean(x, dim=(0, 2, 3), keepdim=True)
    return -std.clamp(min=SMALLEST_STD).log(), -mean


def negative_log_likelihood(z: Tensor, log_det: Tensor) -> Tensor:
    """-mean over all elements of [log N(z; 0, 1) + log_det], in nats (scalar); both (N, C, H,
    W).
    """
    return (0.5 * z.square() - log_det).mean() + 0.5 * math.log(2 * math.pi)


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Module:
    return weight_norm(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))


class ResidualBlock(nn.Module):
    """x plus three times BatchNorm, ReLU and convolution (1x1, 3x3, 1x1) of it."""

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
    """`checkerboard_coupling` whose scale and shift a residual network computes from the
    elements that stay.
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
        mask = _mask(x.shape[-2], x.shape[-1], self.parity, x.device, x.dtype)
        inner = self.conv_in(x * mask)
        for block in self.block:
            inner = block(inner)
        raw_log_scale, raw_shift = self.conv_out(self.bn_out(inner).relu()).chunk(2, dim=1)
        return checkerboard_coupling(
            x, mask, raw_log_scale, raw_shift, self.tanh_scale, self.offset
        )


class ActNorm(nn.Module):
    """`actnorm` with trained values."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return actnorm(x, self.log_scale, self.shift)

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Take scale and shift from the first inputs."""
        for own, found in zip((self.log_scale, self.shift), actnorm_init(x), strict=True):
            own.copy_(found)

    def hold_in_buffers(self) -> None:
        """Make buffers of scale and shift: values that the target gives are state, which a reset
        restores.
        """
        for name in ("log_scale", "shift"):
            value = getattr(self, name).detach()
            delattr(self, name)
            self.register_buffer(name, value)


class RealNVP(nn.Module):
    """The flow: x (N, C, H, W) to z and the log-determinant of each element, both of x's shape.

    Args:
        channels: C, which is also the width of the couplings' networks.
        res_blocks: residual blocks of a coupling's network.

    Attributes:
        initialised: whether the actnorms have seen their first batch. A buffer: it belongs to the
        weights.
    """

    initialised: Tensor

    def __init__(self, channels: int, res_blocks: int = 2) -> None:
        super().__init__()
        self.coupling = nn.ModuleList(
            Coupling(channels, res_blocks, parity) for parity in (1, 0, 1)
        )
        self.actnorm = nn.ModuleList(ActNorm(channels) for _ in range(2))
        self.register_buffer("initialised", torch.tensor(False))

    def forward(self, x: Tensor, initialise: bool = False) -> tuple[Tensor, Tensor]:
        """With `initialise`, the actnorms take scale and shift from what comes to them first."""
        x, log_det = self.coupling[0](x)
        for norm, coupling in zip(self.actnorm, self.coupling[1:], strict=True):
            if initialise:
                cast(ActNorm, norm).initialise(x)
            for layer in (norm, coupling):
                x, more = layer(x)
                log_det = log_det + more
        if initialise:
            self.initialised.fill_(True)
        return x, log_det

    def forget_initialisation(self) -> None:
        """Let the next batch that comes with `initialise` give the actnorms other values."""
        for norm in self.actnorm:
            cast(ActNorm, norm).hold_in_buffers()
        self.initialised.fill_(False)

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Load trained weights by the names of the authors' layers, and count the actnorms as
        initialised.

        Args:
            weights: `coupling{i}.{tanh_scale, offset}`, `coupling{i}.conv_in`, `.block{j}.{bn0,
                conv0 .. bn2, conv2}`, `.bn_out`, `.conv_out` with `weight_v` (direction),
                `weight_g` (norm per output channel) and `bias`, or with those of BatchNorm;
                `actnorm{i}.{log_scale, shift}`.

        Raises:
            ValueError: names that are missing or unknown.
        """
        own = {_own_name(name): value for name, value in weights.items()}
        result = self.load_state_dict(own, strict=False)
        missing = [
            name
            for name in result.missing_keys
            if not name.endswith(("num_batches_tracked", "initialised"))
        ]
        if missing or result.unexpected_keys:
            raise ValueError(
                f"weights that do not fit: missing {missing}, unknown {result.unexpected_keys}"
            )
        self.initialised.fill_(True)


def _own_name(name: str) -> str:
    """`coupling0.block1.conv2.weight_g` to
    `coupling.0.block.1.conv.2.parametrizations.weight.original0`.
    """
    name = name.replace("weight_g", "parametrizations.weight.original0")
    name = name.replace("weight_v", "parametrizations.weight.original1")
    return re.sub(r"(coupling|block|actnorm|bn|conv)(\d)\.", r"\1.\2.", name)


class TTTFlowOptions(EmaOptions):
    """Options of `TTTFlow`."""

    tap: int = option(
        2,
        "the stage (1 to 4) whose features the flow models; it and what lies before it move",
        citation="authors' code",
        shapes_source=True,
        ge=1,
        le=4,
    )
    res_blocks: int = option(
        2,
        "residual blocks of a coupling's network",
        citation="authors' code",
        shapes_source=True,
        ge=1,
    )
    flow_iterations: int = option(
        10_000,
        "iterations of the flow's training",
        citation="this project",
        shapes_source=True,
        ge=1,
    )
    flow_lr: float = option(
        1e-3,
        "learning rate of the flow's training at its beginning",
        citation="this project; authors' code: 0.1 at batches of 128",
        shapes_source=True,
        gt=0,
    )
    flow_optimiser: Literal["adam", "sgd"] = option(
        "adam",
        "what trains the flow: adam (weight decay 1e-6, polynomial decay to 0), or sgd (momentum 0.9, weight decay "
        "5e-4, cosine decay to 0)",
        citation="this project; authors' code: sgd",
        shapes_source=True,
    )
    reinit_actnorm: bool = option(
        False,
        "take the actnorms' scale and shift from the first target batch, under the stored statistics (after a reset: "
        "from the next batch, so that batches stay independent)",
        citation="the authors' code does so by accident",
    )


class TTTFlow(Adapter):
    """Likelihood of the features of a stage under a frozen flow, over all layers up to that
    stage.
    """

    name: ClassVar[str] = "tttflow"
    Options: ClassVar[type[Options]] = TTTFlowOptions
    original: ClassVar[Hparams] = Hparams(
        citation="authors' code: SGD, ten steps a batch (of 128), and the flow trained with SGD at 0.1",
        optimiser=Optimiser(lr=1e-3, momentum=0.9, weight_decay=5e-4),
        steps=10,
        options={"flow_optimiser": "sgd", "flow_lr": 0.1},
    )
    card: ClassVar[Card] = Card(
        title="TTTFlow: test-time training with a normalising flow",
        paper="Osowiechi et al., TTTFlow: Unsupervised test-time training with normalizing flow, WACV 2023",
        source_training="the flow, on the frozen features of Base's source model",
        moves="the stem and the stages up to the flow's; a backbone that cannot stop at a stage (EfficientNet, HRNet) "
        "moves the statistics of all its BatchNorm layers",
        sizes="any: the flow is fully convolutional and its masks are made for the size",
        architecture="official flow, official tap",
        quirks=(
            Quirk(
                "loses on loading that the actnorms are initialised, so that the first target batch sets them anew",
                "what the source trained stays",
                "reinit_actnorm=true",
            ),
            Quirk(
                "initialises an actnorm's shift to -mean, which leaves a mean where the scale is not 1",
                "reproduced; training the flow repairs it",
            ),
            Quirk(
                "gives a channel that is always 0 an infinite scale",
                f"its deviation counts as {SMALLEST_STD:g}",
            ),
            Quirk("makes its masks for one square size", "for any size"),
            Quirk(
                "resets from an entry of the checkpoint that its training does not write, so that the episodic script "
                "cannot run",
                "a reset restores the source model",
            ),
        ),
    )

    def build(self, model: nn.Module, tasks: Mapping[str, int]) -> nn.Module:
        return RealNVP(cast(Network, model).channels[self.options.tap - 1], self.options.res_blocks)

    def phases(self) -> tuple[Phase, ...]:
        iterations, lr = self.options.flow_iterations, self.options.flow_lr
        flow = partial(
            Phase, name="flow", trains=("extra",), supervised=False, iterations=iterations
        )
        if self.options.flow_optimiser == "sgd":
            return SHARED, flow(
                optimiser=Optimiser(lr=lr, momentum=0.9, weight_decay=5e-4), schedule="cosine"
            )
        return SHARED, flow(
            optimiser=Optimiser(optimiser="adam", lr=lr, weight_decay=1e-6), schedule="polynomial"
        )

    def source_loss(self, step: SourceStep) -> dict[str, Tensor]:
        flow = _flow(step.net)
        with torch.no_grad():
            tapped = self._features(step.net, step.batch.images)
        z, log_det = flow(tapped, initialise=not flow.initialised)
        return {"negative log-likelihood": negative_log_likelihood(z, log_det)}

    def bind(self, net: Net, statistics: Mapping[str, Tensor]) -> Plan:
        if self.options.reinit_actnorm:
            _flow(net).forget_initialisation()
        moves = tuple(f"model.{name}" for name in net.model.upstream(self.options.tap))
        return Plan(
            moves=moves, adapt=Norm.EMA, predict=Norm(self.options.predict_norm), exact=False
        )

    def passes(self, batch: int) -> Passes:
        return Passes(1, 1, stages=self.options.tap)

    def begin_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        flow = _flow(net)
        if self.options.reinit_actnorm and not flow.initialised:
            with ctx.norm(Norm.RUNNING):  # the authors' first pass over a batch is an evaluation
                flow(self._features(net, images), initialise=True)

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        z, log_det = _flow(net)(self._features(net, images))
        return StepOut({"negative log-likelihood": negative_log_likelihood(z, log_det)}, None)

    def _features(self, net: Net, images: Tensor) -> Tensor:
        """What the flow models, (B, C, h, w)."""
        return net.model.stages(images, last=self.options.tap)[-1]


def _flow(net: Net) -> RealNVP:
    return cast(RealNVP, net.extra)
