"""S4T: synchronizing tasks for test-time training.

Jeong et al., "Synchronizing Task Behavior: Aligning Multiple Tasks during Test-Time Training", ICCV
2025. A Task Behavior Synchronizer (TBS), a small masked autoencoder, learns on the source how the
tasks' outputs go together; on the target it pulls the shared features to where they go together
again. With h the fused features and p a 1x1 convolution that gives each task t its own latent,

    z = p(h) = [z_1, ..., z_n],    y_t = head_t(h),    y_t^TP = aux_t(z_t),    y^TBS = TBS(mask(z))

Source, with the task's own loss L_t:    sum_t w_t (L_t(y_t) + lambda_TP L_t(y_t^TP) + lambda_TBS L_t(y_t^TBS))
Target, with sg the stopped gradient:    scale sum_t w_t^2 |y_t^TBS - sg(y_t)|_1

where |.|_1 is summed over channels and averaged over batch and pixels (the square is that of the authors' code; the
paper shows no weights). On targets whose recipe weights the tasks by trained uncertainties p_t, the target objective is
sum_t scale |.|_1 / (2 p_t^2) + log(1 + p_t^2). The main heads get no gradient: all change comes through the features.

The ablations of the paper and of its earlier version, TR-TTT, are options:

* `projection`: p gives one latent for all tasks, without auxiliary heads; or TBS reads h itself.
* `target`: TBS rebuilds the normalised image x; lambda_TBS |y^TBS - x|_1 at source, scale |y^TBS - x|_1 on the target.
* `masking`: which patches of each z_t TBS sees. A token mixes all tasks, so hidden tokens can be left out of the
  encoder only where every task hides the same ones; otherwise z_t is set to 0 there and all tokens are encoded.
* `tasks`: network, losses and latents of one task alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, cast

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

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
)
from ttt_bench.errors import BenchError
from ttt_bench.losses import Recipe, automatic_weighted_loss, l1_loss
from ttt_bench.methods._s4t_options import S4TOptions, kept_tokens
from ttt_bench.model import linear_weights, resize
from ttt_bench.network import Net, Network
from ttt_bench.tasks import TASKS


def random_masking(
    tokens: Tensor, noise: Tensor, mask_ratio: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Keep the tokens of smallest noise (He et al., Masked autoencoders, 2022).

    Args:
        tokens: (N, L, D).
        noise: (N, L), any numbers; their order decides.
        mask_ratio: share of tokens to remove, in [0, 1).

    Returns:
        kept tokens (N, int(L (1 - mask_ratio)), D) in order of noise; mask (N, L) with 1 where
        removed; ids_restore (N, L) int64: at each place the token's rank, so that `gather` puts a
        full set of ranked tokens back.
    """
    kept = kept_tokens(tokens.shape[1], mask_ratio)
    order = noise.argsort(dim=1)
    ids_restore = order.argsort(dim=1)
    chosen = order[:, :kept, None].expand(-1, -1, tokens.shape[2])
    return tokens.gather(1, chosen), (ids_restore >= kept).to(tokens.dtype), ids_restore


def visible_patches(masking: str, noise: Tensor, tasks: int, count: int) -> Tensor:
    """What the synchronizer sees of each task's latent, a uniform choice (TR-TTT, figure 4).

    Args:
        masking: same (all tasks the same `count` patches), random (each task its own), disjoint (no
            two tasks the same patch; `count` <= L / tasks), or tasks (`count` tasks see every
            patch, the others none).
        noise: (B, 1, L); (B, tasks, L) for random; (B, tasks, 1) for tasks. Any numbers; their
        order decides.

    Returns:
        bool, of a shape that broadcasts to (B, tasks, L).
    """
    dim = 1 if masking == "tasks" else 2
    rank = noise.argsort(dim=dim).argsort(dim=dim)
    if masking == "disjoint":
        first = count * torch.arange(tasks, device=noise.device)[:, None]
        return (first <= rank) & (rank < first + count)
    return rank < count


