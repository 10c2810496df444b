"""RoTTA: robust test-time adaptation in dynamic scenarios.

Yuan et al., CVPR 2023. A student and a teacher begin as the source model. A bank holds N images b
with their ages a (in images) and is balanced over K classes. The scales and shifts of the student's
BatchNorm layers minimise

    L = mean over the bank of w(a / N) CE(teacher(b), student(strong(b))),     w(a) = 1 / (1 + e^a)

where CE is the mean over pixels of - sum_c softmax(t)_c log softmax(z)_c, and strong is a random
view. Then the teacher moves: teacher <- (1 - nu) teacher + nu student. The teacher predicts.

Both networks normalise the bank's images with robust statistics, r <- (1 - m) r + m x with x those
of the bank (`Norm.ROBUST`); each has its own, and the teacher predicts with its stored ones.

Each image of a batch comes to the bank with a class and an uncertainty u by the teacher. Images of
score lambda_t / (1 + e^(-a / N)) + lambda_u u / ln K leave the bank (`_rotta_bank.py`). In the
dense port the class has the largest mean probability over pixels, and u is a mean over pixels.

The whole bank goes through the network in one pass, since robust statistics couple its images: a
step needs the memory of a training step on N images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
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
    StepOut,
    Target,
    option,
)
from ttt_bench.methods._copies import Copies
from ttt_bench.methods._rotta_bank import insert, timeliness
from ttt_bench.methods._rotta_views import mirror_back, strong_view
from ttt_bench.methods.tipi import gaussian_kl
from ttt_bench.model import BATCH_NORMS, affine_parameters, robust_batch_norm, running_statistics
from ttt_bench.network import Net, Network

__all__ = [
    "RoTTA",
    "RoTTAModules",
    "RoTTAOptions",
    "class_shares",
    "image_summary",
    "insert",
    "robust_batch_norm",
    "teacher_student_loss",
    "teacher_update",
    "timeliness",
]


def class_shares(logits: Tensor) -> Tensor:
    """Return the mean probability of each class over pixels, (B, K, H, W) -> (B, K)."""
    return logits.softmax(dim=1).mean(dim=(2, 3))


def image_summary(logits: Tensor, usual: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the class (B,) int64 and the uncertainty (B,) in nats of each image.

    Args:
        logits: (B, K, H, W).
        usual: (K,), usual shares of the classes; the class is that whose share exceeds it most.
    """
    probabilities = logits.softmax(dim=1)
    uncertainties = -(probabilities * (probabilities + 1e-6).log()).sum(dim=1).mean(dim=(1, 2))
    return (class_shares(logits) - usual).argmax(dim=1), uncertainties


def teacher_student_loss(student: Tensor, teacher: Tensor, ages: Tensor, capacity: int) -> Tensor:
    """Return the mean over images of timeliness times cross-entropy (scalar).

    Args:
        student: logits (N, K, H, W).
        teacher: logits (N, K, H, W), without a gradient.
        ages: (N,), in images.
        capacity: largest number of images in the bank.
    """
    target = teacher.detach().softmax(dim=1)
    # (N, K, H, W) -> (N,)
    entropies = -(target * student.log_softmax(dim=1)).sum(dim=1).mean(dim=(1, 2))
    return (timeliness(ages.to(student.dtype), capacity) * entropies).mean()


def teacher_update(
    teacher: Sequence[Tensor], student: Sequence[Tensor], rate: float = 0.001
) -> list[Tensor]:
    """Return (1 - rate) teacher + rate student for every tensor."""
    return [(1 - rate) * old + rate * new for old, new in zip(teacher, student, strict=True)]


