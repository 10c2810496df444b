"""S4T on the tiny network in plain tensors, from its equations: every variant, without any of
the method's own code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from support.plain import PlainNet, Size, upsampled
from ttt_bench.methods.s4t import S4TOptions
from ttt_bench.network import Net
from ttt_bench.util.seeding import derive_seed

WEIGHTS = {"semseg": 1.0, "depth": 1.0, "normals": 10.0, "edge": 50.0}
IMAGE = {"image": 3}


class PlainS4T(PlainNet):
    """A copy of a network with S4T's modules, and the numbers that batch 0 of seed 0 draws.

    Args:
        tasks: task -> output channels.
        hidden_tasks: how many are hidden under masking=tasks.
        orders: of the tasks, at source and at target, where channels are cut by position.
    """

    def __init__(
        self,
        net: Net,
        options: S4TOptions,
        tasks: Mapping[str, int],
        hidden_tasks: int = 0,
        orders: Sequence[Sequence[str]] | None = None,
    ) -> None:
        super().__init__(net)
        self.options, self.tasks, self.hidden_tasks, self.orders = (
            options,
            tasks,
            hidden_tasks,
            orders,
        )
        self.grid = options.R // options.patch
        self.patches = self.grid**2
        self.draws = torch.Generator().manual_seed(derive_seed(0, "s4t", 0))

    def of(self, name: str) -> Tensor:
        """Return a parameter of the synchronizer."""
        return self.p[f"extra.synchronizer.{name}"]

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.of(f"{name}.weight").T + self.of(f"{name}.bias")

    def layer_norm(self, x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        unit = centred / ((centred**2).mean(dim=-1, keepdim=True) + 1e-6).sqrt()
        return unit * self.of(f"{name}.weight") + self.of(f"{name}.bias")

    def block(self, x: Tensor, name: str) -> Tensor:
        """Apply pre-norm attention and MLP, (N, L, D) -> (N, L, D)."""
        qkv = self.linear(self.layer_norm(x, f"{name}.norm1"), f"{name}.attn.qkv")
        q, k, v = qkv.unflatten(2, (3, self.options.heads, -1)).permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).exp()
        mixed = (attention / attention.sum(dim=-1, keepdim=True)) @ v
        x = x + self.linear(mixed.transpose(1, 2).flatten(2), f"{name}.attn.proj")
        inner = self.linear(self.layer_norm(x, f"{name}.norm2"), f"{name}.mlp.fc1")
        return x + self.linear(inner * (1 + torch.erf(inner / 2**0.5)) / 2, f"{name}.mlp.fc2")

    def blocks(self, x: Tensor, name: str, depth: int) -> Tensor:
        for number in range(depth):
            x = self.block(x, f"{name}.{number}")
        return self.layer_norm(x, f"{name}.{depth}")

    def position(self) -> Tensor:
        width = self.options.embed
        rows = []
        for place in range(self.patches):
            row, column = divmod(place, self.grid)
            angles = [
                [i / 10000 ** (2 * k / (width / 2)) for k in range(width // 4)]
                for i in (column, row)
            ]
            rows.append([f(a) for group in angles for f in (math.sin, math.cos) for a in group])
        return (
            torch.tensor(rows, dtype=torch.float64).float().double()
        )  # a network's buffers have single precision

    def smallest(self, draws: Tensor, count: int, skip: int = 0) -> list[int]:
        """Return the positions of the smallest numbers, without the `skip` smallest ones."""
        return sorted(range(len(draws)), key=draws.tolist().__getitem__)[skip : skip + count]

    def visible(self, images: int) -> list[list[set[int]]]:
        """Return the visible patches of every task and image."""
        n, length, masking = len(self.tasks), self.patches, self.options.masking
        shape = {"random": (n, length), "tasks": (n, 1)}.get(masking, (1, length))
        draws = torch.rand(images, *shape, generator=self.draws)
        kept = int(length * (1 - self.options.mask_ratio))
        if masking == "same":
            return [[set(self.smallest(one[0], kept))] * n for one in draws]
        if masking == "random":
            return [[set(self.smallest(own, kept)) for own in one] for one in draws]
        if masking == "disjoint":
            kept = min(kept, length // n)
            return [
                [set(self.smallest(one[0], kept, skip=i * kept)) for i in range(n)] for one in draws
            ]
        seen = [self.smallest(one[:, 0], n - self.hidden_tasks) for one in draws]
        return [[set(range(length)) if i in one else set() for i in range(n)] for one in seen]

    def latents(self, stages: Sequence[Tensor]) -> Tensor:
        h = self.hypercolumn(stages)
        if self.options.projection == "none":
            return h
        return F.conv2d(h, self.p["extra.projection.weight"], self.p["extra.projection.bias"])

    def synchronizer(self, z: Tensor, size: Size) -> dict[str, Tensor]:
        """Return every output from the latents."""
        options, p, g = self.options, self.options.patch, self.grid
        dropped = options.masking == "same" and options.drop
        visible = self.visible(len(z))
        square = upsampled(z, (options.R, options.R))
        if not dropped:
            groups = len(self.tasks) if options.projection == "task" else 1
            square = square * self.pixels(visible, groups).repeat_interleave(
                square.shape[1] // groups, dim=1
            )
        kernel = self.of("embed.weight").reshape(options.embed, p, p, -1).permute(0, 3, 1, 2)
        tokens = (
            F.conv2d(square, kernel, self.of("embed.bias"), stride=p).flatten(2).transpose(1, 2)
        )
        tokens = tokens + self.position()
        full = []
        for one, sets in zip(tokens, visible, strict=True):
            chosen = sorted(sets[0]) if dropped else list(range(self.patches))
            seen = self.linear(
                self.blocks(one[chosen][None], "encoder", options.depth[0])[0], "between"
            )
            places = [
                seen[chosen.index(n)] if n in chosen else self.of("mask_token")[0, 0]
                for n in range(self.patches)
            ]
            full.append(torch.stack(places) + self.position())
        predicted = self.linear(
            self.blocks(torch.stack(full), "decoder", options.depth[1]), "predict"
        )
        patches = predicted.reshape(len(z), g, g, p, p, -1)
        image = torch.einsum("bijuvk->bkiujv", patches).reshape(len(z), -1, g * p, g * p)
        return self.cut(upsampled(image, size), IMAGE if options.target == "image" else self.tasks)

    def pixels(self, visible: list[list[set[int]]], groups: int) -> Tensor:
        """Return (B, groups, R, R), 1 where a latent is visible."""
        side, p = self.options.R, self.options.patch
        mask = torch.zeros(len(visible), groups, side, side, dtype=torch.float64)
        for image, sets in enumerate(visible):
            for group in range(groups):
                for place in sets[group]:
                    row, column = divmod(place, self.grid)
                    mask[image, group, row * p : row * p + p, column * p : column * p + p] = 1
        return mask

    def cut(self, channels: Tensor, sizes: Mapping[str, int]) -> dict[str, Tensor]:
        """Split channels (B, K, H, W) in order."""
        left, found = list(channels.unbind(dim=1)), {}
        for name, count in sizes.items():
            found[name] = torch.stack(left[:count], dim=1)
            left = left[count:]
        assert not left
        return found

    def loss(self, images: Tensor, uncertainty: bool = False) -> Tensor:
        """Return the target loss; its forward pass moves the running statistics."""
        size = (images.shape[2], images.shape[3])
        stages = self.stages(images, "ema")
        outputs, main = self.synchronizer(self.latents(stages), size), self.outputs(stages, size)
        if self.options.target == "image":
            wanted = (images - self.b["model.mean"]) / self.b["model.std"]
            return self.options.scale * self.distance(outputs["image"], wanted)
        if self.orders is not None:
            side_by_side = torch.cat([outputs[task] for task in self.orders[0]], dim=1)
            outputs = self.cut(side_by_side, {task: self.tasks[task] for task in self.orders[1]})
        total = images.new_zeros(())
        for number, task in enumerate(self.tasks):
            distance = self.options.scale * self.distance(outputs[task], main[task])
            p = self.p["extra.uncertainties"][number]
            term = (
                distance / (2 * p**2) + (1 + p**2).log()
                if uncertainty
                else WEIGHTS[task] ** 2 * distance
            )
            total = total + term
        return total

    def distance(self, output: Tensor, wanted: Tensor) -> Tensor:
        return (output - wanted.detach()).abs().sum() / (
            output.shape[0] * output.shape[2] * output.shape[3]
        )

    def moves(self, name: str) -> bool:
        """Return whether the target loss may reach a parameter; it reaches no head."""
        return not name.startswith(("model.heads.", "extra.auxiliary."))
