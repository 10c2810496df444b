"""The affinity of tasks before and after adapting, and of a model fine-tuned on the target.

The fine-tuned model starts from Base's source model and is trained on the images that the protocol
evaluates, with their labels. All affinities use these labels as well, so this is an analysis and
not a comparison of methods.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ttt_bench.adapt.affinity import STEP, affinity
from ttt_bench.adapt.device import device_name, find_device
from ttt_bench.adapter import Norm
from ttt_bench.analysis.affinity import AFTER, BEFORE, KIND, REFERENCE
from ttt_bench.config.request import Request
from ttt_bench.designs.study import BASE, Study
from ttt_bench.errors import BenchError, DivergedError
from ttt_bench.losses import Recipe
from ttt_bench.model.batchnorm import set_norm
from ttt_bench.network import Batch, Net
from ttt_bench.protocols import Online
from ttt_bench.results import measurements, store
from ttt_bench.sweep.cell import Cell
from ttt_bench.sweep.measure import CellRun
from ttt_bench.sweep.plan import Sweep, plan_sweep
from ttt_bench.sweep.resolve import resolve
from ttt_bench.sweep.settings import normalisation_of, recipe_of
from ttt_bench.sweep.source_data import remember_source
from ttt_bench.train.chain import SourceSpec, TrainingStage, fine_tuning_stage
from ttt_bench.train.trainer import Trainer
from ttt_bench.util.hashing import hash_of, versions
from ttt_bench.util.process import fixed_process
from ttt_bench.util.progress import Progress

FORMAT = 1
"""Raised when a change of the harness invalidates earlier measurements."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """An affinity to measure.

    Attributes:
        cell: the method, seed and pair.
        base: Base's cell of the same seed and pair, whose source model is fine-tuned.
    """

    cell: Cell
    base: Cell

    @property
    def target(self) -> SourceSpec:
        """The settings of fine-tuning on the target."""
        opened = self.base.opened
        domain = opened.pair.target
        return replace(
            self.base.spec,
            domain=opened.pair.name,
            recipe=recipe_of(domain, opened.variant).name,
            fingerprint=opened.target_data.fingerprint,
            data_code=opened.target_code,
            normalisation=normalisation_of(domain, opened.variant),
        )

    @property
    def stage(self) -> TrainingStage:
        """The training stage of the fine-tuned model."""
        return fine_tuning_stage(self.target, self.base.parent)

    @property
    def name(self) -> str:
        """The name of the measurement."""
        return f"{self.cell.opened.pair.name}-{self.cell.method}-{self.cell.seed}"

    @property
    def key(self) -> str:
        """A hash of everything that the measurement depends on."""
        config = {k: v for k, v in self.cell.config.items() if k != "signals"}
        return hash_of([FORMAT, config, self.stage.key, STEP])


@dataclass(frozen=True, kw_only=True)
class AffinityPlan:
    """The affinities of a request."""

    sweep: Sweep
    planned: tuple[Planned, ...]

    @property
    def pending(self) -> tuple[Planned, ...]:
        """Return those that are not stored."""
        results = self.sweep.request.results
        return tuple(
            one
            for one in self.planned
            if not measurements.is_stored(results, KIND, name=one.name, key=one.key)
        )


def plan_affinity(request: Request, study: Study, progress: Progress) -> AffinityPlan:
    """Return the affinities of a study, one per pair, method and seed.

    Args:
        request: pairs, seeds and settings; its methods replace those of the study.
        study: the study, which measures affinity.
        progress: shows long work, and what the user should know about the plan.

    Raises:
        BenchError: the request cannot be run as it is.
    """
    if request.protocol != (Online.name,):
        raise BenchError(
            f"study {study.name}: the affinity after adapting is that after an online pass; "
            f"remove --protocol {','.join(request.protocol)}"
        )
    named = request.methods if request.methods != ("all",) else study.methods
    wanted = request.model_copy(update={"methods": (BASE, *named), "control": ("none",)})
    sweep = plan_sweep(resolve(wanted), progress)
    cells = [cell for cell in sweep.cells if cell.reason is None]
    bases = {(cell.opened.pair.name, cell.seed): cell for cell in cells if cell.method == BASE}
    planned = tuple(
        Planned(cell=cell, base=bases[cell.opened.pair.name, cell.seed]) for cell in cells
    )
    return AffinityPlan(sweep=sweep, planned=planned)


def measure_affinity(plan: AffinityPlan, progress: Progress) -> bool:
    """Measure and store the affinities that are not stored; return whether none diverged.

    Raises:
        BenchError: data are damaged, or the results folder cannot be written.
    """
    with fixed_process(deterministic=plan.sweep.request.deterministic):
        return _measure(plan, progress)


def _measure(plan: AffinityPlan, progress: Progress) -> bool:
    pending = plan.pending
    if not pending:
        return True
    store.check_writable(plan.sweep.request.results)
    for one in pending:
        remember_source(one.cell.opened, plan.sweep.checkpoints, progress.notice)
        one.cell.opened.source_data.prepare(progress)
        one.cell.opened.target_data.prepare(progress)
    run = _Run(plan=plan, progress=progress)
    stored = [run.store(one) for one in pending]
    return all(stored)


@dataclass(kw_only=True)
class _Run:
    """The measurement of affinities; each fine-tuned model is measured once."""

    plan: AffinityPlan
    progress: Progress
    trainer: Trainer = field(init=False)
    _fine_tuned: dict[str, Tensor] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.trainer = Trainer(
            folder=self.plan.sweep.checkpoints,
            device=find_device(
                self.plan.sweep.request.device,
                deterministic=self.plan.sweep.request.deterministic,
            ),
            progress=self.progress,
            train_devices=self.plan.sweep.request.train_devices,
        )

    def store(self, one: Planned) -> bool:
        """Measure one affinity and store it; return False with a notice if it diverged."""
        try:
            found = self._measured(one)
        except DivergedError as error:
            self.progress.notice(f"affinity of {one.cell.method}, seed {one.cell.seed}: {error}")
            return False
        rows = pd.DataFrame(_rows(found, tuple(one.cell.spec.tasks), tuple(one.base.spec.tasks)))
        measurements.write(
            self.plan.sweep.request.results,
            KIND,
            name=one.name,
            key=one.key,
            manifest=_manifest(one, device_name(self.trainer.device)),
            rows=rows,
            notice=self.progress.notice,
        )
        return True

    def _measured(self, one: Planned) -> dict[str, Tensor]:
        """Return the affinity at every point: (T, T), the tasks of the network."""
        run = self._cell_run(one.cell)
        net, statistics = run.prepared()
        set_norm(net.eval().model, Norm.RUNNING)
        before = self._affinity(net, one.cell, f"before {one.cell.method}")
        session = run.session(net, statistics)
        batches = one.cell.opened.batches
        title = f"adapting with {one.cell.method} on {one.cell.opened.pair.name}"
        with self.progress.bar(title, len(batches)) as bar:
            for number, indices in enumerate(batches):
                images = one.cell.opened.target_data.batch(indices).images.to(self.trainer.device)
                session.begin_batch(number, images)
                if session.moved:
                    for _ in session.trajectory(images, one.cell.settings.steps):
                        pass
                    session.end_batch(images)
                bar.advance()
        session.ctx.norms.set(session.plan.predict)
        after = self._affinity(net, one.cell, f"after {one.cell.method}")
        return {BEFORE: before, AFTER: after, REFERENCE: self._reference(one)}

    def _cell_run(self, cell: Cell) -> CellRun:
        return CellRun(
            cell=cell,
            results=self.plan.sweep.request.results,
            source_weights=self.plan.sweep.request.source_weights,
            trainer=self.trainer,
            progress=self.progress,
            save_seconds=self.trainer.save_seconds,
        )

    def _reference(self, one: Planned) -> Tensor:
        """Return the affinity of the fine-tuned model, (T, T) of Base's tasks."""
        stage, opened = one.stage, one.base.opened
        if stage.key not in self._fine_tuned:
            net, _ = self._cell_run(one.base).prepared()
            workers = opened.preset.data.workers
            self.trainer.train_further(net, stage, one.target, opened.target_data, workers)
            set_norm(net.eval().model, Norm.RUNNING)
            self._fine_tuned[stage.key] = self._affinity(net, one.base, "of the fine-tuned model")
        return self._fine_tuned[stage.key]

    def _affinity(self, net: Net, cell: Cell, words: str) -> Tensor:
        """Return the affinity of a network on the target, (T, T).

        Raises:
            DivergedError: it is not finite.
        """
        opened = cell.opened
        batches = opened.batches
        losses = partial(_losses, recipe_of(opened.pair.target, opened.variant))
        title = f"affinity {words}, seed {cell.seed}"
        shown = self._shown(cell, batches, title)
        found = affinity(net.model, shown, losses=losses, shared=_shared)
        if not torch.isfinite(found).all():
            raise DivergedError(
                f"the affinity {words} is not finite: the network diverged, or a task has no valid "
                "pixel",
                cell.settings.steps,
            )
        return found

    def _shown(self, cell: Cell, batches: Sequence[list[int]], title: str) -> Iterator[Batch]:
        with self.progress.bar(title, len(batches)) as bar:
            for indices in batches:
                batch = cell.opened.target_data.batch(indices)
                targets = {task: batch.targets[task] for task in cell.spec.tasks}
                yield Batch(batch.images, targets).to(self.trainer.device)
                bar.advance()


