"""What a plan says about its size and its time."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ttt_bench.adapt.device import device_name, find_device
from ttt_bench.results.timed_work import read_times
from ttt_bench.sweep.forecast.pending import pending_work
from ttt_bench.sweep.forecast.predict import Forecast, forecast
from ttt_bench.sweep.plan import Sweep
from ttt_bench.sweep.shared.states import cell_states
from ttt_bench.util.problems import attempt
from ttt_bench.util.store.address import shown
from ttt_bench.util.text import format_seconds, listed


@dataclass(frozen=True, kw_only=True)
class PlanSummary:
    """How much of a plan is done, and how long the rest takes.

    Attributes:
        states: hash of every cell -> its state.
        trainings: number of training stages of source models to compute.
        forecast: how long the pending work takes.
        results: the results folder, as messages call it.
    """

    states: Mapping[str, str]
    trainings: int
    forecast: Forecast
    results: str

    def seconds(self, cell: str) -> float | None:
        """Return the seconds of a pending cell by its hash, to a tenth; None if unknown."""
        found = self.forecast.seconds(cell)
        return None if found is None else round(found, 1)

    def sentence(self) -> str:
        """Return the summary in one line."""
        return "; ".join([self._cells(), *self._trainings(), *self._time()])

    def _cells(self) -> str:
        counts = Counter(self.states.values())
        skipped = counts["not_applicable"]
        pending = len(self.forecast.predictions)
        parts = [f"{len(self.states) - skipped - pending} finished", f"{pending} to compute"]
        parts += [f"{skipped} not applicable"] if skipped else []
        return f"{_counted(len(self.states), 'cell')}: {', '.join(parts)}"

    def _trainings(self) -> list[str]:
        return [_counted(self.trainings, "source training")] if self.trainings else []

    def _time(self) -> list[str]:
        unknown = self.forecast.unknown
        if not self.forecast.predictions:
            return []
        if not self.forecast.similar:
            return [
                f"the time is unknown: {self.results} has no measured cell with this network, "
                "image size and device; run one seed first"
            ]
        missing = [f"{kind} ({_counted(count, 'time')})" for kind, count in unknown.items()]
        without = f", without what is not measured yet: {listed(missing)}" if missing else ""
        return [f"about {format_seconds(self.forecast.known)} {self._basis()}{without}"]

    def _basis(self) -> str:
        place = "a machine like the measured one" if self.forecast.elsewhere else "this device"
        number = _counted(len(self.forecast.similar), "measured time")
        return f"on {place} (predicted from {number})"


def summarise(sweep: Sweep) -> PlanSummary:
    """Return how much of a plan is done, and how long the rest takes."""
    request, host = sweep.request, socket.gethostname()
    stored = cell_states([cell for cell in sweep.cells if not cell.reason], request.results)
    states = {cell.hash: stored.get(cell.hash, "not_applicable") for cell in sweep.cells}
    device, _ = attempt(find_device, request.device)
    # a plan for a device that is missing here has no times to compare with
    name = request.device if device is None else device_name(device)
    pending = pending_work(sweep, states, name)
    return PlanSummary(
        states=states,
        trainings=pending.trainings,
        forecast=forecast(pending.works, read_times(request.results), host),
        results=shown(request.results),
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