def without_hidden(patches: Tensor, visible: Tensor, patch_size: int) -> Tensor:
    """Patches (B, L, p * p * C) as of `stretched_patches`, 0 where their latent is hidden.

    `visible` is (B, n, L), or broadcasts to it; the C channels are n latents of equal width.
    """
    latents = patches.unflatten(2, (patch_size**2, visible.shape[1], -1))
    return (latents * visible.transpose(1, 2)[:, :, None, :, None]).flatten(2)


def sincos_position_embedding(dim: int, grid_size: int) -> Tensor:
    """Fixed embedding of a square grid's places, (grid_size^2, dim) float64, row by row; `dim`
    divisible by 4.

    The first half of the channels encodes the column, the second the row, each as [all sines, all
    cosines] at the frequencies 10000^(-2k / (dim / 2)), k = 0 .. dim/4 - 1.
    """
    quarter = torch.arange(dim // 4, dtype=torch.float64)
    frequencies = 10000.0 ** (-2 * quarter / (dim / 2))
    angles = torch.arange(grid_size, dtype=torch.float64)[:, None] * frequencies
    places = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns = places.repeat(grid_size, 1)
    rows = places.repeat_interleave(grid_size, dim=0)
    return torch.cat([columns, rows], dim=1)


def unpatchify(tokens: Tensor, patch_size: int, channels: int) -> Tensor:
    """Tokens (N, g^2, p * p * channels), inner order row, column, channel, to images (N,
    channels, g p, g p).
    """
    side = round(tokens.shape[1] ** 0.5)
    patches = tokens.unflatten(2, (patch_size, patch_size, channels)).unflatten(1, (side, side))
    return patches.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def stretched_patches(latents: Tensor, side: int, patch_size: int) -> Tensor:
    """Resize to a square (bilinear) and cut it up: (N, C, h, w) to (N, g^2, p * p * C), ordered as
    in `unpatchify`.

    Bilinear resizing is a matrix product along each axis. So written, with channels last, a step
    takes less than half the time on a CPU, and its gradient is summed in the same order every time
    on a GPU.
    """
    rows, columns = (linear_weights(length, side, latents) for length in latents.shape[-2:])
    square = rows @ (columns @ latents.permute(0, 2, 3, 1)).flatten(2)
    cut = (side // patch_size, patch_size)
    return (
        square.unflatten(2, (*cut, -1)).unflatten(1, cut).transpose(2, 3).flatten(3).flatten(1, 2)
    )


def tbs_task_losses(tbs: Mapping[str, Tensor], main: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each task's distance of the two outputs (N, C, H, W): |tbs - main| summed over channels, mean over pixels.

    The main output is the target: no gradient passes through it.
    """
    return {
        task: (output - main[task].detach()).abs().sum(dim=1).mean() for task, output in tbs.items()
    }


def tbs_loss(
    tbs: Mapping[str, Tensor],
    main: Mapping[str, Tensor],
    weights: Mapping[str, float],
    scale: float = 0.01,
    weight_power: int = 2,
) -> Tensor:
    """scale * sum_t weights[t]^weight_power * L_t, with the L_t of `tbs_task_losses` (scalar)."""
    losses = tbs_task_losses(tbs, main)
    return (
        scale
        * torch.stack([weights[task] ** weight_power * loss for task, loss in losses.items()]).sum()
    )


def tbs_loss_auto_weighted(
    tbs: Mapping[str, Tensor], main: Mapping[str, Tensor], params: Tensor, scale: float = 0.01
) -> Tensor:
    """Uncertainty weighting of the scaled L_t of `tbs_task_losses`; params (n,) in the order of
    `tbs` (scalar).
    """
    return automatic_weighted_loss(
        [scale * loss for loss in tbs_task_losses(tbs, main).values()], params
    )


TASKONOMY_ORDER = ("depth", "edge", "normals", "semseg")
"""The order of tasks in the authors' Taskonomy models; those of the other data sets have the
canonical one.
"""


def official_order(recipe: Recipe) -> tuple[str, ...]:
    """The order in which the authors' code lists the tasks of a domain with this recipe."""
    return TASKONOMY_ORDER if recipe.uncertainty else tuple(TASKS)


def cut_by_position(
    outputs: Mapping[str, Tensor], source: Sequence[str], target: Sequence[str]
) -> dict[str, Tensor]:
    """Outputs (B, K, H, W) put side by side in the order `source` and cut up again as if their
    order were `target`.

    What comes back under a task's name has its number of channels, and is its own output only where
    the orders agree.
    """
    stacked = torch.cat([outputs[task] for task in source if task in outputs], dim=1)
    order = [task for task in target if task in outputs]
    parts = dict(
        zip(order, stacked.split([outputs[task].shape[1] for task in order], dim=1), strict=True)
    )
    return {task: parts[task] for task in outputs}


class Synchronizer(nn.Module):
    """The Task Behavior Synchronizer: masked task latents to every task's output, or to the image.

    One token is a patch of all tasks' latents together.

    Args:
        channels: of all latents together.
        tasks: task -> output channels.
    """

    position: Tensor

    def __init__(self, options: S4TOptions, channels: int, tasks: Mapping[str, int]) -> None:
        super().__init__()
        self.options, self.tasks = options, len(tasks)
        self.outputs = {"image": 3} if options.target == "image" else dict(tasks)
        width = options.embed
        layer_norm: Any = partial(
            nn.LayerNorm, eps=1e-6
        )  # timm asks for a class and takes anything that makes layers

        def blocks(count: int) -> nn.Sequential:
            layers = (
                Block(width, options.heads, qkv_bias=True, norm_layer=layer_norm)
                for _ in range(count)
            )
            return nn.Sequential(*layers, layer_norm(width))

        self.embed = nn.Linear(options.patch**2 * channels, width)
        self.encoder = blocks(options.depth[0])
        self.between = nn.Linear(width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder = blocks(options.depth[1])
        self.predict = nn.Linear(width, options.patch**2 * sum(self.outputs.values()))
        # encoder and decoder are equally wide, so they share the fixed embedding
        self.register_buffer(
            "position", sincos_position_embedding(width, options.grid)[None].float()
        )
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.mask_token, std=0.02)

    def tokens(self, latents: Tensor, noise: Tensor) -> Tensor:
        """What the encoder is given, (B, all or those kept, embed), still without places.

        Args:
            latents: (B, C, h, w).
            noise: decides what is visible; see `visible_patches`.
        """
        options = self.options
        patches = stretched_patches(latents, options.R, options.patch)
        if options.drops:
            # patches are embedded one by one, so that only those that are kept need to be
            patches, _, _ = random_masking(patches, noise.flatten(1), options.mask_ratio)
        elif options.mask_ratio:
            visible = visible_patches(
                options.masking, noise, self.tasks, options.visible(self.tasks)
            )
            patches = without_hidden(patches, visible, options.patch)
        return self.embed(patches)

    def forward(self, tokens: Tensor, noise: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """Every output at `size` = (H, W), name -> (B, K, H, W).

        Args:
            tokens: see `tokens`.
            noise: that of the tokens.
        """
        full = (
            self._completed(tokens, noise.flatten(1))
            if self.options.drops
            else self._encoded(tokens, self.position)
        )
        predicted = self.predict(self.decoder(full + self.position))
        images = unpatchify(predicted, self.options.patch, sum(self.outputs.values()))
        parts = images.split(list(self.outputs.values()), dim=1)
        return {name: resize(part, size) for name, part in zip(self.outputs, parts, strict=True)}

    def _encoded(self, tokens: Tensor, places: Tensor) -> Tensor:
        return self.between(self.encoder(tokens + places))

    def _completed(self, tokens: Tensor, noise: Tensor) -> Tensor:
        """Encoded tokens, each in its place, with the mask token in those of the hidden ones."""
        places, _, ids_restore = random_masking(
            self.position.expand(len(noise), -1, -1), noise, self.options.mask_ratio
        )
        seen = self._encoded(tokens, places)
        hidden = self.mask_token.expand(len(seen), self.options.tokens - seen.shape[1], -1)
        ranked = torch.cat([seen, hidden], dim=1)
        return ranked.gather(1, ids_restore[:, :, None].expand_as(ranked))


def auxiliary_weight(weight: float | str, recipe: Recipe) -> float:
    """lambda_TP or lambda_TBS as `S4TOptions` has it, on a source with this recipe."""
    if isinstance(weight, str):
        return 1.0 if recipe.uncertainty else 0.01
    return weight


class S4TModules(nn.Module):
    """What S4T adds: projection, auxiliary heads, the synchronizer, the target's uncertainties; see
    `S4TOptions`.

    Args:
        width: channels of the fused features.
    """

    def __init__(self, options: S4TOptions, width: int, tasks: Mapping[str, int]) -> None:
        super().__init__()
        channels, own = options.latent * len(tasks), tasks if options.projection == "task" else {}
        # task i owns the i-th `latent` channels
        self.projection = nn.Conv2d(width, channels, 1) if options.projection != "none" else None
        self.auxiliary = nn.ModuleDict(
            {task: nn.Conv2d(options.latent, k, 1) for task, k in own.items()}
        )
        self.synchronizer = Synchronizer(
            options, channels if self.projection is not None else width, tasks
        )
        self.uncertainties = (
            nn.Parameter(torch.ones(len(tasks))) if options.target == "tasks" else None
        )

    def latents(self, model: Network, stages: Sequence[Tensor]) -> Tensor | None:
        """Every task's latent, (B, n d, H/4, W/4), from the stages; None where there is no
        projection.
        """
        if self.projection is None:
            return None
        return model.project(stages, self.projection.weight, self.projection.bias)

    def auxiliary_outputs(self, latents: Tensor | None, size: tuple[int, int]) -> dict[str, Tensor]:
        """Each task's output from its own latent, task -> (B, K, H, W); nothing where tasks have
        none of their own.
        """
        if latents is None or not self.auxiliary:
            return {}
        own = latents.chunk(len(self.auxiliary), dim=1)
        heads = self.auxiliary.items()
        return {task: resize(head(z), size) for (task, head), z in zip(heads, own, strict=True)}

    def synchronized(
        self,
        model: Network,
        stages: Sequence[Tensor],
        latents: Tensor | None,
        noise: Tensor,
        size: tuple[int, int],
    ) -> dict[str, Tensor]:
        """The synchronizer's outputs from the latents, or without them from the stages; see
        `Synchronizer`.
        """
        if latents is None:
            tokens = torch.cat(list(self._tokens_by_image(model, stages, noise)))
        else:
            tokens = self.synchronizer.tokens(latents, noise)
        return self.synchronizer(tokens, noise, size)

    def _tokens_by_image(
        self, model: Network, stages: Sequence[Tensor], noise: Tensor
    ) -> Iterator[Tensor]:
        """The tokens of the fused features, (1, L, embed) of every image.

        At R x R the features of one image take 1 GB with ResNet-50: one at a time, and again for
        the gradient.
        """

        def tokens(noise: Tensor, *stages: Tensor) -> Tensor:
            return self.synchronizer.tokens(model.hypercolumn(stages), noise)

        for image in zip(noise.split(1), *(stage.split(1) for stage in stages), strict=True):
            yield checkpoint(tokens, *image, use_reentrant=False, preserve_rng_state=False)


class S4T(Adapter):
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
        moves="the backbone, the projection, the synchronizer, and uncertainties where they weight "
        "the tasks; no head",
        sizes="any: latents are resized to R x R, so that the aspect is squeezed and the patch "
        "grid stays",
        architecture="known",
        quirks=(
            Quirk(
                "multiplies the target loss with the fixed task weights twice",
                "reproduced",
                "weight_power=2",
            ),
            Quirk(
                "lists the tasks in another order on Taskonomy than elsewhere and cuts the "
                "synchronizer's outputs by position, so that between Taskonomy and another data "
                "set they are compared with the wrong tasks",
                "tasks are matched by name",
                "channel_order=official",
            ),
            Quirk(
                "adapts on the first batch only and scores the whole target with it; the paper "
                "adapts on every batch",
                "what --protocol says; single-batch does as the authors' code",
            ),
            Quirk(
                "drops the semseg term where no pixel of a target batch has a label",
                "the target's labels are not read",
            ),
            Quirk(
                "runs the masked synchronizer while evaluating, too",
                "it is not run; predictions do not depend on it",
            ),
            Quirk(
                "does not save the uncertainties that weight Taskonomy's tasks: they start from 1 "
                "on the target",
                "reproduced",
            ),
            Quirk("uses SyncBatchNorm", "BatchNorm, which is the same on one device"),
        ),
    )

    def needs(self) -> Needs:
        return Needs(tasks=frozenset({self.options.single} if self.options.single else ()))

    def own_tasks(self, tasks: Sequence[str]) -> tuple[str, ...]:
        return tuple(task for task in tasks if self.options.single in (None, task))

    def build(self, model: nn.Module, tasks: Mapping[str, int]) -> nn.Module:
        for problem in self.options.problems_with(len(tasks)):
            raise BenchError(problem)
        return S4TModules(self.options, sum(cast(Network, model).channels), tasks)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(name="joint", trains=("model", "extra")),)

    def source_loss(self, step: SourceStep) -> dict[str, Tensor]:
        net, batch, ctx = step.net, step.batch, step.ctx
        options, extra, size = self.options, _modules(net), _size(batch.images)
        latents = extra.latents(net.model, step.stages)
        lambda_tp, lambda_tbs = (
            auxiliary_weight(w, ctx.recipe) for w in (options.lambda_tp, options.lambda_tbs)
        )
        auxiliary = extra.auxiliary_outputs(latents, size)
        synchronized = extra.synchronized(
            net.model, step.stages, latents, self._noise(net, batch.images, ctx), size
        )
        terms = {
            f"tp/{task}": lambda_tp * ctx.task_loss(task, output, batch.targets[task])
            for task, output in auxiliary.items()
        }
        if options.target == "image":
            return terms | {
                "tbs": lambda_tbs * _distance_to_image(synchronized, net.model, batch.images)
            }
        return terms | {
            f"tbs/{task}": lambda_tbs * ctx.task_loss(task, output, batch.targets[task])
            for task, output in synchronized.items()
        }

    def bind(self, net: Net, statistics: Mapping[str, Tensor]) -> Plan:
        # what the target loss does not reach: the main heads are its target, and the auxiliary
        # heads are not run
        still = {
            "auxiliary.": True,
            "synchronizer.mask_token": not self.options.drops,
            "uncertainties": self.options.weighting == "fixed",
        }
        unmoved = tuple(name for name, stays in still.items() if stays)
        moved = (
            name for name, _ in _modules(net).named_parameters() if not name.startswith(unmoved)
        )
        predict = Norm(self.options.predict_norm)
        return Plan(
            moves=("model.backbone.*", *(f"extra.{name}" for name in moved)),
            adapt=Norm.EMA,
            predict=predict,
            exact=predict is Norm.BATCH,
        )

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        extra, size = _modules(net), _size(images)
        stages = net.model.stages(images)
        with torch.no_grad():
            main = net.model.outputs(stages, size)
        latents = extra.latents(net.model, stages)
        synchronized = extra.synchronized(
            net.model, stages, latents, self._noise(net, images, ctx), size
        )
        if self.options.target == "image":
            loss = self.options.scale * _distance_to_image(synchronized, net.model, images)
        else:
            loss = self._distance_to_tasks(synchronized, main, extra, ctx)
        return StepOut({"tbs": loss}, main)

    def _distance_to_tasks(
        self,
        synchronized: Mapping[str, Tensor],
        main: Mapping[str, Tensor],
        extra: S4TModules,
        ctx: Context,
    ) -> Tensor:
        options = self.options
        if options.channel_order == "official":
            orders = official_order(ctx.source_recipe), official_order(ctx.recipe)
            synchronized = cut_by_position(synchronized, *orders)
        if options.weighting == "uncertainty" or (
            options.weighting == "auto" and ctx.recipe.uncertainty
        ):
            return tbs_loss_auto_weighted(
                synchronized, main, cast(Tensor, extra.uncertainties), options.scale
            )
        return tbs_loss(synchronized, main, ctx.recipe.weights, options.scale, options.weight_power)

    def _noise(self, net: Net, images: Tensor, ctx: Context) -> Tensor:
        return ctx.rand(len(images), *self.options.noise_shape(len(net.model.tasks)))


def _distance_to_image(
    synchronized: Mapping[str, Tensor], model: Network, images: Tensor
) -> Tensor:
    return l1_loss(synchronized["image"], model.normalise(images))


def _modules(net: Net) -> S4TModules:
    return cast(S4TModules, net.extra)


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]
