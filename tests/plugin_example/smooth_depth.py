"""Smooth: an example method in its own package. It adapts by making the predicted depth smooth."""

from ttt_bench.adapter import Adapter, Card, Needs, Norm, Options, Plan, StepOut, option
from ttt_bench.model import BATCH_NORMS, affine_parameters


class SmoothOptions(Options):
    weight: float = option(
        1.0, "weight of the roughness", citation="chosen on the tune split", ge=0
    )


class Smooth(Adapter):
    name = "smooth"
    Options = SmoothOptions
    card = Card(
        title="Smooth: smooth depth",
        paper="none yet",
        source_training="nothing; uses Base's source model",
        moves="scale and shift of every BatchNorm layer",
        sizes="any",
    )

    def needs(self):
        return Needs(tasks=frozenset({"depth"}), batchnorm=True)

    def bind(self, net, statistics, target):
        moves = affine_parameters(net.model, BATCH_NORMS, prefix="model.")
        return Plan(moves=moves, adapt=Norm.BATCH, predict=Norm.BATCH, exact=True)

    def step(self, net, images, ctx):
        predictions = net.model(images)
        depth = predictions["depth"]
        roughness = (depth[..., 1:] - depth[..., :-1]).abs().mean()
        return StepOut({"roughness": self.options.weight * roughness}, predictions)
