"""CoTTA: continual test-time adaptation by a teacher and random restoring.

Wang et al., "Continual test-time domain adaptation", CVPR 2022, in the form of the authors'
segmentation code. Three networks share one architecture: the student, which moves; the teacher,
whose weights average the student's; and the anchor, the source model. With z the student's logits
of segmentation,

    L = mean over batch and pixels of CE(z, t),
    t = the teacher's output where the anchor is confident, else its average over views,

where the anchor is confident if its largest probability is above a threshold. The views are the
images at several sizes, mirrored and not. After each update of the student s,

    teacher <- 0.999 teacher + 0.001 s,  then s <- source where u < 0.01

with u uniform for each element. A restored weight therefore reaches the teacher one step later.
The teacher predicts. The threshold `auto` is the 5 % quantile of the source model's confidence on
source images, minus 0.05.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import functional_call

from ttt_bench.adapter import (
    Adapter,
    Card,
    Context,
    Hparams,
    Needs,
    Norm,
    Optimiser,
    Options,
    Passes,
    Plan,
    Quirk,
    SourcePass,
    StepOut,
    Target,
)
from ttt_bench.methods._copies import Copies
from ttt_bench.methods._cotta_options import CoTTAOptions
from ttt_bench.methods._cotta_target import (
    Confidence,
    Space,
    average_views,
    choose_target,
    consistency_loss,
)
from ttt_bench.methods._cotta_teacher import (
    Outputs,
    output_on_view,
    require_views,
    teacher_output,
    teacher_update,
    view_size,
)
from ttt_bench.methods.tipi import gaussian_kl
from ttt_bench.model import parameters_of_task
from ttt_bench.network import Net, Network

__all__ = [
    "CoTTA",
    "CoTTAOptions",
    "average_views",
    "choose_target",
    "consistency_loss",
    "stochastic_restore",
    "teacher_update",
]


def stochastic_restore(
    parameters: Iterable[Tensor],
    source: Iterable[Tensor],
    uniforms: Iterable[Tensor],
    rate: float = 0.01,
) -> list[Tensor]:
    """Return the source's value wherever uniform < rate, and the parameter elsewhere."""
    together = zip(parameters, source, uniforms, strict=True)
    return [torch.where(u < rate, start, own) for own, start, u in together]


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What `CoTTA.bind` keeps.

    Attributes:
        source: name -> weight of the source model, of those that the student moves.
        tasks: the tasks in the loss, segmentation first.
        threshold: confidence from which the teacher's output is not averaged.
        area: pixels of all views together, relative to the image.
    """

    source: dict[str, Tensor]
    tasks: tuple[str, ...]
    threshold: float | Tensor
    area: float


class CoTTA(Adapter[CoTTAOptions, Copies]):
    """Consistency with a teacher that averages the student's weights."""

    name: ClassVar[str] = "cotta"
    Options: ClassVar[type[Options]] = CoTTAOptions
    original: ClassVar[Hparams] = Hparams(
        citation="public copies of the authors' segmentation code (ACDC, batches of one image): "
        "Adam, one step, 14 views, fixed threshold, source statistics (CIFAR: Adam 1e-3, soft "
        "loss, one decision per batch)",
        optimiser=Optimiser(optimiser="adam", lr=7.5e-6),
        steps=1,
        options={
            "threshold": 0.69,
            "scales": (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0),
            "norm_adapt": "running",
            "predict": "target",
        },
    )
    card: ClassVar[Card] = Card(
        title="CoTTA: continual test-time domain adaptation",
        paper="Wang et al., Continual test-time domain adaptation, CVPR 2022",
        source_training="nothing; uses Base's source model",
        moves="the backbone and the segmentation's head; the teacher follows them",
        sizes="any; views are resized images",
        architecture="adds no parameters, only the teacher's weights as buffers",
        quirks=(
            Quirk(
                "evaluates the target, which mixes the views' average into the result",
                "evaluates the teacher's output on the image alone",
                "predict=target",
            ),
            Quirk(
                "averages 32 views on CIFAR and ImageNet (colours, affine maps, blur, mirror, "
                "noise), and 7 sizes with and without mirror in segmentation",
                "averages sizes with and without mirror, 3 sizes by default",
                "scales=[0.5,0.75,1,1.25,1.5,1.75,2]",
            ),
            Quirk(
                "computes the views on ImageNet only if the batch is unsure, on CIFAR always",
                "computes them always, so that no step waits for the device",
            ),
            Quirk(
                "normalises by the source's statistics in segmentation, by the batch elsewhere",
                "normalises by the batch",
                "norm_adapt=running",
            ),
            Quirk(
                "has a fixed threshold: 0.92 on CIFAR-10, 0.72 on CIFAR-100, 0.1 on ImageNet, 0.69 "
                "in segmentation",
                "measures it on the source by default",
                "threshold=0.69",
            ),
            Quirk(
                "averages the teacher before it restores weights, so that a restored weight "
                "reaches the teacher one step later",
                "reproduced",
            ),
            Quirk("restores only parameters that are named weight or bias", "reproduced"),
        ),
    )
    bound: Bound
    """Set by `bind`."""

    def needs(self) -> Needs:
        return Needs(tasks=frozenset({"semseg"}))

    def build(self, model: Network, tasks: Mapping[str, int]) -> Copies:
        own = dict(model.named_parameters())
        return Copies({name: own[name] for name in self._moved(model)})

    def _moved(self, model: Network) -> tuple[str, ...]:
        """Return the names of the network's parameters that the student moves."""
        if self.options.tasks == "all":
            return tuple(name for name, _ in model.named_parameters())
        return parameters_of_task(model, "semseg")

    def source_pass(self) -> SourcePass | None:
        if self.options.threshold != "auto":
            return None
        return SourcePass(images=self.options.stat_images)

    def source_statistics(
        self, net: Net[Copies], images: Iterable[Tensor], ctx: Context
    ) -> dict[str, Tensor]:
        found = Confidence()
        with ctx.norm(Norm(self.options.norm_adapt)):
            for batch in images:
                found.add(net.model(batch)["semseg"])
        return found.thresholds()

    # -- test time

    def bind(self, net: Net[Copies], statistics: Mapping[str, Tensor], target: Target) -> Plan:
        options, own = self.options, dict(net.model.named_parameters())
        # `build` saw the initial weights; those of the source are loaded by now
        source = {name: own[name].detach().clone() for name in net.extra.by_name()}
        net.extra.take(source)
        others = [task for task in net.model.tasks if task != "semseg"]
        sizes = [view_size(target.size, scale) for scale, _ in options.views]
        require_views(net.model, {size for size in sizes if size != tuple(target.size)})
        self.bound = Bound(
            source=source,
            tasks=("semseg", *(others if options.tasks == "all" else ())),
            threshold=_threshold(options, statistics),
            area=sum(map(math.prod, sizes)) / math.prod(target.size),
        )
        mode = Norm(options.norm_adapt)
        moves = tuple(f"model.{name}" for name in source)
        return Plan(moves=moves, adapt=mode, predict=mode, exact=True)

    def passes(self, batch: int) -> Passes:
        # student, teacher, views; the anchor runs once per batch
        return Passes((2 + self.bound.area) * batch, batch)

    def begin_batch(self, net: Net[Copies], images: Tensor, ctx: Context) -> None:
        ctx.batch["anchor"] = functional_call(net.model, self.bound.source, (images,))["semseg"]

    def step(self, net: Net[Copies], images: Tensor, ctx: Context) -> StepOut:
        with torch.no_grad():
            plain = teacher_output(net, images)
            target = self._target(net, images, plain, ctx)
        student = net.model(images)
        losses = {
            task: gaussian_kl(student[task], target[task]).mean() for task in self.bound.tasks[1:]
        }
        losses["semseg"] = consistency_loss(student["semseg"], target["semseg"], self.options.kind)
        return StepOut(losses, self._evaluated(plain, target))

    def after_step(self, net: Net[Copies], images: Tensor, ctx: Context) -> None:
        own, source, teacher = dict(net.model.named_parameters()), self.bound.source, net.extra
        student = [own[name] for name in source]
        averaged = teacher_update(teacher.by_name().values(), student, self.options.share)
        teacher.take(dict(zip(source, averaged, strict=True)))
        restored = {name: own[name] for name in source if name.endswith(("weight", "bias"))}
        starts = (source[name] for name in restored)
        draws = ctx.stream("restore")
        uniforms = (draws.uniform_like(parameter) for parameter in restored.values())
        _write(restored, stochastic_restore(restored.values(), starts, uniforms, self.options.rate))

    def predict(self, net: Net[Copies], images: Tensor, ctx: Context) -> Outputs:
        plain = teacher_output(net, images)
        if self.options.predict == "teacher":
            return plain
        return self._evaluated(plain, self._target(net, images, plain, ctx))

    def _evaluated(self, plain: Outputs, target: Outputs) -> Outputs:
        return plain if self.options.predict == "teacher" else {**plain, **target}

    def _target(self, net: Net[Copies], images: Tensor, plain: Outputs, ctx: Context) -> Outputs:
        """Return the target of each task in the loss, (B, K, H, W), from the teacher's outputs."""
        options, views = self.options, self.options.views
        seen = [output_on_view(net, images, scale, mirrored=mirrored) for scale, mirrored in views]
        flipped, target = [mirrored for _, mirrored in views], {}
        for task in self.bound.tasks:
            space: Space = options.averaged_space if task == "semseg" else "logits"
            averaged = average_views([outputs[task] for outputs in seen], flipped, space)
            target[task] = choose_target(
                ctx.batch["anchor"],
                plain[task],
                averaged,
                self.bound.threshold,
                options.decision,
            )
        return target


def _threshold(options: CoTTAOptions, statistics: Mapping[str, Tensor]) -> float | Tensor:
    if options.threshold != "auto":
        return options.threshold
    return statistics[options.decision] if statistics else math.nan


def _write(into: Mapping[str, Tensor], values: Iterable[Tensor]) -> None:
    for tensor, value in zip(into.values(), values, strict=True):
        tensor.copy_(value)
