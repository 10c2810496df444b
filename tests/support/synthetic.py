"""Results folders with numbers that can be computed by hand, written by the store's code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ttt_bench.metrics.base import metrics_of
from ttt_bench.results import schema, store
from ttt_bench.results.load import load
from ttt_bench.stats.comparison import Comparison, comparisons

CLASSES = ("wall", "box", "lamp")
PAIR = "rooms:rooms-mix"
ALL_TASKS = ("semseg", "depth", "normals", "edge")
BASE = {"semseg": 20.0, "depth": 0.8, "normals": 40.0, "edge": 0.2}
IDENTITY = {
    "pair": PAIR,
    "control": "none",
    "hparams": "paper",
    "settings": "",
    "preset": "quick",
    "protocol": "episodic",
    "data_variant": "corrected",
    "seed": 0,
    "steps": 3,
}

Trajectories = dict[str, list[float]]


def constant(scores: dict[str, float], steps: int = 3) -> Trajectories:
    """Return trajectories with the same score at every step."""
    return {task: [value] * (steps + 1) for task, value in scores.items()}


def gains(*percent: float, base: dict[str, float] | None = None) -> Trajectories:
    """Return trajectories in which every task is better than Base by `percent[step]` percent.

    Delta_TTT at a step is then that number.
    """
    return {task: _gains(task, value, percent) for task, value in (base or BASE).items()}


def _gains(task: str, value: float, percent: Sequence[float]) -> list[float]:
    sign = -1 if metrics_of(task).lower_is_better else 1
    return [value * (1 + sign * gain / 100) for gain in percent]


def add_cell(
    root: Path,
    method: str,
    trajectories: Trajectories | None = None,
    *,
    config: str = "c0",
    state: str = "done",
    reason: str = "",
    finished: str = "2025-01-01T10:00:00+00:00",
    manifest: dict[str, Any] | None = None,
    statistics: pd.DataFrame | None = None,
    source: pd.DataFrame | None = None,
    examples: dict[str, np.ndarray] | None = None,
    images: int = 16,
    **identity: Any,
) -> Path:
    """Write one cell and return its folder.

    Args:
        trajectories: map task to its scores at steps 0, 1, ...; None for a cell without numbers.
        images: the number of target images that the rows name.
        identity: values of `IDENTITY` that differ.
    """
    own: dict[str, Any] = {**IDENTITY, "method": method, **identity}
    if trajectories is not None:
        own["steps"] = len(next(iter(trajectories.values()))) - 1
    whole = {
        "schema_version": schema.SCHEMA_VERSION,
        **own,
        "state": state,
        "reason": reason,
        "optimiser": {"optimiser": "sgd", "lr": 1e-3, "momentum": 0.0, "weight_decay": 1e-6},
        "scoring": {
            "depth": "one scale and shift a batch, metres",
            "edge": "one scale and shift a batch",
        },
        "notices": [],
        "classes": list(CLASSES),
        "source_model": "base",
        **(manifest or {}),
    }
    rows = None if trajectories is None else rows_of(own, trajectories, config, images)
    if rows is not None and statistics is None:
        statistics = statistics_frame()
    folder = store.cell_folder(root, own["pair"], method, config)
    store.write_cell(
        folder,
        store.CellFiles(
            manifest=whole,
            attempts={"finished": finished},
            rows=rows,
            statistics=statistics,
            source=source,
            examples=examples,
        ),
    )
    return folder


def rows_of(
    identity: dict[str, Any], trajectories: Trajectories, config: str, images: int = 16
) -> pd.DataFrame:
    """Return the rows of every metric.

    The second metric of a task has twice the value of the first one, the third three times, and so
    on. `iou` has one more in the second class than in the first, and two more in the third.
    """
    shared = {**identity, "n": images, "config": config, "schema_version": schema.SCHEMA_VERSION}
    records = []
    for task, values in trajectories.items():
        for step, value in enumerate(values):
            for scores in _scores(task, value):
                records.append({**shared, "step": step, "task": task, **scores})
    return pd.DataFrame(records)[list(schema.ROW_COLUMNS)]


def _scores(task: str, value: float) -> Iterator[dict[str, Any]]:
    """Yield metric, class and value of every score of a task at one step."""
    for place, metric in enumerate(metrics_of(task).metrics):
        for index, label in enumerate(CLASSES if metric.per_class else ("",)):
            score = (1 + place) * value + index
            yield {"metric": metric.name, "class": label, "value": score}


def statistics_frame() -> pd.DataFrame:
    """Return the statistics of two batches of one image each at step 0.

    semseg, 3 classes: 60 and 20 pixels of class 0, 10 and 10 of class 1, none of class 2. Depth:
    (1, 3) and (2, 2, 5). Edge: (0, 1) and (0, 0, 0). The predictions are wrong, which must not
    matter.
    """
    values: list[tuple[int, str, list[float]]] = [
        (0, "semseg", [30.0, 30.0, 0.0, 5.0, 3.0, 2.0, 0.0, 0.0, 0.0]),
        (1, "semseg", [0.0, 20.0, 0.0, 10.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        (0, "depth", sums([1, 3])),
        (1, "depth", sums([2, 2, 5])),
        (0, "edge", sums([0, 1])),
        (1, "edge", sums([0, 0, 0])),
        (0, "normals", [10.0, 400.0]),
        (1, "normals", [10.0, 400.0]),
    ]
    return pd.DataFrame(
        [{"step": 0, "batch": b, "image": b, "task": t, "values": v} for b, t, v in values]
    )


def sums(truth: list[float]) -> list[float]:
    """Return n, sum p, sum t, sum p^2, sum t^2, sum p t of a truth and arbitrary predictions."""
    t, p = np.array(truth), np.arange(len(truth), dtype=float)
    values = (len(t), p.sum(), t.sum(), (p * p).sum(), (t * t).sum(), (p * t).sum())
    return [float(value) for value in values]


def example_images(shift: float = 0.0, count: int = 2, size: int = 24) -> dict[str, np.ndarray]:
    """Return example images of a box on a slope, with predictions that are wrong by `shift`.

    The predictions of steps 0 and 3 are equal.
    """
    row, column = np.mgrid[0:size, 0:size] / size
    box = (np.abs(row - 0.5) < 0.2) & (np.abs(column - 0.5) < 0.25)
    depth = np.where(box, 1.0, 1.0 + 2 * row)
    edge = (
        np.abs(np.gradient(box.astype(float))[0]) + np.abs(np.gradient(box.astype(float))[1]) > 0
    ).astype(float)
    normals = np.stack([np.where(box, 0.0, 0.6), np.zeros_like(row), np.where(box, 1.0, -0.8)])
    image = (255 * np.stack([row, column, box * 0.8], axis=-1)).astype(np.uint8)
    labels = np.where(row < 0.1, 255, box.astype(int)).astype(np.uint8)
    rng = np.random.default_rng(0)
    noise = shift * rng.normal(size=row.shape)
    truth = {
        "semseg": labels,
        "depth": np.where(row > 0.9, 255, depth),
        "normals": normals,
        "edge": edge,
    }
    prediction = {
        "semseg": np.where(noise > shift, 2, box).astype(np.uint8),
        "depth": 0.1 * depth + 5 + 0.1 * noise,
        "normals": normals + noise,
        "edge": edge * 0.5 + 0.1 * np.abs(noise),
    }
    return {
        "indices": np.arange(count) * 7,
        "image": np.stack([image] * count),
        **_stacked("truth", truth, count),
        **_stacked("prediction", prediction, count, "_0"),
        **_stacked("prediction", prediction, count, "_3"),
    }


def _stacked(
    kind: str, images: dict[str, np.ndarray], count: int, step: str = ""
) -> dict[str, np.ndarray]:
    """Return each task's image repeated `count` times, under the names of the store."""
    types = {"semseg": np.uint8}
    return {
        f"{kind}_{task}{step}": np.stack([values] * count).astype(types.get(task, np.float16))
        for task, values in images.items()
    }


