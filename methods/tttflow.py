"""TTTFlow: test-time training with a normalising flow.

Osowiechi et al., "TTTFlow: Unsupervised test-time training with normalizing flow", WACV 2023. A
RealNVP (Dinh et al., "Density estimation using Real NVP", ICLR 2017) learns the density of the
trained network's features at one stage. At test time the layers up to that stage move so that the
target's features become likely under the frozen flow. With x the features, m a checkerboard mask,
and all products per element,

    coupling    s, t = net(x m),    s <- (a tanh(s) + b) (1 - m),    y = x exp(s) + t (1 - m),
                log det = s
    actnorm     y = x exp(l) + c,    log det = l
    loss        - mean over elements of [log N(z; 0, 1) + log det],    z and log det of the whole
                flow

The flow is coupling, actnorm, coupling, actnorm, coupling, with masks of alternating parity. It is
trained separately, after Base, whose network it does not change. As in the authors' code it models
the features of stage 2 (512 channels at H/8 of ResNet-50). It is fully convolutional, so it accepts
images of any size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

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
    Target,
    option,
)
from ttt_bench.methods._realnvp import (
    SMALLEST_STD,
    RealNVP,
    actnorm,
    actnorm_init,
    checkerboard_coupling,
    checkerboard_mask,
    negative_log_likelihood,
)
from ttt_bench.network import Net, Network

__all__ = [
    "RealNVP",
    "TTTFlow",
    "TTTFlowOptions",
    "actnorm",
    "actnorm_init",
    "checkerboard_coupling",
    "checkerboard_mask",
    "negative_log_likelihood",
]


class TTTFlowOptions(EmaOptions):
    """Options of `TTTFlow`."""

    tap: int = option(
        2,
        "stage (1 to 4) whose features the flow models; this stage and the layers before it move",
        citation="authors' code",
        shapes_source=True,
        ge=1,
        le=4,
    )
    res_blocks: int = option(
        2,
        "residual blocks per coupling",
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
        "initial learning rate of the flow's training",
        citation="this project; authors' code: 0.1 at batches of 128",
        shapes_source=True,
        gt=0,
    )
    flow_optimiser: Literal["adam", "sgd"] = option(
        "adam",
        "optimiser of the flow's training: adam (weight decay 1e-6, polynomial decay to 0) or sgd "
        "(momentum 0.9, weight decay 5e-4, cosine decay to 0)",
        citation="this project; authors' code: sgd",
        shapes_source=True,
    )
    reinit_actnorm: bool = option(
        default=False,
        description="initialise the actnorms on the first target batch, under the stored "
        "statistics (after a reset: on the next batch, so that batches stay independent)",
        citation="the authors' code does so by accident",
    )


class TTTFlow(Adapter[TTTFlowOptions, RealNVP]):
    """Adaptation by the likelihood of a stage's features under a frozen flow."""

    name: ClassVar[str] = "tttflow"
    Options: ClassVar[type[Options]] = TTTFlowOptions
    original: ClassVar[Hparams] = Hparams(
        citation="authors' code: SGD, ten steps per batch (of 128), and the flow trained with SGD "
        "at 0.1",
        optimiser=Optimiser(lr=1e-3, momentum=0.9, weight_decay=5e-4),
        steps=10,
        options={"flow_optimiser": "sgd", "flow_lr": 0.1},
    )
    card: ClassVar[Card] = Card(
        title="TTTFlow: test-time training with a normalising flow",
        paper="Osowiechi et al., TTTFlow: Unsupervised test-time training with normalizing flow, "
        "WACV 2023",
        source_training="the flow, on the frozen features of Base's source model",
        moves="the stem and the stages up to the flow's; on a backbone that cannot stop at a stage "
        "(EfficientNet, HRNet), the statistics of all its BatchNorm layers are updated",
        sizes="any: the flow is fully convolutional and its masks are made for the size",
        architecture="official flow, official tap",
        quirks=(
            Quirk(
                "forgets on loading that the actnorms are initialised, so that the first target "
                "batch sets them again",
                "keeps the trained values",
                "reinit_actnorm=true",
            ),
            Quirk(
                "initialises an actnorm's shift to -mean, which leaves a mean unless the scale is "
                "1",
                "reproduced; the flow's training corrects it",
            ),
            Quirk(
                "gives a channel that is always 0 an infinite scale",
                f"sets its standard deviation to {SMALLEST_STD:g}",
            ),
            Quirk("makes its masks for one square size", "makes them for any size"),
            Quirk(
                "resets from an entry of the checkpoint that its training does not write, so that "
                "the episodic script cannot run",
                "a reset restores the source model",
            ),
            Quirk(
                "makes one optimiser for all batches, so that a reset of the weights does not "
                "reset its momentum",
                "a reset clears the momentum",
            ),
        ),
    )

    def build(self, model: Network, tasks: Mapping[str, int]) -> RealNVP:
        return RealNVP(model.channels[self.options.tap - 1], self.options.res_blocks)

    # -- source training

    def phases(self) -> tuple[Phase, ...]:
        lr = self.options.flow_lr
        schedule: Literal["polynomial", "cosine"]
        if self.options.flow_optimiser == "sgd":
            optimiser, schedule = Optimiser(lr=lr, momentum=0.9, weight_decay=5e-4), "cosine"
        else:
            optimiser = Optimiser(optimiser="adam", lr=lr, weight_decay=1e-6)
            schedule = "polynomial"
        flow = Phase(
            name="flow",
            trains=("extra",),
            supervised=False,
            iterations=self.options.flow_iterations,
            optimiser=optimiser,
            schedule=schedule,
        )
        return SHARED, flow

    def source_loss(self, step: SourceStep[RealNVP]) -> dict[str, Tensor]:
        flow = step.net.extra
        with torch.no_grad():
            tapped = self._features(step.net, step.batch.images)
        z, log_det = flow(tapped, initialise=not flow.initialised)
        return {"negative log-likelihood": negative_log_likelihood(z, log_det)}

    # -- test time

    def bind(self, net: Net[RealNVP], statistics: Mapping[str, Tensor], target: Target) -> Plan:
        if self.options.reinit_actnorm:
            net.extra.forget_initialisation()
        moves = tuple(f"model.{name}" for name in net.model.upstream(self.options.tap))
        return Plan(
            moves=moves, adapt=Norm.EMA, predict=Norm(self.options.predict_norm), exact=False
        )

    def passes(self, batch: int) -> Passes:
        return Passes(batch, batch, stages=self.options.tap)

    def begin_batch(self, net: Net[RealNVP], images: Tensor, ctx: Context) -> None:
        flow = net.extra
        if self.options.reinit_actnorm and not flow.initialised:
            # the authors' first pass over a batch is in eval mode
            with ctx.norm(Norm.RUNNING):
                flow(self._features(net, images), initialise=True)

    def step(self, net: Net[RealNVP], images: Tensor, ctx: Context) -> StepOut:
        z, log_det = net.extra(self._features(net, images))
        return StepOut({"negative log-likelihood": negative_log_likelihood(z, log_det)}, None)

    # -- both

    def _features(self, net: Net[RealNVP], images: Tensor) -> Tensor:
        """Return the features that the flow models, (B, C, h, w)."""
        return net.model.stages(images, last=self.options.tap)[-1]
