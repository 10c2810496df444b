"""ClusT3: feature maps whose cluster assignments are confident and balanced.

Hakim et al., "ClusT3: Information Invariant Test-Time Training", ICCV 2023. Small projectors g of
1x1 convolutions assign every position of a stage's feature map s to one of K clusters, p =
softmax(g(s)). The mutual information of features and assignments is I = H(q) - mean of H(p), where
q is the mean of p over all positions. It is large if each position is assigned with confidence and
all clusters are used equally. Over the M positions of a batch,

    loss = sum over projectors of    1/M sum_m H(p_m)    +    sum_k q_k log(K q_k)
                                     conditional term         balance term

which is log K - I, at best 0. On the source it is added to the supervised loss. On the target it is
minimised alone, and projectors and heads are frozen. The authors' code computes a different loss
(see `information_loss`). Its loss is the default, because no other code is published;
`variant=corrected` is the equation above.

Dense port: one projector on each of the backbone's four stages by default.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, ClassVar, Literal, cast

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from ttt_bench.adapter import (
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
from ttt_bench.network import STAGES, Net, Network

Variant = Literal["official", "official_visda", "corrected"]


def flatten_projection(projection: Tensor, variant: Variant = "official") -> Tensor:
    """Return cluster logits (B, K, h, w) as (K, M), M = B h w.

    `corrected` puts the cluster axis first, then batch, row, column. The official variants read the
    memory of the contiguous tensor as (K, M): if B > 1, a row contains logits of several clusters.
    """
    clusters = projection.shape[1]
    if variant == "corrected":
        # (B, K, h, w) -> (K, B, h, w) -> (K, B h w)
        return projection.transpose(0, 1).reshape(clusters, -1)
    # (B, K, h, w) -> (K, B h w) without moving the axes; `contiguous` gives channels-last memory
    # the same meaning
    return projection.contiguous().view(clusters, -1)


def information_loss(projections: Sequence[Tensor], variant: Variant = "official") -> Tensor:
    """Return the sum over the projectors of conditional plus balance term, in nats (scalar).

    Every variant takes the mean entropy over the M columns of `flatten_projection`. The balance
    term of `corrected` is that of the equation. The official variants compare r, a softmax of *mean
    logits* over the clusters or (visda) over the M positions, with 1/K, and divide by its length L:
    1/L sum_l 1/K (log 1/K - log r_l).

    Args:
        projections: the logits (B, K, h_l, w_l) of each projector.
        variant: see `ClusT3Options`.
    """
    losses = [_information_loss(flatten_projection(p, variant), variant) for p in projections]
    return torch.stack(losses).sum()


def _information_loss(logits: Tensor, variant: Variant) -> Tensor:
    """Return the loss of one projector from its flattened logits (K, M)."""
    log_p = logits.log_softmax(dim=0)
    # entropy of each column (K, M) -> (M,), then its mean
    conditional = -(log_p.exp() * log_p).sum(dim=0).mean()
    return conditional + _balance(logits, variant)


def _balance(logits: Tensor, variant: Variant) -> Tensor:
    clusters = logits.shape[0]
    if variant == "corrected":
        # (K, M) -> (K,), in logarithms, so that an empty cluster contributes 0, not NaN
        log_q = logits.log_softmax(dim=0).logsumexp(dim=1) - math.log(logits.shape[1])
        return (log_q.exp() * (log_q + math.log(clusters))).sum()
    # (K, M) -> (K,) for official, (M,) for official_visda
    log_r = logits.mean(dim=1 if variant == "official" else 0).log_softmax(dim=0)
    return ((-math.log(clusters) - log_r) / clusters).mean()


def _distinct(stages: tuple[int, ...]) -> tuple[int, ...]:
    if not stages or len(set(stages)) < len(stages):
        raise ValueError(
            f"clust3.stages = {list(stages)} must name at least one of the stages 1 to 4, each once"
        )
    return tuple(sorted(stages))


Stage = Annotated[int, Field(ge=1, le=STAGES)]


class ClusT3Options(EmaOptions):
    """Options of `ClusT3`."""

    K: int = option(
        10, "clusters per projector", citation="authors' code", shapes_source=True, ge=2, le=256
    )
    projectors: int = option(
        1,
        "projectors per chosen stage",
        citation="authors' VisDA code (CIFAR: 5)",
        shapes_source=True,
        ge=1,
        le=16,
    )
    stages: Annotated[tuple[Stage, ...], AfterValidator(_distinct)] = option(
        (1, 2, 3, 4),
        "stages of the backbone that have projectors",
        citation="decision of this project: one small projector on each gives the published number "
        "of parameters",
        shapes_source=True,
    )
    size: Literal["small", "large"] = option(
        "small",
        "layers of a projector: small (one convolution C -> K) or large (two with a ReLU between "
        "them, C -> C/2 -> K)",
        citation="authors' VisDA code has both; small gives the published number of parameters",
        shapes_source=True,
    )
    variant: Variant = option(
        "official",
        "loss on source and target: official (authors' CIFAR code), official_visda (their VisDA "
        "code), or corrected (the paper's mutual information)",
        citation="authors' CIFAR code",
        shapes_source=True,
    )
    extract_stage: int = option(
        4,
        "last stage whose parameters move; the loss keeps all its terms, and gradients of deeper "
        "projectors pass through frozen stages",
        citation="decision of this project: all stages (authors' code: 3 on CIFAR, 1 on VisDA)",
        ge=1,
        le=STAGES,
    )


class Projectors(nn.Module):
    """The cluster projectors of every chosen stage.

    Args:
        options: options of the method.
        channels: channels of each stage of the backbone.
    """

    def __init__(self, options: ClusT3Options, channels: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleDict()
        for stage in options.stages:
            width = channels[stage - 1]
            projectors = [_projector(width, options) for _ in range(options.projectors)]
            self.stages[str(stage)] = nn.ModuleList(projectors)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return cluster logits (B, K, h_l, w_l) of every projector.

        Args:
            features: the stages s1, s2, ... up to the deepest chosen one.
        """
        groups = cast(Iterable[tuple[str, nn.ModuleList]], self.stages.items())
        return [
            projector(features[int(stage) - 1]) for stage, group in groups for projector in group
        ]


