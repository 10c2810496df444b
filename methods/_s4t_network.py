"""Modules of S4T: projection, auxiliary heads and the Task Behavior Synchronizer (TBS)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ttt_bench.methods._s4t_options import S4TOptions, kept_tokens
from ttt_bench.model import linear_weights, resize
from ttt_bench.network import Network


def random_masking(
    tokens: Tensor, noise: Tensor, mask_ratio: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Keep the tokens with the smallest noise (He et al., Masked autoencoders, 2022).

    Args:
        tokens: (N, L, D).
        noise: (N, L), any numbers; only their order matters.
        mask_ratio: share of tokens to remove, in [0, 1).

    Returns:
        kept tokens (N, int(L (1 - mask_ratio)), D) in order of noise; mask (N, L), 1 where removed;
        ids_restore (N, L) int64, the rank of the token at each position, so that `gather` restores
        the positions of a full set of ranked tokens.
    """
    kept = kept_tokens(tokens.shape[1], mask_ratio)
    order = noise.argsort(dim=1)
    ids_restore = order.argsort(dim=1)
    # (N, kept) -> (N, kept, D), the index of each number that is kept
    chosen = order[:, :kept, None].expand(-1, -1, tokens.shape[2])
    return tokens.gather(1, chosen), (ids_restore >= kept).to(tokens.dtype), ids_restore


def visible_patches(masking: str, noise: Tensor, tasks: int, count: int) -> Tensor:
    """Choose the patches of each task's latent that TBS sees, uniformly (TR-TTT, figure 4).

    Args:
        masking: same (the same `count` patches of all tasks), random (`count` patches per task),
            disjoint (`count` <= L / tasks patches per task, none of them twice), or tasks (all
            patches of `count` tasks).
        noise: (B, 1, L); (B, tasks, L) for random; (B, tasks, 1) for tasks. Any numbers; only
            their order matters.
        tasks: number of tasks.
        count: see `masking`.

    Returns:
        bool, broadcasts to (B, tasks, L).
    """
    dim = 1 if masking == "tasks" else 2
    rank = noise.argsort(dim=dim).argsort(dim=dim)
    if masking == "disjoint":
        first = count * torch.arange(tasks, device=noise.device)[:, None]
        return (first <= rank) & (rank < first + count)
    return rank < count


def without_hidden(patches: Tensor, visible: Tensor, patch_size: int) -> Tensor:
    """Set the hidden latents of patches to 0.

    Args:
        patches: (B, L, p * p * C) as of `stretched_patches`; the C channels are n latents of equal
            width.
        visible: bool, broadcasts to (B, n, L).
        patch_size: p.
    """
    # (B, L, p p n d) -> (B, L, p p, n, d), times (B, L, 1, n, 1)
    latents = patches.unflatten(2, (patch_size**2, visible.shape[1], -1))
    return (latents * visible.transpose(1, 2)[:, :, None, :, None]).flatten(2)


