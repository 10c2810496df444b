"""Plan a sweep: resolve a request into cells and report every problem before work starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ttt_bench.adapt.device import find_device, training_devices
from ttt_bench.config.request import Request
from ttt_bench.config.tuned import Conditions, conditions_of, tuned_problems
from ttt_bench.designs.study import Study
from ttt_bench.model.architecture import resolved_model
from ttt_bench.sweep.cell import Cell, make_cells
from ttt_bench.sweep.fit import PairFit, fit_pair
from ttt_bench.sweep.methods import requested_methods
from ttt_bench.sweep.opened import open_pairs
from ttt_bench.sweep.resolve import ResolvedRequest
from ttt_bench.util.problems import attempt, raise_problems
from ttt_bench.util.process import fixed_process, refuse_replaced_code
from ttt_bench.util.progress import Progress


@dataclass(frozen=True)
class Sweep:
    """All cells of a request.

    Attributes:
        resolved: the request.
        cells: the cells in the order in which they run.
        studies: the declared studies that the cells belong to; empty for a plain request.
    """

    resolved: ResolvedRequest
    cells: list[Cell]
    studies: tuple[Study, ...] = ()

    @property
    def request(self) -> Request:
        """The request as the user wrote it."""
        return self.resolved.request

    @property
    def checkpoints(self) -> Path:
        """The folder of source models."""
        return self.resolved.checkpoints


@fixed_process()
def plan_sweep(resolved: ResolvedRequest, progress: Progress) -> Sweep:
    """Return the cells of a request. Opens data sets; renders, trains and writes nothing.

    Args:
        resolved: the request.
        progress: shows long work, and what the user should know about the plan.

    Raises:
        BenchError: the request cannot be run as it is; one line per problem.
    """
    fits = fit_pairs(resolved, progress)
    return Sweep(resolved, [cell for fit in fits for cell in make_cells(fit, resolved)])


@fixed_process()
def fit_pairs(resolved: ResolvedRequest, progress: Progress) -> list[PairFit]:
    """Return how the methods of a request fit its pairs, as `plan_sweep` needs it.

    Raises:
        BenchError: the request cannot be run as it is; one line per problem.
    """
    refuse_replaced_code()
    methods, problems = requested_methods(resolved)
    problems += _network_problems(resolved)
    raise_problems(problems)  # before data are opened, which may take minutes
    _require_training_devices(resolved.request)
    pairs, problems = open_pairs(resolved, progress)
    fits = [fit_pair(opened, methods.settings[opened.preset_name], resolved) for opened in pairs]
    notices = [*methods.notices, *(notice for fit in fits for notice in fit.notices)]
    for notice in dict.fromkeys(notices):
        progress.notice(notice)
    problems += [problem for fit in fits for problem in fit.problems]
    problems += [problem for fit in fits for problem in _tuned_problems(fit, resolved)]
    raise_problems(problems)
    return fits


def _network_problems(resolved: ResolvedRequest) -> list[str]:
    """Return the problems of the networks' names and options."""
    models = {one.preset_name: one.preset.model for one in resolved.pairs}.values()
    found = (attempt(resolved_model, model)[1] for model in models)
    return list(dict.fromkeys(problem for problems in found for problem in problems))


def _require_training_devices(request: Request) -> None:
    """Raise a BenchError if the machine has fewer GPUs than train together."""
    device, _ = attempt(find_device, request.device, deterministic=request.deterministic)
    if device is not None:  # a plan may be made for another machine
        training_devices(device, request.train_devices)


def fit_conditions(fit: PairFit, resolved: ResolvedRequest, protocol: str) -> Conditions:
    """Return what learning rates are chosen for on a pair under a protocol."""
    return conditions_of(
        source=fit.opened.pair.source.name,
        protocol=protocol,
        preset_name=fit.opened.preset_name,
        preset=fit.opened.preset,
        weights=resolved.weights,
    )


def _tuned_problems(fit: PairFit, resolved: ResolvedRequest) -> list[str]:
    if resolved.tuned is None:
        return []
    adapting = [one for one in fit.methods if one.moves and one.reason is None]
    steps = [(one.settings.adapter.name, one.settings.steps) for one in adapting]
    problems: list[str] = []
    for protocol in resolved.request.protocol:
        conditions = fit_conditions(fit, resolved, protocol)
        problems += tuned_problems(resolved.tuned, conditions, steps)
    return problems
