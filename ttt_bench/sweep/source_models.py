"""Train source models alone, and score them on held-out source images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from ttt_bench.adapt.device import find_device
from ttt_bench.adapt.evaluate import evaluate
from ttt_bench.adapter import Norm
from ttt_bench.data.base import Dataset
from ttt_bench.data.batching import split_batches
from ttt_bench.metrics.base import Scoring, metrics_of
from ttt_bench.model.batchnorm import set_norm
from ttt_bench.results import store
from ttt_bench.sweep.cell import Cell
from ttt_bench.sweep.opened import OpenedPair, Split
from ttt_bench.sweep.plan import Sweep
from ttt_bench.sweep.settings import channels_of, scoring_of
from ttt_bench.sweep.source_data import remember_source
from ttt_bench.train.prior import position_prior, prior_predictor
from ttt_bench.train.trainer import Trainer
from ttt_bench.util.process import fixed_process
from ttt_bench.util.progress import Progress


def train_sources(sweep: Sweep, progress: Progress) -> list[dict[str, Any]]:
    """Train every source model of a sweep; return one row per model and task.

    In a row, `prior` is the score of the position prior (the mean of the training labels at every
    pixel), and `ratio` is the model's score divided by it.

    Args:
        sweep: the cells whose source models are trained.
        progress: shows long work.

    Raises:
        BenchError: training diverged, or data are missing or damaged.
    """
    with fixed_process(deterministic=sweep.request.deterministic):
        return _train_sources(sweep, progress)


def _train_sources(sweep: Sweep, progress: Progress) -> list[dict[str, Any]]:
    device = find_device(sweep.request.device, deterministic=sweep.request.deterministic)
    store.check_writable(sweep.request.results)
    trainer = Trainer(
        folder=sweep.checkpoints,
        device=device,
        progress=progress,
        train_devices=sweep.request.train_devices,
    )
    training = _SourceTraining(sweep=sweep, trainer=trainer, progress=progress)
    models: dict[str, Cell] = {}  # the first cell of each model
    for cell in sweep.cells:
        if cell.reason is None:
            models.setdefault(cell.chain[-1].key, cell)
    return [row for cell in models.values() for row in training.rows(cell)]


@dataclass(kw_only=True)
class _SourceTraining:
    """The source models of a sweep, and the priors that they are compared with."""

    sweep: Sweep
    trainer: Trainer
    progress: Progress
    _priors: dict[tuple[str, tuple[str, ...]], dict[str, float]] = field(
        default_factory=dict, init=False
    )

    @property
    def device(self) -> torch.device:
        return self.trainer.device

    def rows(self, cell: Cell) -> list[dict[str, Any]]:
        """Train or load the source model of a cell; return one row per task."""
        opened = cell.opened
        held_out = self._held_out(opened)
        remember_source(opened, self.trainer.folder, self.progress.notice)
        for dataset in (opened.source_data, held_out):
            dataset.prepare(self.progress)
        scores = self._scores(cell, held_out)
        priors = self._prior_scores(opened, held_out)
        return [
            {
                "source": opened.pair.source.name,
                "model": cell.chain[-1].name,
                "seed": cell.seed,
                "task": task,
                "metric": metrics_of(task).primary.name,
                "score": scores[task],
                "prior": priors[task],
                "ratio": scores[task] / priors[task] if priors[task] else None,
                "checkpoint": cell.chain[-1].key,
            }
            for task in cell.spec.tasks
        ]

    def _held_out(self, opened: OpenedPair) -> Dataset:
        split = Split(
            domain=opened.pair.source,
            name="val",
            role="source",
            preset=opened.preset,
            labels=opened.labels,
            variant=opened.variant,
        )
        return split.open(self.sweep.request.data_root, self.progress)

    def _scores(self, cell: Cell, held_out: Dataset) -> dict[str, float]:
        """Return task -> score of the cell's source model."""
        opened = cell.opened
        net = self.trainer.source_model(
            cell.spec, cell.settings.adapter, opened.source_data, opened.preset.data.workers
        ).eval()
        set_norm(net.model, Norm.RUNNING)
        return evaluate(
            net.model,
            held_out,
            batches=split_batches(len(held_out), opened.preset.batch),
            tasks=tuple(cell.spec.tasks),
            scoring=scoring_of(opened.pair.source),
            device=self.device,
        ).primary_scores(0)

    def _prior_scores(self, opened: OpenedPair, held_out: Dataset) -> dict[str, float]:
        """Return task -> score of the position prior; computed once per source data and tasks."""
        key = (opened.source_data.fingerprint, opened.tasks)
        if key not in self._priors:
            means = position_prior(
                opened.source_data,
                channels_of(opened),
                opened.preset.training.batch,
                self.progress,
            )
            self._priors[key] = evaluate(
                prior_predictor(means, self.device),
                held_out,
                batches=split_batches(len(held_out), opened.preset.batch),
                tasks=opened.tasks,
                # the prior consists of targets, so no output transform applies
                scoring=Scoring(edge_sigmoid=False, depth_nonnegative=False),
                device=self.device,
            ).primary_scores(0)
        return self._priors[key]
