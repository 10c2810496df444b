"""The run of one training stage: network, optimiser and iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.optimiser import make_optimiser, set_batch
from ttt_bench.adapt.returned import checked_losses
from ttt_bench.adapter import Norm, SourceStep
from ttt_bench.errors import DivergedError
from ttt_bench.losses import RECIPES
from ttt_bench.network import Batch, Net
from ttt_bench.train.chain import SourceSpec, TrainingStage
from ttt_bench.train.schedule import SCHEDULES
from ttt_bench.util import tensor_file
from ttt_bench.util.process import watched
from ttt_bench.util.seeding import derive_seed

CHECK_EVERY = 50
"""Iterations between two checks of the loss, which wait for the device."""


class StageRun:
    """A stage in training: the network, which it changes, the optimiser and the iteration.

    The constructor sets train or eval mode, gradients and BatchNorm modes of `net` as the stage's
    phase needs them.

    Attributes:
        iteration: number of updates so far.
        seconds: seconds of these updates, over all attempts; the trainer counts them.
    """

    def __init__(
        self, net: Net, stage: TrainingStage, spec: SourceSpec, device: torch.device
    ) -> None:
        self.net, self.stage, self.spec, self.device = net, stage, spec, device
        self.iteration, self.seconds = 0, 0.0
        self.ctx = HarnessContext(net, RECIPES[spec.recipe])
        self.uncertainties = nn.Parameter(torch.ones(len(spec.tasks), device=device))
        self._prepare_modules()
        parameters = {
            f"{name}.{own}": parameter
            for name, module in self._modules().items()
            for own, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        parameters["uncertainties"] = self.uncertainties
        self.optimiser = make_optimiser(parameters, stage.optimiser)
        set_batch(self.optimiser, stage.optimiser, spec.training.batch)
        self.first_rates = [group["lr"] for group in self.optimiser.param_groups]

    def _modules(self) -> dict[str, nn.Module]:
        """Return the modules that the stage may train, by their names in `Phase.trains`."""
        modules: dict[str, nn.Module] = {"model": self.net.model}
        if self.stage.adapter is not None and self.net.extra is not None:
            modules["extra"] = self.net.extra
        return modules

    def _prepare_modules(self) -> None:
        trains = self.stage.phase.trains
        for name, module in self._modules().items():
            module.train(name in trains).requires_grad_(name in trains)
        self.ctx.norms.set(Norm.EMA if "model" in trains else Norm.RUNNING)

    def iterate(self, batch: Batch) -> float | None:
        """Make one update; return the loss before it if it was checked at this iteration.

        Raises:
            DivergedError: the loss is not finite.
        """
        self._seed()
        self._set_rates()
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.objective(batch.to(self.device))
        loss.backward()
        self.optimiser.step()
        self.iteration += 1
        if self.iteration % CHECK_EVERY == 0 or self.iteration == self.stage.iterations:
            return self._finite(loss)
        return None

    def _seed(self) -> None:
        seed = (self.spec.seed, self.stage.first, self.iteration)
        torch.manual_seed(derive_seed(*seed, "global"))
        self.ctx.seed(*seed, self.stage.name)

    def _set_rates(self) -> None:
        schedule = SCHEDULES[self.stage.phase.schedule]
        for group, first in zip(self.optimiser.param_groups, self.first_rates, strict=True):
            group["lr"] = schedule(first, self.iteration, self.stage.iterations)

    def objective(self, batch: Batch) -> Tensor:
        """Return the joint loss: the recipe's sum of the task losses and the auxiliary terms."""
        stages, outputs = self.forward(batch)
        task_losses = self.task_losses(outputs, batch.targets)
        plain: list[Tensor] = []
        for name, term in self.auxiliary_terms(batch, stages, outputs).items():
            _, slash, task = name.rpartition("/")
            if slash and self.stage.phase.supervised:
                task_losses[task] = task_losses[task] + term
            else:
                plain.append(term)
        joint = [self.ctx.recipe.combine(task_losses, self.uncertainties)] if task_losses else []
        return torch.stack([*joint, *plain]).sum()

    def forward(self, batch: Batch) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        """Return the stages and the supervised outputs; both empty in an unsupervised phase.

        The first of the outputs are the network's predictions.
        """
        if not self.stage.phase.supervised:
            return [], []
        model = self.net.model
        stages = model.stages(batch.images)
        return stages, model.supervised_outputs(stages, batch.images.shape[-2:])

    def task_losses(
        self, outputs: Sequence[Mapping[str, Tensor]], targets: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return each task's loss, summed over the supervised outputs."""
        losses: dict[str, Tensor] = {}
        for predictions in outputs:
            for task, prediction in predictions.items():
                loss = self.ctx.task_loss(task, prediction, targets[task])
                losses[task] = losses[task] + loss if task in losses else loss
        return losses

    def auxiliary_terms(
        self, batch: Batch, stages: list[Tensor], outputs: Sequence[dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Return the method's auxiliary losses, given what `forward` returned.

        Raises:
            BenchError: the method's `source_loss` returns something else than scalar tensors.
        """
        if self.stage.adapter is None:
            return {}
        step = SourceStep(
            net=self.net,
            batch=batch,
            stages=stages,
            predictions=outputs[0] if outputs else {},
            phase=self.stage.phase,
            ctx=self.ctx,
        )
        adapter = self.stage.adapter
        with watched(f"`source_loss` of method {adapter.name}"):
            losses = adapter.source_loss(step)
        return checked_losses(losses, f"`source_loss` of {adapter.name}")

    def _finite(self, loss: Tensor) -> float:
        value = float(loss.detach())
        if value != value or abs(value) == float("inf"):
            raise DivergedError(
                f"source training of {self.stage.name} on {self.spec.domain} "
                f"(seed {self.spec.seed}) diverged at iteration {self.iteration}: the loss is "
                f"{value}; try a smaller learning rate (--set training.lr=...)",
                self.iteration,
            )
        return value

    def weights(self) -> dict[str, Tensor]:
        """Return what the stage's key identifies: the model, and the method's modules if any.

        A stage without a method is shared by all methods, whatever modules their networks have.
        """
        if self.stage.adapter is not None:
            return self.net.state_dict()
        return tensor_file.with_prefix("model.", self.net.model.state_dict())

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything that the next iteration depends on: tensors, and JSON values."""
        tensors = {
            **tensor_file.with_prefix("net.", self.weights()),
            **tensor_file.with_prefix("optimiser.", tensor_file.optimiser_tensors(self.optimiser)),
            "uncertainties": self.uncertainties,
        }
        values = {"iteration": self.iteration, "stage": self.stage.key, "seconds": self.seconds}
        return tensors, values

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Resume from what `state` returned."""
        saved = tensor_file.below_prefix("net.", tensors)
        self.net.load_state_dict({**self.net.state_dict(), **saved})
        tensor_file.restore_optimiser(
            self.optimiser, tensor_file.below_prefix("optimiser.", tensors)
        )
        with torch.no_grad():
            self.uncertainties.copy_(tensors["uncertainties"])
        self.iteration = int(values["iteration"])
        self.seconds = float(values.get("seconds", 0.0))  # earlier versions did not count them
