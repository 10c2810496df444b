"""Pyramid: an example network in its own package. It adds up the stages, the coarsest one first."""

from pydantic import Field
from torch import nn

from ttt_bench.model import StagedNetwork, resize
from ttt_bench.network import NetworkOptions


class PyramidOptions(NetworkOptions):
    width: int = Field(64, ge=1, description="channels of the pyramid")


class Pyramid(StagedNetwork):
    name = "pyramid"
    summary = "a feature pyramid and one 3x3 convolution per task"
    Options = PyramidOptions

    def __init__(self, backbone, channels, tasks, options=None):
        super().__init__(backbone, channels, tasks, options)
        width = self.options.width
        lateral = nn.ModuleList(nn.Conv2d(size, width, 1) for size in channels)
        predict = nn.ModuleDict({t: nn.Conv2d(width, k, 3, padding=1) for t, k in tasks.items()})
        self.heads = nn.ModuleDict({"lateral": lateral, "predict": predict})

    def outputs(self, stages, size):
        return self._predict(self._pyramid(stages)[-1], size)

    def supervised_outputs(self, stages, size):
        """Return the predictions, and those of the coarsest map."""
        coarsest, *_, finest = self._pyramid(stages)
        return [self._predict(finest, size), self._predict(coarsest, size)]

    def _pyramid(self, stages):
        """Return the maps (B, width, h_l, w_l), the coarsest one first."""
        *finer, coarsest = [
            layer(stage) for layer, stage in zip(self.heads["lateral"], stages, strict=True)
        ]
        maps = [coarsest]
        for one in reversed(finer):
            maps.append(one + resize(maps[-1], one.shape[-2:]))
        return maps

    def _predict(self, fused, size):
        return {task: resize(head(fused), size) for task, head in self.heads["predict"].items()}