def build(root: Path) -> Path:
    """Write a results folder and return it.

    It has three seeds of base, norm and tent, s4t with and without a setting, a diverged cell, and
    cells that are not applicable. Delta_TTT by hand:

    - tent: oracle 10, 12, 14 (steps 2, 2, 1), fixed 8, 9, 4;
    - norm: 5 at every step;
    - s4t: oracle 20 at step 3, which is also the last, in seed 0 only;
    - s4t (mask_ratio=0.5): 1, 2 and 3 at steps 1, 2 and 3.
    """
    for seed in (0, 1, 2):
        _add_seed(root, seed)
    _add_s4t(root)
    for seed in (0, 1):
        why = "needs normals, which the target lacks"
        add_cell(root, "tipi", config=f"i{seed}", seed=seed, state="not_applicable", reason=why)
    return root


def _add_seed(root: Path, seed: int) -> None:
    """Add base, norm and tent of a seed; those of seed 0 have example images."""
    scale = {task: value * (1 + 0.01 * seed) for task, value in BASE.items()}
    notice = {"optimiser": None, "notices": ["one class of semseg never occurs in the target"]}
    tent = [(1, 6, 10, 8), (1, 7, 12, 9), (1, 14, 6, 4)][seed]
    for method, trajectories, shift, manifest in (
        ("base", constant(scale), 1.0, notice),
        ("norm", gains(5, 5, 5, 5, base=scale), 0.5, None),
        ("tent", gains(*tent, base=scale), 0.3, None),
    ):
        add_cell(
            root,
            method,
            trajectories,
            config=f"{method[0]}{seed}",
            seed=seed,
            manifest=manifest,
            examples=example_images(shift) if seed == 0 else None,
        )


def _add_s4t(root: Path) -> None:
    """Add s4t with its own source model, a diverged seed, and a variant."""
    scores = {task: values[0] for task, values in gains(8).items()}
    own = {"source_model": "s4t", "own_source_scores": scores}
    images = example_images(0.1)
    add_cell(root, "s4t", gains(4, 10, 15, 20), config="s0", manifest=own, examples=images)
    reason = "loss not finite at batch 2, step 3"
    add_cell(root, "s4t", config="s1", seed=1, state="diverged", reason=reason)
    variant = {"settings": "s4t.mask_ratio=0.5; steps=3", "config": "m0"}
    add_cell(root, "s4t", gains(0, 1, 2, 3), **variant)


def compared(root: Path) -> list[Comparison]:
    """Return the comparisons of a results folder."""
    loaded = load(root)
    return comparisons(loaded.cells, loaded.rows)
