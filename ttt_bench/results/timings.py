"""The timings of a results folder as one frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ttt_bench.results.measurements import Measurement

KIND = "timings"
PREDICT, STEP, NSTEPS, RESET = "predict", "step", "steps", "reset"
PHASES = {
    PREDICT: "one prediction",
    STEP: "one adaptation step with its update",
    NSTEPS: "all adaptation steps, with a prediction at each of them",
    RESET: "restoring the source model",
}
"""Phases of a batch: name -> meaning."""

CONDITIONS = (
    *("device", "processor", "threads", "precision"),
    *("preset", "architecture", "backbone", "batch", "image"),
)
"""Entries of a manifest that timings in one table share."""


def groups(found: Sequence[Measurement]) -> dict[tuple[Any, ...], list[Measurement]]:
    """Return the timings with equal `CONDITIONS` together; of two of one method the last one."""
    together: dict[tuple[Any, ...], dict[str, Measurement]] = {}
    for one in found:
        shared = tuple(str(one.manifest.get(name)) for name in CONDITIONS)
        together.setdefault(shared, {})[one.manifest["method"]] = one
    return {shared: list(methods.values()) for shared, methods in together.items()}


def whole(one: Measurement) -> dict[str, float]:
    """Map each phase to its median seconds, with all of the method's steps.

    If fewer steps were measured, the time beyond one prediction is taken as proportional to the
    number of steps.
    """
    found = dict(zip(one.rows["phase"], one.rows["median"].tolist(), strict=True))
    measured, steps = measured_steps(one), int(one.manifest["steps"])
    if 0 < measured < steps:
        beyond = found[NSTEPS] - found[PREDICT]
        found[NSTEPS] = found[PREDICT] + beyond * steps / measured
    return found


def measured_steps(one: Measurement) -> int:
    """Return the number of steps of the phase `steps`; 0 if the method has none."""
    return int(one.rows.loc[one.rows["phase"] == NSTEPS, "steps"].sum())
