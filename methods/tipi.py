"""TIPI: test-time adaptation with transformation invariance.

Nguyen et al., "TIPI: Test time adaptation with transformation invariance", CVPR 2023. The network
is trained to give the same prediction for an image x and for the image of an L-infinity ball around
x whose prediction differs most. One signed gradient step approximates that image. With p(x) the
prediction under the network's own running statistics, q(x) that under a second set of them, sg the
stopped gradient and H the entropy,

    d0    ~ U(-eps, eps)
    d     = clip(d0 + eps sign(grad_d0 KL(q(x + d0) || sg p(x))), -eps, eps)
    loss  = mean KL(q(x + d) || sg p(x)) + tent_coeff mean H(p(x))

(the reverse KL), minimised over the scale and shift of every normalisation layer. During
adaptation, p and q normalise with their batch, and each updates its own set of statistics. The
network then predicts with the main set.

The KL is that of the segmentation's classes at each pixel. If a pair has no segmentation, the
regression outputs are the means of Gaussians, whose KL is a scaled squared difference; they have no
entropy term. eps is in the units of the images, RGB in [0, 1], because the network itself
normalises them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor

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
    Plan,
    Quirk,
    StepOut,
    Target,
    option,
)
from ttt_bench.errors import BenchError
from ttt_bench.losses import softmax_entropy
from ttt_bench.methods._tipi_statistics import SecondStatistics, found_by_authors, layer_of
from ttt_bench.model import AFFINE_NORMS, affine_parameters, running_statistics
from ttt_bench.network import Net, Network
from ttt_bench.tasks import TASKS

LARGE_BATCH = 64
"""Batch size above which the authors' CIFAR code predicts with batch statistics."""


def kl_divergence(logits_clean: Tensor, logits_adv: Tensor, *, reverse: bool = True) -> Tensor:
    """Return the KL in nats of the softmax over dim 1, (N, C, H, W) twice -> (N, H, W).

    With `reverse`, KL(adv || clean) = sum_c q_c (log q_c - log p_c), where q is the softmax of
    `logits_adv`; otherwise KL(clean || adv).
    """
    log_p, log_q = logits_clean.log_softmax(dim=1), logits_adv.log_softmax(dim=1)
    if not reverse:
        log_p, log_q = log_q, log_p
    return F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(dim=1)


def gaussian_kl(prediction_clean: Tensor, prediction_adv: Tensor, sigma: float = 1.0) -> Tensor:
    """Return the KL of two isotropic Gaussians around predictions (N, C, H, W), (N, H, W).

    It is sum_c (a_c - b_c)^2 / (2 sigma^2).
    """
    return (prediction_clean - prediction_adv).square().sum(dim=1) / (2 * sigma**2)


def mixed_divergence(
    clean: Tensor, adversarial: Tensor, *, classes: Sequence[int], reverse: bool, sigma: float
) -> Tensor:
    """Return the divergence of outputs (N, K, H, W) at each pixel, (N, H, W).

    It is `kl_divergence` of each task with classes, whose channels come first, plus `gaussian_kl`
    of the other channels.

    Args:
        classes: number of classes of each task with classes; may be empty.
    """
    # (N, K, H, W) -> (N, K_t, H, W) per task with classes, and (N, rest, H, W)
    widths = [*classes, clean.shape[1] - sum(classes)]
    *pairs, rest = zip(clean.split(widths, dim=1), adversarial.split(widths, dim=1), strict=True)
    divergence = gaussian_kl(*rest, sigma)
    for logits in pairs:
        divergence = divergence + kl_divergence(*logits, reverse=reverse)
    return divergence


def adversarial_loss(
    forward_clean: Callable[[Tensor], Tensor],
    forward_adv: Callable[[Tensor], Tensor],
    images: Tensor,
    delta0: Tensor | None,
    epsilon: float | Tensor,
    *,
    tent_coeff: float = 0.0,
    divergence: Callable[[Tensor, Tensor], Tensor] = kl_divergence,
    entropy: Callable[[Tensor], Tensor] = softmax_entropy,
) -> tuple[Tensor, Tensor]:
    """Return the loss (scalar) and the adversarial images (N, 3, H, W).

    Args:
        forward_clean: images -> outputs (N, K, H, W), under the main set of running statistics.
        forward_adv: the same weights under the second set.
        images: (N, 3, H, W).
        delta0: (N, 3, H, W) within epsilon, the initial perturbation. None: zero, and the clean
            outputs are used as the perturbed ones too, as in the authors' code; the gradient is
            then zero up to rounding errors.
        epsilon: largest perturbation of a value, or a tensor that broadcasts to the images.
        tent_coeff: weight of the clean outputs' entropy; 0 omits that term and a backward pass.
        divergence: (clean, adversarial) -> (N, H, W).
        entropy: clean -> (N, H, W).
    """
    delta = torch.zeros_like(images) if delta0 is None else delta0.detach().clone()
    delta.requires_grad_()
    clean = forward_clean(images + delta if delta0 is None else images)
    perturbed = clean if delta0 is None else forward_adv(images + delta)
    target = clean.detach()
    # gradient of the perturbation alone: `grad` writes nothing to the parameters
    (gradient,) = torch.autograd.grad(
        divergence(target, perturbed).mean(), delta, retain_graph=delta0 is None
    )
    # clipped in units of epsilon, which may differ between channels
    images_adv = images + epsilon * (delta.detach() / epsilon + gradient.sign()).clamp(-1, 1)
    loss = divergence(target, forward_adv(images_adv)).mean()
    if tent_coeff:
        loss = loss + tent_coeff * entropy(clean).mean()
    return loss, images_adv


