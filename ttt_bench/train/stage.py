"""One stage of source training: network, optimiser, iteration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.optimiser import make_optimiser
from ttt_bench.adapter import Norm
from ttt_bench.errors import DivergedError
from ttt_bench.losses import RECIPES
from ttt_bench.network import Batch, Net
from ttt_bench.train.chain import SourceSpec, TrainingStage
from ttt_bench.train.schedule import SCHEDULES
from ttt_bench.util import tensor_file
from ttt_bench.util.progress import Bar
from ttt_bench.util.seeding import derive_seed

CHECK_EVERY = 50


class StageRun:
    """The state of one stretch: network, optimiser, iteration."""

    def __init__(
        self, net: Net, stretch: TrainingStage, job: SourceSpec, device: torch.device
    ) -> None:
        self.net, self.stretch, self.job, self.device = net, stretch, job, device
        self.iteration = 0
        self.ctx = HarnessContext(net, RECIPES[job.recipe])
        self.uncertainties = nn.Parameter(torch.ones(len(job.tasks), device=device))
        trained = {"model": net.model, "extra": net.extra if stretch.adapter else None}
        for name, module in trained.items():
            if module is not None:
                module.train(name in stretch.phase.trains).requires_grad_(
                    name in stretch.phase.trains
                )
        self.ctx.norms.set(Norm.EMA if "model" in stretch.phase.trains else Norm.RUNNING)
        parameters = [
            p
            for module in trained.values()
            if module is not None
            for p in module.parameters()
            if p.requires_grad
        ]
        self.optimiser = make_optimiser(
            [*parameters, self.uncertainties], stretch.optimiser, job.training.batch
        )
        self.first_rates = [group["lr"] for group in self.optimiser.param_groups]

    def iterate(self, batch: Batch, bar: Bar) -> None:
        """One update."""
        stretch, job = self.stretch, self.job
        seed = (job.seed, stretch.first, self.iteration)
        torch.manual_seed(derive_seed(*seed, "global"))
        self.ctx.seed(*seed, stretch.name)
        for group, first in zip(self.optimiser.param_groups, self.first_rates, strict=True):
            group["lr"] = SCHEDULES[stretch.phase.schedule](
                first, self.iteration, stretch.iterations
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.objective(batch.to(self.device))
        loss.backward()
        self.optimiser.step()
        self.iteration += 1
        note = ""
        if self.iteration % CHECK_EVERY == 0 or self.iteration == stretch.iterations:
            note = f"loss {self._finite(loss):.3f}"
        bar.advance(note=note)

    def objective(self, batch: Batch) -> Tensor:
        """The joint loss: the recipe's sum of the task losses, with the method's auxiliary
        terms.
        """
        supervised = self.stretch.phase.supervised
        stages = self.net.model.stages(batch.images) if supervised else []
        predictions = self.net.model.outputs(stages, batch.images.shape[-2:]) if supervised else {}
        task_losses = {
            t: self.ctx.task_loss(t, p, batch.targets[t]) for t, p in predictions.items()
        }
        plain: list[Tensor] = []
        if self.stretch.adapter is not None:
            terms = self.stretch.adapter.source_loss(
                self.net, batch, stages, predictions, self.stretch.phase, self.ctx
            )
            for name, term in terms.items():
                _, slash, task = name.rpartition("/")
                if slash and supervised:
                    task_losses[task] = task_losses[task] + term
                else:
                    plain.append(term)
        joint = [self.ctx.recipe.combine(task_losses, self.uncertainties)] if task_losses else []
        return torch.stack([*joint, *plain]).sum()

    def _finite(self, loss: Tensor) -> float:
        value = float(loss.detach())
        if value != value or abs(value) == float("inf"):
            raise DivergedError(
                f"source training of {self.stretch.name} on {self.job.domain} (seed {self.job.seed}) diverged at "
                f"iteration {self.iteration}: the loss is {value}; try a smaller rate (--set training.lr=...)",
                self.iteration,
            )
        return value

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything that the next iteration depends on."""
        state = tensor_file.with_prefix("net.", self.net.state_dict())
        state |= tensor_file.with_prefix(
            "optimiser.", tensor_file.optimiser_tensors(self.optimiser)
        )
        return state | {"uncertainties": self.uncertainties}, {"iteration": self.iteration}

    def restore(self, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Go on from where `state` was taken."""
        self.net.load_state_dict(tensor_file.below_prefix("net.", state))
        tensor_file.restore_optimiser(self.optimiser, tensor_file.below_prefix("optimiser.", state))
        with torch.no_grad():
            self.uncertainties.copy_(state["uncertainties"])
        self.iteration = int(about["iteration"])
