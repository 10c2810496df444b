"""All checks: functions that take a `Subject` and raise `ViolationError` with the problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ttt_bench.conformance.dependence_checks import labels, seeds
from ttt_bench.conformance.network_check import network
from ttt_bench.conformance.prediction_checks import batch_sizes, exact, shapes
from ttt_bench.conformance.process_check import process
from ttt_bench.conformance.source_checks import description, source_training
from ttt_bench.conformance.state_checks import moves, reset, resuming, updates
from ttt_bench.conformance.step_checks import descent, host, inputs, memory, passes
from ttt_bench.conformance.subject import Subject

CHECKS: dict[str, Callable[[Subject], None]] = {
    "description": description,
    "source training": source_training,
    "shapes": shapes,
    "batch sizes": batch_sizes,
    "moves": moves,
    "updates": updates,
    "network": network,
    "seeds": seeds,
    "reset": reset,
    "resuming": resuming,
    "labels": labels,
    "exact": exact,
    "passes": passes,
    "memory": memory,
    "inputs": inputs,
    "host": host,
    "descent": descent,
    "process": process,
}
"""Every check by its name, in the order in which they run."""

NEEDS: Mapping[str, str] = {"reset": "seeds", "resuming": "seeds", "labels": "seeds"}
"""Check -> the check without which it says nothing: it compares two runs."""
