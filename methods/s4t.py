"""S4T: synchronizing tasks for test-time training.

Jeong et al., "Synchronizing Task Behavior: Aligning Multiple Tasks during Test-Time Training", ICCV
2025. A Task Behavior Synchronizer (TBS), a small masked autoencoder, learns on the source how the
tasks' outputs depend on each other. On the target it moves the shared features so that the outputs
fit together again. With h the fused features and p a 1x1 convolution that gives each task t its own
latent,

    z = p(h) = [z_1, ..., z_n],    y_t = head_t(h),    y_t^TP = aux_t(z_t),
    y^TBS = TBS(mask(z))

Source, with L_t the task's own loss:
    sum_t w_t (L_t(y_t) + lambda_TP L_t(y_t^TP) + lambda_TBS L_t(y_t^TBS))
Target, with sg the stopped gradient:
    scale sum_t w_t^2 |y_t^TBS - sg(y_t)|_1

where |.|_1 is summed over channels and averaged over batch and pixels. The square is that of the
authors' code; the paper shows no weights. If the target's recipe weights the tasks by trained
uncertainties p_t, the target objective is sum_t scale |.|_1 / (2 p_t^2) + log(1 + p_t^2). The main
heads get no gradient, so their outputs change only through the features.

The ablations of the paper and of its earlier version, TR-TTT, are options:

* `projection`: p gives one latent for all tasks, without auxiliary heads; or TBS reads h itself.
* `target`: TBS predicts the normalised image x. The loss is lambda_TBS |y^TBS - x|_1 on the source
  and scale |y^TBS - x|_1 on the target.
* `masking`: the patches of each z_t that TBS sees. A token mixes all tasks. Hidden tokens can be
  left out of the encoder only if every task hides the same ones; otherwise z_t is set to 0 there
  and all tokens are encoded.
* `tasks`: network, losses and latents of one task alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor

from ttt_bench.adapter import (
    Adapter,
    Card,
    Context,
    Hparams,
    Needs,
    Norm,
    Optimiser,
    Options,
    Phase,
    Plan,
    Quirk,
    SourceStep,
    StepOut,
    Target,
)
from ttt_bench.errors import BenchError
from ttt_bench.losses import Recipe, automatic_weighted_loss, l1_loss
from ttt_bench.methods._s4t_network import (
    S4TModules,
    Synchronizer,
    random_masking,
    sincos_position_embedding,
    unpatchify,
    visible_patches,
)
from ttt_bench.methods._s4t_options import S4TOptions
from ttt_bench.network import Net, Network
from ttt_bench.tasks import TASKS

__all__ = [
    "S4T",
    "S4TModules",
    "S4TOptions",
    "Synchronizer",
    "random_masking",
    "sincos_position_embedding",
    "tbs_loss",
    "tbs_loss_auto_weighted",
    "tbs_task_losses",
    "unpatchify",
    "visible_patches",
]


def tbs_task_losses(tbs: Mapping[str, Tensor], main: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return each task's distance between two outputs (N, C, H, W), task -> scalar.

    It is |tbs - main|, summed over channels and averaged over samples and pixels. The main output
    is the target: no gradient passes through it.
    """
    return {
        # (N, C, H, W) -> (N, H, W) -> scalar
        task: (output - main[task].detach()).abs().sum(dim=1).mean()
        for task, output in tbs.items()
    }


def tbs_loss(
    tbs: Mapping[str, Tensor],
    main: Mapping[str, Tensor],
    weights: Mapping[str, float],
    scale: float = 0.01,
    weight_power: int = 2,
) -> Tensor:
    """Return scale * sum_t weights[t]^weight_power * L_t (scalar); L_t is of `tbs_task_losses`."""
    losses = tbs_task_losses(tbs, main)
    weighted = [weights[task] ** weight_power * loss for task, loss in losses.items()]
    return scale * torch.stack(weighted).sum()


def tbs_loss_auto_weighted(
    tbs: Mapping[str, Tensor], main: Mapping[str, Tensor], params: Tensor, scale: float = 0.01
) -> Tensor:
    """Return the uncertainty weighting of the scaled losses of `tbs_task_losses` (scalar).

    `params` (n,) are the uncertainties in the order of `tbs`.
    """
    losses = tbs_task_losses(tbs, main).values()
    return automatic_weighted_loss([scale * loss for loss in losses], params)


