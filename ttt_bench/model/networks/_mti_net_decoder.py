"""The decoder of MTI-Net: tasks exchange their features at every scale and between scales.

Vandenhende et al., "MTI-Net: Multi-Scale Task Interaction Networks for Multi-Task Learning", ECCV
2020. Four scales s = 0..3, from the finest to the coarsest, have backbone features x_s of C_s
channels. With f_{s,t} the features of scale s and task t,

    initial prediction  f_{s,t} = blocks_{s,t}([x_s, resize(p_{s+1,t})]),  y_{s,t} = conv(f_{s,t})
    propagation         g_s = block(mask * [f_{s,t} of all t]),  p_{s,t} = gate_{s,t} g_s + f_{s,t}
    distillation        o_{s,t} = f_{s,t} + sum_{a != t} conv(f_{s,a}) sigmoid(conv'(f_{s,a}))
    aggregation         y_t = conv(relu(norm(conv([o_{0,t}, resize(o_{1,t}), ...]))))

Scale 3 has no coarser scale, and nothing is propagated from scale 0. The mask is a softmax of what
a bottleneck computes from all tasks' features; the gate is that of a squeeze-and-excitation block.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from ttt_bench.model.network import resize

REDUCTION = 16
"""Channels per hidden unit of a gate."""
Softmax = Literal["official", "across_tasks"]
"""Groups of the propagation's softmax; see `Propagation`."""
Features = dict[str, Tensor]
"""Task -> (B, C_s, h_s, w_s)."""


def _conv(inputs: int, outputs: int, kernel: int = 3) -> nn.Conv2d:
    """Return a convolution without bias that keeps the size."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)


class Block(nn.Module):
    """Residual block of two 3x3 convolutions, (B, inputs, h, w) -> (B, outputs, h, w).

    The shortcut is the identity, or a 1x1 convolution and BatchNorm.

    Args:
        inputs: input channels.
        outputs: output channels.
        convolve: whether the shortcut has a convolution although inputs and outputs are equal.
    """

    def __init__(self, inputs: int, outputs: int, *, convolve: bool = False) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(inputs, outputs), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = _conv(outputs, outputs), nn.BatchNorm2d(outputs)
        same = inputs == outputs and not convolve
        self.shortcut = nn.Identity() if same else _conv(inputs, outputs, kernel=1)
        self.shortcut_norm = nn.Identity() if same else nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        # not in place: a hook may keep the output of `norm2`
        return cast(Tensor, y + self.shortcut_norm(self.shortcut(x))).relu()


class TaskFeatures(nn.Module):
    """One task's features at one scale, and the initial prediction from them.

    Args:
        inputs: channels of the backbone's features and of the propagated ones, together.
        channels: C_s.
        outputs: output channels of the task.
    """

    def __init__(self, inputs: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.block1, self.block2 = Block(inputs, channels), Block(channels, channels)
        self.out = nn.Conv2d(channels, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, (B, inputs, h, w) -> (B, C_s, h, w); `out` predicts from them."""
        return cast(Tensor, self.block2(self.block1(x)))


class Initial(nn.ModuleDict):
    """The features of all tasks at one scale: task -> `TaskFeatures`.

    Args:
        channels: C_s.
        coarser: C_{s+1}, or 0 at the coarsest scale.
        tasks: task -> output channels.
    """

    def __init__(self, channels: int, coarser: int, tasks: Mapping[str, int]) -> None:
        inputs = channels + coarser
        super().__init__(
            {task: TaskFeatures(inputs, channels, outputs) for task, outputs in tasks.items()}
        )

    def forward(self, stage: Tensor, propagated: Features | None = None) -> Features:
        """Return the features of every task.

        Args:
            stage: the backbone's features, (B, C_s, h_s, w_s).
            propagated: the features from the next coarser scale, if there is one.
        """
        if propagated is None:
            return {task: module(stage) for task, module in self.items()}
        size = stage.shape[-2:]
        return {
            task: module(torch.cat([stage, resize(propagated[task], size)], dim=1))
            for task, module in self.items()
        }

    def predictions(self, features: Features) -> Features:
        """Return the initial prediction of every task, (B, K, h_s, w_s)."""
        return {task: cast(TaskFeatures, self[task]).out(x) for task, x in features.items()}


class Gate(nn.Module):
    """Squeeze and excitation: one factor in (0, 1) per image and channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate1 = nn.Linear(channels, channels // REDUCTION)
        self.gate2 = nn.Linear(channels // REDUCTION, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the factors of x (B, C, h, w) as (B, C, 1, 1)."""
        hidden = self.gate1(x.mean(dim=(2, 3))).relu()
        return cast(Tensor, self.gate2(hidden).sigmoid())[:, :, None, None]


class Bottleneck(nn.Module):
    """Two blocks of a quarter of the channels, then a 1x1 convolution back to all of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = channels // 4
        self.block1, self.block2 = Block(channels, narrow), Block(narrow, narrow)
        self.out = nn.Conv2d(narrow, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, h, w) of the same size."""
        return cast(Tensor, self.out(self.block2(self.block1(x))))


