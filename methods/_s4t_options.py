"""Options of S4T, and which of them fit together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from ttt_bench.adapter import EmaOptions, option
from ttt_bench.tasks import TASKS


def kept_tokens(tokens: int, mask_ratio: float) -> int:
    """How many of `tokens` stay visible: int(L (1 - r)), the floor of a float as in the authors'
    code.
    """
    return int(tokens * (1 - mask_ratio))


Depth = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)] | Literal["official"]
OFFICIAL = "official: 0.01 where fixed weights combine the tasks, 1 on Taskonomy, as in the authors' configurations"


class S4TOptions(EmaOptions):
    """Options of `S4T`."""

    projection: Literal["task", "shared", "none"] = option(
        "task",
        "what the synchronizer reads: a latent of each task; one for all, as wide as those "
        "together, without auxiliary heads; the fused features themselves (slow: image by image, "
        "at 1 GB each, and again for the gradient)",
        citation="S4T; shared and none: TR-TTT, table 3",
        shapes_source=True,
    )
    target: Literal["tasks", "image"] = option(
        "tasks",
        "what the synchronizer predicts: every task's output, or the normalised image",
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
        "what is seen of each task: the same patches of all; patches chosen for each; patches that "
        "no other shows; all or nothing",
        citation="S4T; the others: TR-TTT, table 4 and figure 4",
        shapes_source=True,
    )
    drop: bool = option(
        True,
        "with masking=same: leave hidden tokens out of the encoder instead of setting the latents "
        "there to 0, which is all that other maskings can do",
        citation="authors' code; false: this project, to compare maskings on equal terms",
        shapes_source=True,
    )
    hidden_tasks: int | None = option(
        None,
        "with masking=tasks: how many are hidden, at most all but one; by default mask_ratio of "
        "them, rounded",
        citation="this project",
        shapes_source=True,
        ge=1,
    )
    tasks: str = option(
        "all",
        'tasks of the network: all of the pair, or "single:NAME" for one alone',
        citation="S4T; single: its table 5",
        shapes_source=True,
    )
    lambda_tp: Weight = option(
        1.0,
        f"weight of the projection's losses at source; {OFFICIAL}",
        citation="S4T",
        shapes_source=True,
    )
    lambda_tbs: Weight = option(
        1.0,
        f"weight of the synchronizer's losses at source; {OFFICIAL}",
        citation="S4T",
        shapes_source=True,
    )
    scale: float = option(0.01, "factor of the target loss", citation="authors' code", gt=0)
    weight_power: Literal[0, 1, 2] = option(
        2,
        "how often the fixed task weights multiply the target loss",
        citation="authors' code weights twice; the paper's equation shows no weights (0)",
    )
    channel_order: Literal["by_name", "official"] = option(
        "by_name",
        "how the synchronizer's outputs meet the tasks of the target; official: by position, in "
        "the source's order of tasks and in the target's, which differ where one of them is "
        "Taskonomy",
        citation="this project; official: authors' code",
    )
    weighting: Literal["auto", "fixed", "uncertainty"] = option(
        "auto",
        "how the target loss weights the tasks; auto: as the target's recipe does",
        citation="authors' code: trained uncertainties on Taskonomy, fixed weights elsewhere",
    )
    latent: int = option(
        64, "channels of a task's latent", citation="authors' code", shapes_source=True, ge=1
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
        "side in pixels of the square that the latents are resized to, whatever the image's size "
        "and aspect",
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
        """Patches along a side."""
        return self.R // self.patch

    @property
    def tokens(self) -> int:
        """Patches of an image."""
        return self.grid**2

    @property
    def single(self) -> str | None:
        """The one task of a single-task network."""
        return None if self.tasks == "all" else self.tasks.removeprefix("single:")

    @property
    def drops(self) -> bool:
        """Whether hidden tokens are left out of the encoder."""
        return self.masking == "same" and self.drop and self.mask_ratio > 0

    def visible(self, tasks: int) -> int:
        """How many patches of each task are visible; under masking=tasks, how many tasks."""
        if self.masking == "tasks":
            return tasks - (
                self.hidden_tasks or min(max(round(self.mask_ratio * tasks), 1), tasks - 1)
            )
        kept = kept_tokens(self.tokens, self.mask_ratio)
        return min(kept, self.tokens // tasks) if self.masking == "disjoint" else kept

    def noise_shape(self, tasks: int) -> tuple[int, int]:
        """Of the numbers that decide what is visible of an image: (1 or tasks, patches or 1)."""
        own_patches = self.tokens if self.masking != "tasks" else 1
        return (tasks if self.masking in ("random", "tasks") else 1), own_patches

    @field_validator("tasks")
    @classmethod
    def _all_or_one(cls, value: str) -> str:
        if value not in ("all", *(f"single:{task}" for task in TASKS)):
            raise ValueError(
                f'take "all", or "single:NAME" with exactly one task of {", ".join(TASKS)}'
            )
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        for problem in self._problems():
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        """What does not fit together, with what is allowed."""
        if self.R % self.patch or self.grid < 2:
            yield (
                f"s4t.R = {self.R} must be a multiple of s4t.patch = {self.patch} and at least "
                f"twice it (such as {2 * self.patch} or {4 * self.patch})"
            )
        if self.masking != "tasks" and kept_tokens(self.tokens, self.mask_ratio) < 1:
            yield (
                f"s4t.mask_ratio = {self.mask_ratio} keeps none of the {self.tokens} patches; "
                f"int({self.tokens} * (1 - mask_ratio)) must be at least 1: lower it, or take a "
                "smaller s4t.patch"
            )
        if self.embed % 4 or self.embed % self.heads:
            yield (
                f"s4t.embed = {self.embed} must be divisible by 4 (position embedding) and by "
                f"s4t.heads = {self.heads}"
            )
        if self.masking != "same" and self.projection != "task":
            yield (
                f"s4t.masking={self.masking} hides tasks one by one, whose latents only "
                "s4t.projection=task makes: take that or s4t.masking=same"
            )
        if self.masking != "same" and not self.drop:
            yield f"s4t.drop is a choice of s4t.masking=same; with s4t.masking={self.masking} leave it true"
        if self.masking in ("disjoint", "tasks") and not self.mask_ratio:
            yield (
                f"s4t.masking={self.masking} always hides something and s4t.mask_ratio=0 nothing: "
                "take a ratio above 0 or s4t.masking=same"
            )
        if self.hidden_tasks is not None and self.masking != "tasks":
            yield f"s4t.hidden_tasks needs s4t.masking=tasks; with s4t.masking={self.masking} leave it out"
        if self.target == "image" and (self.weighting != "auto" or self.channel_order != "by_name"):
            yield (
                "s4t.target=image has no task to weight or to match: leave s4t.weighting=auto and "
                "s4t.channel_order=by_name"
            )
        if self.single:
            yield from self.problems_with(1)

    def problems_with(self, tasks: int) -> Iterator[str]:
        """What does not fit a network of so many tasks, with what is allowed."""
        if not tasks:
            yield f"s4t.tasks={self.tasks} is none of the tasks at hand"
        elif self.masking in ("disjoint", "tasks") and tasks < 2:
            yield f"s4t.masking={self.masking} needs at least two tasks, there is one: take same or random"
        elif self.hidden_tasks is not None and self.hidden_tasks >= tasks:
            yield (
                f"s4t.hidden_tasks = {self.hidden_tasks} must leave one of {tasks} tasks visible: "
                f"take 1 to {tasks - 1}"
            )
