"""S4T: synchronizing tasks for test-time training.

Jeong et al., "Synchronizing Task Behavior: Aligning Multiple Tasks during Test-Time Training", ICCV 2025. A Task
Behavior Synchronizer (TBS), a small masked autoencoder, learns on the source how the tasks' outputs go together; on the
target it pulls the shared features to where they go together again. With h the fused features and p a 1x1 convolution
that gives each task t its own latent,

    z = p(h) = [z_1, ..., z_n],    y_t = head_t(h),    y_t^TP = aux_t(z_t),    y^TBS = TBS(mask(z))

Source, with the task's own loss L_t:    sum_t w_t (L_t(y_t) + lambda_TP L_t(y_t^TP) + lambda_TBS L_t(y_t^TBS))
Target, with sg the stopped gradient:    scale sum_t w_t^2 |y_t^TBS - sg(y_t)|_1

where |.|_1 is summed over channels and averaged over batch and pixels (the square is that of the authors' code; the
paper shows no weights). On targets whose recipe weights the tasks by trained uncertainties p_t, the target objective is
sum_t scale |.|_1 / (2 p_t^2) + log(1 + p_t^2). The main heads get no gradient: all change comes through the features.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, Self, cast

import torch
from pydantic import Field, model_validator
from timm.models.vision_transformer import Block
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
    Phase,
    Plan,
    Quirk,
    StepOut,
    option,
)
from ttt_bench.data.base import Batch
from ttt_bench.losses import automatic_weighted_loss
from ttt_bench.model import MultiTaskModel, Net, linear_weights, resize


def kept_tokens(tokens: int, mask_ratio: float) -> int:
    """How many of `tokens` stay visible: int(L (1 - r)), the floor of a float as in the authors' code."""
    return int(tokens * (1 - mask_ratio))


def random_masking(tokens: Tensor, noise: Tensor, mask_ratio: float) -> tuple[Tensor, Tensor, Tensor]:
    """Keep the tokens of smallest noise (He et al., Masked autoencoders, 2022).

    Args:
        tokens: (N, L, D).
        noise: (N, L), any numbers; their order decides.
        mask_ratio: share of tokens to remove, in [0, 1).

    Returns:
        kept tokens (N, int(L (1 - mask_ratio)), D) in order of noise; mask (N, L) with 1 where removed; ids_restore
        (N, L) int64: at each place the token's rank, so that `gather` puts a full set of ranked tokens back.
    """
    kept = kept_tokens(tokens.shape[1], mask_ratio)
    order = noise.argsort(dim=1)
    ids_restore = order.argsort(dim=1)
    chosen = order[:, :kept, None].expand(-1, -1, tokens.shape[2])
    return tokens.gather(1, chosen), (ids_restore >= kept).to(tokens.dtype), ids_restore