class RoTTAOptions(Options):
    """Options of `RoTTA`."""

    norm_momentum: float = option(
        0.05, "weight of the bank in the robust statistics", citation="authors' code", gt=0, le=1
    )
    bank: int = option(
        64, "largest number of images in the bank", citation="authors' code", ge=1, le=4096
    )
    lambda_t: float = option(
        1.0, "weight of the age in an image's score", citation="authors' code", ge=0
    )
    lambda_u: float = option(
        1.0, "weight of the uncertainty in an image's score", citation="authors' code", ge=0
    )
    rate: float = option(
        0.001, "weight of the student in the teacher, per step", citation="eq. 5", gt=0, le=1
    )
    category: Literal["dominant", "lift"] = option(
        "dominant",
        "class of an image: dominant (largest share of pixels), or lift (largest excess of the "
        "share over its average in the stream so far)",
        citation="this project: the authors' samples have one class",
    )
    tasks: Literal["semseg", "all"] = option(
        "semseg",
        "compared outputs: semseg, or all (adds half the squared distance of the others)",
        citation="this project: the authors' networks classify",
    )


class RoTTAModules(nn.Module):
    """The teacher, and the bank, whose images are registered in `bind`.

    Attributes:
        affine: the teacher's scales and shifts.
        statistics: the teacher's running statistics.
        count: number () of held images. They are the first ones of `images` (N, 3, H, W), `labels`,
            `uncertainties` and `ages` (N,).
        shares: sum (K,) of the classes' shares over the images of the stream.
        seen: number () of these images.
    """

    images: Tensor
    labels: Tensor
    uncertainties: Tensor
    ages: Tensor
    count: Tensor
    shares: Tensor
    seen: Tensor

    def __init__(self, model: Network, bank: int, classes: int) -> None:
        super().__init__()
        own = dict(model.named_parameters())
        self.affine = Copies({name: own[name] for name in affine_parameters(model, BATCH_NORMS)})
        self.statistics = Copies(running_statistics(model))
        for name in ("labels", "ages"):
            self.register_buffer(name, torch.zeros(bank, dtype=torch.int64))
        self.register_buffer("uncertainties", torch.zeros(bank))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("shares", torch.zeros(classes))
        self.register_buffer("seen", torch.zeros(()))