def _projector(channels: int, options: ClusT3Options) -> nn.Module:
    if options.size == "small":
        return nn.Conv2d(channels, options.K, 1)
    hidden = channels // 2
    return nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, options.K, 1))


class ClusT3(Adapter[ClusT3Options, Projectors]):
    """Adaptation by confident and balanced cluster assignments of features."""

    name: ClassVar[str] = "clust3"
    Options: ClassVar[type[Options]] = ClusT3Options
    original: ClassVar[Hparams] = Hparams(
        citation="authors' code: Adam, 1e-5, batches of 128, reset after each (CIFAR, 50 steps); "
        "20 steps as on VisDA, where the code's default is SGD",
        optimiser=Optimiser(optimiser="adam", lr=1e-5),
        steps=20,
    )
    card: ClassVar[Card] = Card(
        title="ClusT3: information-invariant test-time training",
        paper="Hakim et al., ClusT3: Information Invariant Test-Time Training, ICCV 2023",
        source_training="the shared network jointly with the projectors",
        moves="the backbone up to the deepest projector (or clust3.extract_stage)",
        sizes="any: the projectors are 1x1 convolutions",
        architecture="official projector; number and stages inferred from the published number of "
        "parameters",
        quirks=(
            Quirk(
                "reads the memory of the (B, K, h, w) logits as (K, B h w), which mixes images and "
                "clusters; the loss then depends on the order of the batch",
                "reproduced; clust3.variant=corrected moves the axes",
                "variant=official",
            ),
            Quirk(
                "balances the softmax of the mean logits instead of the mean of the softmax, and "
                "divides by its length",
                "reproduced; clust3.variant=corrected is the paper's mutual information",
                "variant=official",
            ),
            Quirk(
                "takes that mean over the clusters instead of the positions in its VisDA version, "
                "and on the source uses the number of classes in place of the number of clusters",
                "the CIFAR version is the default; the number of clusters is always used",
                "variant=official_visda",
            ),
            Quirk(
                "moves the network up to stage 3 in its CIFAR version and up to stage 1 in its "
                "VisDA version, independently of the stages of its projectors",
                "all stages move, as all have a projector",
                "extract_stage=3",
            ),
            Quirk(
                "runs the whole network in train mode, so that the running statistics of all its "
                "layers are updated",
                "the same by default; with clust3.stages a step ends at the deepest projector, and "
                "deeper layers keep the source's statistics",
            ),
            Quirk(
                "makes one optimiser for all batches in its VisDA version, so that a reset of the "
                "weights does not reset its moments",
                "a reset clears the moments, as in its CIFAR version",
            ),
        ),
    )

    def build(self, model: Network, tasks: Mapping[str, int]) -> Projectors:
        return Projectors(self.options, model.channels)

    # -- source training

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(name="joint", trains=("model", "extra")),)

    def source_loss(self, step: SourceStep[Projectors]) -> dict[str, Tensor]:
        return {"information": self._loss(step.net, step.stages)}

    # -- test time

    def bind(self, net: Net[Projectors], statistics: Mapping[str, Tensor], target: Target) -> Plan:
        last = min(self.options.extract_stage, self._deepest)
        moves = tuple(f"model.{name}" for name in net.model.upstream(last))
        return Plan(
            moves=moves,
            adapt=Norm.EMA,
            predict=Norm(self.options.predict_norm),
            exact=self._runs_heads,
        )

    def passes(self, batch: int) -> Passes:
        return Passes(batch, batch, self._last)

    def step(self, net: Net[Projectors], images: Tensor, ctx: Context) -> StepOut:
        stages = net.model.stages(images, self._last)
        predictions = None
        if self._runs_heads:
            with torch.no_grad():
                predictions = net.model.outputs(stages, images.shape[-2:])
        return StepOut({"information": self._loss(net, stages)}, predictions)

    def _loss(self, net: Net[Projectors], stages: Sequence[Tensor]) -> Tensor:
        return information_loss(net.extra(stages), self.options.variant)

    @property
    def _deepest(self) -> int:
        return max(self.options.stages)

    @property
    def _runs_heads(self) -> bool:
        """Whether a step also predicts; if both use batch statistics, the results are equal."""
        return Norm(self.options.predict_norm) is Norm.BATCH

    @property
    def _last(self) -> int:
        """Last stage that a step runs."""
        return STAGES if self._runs_heads else self._deepest
