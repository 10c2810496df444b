"""Training source models alone, and what they score on held-out source images."""

from __future__ import annotations

from typing import Any

from ttt_bench.adapt.evaluate import evaluate
from ttt_bench.adapter import Norm
from ttt_bench.data.batching import split_batches
from ttt_bench.metrics.base import Scoring, metrics_of
from ttt_bench.model.batchnorm import set_norm
from ttt_bench.sweep.cell import Cell
from ttt_bench.sweep.opened import open_split
from ttt_bench.sweep.plan import Sweep
from ttt_bench.sweep.runner import Runner
from ttt_bench.train.chain import training_chain
from ttt_bench.train.changed_data import note
from ttt_bench.train.prior import position_prior, prior_predictor
from ttt_bench.util.progress import Progress

Priors = dict[tuple[str, tuple[str, ...]], dict[str, float]]
"""Of source data (their fingerprint) and tasks: what the per-pixel mean of the training labels
scores.
"""


def train_sources(plan: Sweep, progress: Progress) -> list[dict[str, Any]]:
    """Train every source model of a plan; one record a model and task.

    `prior` is the score of the per-pixel mean of the training labels, `ratio` the model's score
    over it.

    Raises:
        BenchError: training diverged, or data are missing or damaged.
    """
    runner = Runner(plan, progress)
    records: list[dict[str, Any]] = []
    priors: Priors = {}
    seen: set[str] = set()
    for cell in plan.cells:
        adapter = cell.settings.adapter
        key = training_chain(cell.work.source_spec(cell.seed, adapter), adapter)[-1].key
        if cell.reason is None and key not in seen:
            seen.add(key)
            records += _train_one(runner, cell, key, priors, progress)
    return records


def _train_one(
    runner: Runner, cell: Cell, key: str, known_priors: Priors, progress: Progress
) -> list[dict[str, Any]]:
    work, adapter = cell.work, cell.settings.adapter
    spec, source = work.source_spec(cell.seed, adapter), work.pair.source
    held_out = open_split(
        source, "val", "source", work.preset, runner.request, progress, work.labels
    )
    note(runner.trainer.folder, work)
    for dataset in (work.source, held_out):
        dataset.prepare(progress)
    net = runner.trainer.source_model(spec, adapter, work.source, work.preset.data.workers).eval()
    set_norm(net.model, Norm.RUNNING)
    batches = split_batches(len(held_out), work.preset.batch)
    own = Scoring(edge_sigmoid=source.edge_sigmoid, depth_nonnegative=source.depth_nonnegative)
    # the prior is made of targets already, so nothing has to be transformed
    plain = Scoring(edge_sigmoid=False, depth_nonnegative=False)
    scores = evaluate(
        net.model,
        held_out,
        batches=batches,
        tasks=tuple(spec.tasks),
        scoring=own,
        device=runner.device,
    )
    what = (work.source.fingerprint, work.tasks)
    if what not in known_priors:
        means = position_prior(work.source, work.channels(), work.preset.training.batch, progress)
        prior = prior_predictor(means, runner.device)
        known_priors[what] = evaluate(
            prior, held_out, batches=batches, tasks=work.tasks, scoring=plain, device=runner.device
        )
    priors = known_priors[what]
    model = training_chain(spec, adapter)[-1].name
    return [
        {
            "source": source.name,
            "model": model,
            "seed": cell.seed,
            "task": task,
            "metric": metrics_of(task).primary.name,
            "score": scores[task],
            "prior": priors[task],
            "ratio": scores[task] / priors[task] if priors[task] else None,
            "checkpoint": key,
        }
        for task in spec.tasks
    ]
