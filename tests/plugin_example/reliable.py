"""Reliable: entropy of the confident images, with weights anchored to those of the source."""

import math
from typing import ClassVar

import torch
from torch import nn
from torch.func import functional_call

from ttt_bench.adapter import Adapter, Card, Needs, Norm, Options, Plan, SourcePass, StepOut, option
from ttt_bench.losses import softmax_entropy
from ttt_bench.model import BATCH_NORMS, affine_parameters


class ReliableOptions(Options):
    margin: float = option(0.4, "first limit of the entropy, times ln(classes)", citation="EATA")
    anchor: float = option(1.0, "weight of the distance to the source", citation="a guess", ge=0)


class Limit(nn.Module):
    """The limit of the entropy; it changes with every step, so it is a buffer."""

    def __init__(self, first):
        super().__init__()
        self.register_buffer("value", torch.tensor(first))


class Reliable(Adapter):
    name = "reliable"
    Options = ReliableOptions
    check_options: ClassVar = {"margin": 10.0}  # random images never have less than 0.4 ln(classes)
    card = Card(
        title="Reliable: entropy of confident images",
        paper="none yet",
        source_training="nothing; measures which weights matter on source images",
        moves="scale and shift of every BatchNorm layer",
        sizes="any",
    )

    def needs(self):
        return Needs(tasks=frozenset({"semseg"}), batchnorm=True)

    def build(self, model, tasks):
        return Limit(self.options.margin * math.log(tasks["semseg"]))

    def source_pass(self):
        return SourcePass(images=64, batch=8)

    def source_statistics(self, net, images, ctx):
        names = affine_parameters(net.model, BATCH_NORMS)
        own = dict(net.model.named_parameters())
        weights = {name: own[name].detach().requires_grad_() for name in names}
        importance = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for batch in images:
            with torch.enable_grad():  # gradients are off here
                logits = functional_call(net.model, weights, (batch,))["semseg"]
                entropy = softmax_entropy(logits).mean()
            gradients = torch.autograd.grad(entropy, list(weights.values()))
            for name, gradient in zip(names, gradients, strict=True):
                importance[name] += gradient**2
        return importance

    def bind(self, net, statistics, target):
        own = dict(net.model.named_parameters())
        self.importance = statistics
        self.source = {name: own[name].detach().clone() for name in statistics}
        moves = affine_parameters(net.model, BATCH_NORMS, prefix="model.")
        return Plan(moves=moves, adapt=Norm.BATCH, predict=Norm.BATCH, exact=True)

    def step(self, net, images, ctx):
        predictions = net.model(images)
        entropy = softmax_entropy(predictions["semseg"]).mean(dim=(1, 2))  # (B,)
        limit = net.extra.value
        # a mask, not an index or an `if`: no value goes to the host
        reliable = (entropy.detach() < limit).float()
        own = dict(net.model.named_parameters())
        distance = sum(
            (importance * (own[name] - self.source[name]) ** 2).sum()
            for name, importance in self.importance.items()
        )
        losses = {
            "entropy": (entropy * reliable).mean(),
            "anchor": self.options.anchor * distance,
        }
        limit.lerp_(entropy.detach().mean(), 0.1)
        return StepOut(losses, predictions)