def sincos_position_embedding(dim: int, grid_size: int) -> Tensor:
    """Fixed embedding of a square grid's places, (grid_size^2, dim) float64, row by row; `dim` divisible by 4.

    The first half of the channels encodes the column, the second the row, each as [all sines, all cosines] at the
    frequencies 10000^(-2k / (dim / 2)), k = 0 .. dim/4 - 1.
    """
    quarter = torch.arange(dim // 4, dtype=torch.float64)
    frequencies = 10000.0 ** (-2 * quarter / (dim / 2))
    angles = torch.arange(grid_size, dtype=torch.float64)[:, None] * frequencies
    places = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns = places.repeat(grid_size, 1)
    rows = places.repeat_interleave(grid_size, dim=0)
    return torch.cat([columns, rows], dim=1)


def unpatchify(tokens: Tensor, patch_size: int, channels: int) -> Tensor:
    """Tokens (N, g^2, p * p * channels), inner order row, column, channel, to images (N, channels, g p, g p)."""
    side = round(tokens.shape[1] ** 0.5)
    patches = tokens.unflatten(2, (patch_size, patch_size, channels)).unflatten(1, (side, side))
    return patches.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def stretched_patches(latents: Tensor, side: int, patch_size: int) -> Tensor:
    """Resize to a square (bilinear) and cut it up: (N, C, h, w) to (N, g^2, p * p * C), ordered as in `unpatchify`.

    Bilinear resizing is a matrix product along each axis. So written, with channels last, a step takes less than half
    the time on a CPU, and its gradient is summed in the same order every time on a GPU.
    """
    rows, columns = (linear_weights(length, side, latents) for length in latents.shape[-2:])
    square = rows @ (columns @ latents.permute(0, 2, 3, 1)).flatten(2)
    cut = (side // patch_size, patch_size)
    return square.unflatten(2, (*cut, -1)).unflatten(1, cut).transpose(2, 3).flatten(3).flatten(1, 2)


def tbs_task_losses(tbs: Mapping[str, Tensor], main: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each task's distance of the two outputs (N, C, H, W): |tbs - main| summed over channels, mean over pixels.

    The main output is the target: no gradient passes through it.
    """
    return {task: (output - main[task].detach()).abs().sum(dim=1).mean() for task, output in tbs.items()}


def tbs_loss(
    tbs: Mapping[str, Tensor],
    main: Mapping[str, Tensor],
    weights: Mapping[str, float],
    scale: float = 0.01,
    weight_power: int = 2,
) -> Tensor:
    """scale * sum_t weights[t]^weight_power * L_t, with the L_t of `tbs_task_losses` (scalar)."""
    losses = tbs_task_losses(tbs, main)
    return scale * torch.stack([weights[task] ** weight_power * loss for task, loss in losses.items()]).sum()


def tbs_loss_auto_weighted(
    tbs: Mapping[str, Tensor], main: Mapping[str, Tensor], params: Tensor, scale: float = 0.01
) -> Tensor:
    """Uncertainty weighting of the scaled L_t of `tbs_task_losses`; params (n,) in the order of `tbs` (scalar)."""
    return automatic_weighted_loss([scale * loss for loss in tbs_task_losses(tbs, main).values()], params)


Depth = Annotated[int, Field(ge=1)]


class S4TOptions(EmaOptions):
    """Options of `S4T`."""

    mask_ratio: float = option(
        0.8,
        "share of the tokens that the synchronizer does not see",
        source="S4T",
        shapes_source=True,
        ge=0,
        lt=1,
    )
    lambda_tp: float = option(
        1.0, "weight of the projection's losses at source", source="S4T", shapes_source=True, ge=0
    )
    lambda_tbs: float = option(
        1.0, "weight of the synchronizer's losses at source", source="S4T", shapes_source=True, ge=0
    )
    scale: float = option(0.01, "factor of the target loss", source="authors' code", gt=0)
    weight_power: Literal[0, 1, 2] = option(
        2,
        "how often the fixed task weights multiply the target loss",
        source="authors' code weights twice; the paper's equation shows no weights (0)",
    )
    weighting: Literal["auto", "fixed", "uncertainty"] = option(
        "auto",
        "how the target loss weights the tasks; auto: as the target's recipe does",
        source="authors' code: trained uncertainties on Taskonomy, fixed weights elsewhere",
    )
    latent: int = option(64, "channels of a task's latent", source="authors' code", shapes_source=True, ge=1)
    embed: int = option(64, "width of a token", source="authors' code", shapes_source=True, ge=4)
    depth: tuple[Depth, Depth] = option(
        (4, 2), "blocks of the synchronizer's encoder and decoder", source="authors' code", shapes_source=True
    )
    heads: int = option(4, "attention heads", source="authors' code", shapes_source=True, ge=1)
    R: int = option(
        256,
        "side in pixels of the square that the latents are resized to, whatever the image's size and aspect",
        source="authors' code",
        shapes_source=True,
        ge=2,
    )
    patch: int = option(
        16, "side in pixels of a patch of that square", source="authors' code", shapes_source=True, ge=1
    )

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.R // self.patch

    @property
    def tokens(self) -> int:
        """Patches of an image."""
        return self.grid**2

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.R % self.patch or self.grid < 2:
            raise ValueError(
                f"s4t.R = {self.R} must be a multiple of s4t.patch = {self.patch} and at least twice it "
                f"(such as {2 * self.patch} or {4 * self.patch})"
            )
        if kept_tokens(self.tokens, self.mask_ratio) < 1:
            raise ValueError(
                f"s4t.mask_ratio = {self.mask_ratio} keeps none of the {self.tokens} patches; int({self.tokens} * "
                "(1 - mask_ratio)) must be at least 1: lower it, or take a smaller s4t.patch"
            )
        if self.embed % 4 or self.embed % self.heads:
            raise ValueError(
                f"s4t.embed = {self.embed} must be divisible by 4 (position embedding) and by s4t.heads = {self.heads}"
            )
        return self


class Synchronizer(nn.Module):
    """The Task Behavior Synchronizer: masked task latents to every task's output.

    One token is a patch of all tasks' latents together, so that a hidden patch is hidden in every task.
    """

    position: Tensor

    def __init__(self, options: S4TOptions, channels: int, tasks: Mapping[str, int]) -> None:
        super().__init__()
        self.options, self.tasks = options, dict(tasks)
        width, outputs = options.embed, options.patch**2 * sum(tasks.values())
        layer_norm: Any = partial(nn.LayerNorm, eps=1e-6)  # timm asks for a class and takes anything that makes layers

        def blocks(count: int) -> nn.Sequential:
            layers = (Block(width, options.heads, qkv_bias=True, norm_layer=layer_norm) for _ in range(count))
            return nn.Sequential(*layers, layer_norm(width))

        self.embed = nn.Linear(options.patch**2 * channels, width)
        self.encoder = blocks(options.depth[0])
        self.between = nn.Linear(width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder = blocks(options.depth[1])
        self.predict = nn.Linear(width, outputs)
        # encoder and decoder are equally wide, so they share the fixed embedding
        self.register_buffer("position", sincos_position_embedding(width, options.grid)[None].float())
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, latents: Tensor, noise: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """Every task's output, task -> (B, K, H, W).

        Args:
            latents: (B, n d, h, w), the tasks' latents in order.
            noise: (B, L), which decides what is hidden; see `random_masking`.
            size: (H, W).
        """
        patches = stretched_patches(latents, self.options.R, self.options.patch)
        # patches are embedded one by one, so that only those that are seen need to be
        kept, _, ids_restore = random_masking(patches, noise, self.options.mask_ratio)
        places, _, _ = random_masking(self.position.expand(len(noise), -1, -1), noise, self.options.mask_ratio)
        seen = self.between(self.encoder(self.embed(kept) + places))
        hidden = self.mask_token.expand(len(seen), self.options.tokens - seen.shape[1], -1)
        ranked = torch.cat([seen, hidden], dim=1)
        full = ranked.gather(1, ids_restore[:, :, None].expand_as(ranked))
        predicted = self.predict(self.decoder(full + self.position))
        images = unpatchify(predicted, self.options.patch, sum(self.tasks.values()))
        parts = images.split(list(self.tasks.values()), dim=1)
        return {task: resize(part, size) for task, part in zip(self.tasks, parts, strict=True)}


class S4TModules(nn.Module):
    """What S4T adds: task-specific projection with its auxiliary heads, the synchronizer, the target's uncertainties.

    Args:
        width: channels of the fused features.
    """

    def __init__(self, options: S4TOptions, width: int, tasks: Mapping[str, int]) -> None:
        super().__init__()
        channels = options.latent * len(tasks)
        # task i owns the i-th `latent` channels
        self.projection = nn.Conv2d(width, channels, 1)
        self.auxiliary = nn.ModuleDict({task: nn.Conv2d(options.latent, k, 1) for task, k in tasks.items()})
        self.synchronizer = Synchronizer(options, channels, tasks)
        self.uncertainties = nn.Parameter(torch.ones(len(tasks)))

    def latents(self, model: MultiTaskModel, stages: list[Tensor]) -> Tensor:
        """Every task's latent, (B, n d, H/4, W/4), from the stages."""
        return model.project(stages, self.projection.weight, self.projection.bias)

    def auxiliary_outputs(self, latents: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """Each task's output from its own latent, task -> (B, K, H, W)."""
        own = latents.chunk(len(self.auxiliary), dim=1)
        heads = self.auxiliary.items()
        return {task: resize(head(z), size) for (task, head), z in zip(heads, own, strict=True)}


MOVES = ("model.backbone.*", "extra.projection.*", "extra.synchronizer.*", "extra.uncertainties")
"""All that the target loss reaches: the main heads are its target, and the auxiliary heads are not run."""


class S4T(Adapter):
    """Adaptation by synchronizing the tasks' outputs."""

    name: ClassVar[str] = "s4t"
    Options: ClassVar[type[Options]] = S4TOptions
    uncounted: ClassVar[tuple[str, ...]] = ("uncertainties",)
    original: ClassVar[Hparams] = Hparams(
        "authors' code: as the paper, with the weights of its NYUD-v2 and PASCAL-Context configurations",
        Optimiser(lr=2e-5, weight_decay=1e-6),
        steps=40,
        options={"lambda_tp": 0.01, "lambda_tbs": 0.01},
    )
    card: ClassVar[Card] = Card(
        title="S4T: synchronizing tasks for test-time training",
        paper="Jeong et al., Synchronizing Task Behavior: Aligning Multiple Tasks during Test-Time Training, ICCV 2025",
        source="the shared network jointly with the task-specific projection and the synchronizer",
        moves="everything; the heads get no gradient",
        sizes="any: latents are resized to R x R, so that the aspect is squeezed and the patch grid stays",
        architecture="known",
        quirks=(
            Quirk("multiplies the target loss with the fixed task weights twice", "reproduced", "weight_power=2"),
            Quirk(
                "lists the tasks in another order on Taskonomy than elsewhere and loads the projection and the "
                "synchronizer by position",
                "tasks are matched by name",
            ),
            Quirk("drops the semseg term where a batch has no target labels", "labels are never read"),
            Quirk("adapts on the first batch only", "what --protocol says; single-batch does the same"),
        ),
    )

    def build(self, model: nn.Module, tasks: Mapping[str, int]) -> nn.Module:
        return S4TModules(self.options, sum(cast(MultiTaskModel, model).channels), tasks)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("joint", trains=("model", "extra")),)

    def source_loss(
        self,
        net: Net,
        batch: Batch,
        features: list[Tensor],
        predictions: dict[str, Tensor],
        phase: Phase,
        ctx: Context,
    ) -> dict[str, Tensor]:
        extra, size = _modules(net), _size(batch.images)
        latents = extra.latents(net.model, features)
        branches = {
            "tp": (self.options.lambda_tp, extra.auxiliary_outputs(latents, size)),
            "tbs": (self.options.lambda_tbs, extra.synchronizer(latents, self._noise(batch.images, ctx), size)),
        }
        return {
            f"{branch}/{task}": weight * ctx.task_loss(task, output, batch.targets[task])
            for branch, (weight, outputs) in branches.items()
            for task, output in outputs.items()
        }

    def bind(self, net: Net, statistics: Mapping[str, Tensor]) -> Plan:
        predict = Norm(self.options.predict_norm)
        return Plan(moves=MOVES, adapt=Norm.EMA, predict=predict, exact=predict is Norm.BATCH)

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        extra, size = _modules(net), _size(images)
        stages = net.model.stages(images)
        with torch.no_grad():
            main = net.model.outputs(stages, size)
        tbs = extra.synchronizer(extra.latents(net.model, stages), self._noise(images, ctx), size)
        weighting = self.options.weighting
        if weighting == "uncertainty" or (weighting == "auto" and ctx.recipe.uncertainty):
            loss = tbs_loss_auto_weighted(tbs, main, extra.uncertainties, self.options.scale)
        else:
            loss = tbs_loss(tbs, main, ctx.recipe.weights, self.options.scale, self.options.weight_power)
        return StepOut({"tbs": loss}, main)

    def _noise(self, images: Tensor, ctx: Context) -> Tensor:
        return ctx.rand(len(images), self.options.tokens)


def _modules(net: Net) -> S4TModules:
    return cast(S4TModules, net.extra)


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]