class Propagation(nn.Module):
    """Features for the next finer scale, from the features of all tasks at one scale.

    The softmax of the mask has groups of one channel per task. Let S = N C_s be the channels of the
    N tasks, one task after the other. A group is

    * `official`: N neighbouring channels, mostly of one task, as in the authors' code;
    * `across_tasks`: channel c of every task, which is what the code's comment states.

    Args:
        channels: C_s, at least 16.
        tasks: the tasks, in canonical order.
        softmax: the groups of the softmax.
    """

    def __init__(self, channels: int, tasks: Sequence[str], softmax: Softmax = "official") -> None:
        super().__init__()
        width = len(tasks) * channels
        # a view (B, a, b, h, w) of S channels, and the axis of the tasks in it
        self._groups, self._axis = ((len(tasks), channels), 1)
        if softmax == "official":
            self._groups, self._axis = ((channels, len(tasks)), 2)
        self.mask = Bottleneck(width)
        # as in the authors' code, which matters for a single task
        self.reduce = Block(width, channels, convolve=True)
        self.gates = nn.ModuleDict({task: Gate(channels) for task in tasks})

    def forward(self, features: Features) -> Features:
        """Return the propagated features of every task, of the features' shapes."""
        joint = torch.cat([features[task] for task in self.gates], dim=1)  # (B, S, h, w)
        grouped = self.mask(joint).unflatten(1, self._groups)  # (B, S, h, w) -> (B, a, b, h, w)
        weights = grouped.softmax(dim=self._axis).flatten(1, 2)
        shared = self.reduce(weights * joint)  # (B, S, h, w) -> (B, C_s, h, w)
        return {task: gate(shared) * shared + features[task] for task, gate in self.gates.items()}


class GatedMessage(nn.Module):
    """What one task sends to another: a 3x3 convolution, gated by a second one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention, self.feature = _conv(channels, channels), _conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the message, of the shape of x (B, C_s, h, w)."""
        return cast(Tensor, self.feature(x) * self.attention(x).sigmoid())


class Messages(nn.ModuleDict):
    """What one task receives: sender -> `GatedMessage`."""

    def __init__(self, channels: int, senders: Iterable[str]) -> None:
        super().__init__({task: GatedMessage(channels) for task in senders})

    def forward(self, features: Features, own: Tensor) -> Tensor:
        """Return the receiver's features `own` with all messages added."""
        return sum((message(features[sender]) for sender, message in self.items()), own)


class Distillation(nn.ModuleDict):
    """The exchange between the tasks at one scale: receiver -> `Messages`.

    Args:
        channels: C_s.
        senders: the tasks that have features.
        receivers: the tasks that have a final output, some or all of the senders.
    """

    def __init__(self, channels: int, senders: Sequence[str], receivers: Sequence[str]) -> None:
        others = {task: tuple(filter(task.__ne__, senders)) for task in receivers}
        super().__init__({task: Messages(channels, found) for task, found in others.items()})

    def forward(self, features: Features) -> Features:
        """Return every receiver's features with the messages of all other tasks added."""
        return {task: messages(features, features[task]) for task, messages in self.items()}


class Aggregation(nn.Module):
    """One task's output from its features at all scales.

    Args:
        width: sum of the channels of all scales.
        outputs: output channels of the task.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 1), nn.BatchNorm2d(width)
        self.out = nn.Conv2d(width, outputs, 1)

    def forward(self, scales: Sequence[Tensor]) -> Tensor:
        """Return the output (B, K, h_0, w_0) of features (B, C_s, h_s, w_s)."""
        size = scales[0].shape[-2:]
        joint = torch.cat([resize(scale, size) for scale in scales], dim=1)
        return cast(Tensor, self.out(self.norm(self.conv(joint)).relu()))


class Decoder(nn.Module):
    """The layers of MTI-Net behind its backbone.

    Args:
        channels: C_0..C_3.
        tasks: task -> output channels, in canonical order; each has initial predictions.
        final: the tasks with a final output; None for all.
        propagation: the groups of the softmax, see `Propagation`.
    """

    def __init__(
        self,
        channels: Sequence[int],
        tasks: Mapping[str, int],
        final: Sequence[str] | None = None,
        propagation: Softmax = "official",
    ) -> None:
        super().__init__()
        final, names, width = tuple(final or tasks), tuple(tasks), sum(channels)
        scales = zip(channels, (*channels[1:], 0), strict=True)
        self.initial = nn.ModuleList(Initial(own, coarser, tasks) for own, coarser in scales)
        # from scales 1, 2 and 3
        self.propagation = nn.ModuleList(
            Propagation(own, names, propagation) for own in channels[1:]
        )
        self.distillation = nn.ModuleList(Distillation(own, names, final) for own in channels)
        self.head = nn.ModuleDict({task: Aggregation(width, tasks[task]) for task in final})

    def features(self, stages: Sequence[Tensor]) -> list[Features]:
        """Return f_{s,t} of the scales 0..3 from the backbone's features (B, C_s, h_s, w_s)."""
        *finer, coarsest = zip(self.initial, stages, strict=True)
        initial, stage = coarsest
        found = [initial(stage)]
        for (initial, stage), propagation in zip(finer[::-1], self.propagation[::-1], strict=True):
            found.append(initial(stage, propagation(found[-1])))
        return found[::-1]

    def initial_predictions(self, features: Sequence[Features]) -> list[Features]:
        """Return the initial predictions (B, K, h_s, w_s) of the scales 0..3."""
        return [
            cast(Initial, initial).predictions(scale)
            for initial, scale in zip(self.initial, features, strict=True)
        ]

    def final(self, features: Sequence[Features]) -> dict[str, Tensor]:
        """Return the final outputs (B, K, h_0, w_0)."""
        distilled: dict[str, list[Tensor]] = {task: [] for task in self.head}
        for module, scale in zip(self.distillation, features, strict=True):
            for task, value in module(scale).items():
                distilled[task].append(value)
        return {task: head(distilled[task]) for task, head in self.head.items()}
