"""Options of S4T, and the checks that they fit together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from ttt_bench.adapter import EmaOptions, option
from ttt_bench.tasks import TASKS


def kept_tokens(tokens: int, mask_ratio: float) -> int:
    """Return the number of visible tokens, int(L (1 - r)), as in the authors' code."""
    return int(tokens * (1 - mask_ratio))


Depth = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)] | Literal["official"]
OFFICIAL = (
    "official: 0.01 if fixed weights combine the tasks, 1 on Taskonomy, as in the authors' "
    "configurations"
)


class S4TOptions(EmaOptions):
    """Options of `S4T`."""

    projection: Literal["task", "shared", "none"] = option(
        "task",
        "input of the synchronizer: task (a latent per task), shared (one latent for all tasks, of "
        "the same total width, without auxiliary heads), or none (the fused features; slow, "
        "because each image takes 1 GB and is computed again for the gradient)",
        citation="S4T; shared and none: TR-TTT, table 3",
        shapes_source=True,
    )
    target: Literal["tasks", "image"] = option(
        "tasks",
        "output of the synchronizer: tasks (every task's output) or image (the normalised image)",
        citation="S4T; image: TR-TTT, table 3",
        shapes_source=True,
    )
    mask_ratio: float = option(
        0.8,
        "share of the patches that the synchronizer does not see (with masking=tasks: of the "
        "tasks); 0: no masking",
        citation="S4T",
        shapes_source=True,
        ge=0,
        lt=1,
    )
    masking: Literal["same", "random", "disjoint", "tasks"] = option(
        "same",
        "visible patches of each task: same (the same for all tasks), random (chosen per task), "
        "disjoint (no patch of two tasks), or tasks (all or none)",
        citation="S4T; the others: TR-TTT, table 4 and figure 4",
        shapes_source=True,
    )
    drop: bool = option(
        default=True,
        description="whether hidden tokens are left out of the encoder (only with masking=same); "
        "false: the latents are set to 0 there, as other maskings do",
        citation="authors' code; false: this project, to compare maskings on equal terms",
        shapes_source=True,
    )
    hidden_tasks: int | None = option(
        None,
        "number of hidden tasks with masking=tasks, at most all but one; default: mask_ratio of "
        "them, rounded",
        citation="this project",
        shapes_source=True,
        ge=1,
    )
    tasks: str = option(
        "all",
        'tasks of the network: "all" tasks of the pair, or one task, "single:NAME"',
        citation="S4T; single: its table 5",
        shapes_source=True,
    )
    lambda_tp: Weight = option(
        1.0,
        f"weight of the projection's losses on the source; {OFFICIAL}",
        citation="S4T",
        shapes_source=True,
    )
    lambda_tbs: Weight = option(
        1.0,
        f"weight of the synchronizer's losses on the source; {OFFICIAL}",
        citation="S4T",
        shapes_source=True,
    )
    scale: float = option(0.01, "factor of the target loss", citation="authors' code", gt=0)
    weight_power: Literal[0, 1, 2] = option(
        2,
        "exponent of the fixed task weights in the target loss",
        citation="authors' code weights twice; the paper's equation shows no weights (0)",
    )
    channel_order: Literal["by_name", "official"] = option(
        "by_name",
        "how the synchronizer's outputs are matched to the target's tasks; official: by position, "
        "in the source's and in the target's order of tasks, which differ if one of them is "
        "Taskonomy",
        citation="this project; official: authors' code",
    )
    weighting: Literal["auto", "fixed", "uncertainty"] = option(
        "auto",
        "weights of the tasks in the target loss; auto: those of the target's recipe",
        citation="authors' code: trained uncertainties on Taskonomy, fixed weights elsewhere",
    )
    latent: int = option(
        64, "channels per task's latent", citation="authors' code", shapes_source=True, ge=1
    )
    embed: int = option(64, "width of a token", citation="authors' code", shapes_source=True, ge=4)
    depth: tuple[Depth, Depth] = option(
        (4, 2),
        "blocks of the synchronizer's encoder and decoder",
        citation="authors' code",
        shapes_source=True,
    )
    heads: int = option(4, "attention heads", citation="authors' code", shapes_source=True, ge=1)
    R: int = option(
        256,
        "side in pixels of the square to which latents of any size and aspect ratio are resized",
        citation="authors' code",
        shapes_source=True,
        ge=2,
    )
    patch: int = option(
        16,
        "side in pixels of a patch of that square",
        citation="authors' code",
        shapes_source=True,
        ge=1,
    )

    @property
    def grid(self) -> int:
        """Patches per side."""
        return self.R // self.patch

    @property
    def tokens(self) -> int:
        """Patches per image."""
        return self.grid**2

    @property
    def single(self) -> str | None:
        """Task of a single-task network, or None."""
        return None if self.tasks == "all" else self.tasks.removeprefix("single:")

    @property
    def drops(self) -> bool:
        """Whether hidden tokens are left out of the encoder."""
        return self.masking == "same" and self.drop and self.mask_ratio > 0

    def visible(self, tasks: int) -> int:
        """Return the number of visible patches per task; with masking=tasks, of visible tasks."""
        if self.masking == "tasks":
            rounded = min(max(round(self.mask_ratio * tasks), 1), tasks - 1)
            return tasks - (self.hidden_tasks or rounded)
        kept = kept_tokens(self.tokens, self.mask_ratio)
        return min(kept, self.tokens // tasks) if self.masking == "disjoint" else kept

    def noise_shape(self, tasks: int) -> tuple[int, int]:
        """Return the shape of an image's numbers that decide which latents are visible.

        It is (1 or tasks, tokens or 1).
        """
        rows = tasks if self.masking in ("random", "tasks") else 1
        return rows, 1 if self.masking == "tasks" else self.tokens

    @field_validator("tasks")
    @classmethod
    def _all_or_one(cls, value: str) -> str:
        if value not in ("all", *(f"single:{task}" for task in TASKS)):
            raise ValueError(
                f's4t.tasks = {value!r} must be "all", or "single:NAME" with exactly one task of '
                f"{', '.join(TASKS)}"
            )
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for problem in self._problems():
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        yield from self._problems_of_sizes()
        yield from self._problems_of_masking()
        if self.target == "image" and (self.weighting != "auto" or self.channel_order != "by_name"):
            yield (
                "s4t.target=image has no tasks to weight or to match; leave s4t.weighting=auto and "
                "s4t.channel_order=by_name"
            )
        if self.single:
            yield from self.problems_with(1)

    def _problems_of_sizes(self) -> Iterator[str]:
        if self.R % self.patch or self.grid < 2:
            yield (
                f"s4t.R = {self.R} must be a multiple of s4t.patch = {self.patch} and at least "
                f"twice it (such as {2 * self.patch} or {4 * self.patch})"
            )
        if self.masking != "tasks" and kept_tokens(self.tokens, self.mask_ratio) < 1:
            yield (
                f"s4t.mask_ratio = {self.mask_ratio} leaves 0 of {self.tokens} patches visible; "
                f"int({self.tokens} * (1 - mask_ratio)) must be at least 1: lower it, or use a "
                "smaller s4t.patch"
            )
        if self.embed % 4 or self.embed % self.heads:
            yield (
                f"s4t.embed = {self.embed} must be divisible by 4 (position embedding) and by "
                f"s4t.heads = {self.heads}"
            )

    def _problems_of_masking(self) -> Iterator[str]:
        masking = f"s4t.masking={self.masking}"
        if self.masking != "same" and self.projection != "task":
            yield (
                f"{masking} hides single tasks, which needs the latents of s4t.projection=task; "
                "use that or s4t.masking=same"
            )
        if self.masking != "same" and not self.drop:
            yield f"s4t.drop=false needs s4t.masking=same; with {masking} leave it true"
        if self.masking in ("disjoint", "tasks") and not self.mask_ratio:
            yield (
                f"{masking} hides something but s4t.mask_ratio=0 hides nothing; use a ratio above "
                "0 or s4t.masking=same"
            )
        if self.hidden_tasks is not None and self.masking != "tasks":
            yield f"s4t.hidden_tasks needs s4t.masking=tasks; with {masking} leave it out"

    def problems_with(self, tasks: int) -> Iterator[str]:
        """Yield the reasons why the options do not fit a network of `tasks` tasks."""
        if not tasks:
            yield f"s4t.tasks={self.tasks} names a task that is not available; use another task"
        elif self.masking in ("disjoint", "tasks") and tasks < 2:
            yield (
                f"s4t.masking={self.masking} needs at least two tasks, got one; use same or random"
            )
        elif self.hidden_tasks is not None and self.hidden_tasks >= tasks:
            yield (
                f"s4t.hidden_tasks = {self.hidden_tasks} must leave one of {tasks} tasks visible; "
                f"use 1 to {tasks - 1}"
            )