class TIPIOptions(EmaOptions):
    """Options of `TIPI`."""

    epsilon: float = option(
        2 / 255,
        "largest perturbation of a pixel, in the units of eps_space",
        citation="authors' code",
        gt=0,
        le=0.1,
    )
    eps_space: Literal["pixel", "normalised"] = option(
        "pixel",
        "unit of epsilon: pixel (RGB in [0, 1]) or normalised (RGB as the network normalises it, "
        "where the same number is a radius about 4.4 times smaller)",
        citation="this project; authors' code on ImageNet: normalised",
    )
    start: Literal["random", "zero"] = option(
        "random",
        "initial perturbation: random (within epsilon) or zero (only rounding errors give the "
        "gradient a sign)",
        citation="authors' code: random on ImageNet, zero on CIFAR and digits",
    )
    reverse: bool = option(
        default=True,
        description="true: KL(perturbed || clean); false: KL(clean || perturbed)",
        citation="authors' code",
    )
    tent_coeff: float = option(
        1.0,
        "weight of the clean segmentation's entropy; without effect if segmentation is not "
        "compared",
        citation="authors' code: 1 on ImageNet and digits, 0 on CIFAR-10, 5 on CIFAR-100",
        ge=0,
    )
    sigma: float = option(
        1.0,
        "standard deviation of the Gaussians around regression outputs, in the outputs' units",
        citation="this project",
        gt=0,
    )
    tasks: Literal["semseg", "all", "regression"] = option(
        "semseg",
        "compared outputs: semseg (all others if the pair has no segmentation), all, or "
        "regression (tasks without classes)",
        citation="this project: the authors' networks classify",
    )
    large_batch_bn: bool = option(
        default=False,
        description=f"predict in train mode if a batch has more than {LARGE_BATCH} images: with "
        "its statistics, which also update the running ones",
        citation="authors' code: on CIFAR only",
    )
    layers: Literal["all", "official"] = option(
        "all",
        "adapted normalisation layers: all, or official (without the BatchNorm layers that the "
        "authors' code does not find, such as downsample.1)",
        citation="the paper; the authors' code: official",
    )

    @model_validator(mode="after")
    def _zero_start_needs_rounding(self) -> Self:
        if self.start == "zero" and self.tasks == "regression":
            raise ValueError(
                "tipi.start = zero does not work with tipi.tasks = regression: the gradient of a "
                "squared difference is exactly zero there, so nothing would be perturbed; use "
                "tipi.start = random or tipi.tasks = semseg"
            )
        return self


@dataclass(frozen=True)
class Bound:
    """What `TIPI.bind` keeps: the tasks whose outputs are compared, segmentation first."""

    tasks: tuple[str, ...]


