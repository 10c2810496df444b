"""The schema of a results folder: its files, columns, versions and states.

A results folder has one folder per cell, `cells/<pair>/<method>-<hash>/` (`+` replaces the colon of
the pair):

    manifest.json       state, reason, the complete configuration and provenance
    rows.parquet        one tidy row per number (`ROW_COLUMNS`)
    statistics.parquet  sufficient statistics of each image (`STATISTICS_COLUMNS`)
    source.parquet      the same statistics of the method's own source model before adapting, step 0
                        only; missing if the method starts from Base's source model
    totals.parquet      counts and sums over all images (`TOTALS_COLUMNS`)
    signals.parquet     what each step shows without labels (`SIGNAL_COLUMNS`)
    losses.parquet      the method's losses (`LOSS_COLUMNS`)
    examples.npz        embedded domains only: a few images with truth and predictions
    attempts.json       everything that changes from run to run: `finished`, and for every attempt
                        its times, host and state

A cell without numbers (`diverged`, `failed`, `not_applicable`) has only its manifest, with the
reason, and its attempts. Rows and statistics of two runs of one configuration are equal.
"""

from __future__ import annotations

from ttt_bench.metrics.base import joined_words, metrics_of
from ttt_bench.protocols import PROTOCOLS
from ttt_bench.tasks import TASKS

SCHEMA_VERSION = 3
"""The version that is written.

Version 2 added the metrics that are not primary, the column `class` and the totals. Version 3 added
the signals and the statistics of a method's own source model.
"""
READABLE_VERSIONS = (1, 2, SCHEMA_VERSION)

ROW_COLUMNS = {
    "pair": "source:target, the target with its shifts",
    "method": "the method's name",
    "control": "'none', or the control under which the method ran",
    "hparams": "the settings that the method used: paper, original or tuned",
    "settings": "what was set in addition to preset and hparams, 'key=value' joined by '; '; may "
    "be empty",
    "preset": "smoke, quick or paper",
    "protocol": ", ".join(PROTOCOLS),
    "data_variant": "corrected or official",
    "seed": "seed of source training and adaptation",
    "steps": "adaptation steps of the cell",
    "step": "adaptation step, 0 (before adapting) to `steps`",
    "task": ", ".join(TASKS),
    "metric": "a metric of the task (`ttt_bench.metrics`)",
    "class": "the semantic class of the score, empty for a score of all classes",
    "value": "the score, finite",
    "n": "number of images scored",
    "config": "hash of the cell's configuration",
    "schema_version": "version of this table",
}
"""Columns of `rows.parquet`: name -> meaning."""


def _tasks_with_totals() -> str:
    """Name the tasks that have totals, with the condition if there is one."""
    conditions = {task: metrics_of(task).set_sums_if for task in TASKS if metrics_of(task).set_sums}
    return ", ".join(
        f"{task} if {condition}" if condition else task for task, condition in conditions.items()
    )


STATISTICS_COLUMNS = {
    "step": "adaptation step",
    "batch": "number of the evaluation batch",
    "image": "position in the target's stream; in file order the index of the image",
    "task": "the task",
    "values": "float64 list. "
    + joined_words({task: metrics_of(task).image_sums for task in TASKS}),
}
"""Columns of `statistics.parquet` and `source.parquet`: name -> meaning."""

TOTALS_COLUMNS = {
    "step": "adaptation step",
    "task": _tasks_with_totals(),
    "values": "float64 list, over all images. "
    + joined_words(
        {task: metrics_of(task).set_sums for task in TASKS if metrics_of(task).set_sums}
    ),
}
"""Columns of `totals.parquet`: name -> meaning."""

CHANGE, AGREEMENT = "change", "agreement"
SIGNALS = {
    CHANGE: "difference between the predictions of this step and of the step before; none at 0",
    AGREEMENT: "1 minus the difference between the predictions of the images and those of their "
    "mirror images, mirrored back (`--agreement` only)",
}
"""Signals that need no labels: name -> meaning.

A difference has no unit and is the mean over pixels and images of a batch. semseg and human_parts:
total variation between class probabilities, in [0, 1]. normals: angle in units of 90 degrees, in
[0, 2]. depth, edge and saliency: root mean squared difference after the scoring transform, divided
for each image by sqrt(var p + var q + (mean p - mean q)^2), in [0, sqrt 2]. Predictions of one task
that are equal have the difference 0, unrelated ones about 1.
"""

SIGNAL_COLUMNS = {
    "step": "adaptation step",
    "batch": "number of the batch adapted on",
    "task": "the task",
    "signal": joined_words(SIGNALS),
    "value": "its value, finite",
}
"""Columns of `signals.parquet`: name -> meaning."""

LOSS_COLUMNS = {
    "batch": "number of the batch adapted on",
    "step": "updates made before this loss was computed, 0 to `steps` - 1: the loss of step k "
    "belongs to the weights whose scores are those of step k, and update k + 1 descends it",
    "term": "the loss's name; an update descends the sum of the terms",
    "value": "its value",
}
"""Columns of `losses.parquet`: name -> meaning."""

STATES = ("done", "diverged", "failed", "not_applicable")
"""How a cell can end; the last three have a reason."""
FINISHED = ("done", "diverged", "not_applicable")
"""States of cells that are not computed again; failed cells are."""