def sincos_position_embedding(dim: int, grid_size: int) -> Tensor:
    """Return a fixed embedding of the positions of a square grid, (grid_size^2, dim) float64.

    Positions are in row order; `dim` must be divisible by 4. The first half of the channels encodes
    the column, the second the row. Each half is [all sines, all cosines] at the frequencies
    10000^(-2k / (dim / 2)), k = 0 .. dim/4 - 1.
    """
    quarter = torch.arange(dim // 4, dtype=torch.float64)
    frequencies = 10000.0 ** (-2 * quarter / (dim / 2))
    angles = torch.arange(grid_size, dtype=torch.float64)[:, None] * frequencies
    places = torch.cat([angles.sin(), angles.cos()], dim=1)
    # (grid, dim/2) -> (grid^2, dim/2) for columns and for rows
    columns = places.repeat(grid_size, 1)
    rows = places.repeat_interleave(grid_size, dim=0)
    return torch.cat([columns, rows], dim=1)


def unpatchify(tokens: Tensor, patch_size: int, channels: int) -> Tensor:
    """Join tokens (N, g^2, p * p * channels) to images (N, channels, g p, g p).

    The inner order of a token is row, column, channel.
    """
    side = round(tokens.shape[1] ** 0.5)
    # (N, g g, p p C) -> (N, g, g, p, p, C) -> (N, C, g, p, g, p) -> (N, C, g p, g p)
    patches = tokens.unflatten(2, (patch_size, patch_size, channels)).unflatten(1, (side, side))
    return patches.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def stretched_patches(latents: Tensor, side: int, patch_size: int) -> Tensor:
    """Resize to a square (bilinear) and cut into patches, (N, C, h, w) -> (N, g^2, p * p * C).

    The order within a patch is that of `unpatchify`. Bilinear resizing is a matrix product along
    each axis. Written so, with channels last, a step takes less than half the time on a CPU, and
    its gradient is summed in a fixed order on a GPU.
    """
    rows, columns = (linear_weights(length, side, latents) for length in latents.shape[-2:])
    # (N, h, w, C) -> (N, h, side, C) -> (N, h, side C) -> (N, side, side C)
    square = rows @ (columns @ latents.permute(0, 2, 3, 1)).flatten(2)
    cut = (side // patch_size, patch_size)
    # (N, side, side C) -> (N, g, p, g, p, C) -> (N, g, g, p, p, C) -> (N, g g, p p C)
    grid = square.unflatten(2, (*cut, -1)).unflatten(1, cut).transpose(2, 3)
    return grid.flatten(3).flatten(1, 2)


class Synchronizer(nn.Module):
    """The Task Behavior Synchronizer: masked task latents to every task's output, or to the image.

    One token is a patch of all tasks' latents together.

    Args:
        options: options of the method.
        channels: channels of all latents together.
        tasks: task -> output channels.
    """

    position: Tensor

    def __init__(self, options: S4TOptions, channels: int, tasks: Mapping[str, int]) -> None:
        super().__init__()
        self.options, self.tasks = options, len(tasks)
        self.outputs = {"image": 3} if options.target == "image" else dict(tasks)
        width = options.embed
        # timm's type is a class, but it accepts any callable that makes layers
        layer_norm: Any = partial(nn.LayerNorm, eps=1e-6)

        def blocks(count: int) -> nn.Sequential:
            layers = (
                Block(
                    width,
                    options.heads,
                    mlp_ratio=4.0,
                    qkv_bias=True,
                    qk_norm=False,
                    proj_drop=0.0,
                    attn_drop=0.0,
                    init_values=None,  # no layer scale
                    drop_path=0.0,
                    act_layer=nn.GELU,
                    norm_layer=layer_norm,
                )
                for _ in range(count)
            )
            return nn.Sequential(*layers, layer_norm(width))

        self.embed = nn.Linear(options.patch**2 * channels, width)
        self.encoder = blocks(options.depth[0])
        self.between = nn.Linear(width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.decoder = blocks(options.depth[1])
        self.predict = nn.Linear(width, options.patch**2 * sum(self.outputs.values()))
        # encoder and decoder have the same width, so they share the fixed embedding
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
        """Return the encoder's tokens without position embedding, (B, L or kept, embed).

        Args:
            latents: (B, C, h, w).
            noise: decides which patches are visible; see `visible_patches`.
        """
        options = self.options
        patches = stretched_patches(latents, options.R, options.patch)
        if options.drops:
            # patches are embedded separately, so only the kept ones are embedded
            patches, _, _ = random_masking(patches, noise.flatten(1), options.mask_ratio)
        elif options.mask_ratio:
            visible = visible_patches(
                options.masking, noise, self.tasks, options.visible(self.tasks)
            )
            patches = without_hidden(patches, visible, options.patch)
        return self.embed(patches)

    def forward(self, tokens: Tensor, noise: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """Return every output, name -> (B, K, H, W).

        Args:
            tokens: result of `tokens`.
            noise: the noise that was given to `tokens`.
            size: (H, W) of the outputs.
        """
        if self.options.drops:
            full = self._completed(tokens, noise.flatten(1))
        else:
            full = self._encoded(tokens, self.position)
        predicted = self.predict(self.decoder(full + self.position))
        images = unpatchify(predicted, self.options.patch, sum(self.outputs.values()))
        # (B, sum K, R, R) -> each (B, K, R, R) -> (B, K, H, W)
        parts = images.split(list(self.outputs.values()), dim=1)
        return {name: resize(part, size) for name, part in zip(self.outputs, parts, strict=True)}

    def _encoded(self, tokens: Tensor, places: Tensor) -> Tensor:
        return self.between(self.encoder(tokens + places))

    def _completed(self, tokens: Tensor, noise: Tensor) -> Tensor:
        """Return encoded tokens at their positions and mask tokens elsewhere, (B, L, embed)."""
        places, _, ids_restore = random_masking(
            self.position.expand(len(noise), -1, -1), noise, self.options.mask_ratio
        )
        seen = self._encoded(tokens, places)
        hidden = self.mask_token.expand(len(seen), self.options.tokens - seen.shape[1], -1)
        # (B, kept, embed) and (B, L - kept, embed) -> (B, L, embed) in order of noise
        ranked = torch.cat([seen, hidden], dim=1)
        return ranked.gather(1, ids_restore[:, :, None].expand_as(ranked))


class S4TModules(nn.Module):
    """Modules of S4T: projection, auxiliary heads, synchronizer and the target's uncertainties.

    Args:
        options: options of the method.
        width: channels of the fused features.
        tasks: task -> output channels.
    """

    def __init__(self, options: S4TOptions, width: int, tasks: Mapping[str, int]) -> None:
        super().__init__()
        channels = options.latent * len(tasks)
        own = tasks if options.projection == "task" else {}
        # the i-th `latent` channels belong to task i
        self.projection = nn.Conv2d(width, channels, 1) if options.projection != "none" else None
        self.auxiliary = nn.ModuleDict(
            {task: nn.Conv2d(options.latent, k, 1) for task, k in own.items()}
        )
        read = width if self.projection is None else channels
        self.synchronizer = Synchronizer(options, read, tasks)
        weighted = options.target == "tasks"
        self.uncertainties = nn.Parameter(torch.ones(len(tasks))) if weighted else None

    def latents(self, model: Network, stages: Sequence[Tensor]) -> Tensor | None:
        """Return the latents of all tasks, (B, n d, H/4, W/4), or None without a projection."""
        if self.projection is None:
            return None
        return model.project(stages, self.projection.weight, self.projection.bias)

    def auxiliary_outputs(self, latents: Tensor | None, size: tuple[int, int]) -> dict[str, Tensor]:
        """Return each task's output from its own latent, task -> (B, K, H, W).

        Empty if there are no auxiliary heads.
        """
        if latents is None or not self.auxiliary:
            return {}
        # (B, n d, h, w) -> n times (B, d, h, w)
        own = latents.chunk(len(self.auxiliary), dim=1)
        heads = self.auxiliary.items()
        return {task: resize(head(z), size) for (task, head), z in zip(heads, own, strict=True)}

    def synchronized(
        self,
        model: Network,
        stages: Sequence[Tensor],
        *,
        latents: Tensor | None,
        noise: Tensor,
        size: tuple[int, int],
    ) -> dict[str, Tensor]:
        """Return the synchronizer's outputs, name -> (B, K, H, W).

        Args:
            model: the shared network.
            stages: s1..s4; they are read if `latents` is None.
            latents: result of `latents`.
            noise: decides which patches are visible; see `visible_patches`.
            size: (H, W) of the outputs.
        """
        if latents is None:
            tokens = torch.cat(list(self._tokens_by_image(model, stages, noise)))
        else:
            tokens = self.synchronizer.tokens(latents, noise)
        return self.synchronizer(tokens, noise, size)

    def _tokens_by_image(
        self, model: Network, stages: Sequence[Tensor], noise: Tensor
    ) -> Iterator[Tensor]:
        """Yield the tokens of the fused features of each image, (1, L, embed).

        At R x R the features of one image take 1 GB with ResNet-50, so that images are processed
        separately, and again for the gradient.
        """

        def tokens(noise: Tensor, *stages: Tensor) -> Tensor:
            return self.synchronizer.tokens(model.hypercolumn(stages), noise)

        for image in zip(noise.split(1), *(stage.split(1) for stage in stages), strict=True):
            yield checkpoint(tokens, *image, use_reentrant=False, preserve_rng_state=False)
