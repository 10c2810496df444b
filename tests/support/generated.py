"""Results folders of any size with made numbers, written by the code that writes real ones.

PYTHONPATH=tests python -m support.generated FOLDER [CELLS]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from support.made_effects import PIXELS, Array, Effects, Label, Sizes, image_sums, labels
from support.paths import ROOT
from ttt_bench.adapt.record import Record
from ttt_bench.metrics.normals import ANGLE_BINS, BINS_PER_DEGREE
from ttt_bench.results import schema, store
from ttt_bench.results.method_names import PAPERS
from ttt_bench.util.hashing import hash_of

CELLS_OF_A_PAIR = 1000
"""With 50 seeds and all methods, 9 of the 11 with a frozen control."""


@dataclass(frozen=True)
class Experiment:
    """What all pairs of a folder share."""

    methods: tuple[str, ...]
    sizes: Sizes
    effects: Effects


def generate(
    folder: Path,
    *,
    pairs: Sequence[str] = ("made:shifted",),
    methods: Sequence[str] = PAPERS,
    seeds: int = 3,
    steps: int = 10,
    images: int = 16,
    batch: int = 8,
    classes: int = 7,
    effects: Effects | None = None,
    workers: int = 2,
) -> Path:
    """Write a results folder and return it.

    Each pair has every method in every seed, and the frozen control of every method but Base and
    norm. Equal arguments give equal numbers.

    Args:
        folder: the results folder.
        pairs: names of the pairs, which may be made up.
        methods: names of methods.
        seeds: number of seeds, from 0 on.
        steps: adaptation steps.
        images: target images.
        batch: images per batch.
        classes: semantic classes.
        effects: sizes of the effects; None for the defaults.
        workers: processes.
    """
    sizes = Sizes(seeds=seeds, steps=steps, images=images, batch=batch, classes=classes)
    experiment = Experiment(tuple(methods), sizes, effects or Effects())
    write = partial(_write_pair, folder, experiment)
    if workers > 1 and len(pairs) > 1:
        with ProcessPoolExecutor(workers) as pool:
            list(pool.map(write, range(len(pairs)), pairs))
    else:
        list(map(write, range(len(pairs)), pairs))
    return folder


def _write_pair(folder: Path, experiment: Experiment, number: int, pair: str) -> None:
    """Write the cells of a pair; its number seeds the draws."""
    shown, sizes = labels(experiment.methods), experiment.sizes
    sums = image_sums(np.random.default_rng(number), shown, sizes, experiment.effects)
    template = _template()
    for (place, label), seed in product(enumerate(shown), range(sizes.seeds)):
        # (labels, seeds, steps + 1, images, S) -> (images, steps + 1, S)
        own = {task: values[place, seed].transpose(1, 0, 2) for task, values in sums.items()}
        manifest = _manifest(template, pair, label, seed, sizes)
        name = store.cell_folder(folder, pair, label.method, manifest["config"])
        store.write_cell(name, _files(manifest, own, sizes))


def _files(manifest: dict[str, Any], sums: dict[str, Array], sizes: Sizes) -> store.CellFiles:
    record = Record(
        batches=sizes.batches,
        steps=sizes.steps,
        image_sums=sums,
        set_sums=_set_sums(sums),
        losses=[
            (batch, step, "loss", 1 / (1 + step))
            for batch in range(len(sizes.batches))
            for step in range(sizes.steps)
        ],
    )
    own = set(schema.ROW_COLUMNS)
    identity = {name: value for name, value in manifest.items() if name in own}
    return store.CellFiles(
        manifest=manifest,
        attempts={"attempts": [], "finished": "2025-01-01T10:00:00+00:00"},
        rows=record.rows(identity, manifest["classes"]),
        statistics=record.statistics_table(),
        totals=record.totals_table(),
        losses=record.losses_table(),
    )


def _set_sums(sums: dict[str, Array]) -> dict[str, Array]:
    """Return sums of the set with the right layout; their values have no meaning."""
    # mean angle at each step: (images, steps + 1, 2) -> (steps + 1, 1)
    angles = sums["normals"][..., 1].mean(axis=0)[:, None] / PIXELS
    edges = np.arange(ANGLE_BINS + 1) / BINS_PER_DEGREE
    counts = np.round(1e5 * -np.diff(np.exp(-edges / angles)))
    pixels = sums["depth"][..., 0].sum(axis=0)
    return {"normals": counts, "depth": np.stack([pixels, pixels / 5, pixels / 2], axis=-1)}


def _template() -> dict[str, Any]:
    """Return a real manifest without its digests."""
    path = next((ROOT / "results" / "example" / "cells").glob("*/tent-*/manifest.json"))
    found = json.loads(path.read_text(encoding="utf-8"))
    return {key: value for key, value in found.items() if key not in ("files", "digest")}


def _manifest(
    template: dict[str, Any], pair: str, label: Label, seed: int, sizes: Sizes
) -> dict[str, Any]:
    """Return a manifest of the size and structure of the template."""
    own: dict[str, Any] = {"pair": pair, **label._asdict(), "seed": seed, "steps": sizes.steps}
    configuration = {**template["configuration"], **own, "batch": sizes.batch}
    return {
        **template,
        **own,
        "configuration": configuration,
        "config": hash_of(configuration),
        "comparison": hash_of(pair),
        "schema_version": schema.SCHEMA_VERSION,
        "images": sizes.images,
        "classes": [f"class {index}" for index in range(sizes.classes)],
    }


if __name__ == "__main__":
    count = max(1, int(sys.argv[2]) // CELLS_OF_A_PAIR) if len(sys.argv) > 2 else 10
    generate(Path(sys.argv[1]), pairs=[f"made:pair{n}" for n in range(count)], seeds=50)