class RoTTA(Adapter[RoTTAOptions, RoTTAModules]):
    """Consistency of student and teacher on a balanced bank, under robust statistics."""

    name: ClassVar[str] = "rotta"
    Options: ClassVar[type[Options]] = RoTTAOptions
    # a bank that the check's first batch fills, so that the stated passes are those counted
    check_options: ClassVar[Mapping[str, int]] = {"bank": 1}
    original: ClassVar[Hparams] = Hparams(
        citation="authors' code, CIFAR-10-C and CIFAR-100-C: Adam, one step per 64 images, which "
        "are its batch and its bank",
        optimiser=Optimiser(optimiser="adam", lr=1e-3, beta1=0.9, weight_decay=0.0),
        steps=1,
    )
    card: ClassVar[Card] = Card(
        title="RoTTA: robust test-time adaptation in dynamic scenarios",
        paper="Yuan et al., Robust Test-Time Adaptation in Dynamic Scenarios, CVPR 2023",
        source_training="nothing; uses Base's source model",
        moves="scale and shift of every BatchNorm layer, of the student; the teacher follows",
        sizes="any",
        architecture="adds no parameters, only the teacher's values and the bank of images",
        quirks=(
            Quirk(
                "updates once per 64 images, which is its batch and its bank",
                "makes every step on the whole bank; while the bank fills, a step sees fewer "
                "images than the passes per step state",
            ),
            Quirk(
                "classifies: a sample has one class",
                "a sample is an image, and its class that of the largest share of pixels. If the "
                "same classes dominate all images, the bank does not fill and balance has little "
                "effect",
            ),
            Quirk("predicts a batch before its update", "that is the prediction of step 0"),
            Quirk(
                "views images by colours, blur, noise, a mirror and an affine map",
                "leaves the affine map out, and mirrors the student's outputs back",
            ),
        ),
    )

    def needs(self) -> Needs:
        return Needs(tasks=frozenset({"semseg"}), batchnorm=True)

    def build(self, model: Network, tasks: Mapping[str, int]) -> RoTTAModules:
        return RoTTAModules(model, self.options.bank, tasks["semseg"])

    def bind(
        self, net: Net[RoTTAModules], statistics: Mapping[str, Tensor], target: Target
    ) -> Plan:
        own, state = dict(net.model.named_parameters()), net.extra
        # `build` saw the initial weights; those of the source are loaded by now
        state.affine.take(own)
        state.statistics.take(running_statistics(net.model))
        empty = next(iter(own.values())).new_zeros(self.options.bank, 3, *target.size)
        state.register_buffer("images", empty)
        moves = affine_parameters(net.model, BATCH_NORMS, prefix="model.")
        return Plan(moves=moves, adapt=Norm.ROBUST, predict=Norm.RUNNING, exact=False)

    def passes(self, batch: int) -> Passes:
        return Passes(2 * self.options.bank, self.options.bank)

    def begin_batch(self, net: Net[RoTTAModules], images: Tensor, ctx: Context) -> None:
        logits, state = self.predict(net, images, ctx)["semseg"], net.extra
        state.shares.add_(class_shares(logits).sum(dim=0))
        state.seen.add_(len(images))
        usual = state.shares / state.seen if self.options.category == "lift" else 0.0
        count = self._fill(state, images, *image_summary(logits, usual))
        ctx.batch["images"] = state.images[:count].clone()
        ctx.batch["ages"] = state.ages[:count].clone()

    def _fill(
        self, state: RoTTAModules, images: Tensor, labels: Tensor, uncertainties: Tensor
    ) -> int:
        """Show images with their classes and uncertainties to the bank; return how many it holds.

        It decides on the host, which `begin_batch` may.
        """
        held = int(state.count)
        indices, ages = insert(
            state.labels[:held],
            state.uncertainties[:held],
            state.ages[:held],
            labels,
            uncertainties,
            capacity=self.options.bank,
            num_classes=len(state.shares),
            lambda_t=self.options.lambda_t,
            lambda_u=self.options.lambda_u,
        )
        count, indices = len(indices), indices.to(images.device)
        news = {"images": images, "labels": labels, "uncertainties": uncertainties}
        for name, new in news.items():
            memory = state.get_buffer(name)
            memory[:count] = torch.cat([memory[:held], new.to(memory.dtype)])[indices]
        state.ages[:count] = ages.to(images.device)
        state.count.fill_(count)
        return count

    def step(self, net: Net[RoTTAModules], images: Tensor, ctx: Context) -> StepOut:
        held, ages = ctx.batch["images"], ctx.batch["ages"]
        views, mirrored = strong_view(held, ctx.stream("view"))
        student = mirror_back(net.model(views), mirrored)
        with torch.no_grad():
            teacher = _teacher(net, held, ctx, Norm.ROBUST)
        semseg = student.pop("semseg")
        losses = {
            "semseg": teacher_student_loss(semseg, teacher["semseg"], ages, self.options.bank)
        }
        if self.options.tasks == "all":
            losses |= {
                task: gaussian_kl(out, teacher[task]).mean() for task, out in student.items()
            }
        return StepOut(losses, None)

    def after_step(self, net: Net[RoTTAModules], images: Tensor, ctx: Context) -> None:
        own, teacher = dict(net.model.named_parameters()), net.extra.affine.by_name()
        student = [own[name] for name in teacher]
        moved = teacher_update(list(teacher.values()), student, self.options.rate)
        net.extra.affine.take(dict(zip(teacher, moved, strict=True)))

    def predict(self, net: Net[RoTTAModules], images: Tensor, ctx: Context) -> dict[str, Tensor]:
        return _teacher(net, images, ctx, Norm.RUNNING)


def _teacher(net: Net[RoTTAModules], images: Tensor, ctx: Context, mode: Norm) -> dict[str, Tensor]:
    """Return the teacher's predictions under its own statistics."""
    with ctx.norm(mode, stats=net.extra.statistics.by_name()):
        found: dict[str, Tensor] = functional_call(net.model, net.extra.affine.by_name(), (images,))
    return found
