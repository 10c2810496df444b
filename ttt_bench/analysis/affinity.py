"""The gap between the affinities of a model and those of a model fine-tuned on the target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ttt_bench.results.measurements import Measurement
from ttt_bench.stats.comparison import method_rank
from ttt_bench.util.text import readable_settings

KIND = "affinity"
"""The folder of the measurements in a results folder."""
BEFORE, AFTER, REFERENCE = "before", "after", "fine-tuned"
"""The points at which an affinity is measured."""
CHOICES = ("pair", "preset", "hparams", "data_variant")
"""What the measurements of one section share."""


def groups(measured: Sequence[Measurement]) -> dict[tuple[str, ...], list[Measurement]]:
    """Map each combination of `CHOICES` to its measurements.

    Of several measurements of one label and seed, for example after a change of the method's code,
    the newest is kept.
    """
    found: dict[tuple[str, ...], dict[tuple[str, int], Measurement]] = {}
    for one in sorted(measured, key=lambda one: str(one.manifest["finished"])):
        choices = tuple(str(one.manifest[name]) for name in CHOICES)
        found.setdefault(choices, {})[label(one), int(one.manifest["seed"])] = one
    return {choices: list(own.values()) for choices, own in found.items()}


def label(one: Measurement) -> str:
    """Return the method, with the settings that were changed."""
    method, settings = str(one.manifest["method"]), readable_settings(str(one.manifest["settings"]))
    return f"{method} [{settings}]" if settings else method


def entries(measured: Sequence[Measurement]) -> pd.DataFrame:
    """Return every entry of every affinity matrix.

    Columns `point, of, on, affinity` of the stored rows, `label` and `seed`.
    """
    frames = [
        one.rows.assign(label=label(one), seed=one.manifest["seed"])
        for one in sorted(measured, key=lambda one: method_rank(str(one.manifest["method"])))
    ]
    return pd.concat(frames, ignore_index=True)


def gap(matrix: np.ndarray, reference: np.ndarray, *, diagonal: bool = False) -> float:
    """Return the mean absolute difference of two affinity matrices (T, T).

    Args:
        matrix: the affinity of a model.
        reference: the affinity of the fine-tuned model.
        diagonal: whether the entries of a task on itself count.

    Returns:
        The mean; NaN without entries, as for one task without the diagonal.
    """
    kept = np.ones(matrix.shape, bool) if diagonal else ~np.eye(len(matrix), dtype=bool)
    differences = np.abs(matrix - reference)[kept]
    return float(differences.mean()) if differences.size else float("nan")


def gaps(found: pd.DataFrame) -> pd.DataFrame:
    """Return the gaps: one row per label and seed.

    Args:
        found: as `entries` returns them.

    Returns:
        Columns `label, seed, before, after` without the diagonal and `before_all, after_all` with
        it.
    """
    rows = []
    for (name, seed), own in found.groupby(["label", "seed"], sort=False):
        matrices = {
            str(point): part.pivot(index="of", columns="on", values="affinity").to_numpy()
            for point, part in own.groupby("point")
        }
        row: dict[str, object] = {"label": name, "seed": seed}
        for point in (BEFORE, AFTER):
            row[point] = gap(matrices[point], matrices[REFERENCE])
            row[f"{point}_all"] = gap(matrices[point], matrices[REFERENCE], diagonal=True)
        rows.append(row)
    return pd.DataFrame(rows)