TASKONOMY_ORDER = ("depth", "edge", "normals", "semseg")
"""Order of tasks in the authors' Taskonomy models; their other models use the canonical order."""


def official_order(recipe: Recipe) -> tuple[str, ...]:
    """Return the order of tasks in the authors' code for a domain with this recipe.

    Tasks that the authors' code does not have come last.
    """
    first = TASKONOMY_ORDER if recipe.uncertainty else ()
    return tuple(dict.fromkeys([*first, *TASKS]))


def cut_by_position(
    outputs: Mapping[str, Tensor], source: Sequence[str], target: Sequence[str]
) -> dict[str, Tensor]:
    """Concatenate outputs in the order `source` and split them as if the order were `target`.

    The result of a task has the task's number of channels, but is the task's own output only if the
    orders agree.

    Args:
        outputs: task -> (B, K, H, W).
        source: order of the concatenation.
        target: order of the split.
    """
    # each (B, K_t, H, W) -> (B, sum K_t, H, W) -> each (B, K_t, H, W)
    stacked = torch.cat([outputs[task] for task in source if task in outputs], dim=1)
    order = [task for task in target if task in outputs]
    widths = [outputs[task].shape[1] for task in order]
    parts = dict(zip(order, stacked.split(widths, dim=1), strict=True))
    return {task: parts[task] for task in outputs}


def auxiliary_weight(weight: float | str, recipe: Recipe) -> float:
    """Return the value of lambda_TP or lambda_TBS on a source with this recipe."""
    if isinstance(weight, str):
        return 1.0 if recipe.uncertainty else 0.01
    return weight