class TIPI(Adapter[TIPIOptions, SecondStatistics]):
    """Adaptation by invariance to small adversarial perturbations."""

    name: ClassVar[str] = "tipi"
    Options: ClassVar[type[Options]] = TIPIOptions
    original: ClassVar[Hparams] = Hparams(
        citation="authors' code, ImageNet: SGD at a rate per image of the current batch (64, the "
        "last one smaller), one step, normalised images perturbed",
        optimiser=Optimiser(lr=0.00025 / 64, momentum=0.9, lr_per_sample=True),
        steps=1,
        options={"eps_space": "normalised"},
    )
    card: ClassVar[Card] = Card(
        title="TIPI: test-time adaptation with transformation invariance",
        paper="Nguyen et al., TIPI: Test time adaptation with transformation invariance, CVPR 2023",
        source_training="nothing; uses Base's source model",
        moves="scale and shift of every normalisation layer",
        sizes="any",
        architecture="adds no parameters, only a second set of BatchNorm statistics",
        quirks=(
            Quirk(
                "perturbs the normalised images on ImageNet",
                "epsilon is in the units of RGB in [0, 1]",
                "eps_space=normalised",
            ),
            Quirk(
                "starts the perturbation at zero on CIFAR and digits, where its gradient is zero "
                "up to rounding errors",
                "starts at random, as the authors' code does on ImageNet",
                "start=zero",
            ),
            Quirk(
                f"predicts in train mode on CIFAR if a batch has more than {LARGE_BATCH} images: "
                "with its statistics, which also update the running ones",
                "predicts with the running ones; with the option each prediction updates them, "
                "including the one before the first step",
                "large_batch_bn=true",
            ),
            Quirk(
                "does not find BatchNorm layers whose name is a number, such as downsample.1, nor "
                "subclasses of BatchNorm2d: on ResNet-50 only 45,440 of the 53,120 numbers move. "
                "The layers that it misses have one set of statistics, which all three forward "
                "passes of a step update and which it predicts with",
                "all normalisation layers move and have two sets",
                "layers=official",
            ),
            Quirk(
                "multiplies the learning rate by the number of images of the current batch, so "
                "that a smaller last batch has a smaller rate",
                "reproduced by --hparams original",
                "lr_per_sample=true",
            ),
            Quirk("does not clip the perturbed images to [0, 1]", "reproduced"),
            Quirk(
                "computes in half precision",
                "computes in full precision, because the inner gradient of a mean over pixels is "
                "small",
            ),
        ),
    )
    bound: Bound
    """Set by `bind`."""

    def needs(self) -> Needs:
        return Needs(
            tasks=frozenset({"semseg"} if self.options.start == "zero" else ()), affine=True
        )

    def build(self, model: Network, tasks: Mapping[str, int]) -> SecondStatistics:
        return SecondStatistics(model, self.options.layers)

    # -- test time

    def bind(
        self, net: Net[SecondStatistics], statistics: Mapping[str, Tensor], target: Target
    ) -> Plan:
        self.bound = Bound(_compared(self.options.tasks, net.model.tasks))
        # `build` saw the initial weights; those of the source are loaded by now
        second, main = net.extra.of(net.model), running_statistics(net.model)
        for name, values in second.items():
            values.copy_(main[name])
        return Plan(
            moves=self._moves(net.model),
            adapt=Norm.EMA,
            predict=Norm(self.options.predict_norm),
            exact=False,
        )

    def _moves(self, model: Network) -> tuple[str, ...]:
        """Return the names in `Net` of the scales and shifts of the adapted layers."""
        names = affine_parameters(model, AFFINE_NORMS)
        if self.options.layers == "official":
            names = tuple(name for name in names if found_by_authors(model, layer_of(name)))
            if not names:
                raise BenchError(
                    "tipi.layers = official finds no normalisation layer in this network; use "
                    "tipi.layers = all"
                )
        return tuple(f"model.{name}" for name in names)

    def passes(self, batch: int) -> Passes:
        # the entropy's gradient passes through the clean forward pass, the divergence's does not
        return Passes(
            forwards=(2 if self.options.start == "zero" else 3) * batch,
            backwards=(3 if self._tent_coeff else 2) * batch,
        )

    def step(self, net: Net[SecondStatistics], images: Tensor, ctx: Context) -> StepOut:
        options, model, second = self.options, net.model, net.extra.of(net.model)
        compared = self.bound.tasks
        classes = [model.tasks[task] for task in compared if TASKS[task].labelled]
        epsilon = self._epsilon(model)

        def forward_clean(x: Tensor) -> Tensor:
            outputs = model(x)
            # each (B, K_t, H, W) -> (B, sum K_t, H, W)
            return torch.cat([outputs[task] for task in compared], dim=1)

        def forward_adv(x: Tensor) -> Tensor:
            with ctx.norm(Norm.EMA, stats=second):
                return forward_clean(x)

        random_start = options.start == "random"
        loss, _ = adversarial_loss(
            forward_clean,
            forward_adv,
            images,
            epsilon * (2 * ctx.uniform_like(images) - 1) if random_start else None,
            epsilon,
            tent_coeff=self._tent_coeff,
            divergence=partial(
                mixed_divergence, classes=classes, reverse=options.reverse, sigma=options.sigma
            ),
            entropy=lambda outputs: softmax_entropy(outputs[:, : classes[0]]),
        )
        return StepOut({"invariance": loss}, None)

    def predict(
        self, net: Net[SecondStatistics], images: Tensor, ctx: Context
    ) -> dict[str, Tensor]:
        if self.options.large_batch_bn and len(images) > LARGE_BATCH:
            with ctx.norm(Norm.EMA):
                return net.model(images)
        return net.model(images)

    def _epsilon(self, model: Network) -> float | Tensor:
        """Return the largest perturbation in the units of the images."""
        normalised = self.options.eps_space == "normalised"
        return self.options.epsilon * model.std if normalised else self.options.epsilon

    @property
    def _tent_coeff(self) -> float:
        return self.options.tent_coeff if "semseg" in self.bound.tasks else 0.0


def _compared(option: str, tasks: Iterable[str]) -> tuple[str, ...]:
    """Return the network's tasks that the option `tasks` selects.

    Segmentation comes first, then the other tasks with classes.
    """
    ordered = sorted(tasks, key=lambda task: not TASKS[task].labelled)
    found = tuple(ordered)
    if option == "semseg" and "semseg" in ordered:
        found = ("semseg",)
    if option == "regression":
        found = tuple(task for task in ordered if not TASKS[task].labelled)
    if not found:
        raise BenchError(
            "tipi.tasks = regression needs a task without classes, such as depth, but the network "
            f"has only {', '.join(ordered)}; use tipi.tasks = all"
        )
    return found
