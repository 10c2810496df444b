"""The options of CoTTA."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ttt_bench.adapter import Options, option
from ttt_bench.methods._cotta_target import Decision, Kind, Space

Scale = Annotated[float, Field(gt=0, le=4)]


class CoTTAOptions(Options):
    """Options of `CoTTA`."""

    kind: Kind = option(
        "hard",
        "loss: hard (the target's most likely class), soft (cross-entropy), or symmetric (half of "
        "it reversed)",
        citation="authors' code: segmentation; CIFAR; ImageNet",
    )
    decision: Decision = option(
        "pixel",
        "where the average replaces the teacher's output: at every unsure pixel, or for a whole "
        "unsure batch",
        citation="authors' code: segmentation; CIFAR and ImageNet",
    )
    space: Literal["auto", "logits", "probabilities"] = option(
        "auto",
        "what is averaged over views: logits, probabilities, or auto (probabilities with the hard "
        "loss, else logits)",
        citation="authors' code: probabilities for segmentation, else logits",
    )
    threshold: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = option(
        "auto",
        "confidence of the source model from which the teacher's output is not averaged; auto: the "
        "5 % quantile on the source, minus 0.05",
        citation="an author's answer (issue 16 of the code); authors' segmentation code: 0.69",
    )
    stat_images: int = option(
        512,
        "largest number of source images for the threshold auto",
        citation="this project",
        ge=2,
    )
    scales: Annotated[tuple[Scale, ...], Field(min_length=1)] = option(
        (0.75, 1.0, 1.25),
        "sizes of the views, relative to the image",
        citation="this project; authors' segmentation code: 0.5 to 2",
    )
    flip: bool = option(
        default=True,
        description="whether each size has a mirrored view, too",
        citation="authors' segmentation code",
    )
    share: float = option(
        0.999, "weight of the teacher in its average", citation="the paper", ge=0, le=1
    )
    rate: float = option(
        0.01,
        "probability that an element of a weight is restored to the source's at a step",
        citation="the paper; authors' ImageNet code: 0.001",
        ge=0,
        le=1,
    )
    norm_adapt: Literal["batch", "running"] = option(
        "batch",
        "normalisation of all three networks: by the batch, or by the source's statistics",
        citation="authors' code: batch; segmentation: running",
        shapes_source=True,
    )
    predict: Literal["teacher", "target"] = option(
        "teacher",
        "what is evaluated: the teacher's plain output, or the student's target",
        citation="this project; authors' code: target",
    )
    tasks: Literal["semseg", "all"] = option(
        "semseg",
        "tasks in the loss: semseg, or all (the others by squared differences)",
        citation="this project: the authors' networks have one task",
    )

    @property
    def averaged_space(self) -> Space:
        """What is averaged over the views of the segmentation."""
        if self.space != "auto":
            return self.space
        return "probabilities" if self.kind == "hard" else "logits"

    @property
    def views(self) -> list[tuple[float, bool]]:
        """The views: size relative to the image, and whether it is mirrored."""
        sides = (True, False) if self.flip else (False,)
        return [(scale, mirrored) for scale in self.scales for mirrored in sides]