class S4T(Adapter[S4TOptions, S4TModules]):
    """Adaptation by synchronizing the tasks' outputs."""

    name: ClassVar[str] = "s4t"
    Options: ClassVar[type[Options]] = S4TOptions
    uncounted: ClassVar[tuple[str, ...]] = ("uncertainties",)
    original: ClassVar[Hparams] = Hparams(
        citation="authors' code: as the paper, with the auxiliary weights of its configurations "
        "(lambda_tp, lambda_tbs)",
        optimiser=Optimiser(lr=2e-5, weight_decay=1e-6),
        steps=40,
        options={"lambda_tp": "official", "lambda_tbs": "official"},
    )
    card: ClassVar[Card] = Card(
        title="S4T: synchronizing tasks for test-time training",
        paper="Jeong et al., Synchronizing Task Behavior: Aligning Multiple Tasks during Test-Time "
        "Training, ICCV 2025",
        source_training="the shared network jointly with the task-specific projection and the "
        "synchronizer",
        moves="the backbone, the projection, the synchronizer, and the uncertainties if they "
        "weight the tasks; no head",
        sizes="any: latents are resized to R x R, so the aspect ratio changes and the patch grid "
        "does not",
        architecture="known",
        quirks=(
            Quirk(
                "multiplies the target loss by the fixed task weights twice",
                "reproduced",
                "weight_power=2",
            ),
            Quirk(
                "lists the tasks in another order on Taskonomy than elsewhere and splits the "
                "synchronizer's outputs by position, so that between Taskonomy and another data "
                "set they are compared with the wrong tasks",
                "tasks are matched by name",
                "channel_order=official",
            ),
            Quirk(
                "adapts on the first batch only and scores the whole target with it; the paper "
                "adapts on every batch",
                "follows --protocol; single-batch does as the authors' code",
            ),
            Quirk(
                "drops the semseg term if no pixel of a target batch has a label",
                "does not read the target's labels",
            ),
            Quirk(
                "also runs the masked synchronizer during evaluation",
                "does not run it; predictions do not depend on it",
            ),
            Quirk(
                "does not save the uncertainties that weight Taskonomy's tasks, so they start from "
                "1 on the target",
                "reproduced",
            ),
            Quirk(
                "starts the bias of the patch embedding at random between -1/256 and 1/256",
                "starts it at 0, like all other biases of the synchronizer",
            ),
            Quirk("uses SyncBatchNorm", "uses BatchNorm, which is the same on one device"),
        ),
    )

    def needs(self) -> Needs:
        single = self.options.single
        return Needs(tasks=frozenset({single} if single else ()))

    def own_tasks(self, tasks: Sequence[str]) -> tuple[str, ...]:
        return tuple(task for task in tasks if self.options.single in (None, task))

    def build(self, model: Network, tasks: Mapping[str, int]) -> S4TModules:
        for problem in self.options.problems_with(len(tasks)):
            raise BenchError(problem)
        return S4TModules(self.options, sum(model.channels), tasks)

    # -- source training

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(name="joint", trains=("model", "extra")),)

    def source_loss(self, step: SourceStep[S4TModules]) -> dict[str, Tensor]:
        net, batch, ctx = step.net, step.batch, step.ctx
        size = _size(batch.images)
        latents = net.extra.latents(net.model, step.stages)
        auxiliary = net.extra.auxiliary_outputs(latents, size)
        synchronized = net.extra.synchronized(
            net.model,
            step.stages,
            latents=latents,
            noise=self._noise(net, batch.images, ctx),
            size=size,
        )
        lambda_tp = auxiliary_weight(self.options.lambda_tp, ctx.recipe)
        lambda_tbs = auxiliary_weight(self.options.lambda_tbs, ctx.recipe)
        terms = {
            f"tp/{task}": lambda_tp * ctx.task_loss(task, output, batch.targets[task])
            for task, output in auxiliary.items()
        }
        if self.options.target == "image":
            distance = _distance_to_image(synchronized, net.model, batch.images)
            return terms | {"tbs": lambda_tbs * distance}
        return terms | {
            f"tbs/{task}": lambda_tbs * ctx.task_loss(task, output, batch.targets[task])
            for task, output in synchronized.items()
        }

    # -- test time

    def bind(self, net: Net[S4TModules], statistics: Mapping[str, Tensor], target: Target) -> Plan:
        # parameters without a gradient: the main heads are the loss's target, the auxiliary heads
        # do not run
        still = {
            "auxiliary.": True,
            "synchronizer.mask_token": not self.options.drops,
            "uncertainties": self.options.weighting == "fixed",
        }
        unmoved = tuple(name for name, stays in still.items() if stays)
        names = (name for name, _ in net.extra.named_parameters() if not name.startswith(unmoved))
        predict = Norm(self.options.predict_norm)
        return Plan(
            moves=("model.backbone.*", *(f"extra.{name}" for name in names)),
            adapt=Norm.EMA,
            predict=predict,
            exact=predict is Norm.BATCH,
        )

    def step(self, net: Net[S4TModules], images: Tensor, ctx: Context) -> StepOut:
        size = _size(images)
        stages = net.model.stages(images)
        with torch.no_grad():
            main = net.model.outputs(stages, size)
        latents = net.extra.latents(net.model, stages)
        synchronized = net.extra.synchronized(
            net.model, stages, latents=latents, noise=self._noise(net, images, ctx), size=size
        )
        if self.options.target == "image":
            loss = self.options.scale * _distance_to_image(synchronized, net.model, images)
        else:
            loss = self._distance_to_tasks(synchronized, main, net.extra.uncertainties, ctx)
        return StepOut({"tbs": loss}, main)

    def _distance_to_tasks(
        self,
        synchronized: Mapping[str, Tensor],
        main: Mapping[str, Tensor],
        uncertainties: Tensor | None,
        ctx: Context,
    ) -> Tensor:
        """Return the target loss, weighted by the trained uncertainties or the recipe's weights."""
        options = self.options
        if options.channel_order == "official":
            orders = official_order(ctx.source_recipe), official_order(ctx.recipe)
            synchronized = cut_by_position(synchronized, *orders)
        weighting = options.weighting
        if weighting == "auto":
            weighting = "uncertainty" if ctx.recipe.uncertainty else "fixed"
        if weighting == "uncertainty":
            params = cast(Tensor, uncertainties)  # None only for target=image
            return tbs_loss_auto_weighted(synchronized, main, params, options.scale)
        return tbs_loss(synchronized, main, ctx.recipe.weights, options.scale, options.weight_power)

    # -- both

    def _noise(self, net: Net[S4TModules], images: Tensor, ctx: Context) -> Tensor:
        """Draw the numbers that decide which latents are visible; see `S4TOptions.noise_shape`."""
        return ctx.rand(len(images), *self.options.noise_shape(len(net.model.tasks)))


def _distance_to_image(
    synchronized: Mapping[str, Tensor], model: Network, images: Tensor
) -> Tensor:
    """Return the distance of the predicted image to the normalised one (scalar)."""
    return l1_loss(synchronized["image"], model.normalise(images))


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]