def _shared(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that all tasks share, those of the backbone."""
    return [own for name, own in model.named_parameters() if name.startswith("backbone.")]


def _losses(recipe: Recipe, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
    predictions = model(batch.images)
    return {
        task: recipe.losses[task](predictions[task], target)
        for task, target in batch.targets.items()
    }


def _rows(
    found: Mapping[str, Tensor], tasks: tuple[str, ...], base_tasks: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Return one row per point and pair of tasks; those that the method leaves out are omitted."""
    rows = []
    for point, matrix in found.items():
        names = base_tasks if point == REFERENCE else tasks
        for i, row in enumerate(matrix.tolist()):
            for j, value in enumerate(row):
                rows.append({"point": point, "of": names[i], "on": names[j], "affinity": value})
    return [row for row in rows if row["of"] in tasks and row["on"] in tasks]


def _manifest(one: Planned, device: str) -> dict[str, Any]:
    cell = one.cell
    return {
        "pair": cell.opened.pair.name,
        "method": cell.method,
        "seed": cell.seed,
        "preset": cell.opened.preset_name,
        "protocol": cell.protocol,
        "settings": cell.identity["settings"],
        "hparams": cell.identity["hparams"],
        "data_variant": cell.identity["data_variant"],
        "steps": cell.settings.steps,
        "tasks": list(cell.spec.tasks),
        "step": STEP,
        "images": len(cell.opened.target_data),
        "iterations": one.stage.iterations,
        "uses_target_labels": True,
        "configuration": {"statistics": cell.config["statistics"]},
        "provenance": {"checkpoints": [*(stage.key for stage in cell.chain), one.stage.key]},
        "device": device,
        "versions": versions(),
        "cell": cell.hash,
        "finished": datetime.now(UTC).isoformat(),
    }
