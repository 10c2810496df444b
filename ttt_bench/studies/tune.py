"""Choose the learning rate of each method on held-out source images under a shift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ttt_bench import __version__
from ttt_bench.config.request import Request
from ttt_bench.config.tuned import Record, Trial, Tuned, TunedMethod
from ttt_bench.data.registry import domain_names
from ttt_bench.data.shifts.kinds import parse_shifts
from ttt_bench.designs.rates import RULE, TRIALS, choose_rate, rate_grid
from ttt_bench.errors import BenchError, unknown
from ttt_bench.stats.step_rules import DELTA
from ttt_bench.studies.scores import BASE, last_changes, settings_text
from ttt_bench.sweep.cell import Cell, make_cells
from ttt_bench.sweep.fit import MethodFit, PairFit
from ttt_bench.sweep.plan import Sweep, fit_conditions, fit_pairs
from ttt_bench.sweep.resolve import ResolvedRequest, resolve
from ttt_bench.util.process import fixed_process
from ttt_bench.util.progress import Progress

SPLIT = "val"
SPLIT_SETTING = "data.target_split"

_FIXED = ("pair", "seeds", "control", "hparams", "tuned", "stream")
"""Fields of a request that tuning sets itself."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The cells of a tuning.

    Attributes:
        sweep: all cells: Base, and the trials of each method.
        fit: the pair and its methods.
        trials: method -> learning rate -> its cell.
        defaults: method -> its settings with the default rate.
    """

    sweep: Sweep
    fit: PairFit
    trials: Mapping[str, Mapping[float, Cell]]
    defaults: Mapping[str, MethodFit]


def tuning_request(request: Request, *, source: str, shift: str, seed: int) -> Request:
    """Return the request of the trials: held-out source images under the shift, and one seed.

    Args:
        request: methods, preset, protocol and settings.
        source: name of the source domain.
        shift: shifts of its images, as in a target (`brightness@s2`).
        seed: seed of source training and adaptation.

    Raises:
        BenchError: a name is unknown, or the request sets what tuning sets itself.
    """
    given = [name for name in _FIXED if name in request.model_fields_set]
    if given:
        raise BenchError(
            f"tune sets {', '.join(given)} itself: it adapts on held-out images of the source; "
            "remove the entry from the config file, and use --source, --shift and --seed"
        )
    if request.set.get(SPLIT_SETTING, SPLIT) != SPLIT:
        raise BenchError(
            f"--set {SPLIT_SETTING}={request.set[SPLIT_SETTING]}: tune uses {SPLIT}, the held-out "
            "images of the source, so that no target image has a part in the choice; omit it"
        )
    if len(request.protocol) > 1:
        raise BenchError("--protocol: tune takes one protocol; run it once per protocol")
    known = domain_names(request.data_root)
    if source not in known:
        raise unknown("source", source, known)
    shifts = "+".join(map(str, parse_shifts(shift)))
    return request.model_copy(
        update={
            "pair": (f"{source}:{source}+{shifts}",),
            "seeds": (seed,),
            "set": {**request.set, SPLIT_SETTING: SPLIT},
            "methods": (BASE, *request.methods),
        }
    )


@fixed_process()
def plan_tuning(request: Request, progress: Progress) -> Tuning:
    """Return the trials of every method that adapts.

    Args:
        request: as `tuning_request` returns it.
        progress: shows long work, and what the user should know about the plan.

    Raises:
        BenchError: the request cannot be run as it is, or no method of it adapts.
    """
    resolved = resolve(request)
    (fit,) = fit_pairs(resolved, progress)
    defaults = {
        one.settings.adapter.name: one for one in fit.methods if one.moves and one.reason is None
    }
    if not defaults:
        raise BenchError("none of the methods has a learning rate to choose; name one that adapts")
    trials = {name: _trials(fit, one, resolved) for name, one in defaults.items()}
    fixed = tuple(one for one in fit.methods if one.settings.adapter.name not in defaults)
    cells = make_cells(replace(fit, methods=fixed), resolved)
    cells += [cell for rates in trials.values() for cell in rates.values()]
    return Tuning(sweep=Sweep(resolved, cells), fit=fit, trials=trials, defaults=defaults)


def _trials(fit: PairFit, method: MethodFit, resolved: ResolvedRequest) -> dict[float, Cell]:
    default = method.settings.optimiser.lr
    if default == 0:
        name = method.settings.adapter.name
        raise BenchError(f"{name}.lr is 0, so that there are no rates around it; set another one")
    rates = rate_grid(default)
    varied = replace(fit, methods=tuple(with_rate(method, rate) for rate in rates))
    return dict(zip(rates, make_cells(varied, resolved), strict=True))


def with_rate(method: MethodFit, rate: float) -> MethodFit:
    """Return a method with another learning rate."""
    optimiser = method.settings.optimiser.model_copy(update={"lr": rate})
    return replace(method, settings=replace(method.settings, optimiser=optimiser))


def tuned_of(tuning: Tuning) -> Tuned:
    """Return the chosen settings of every method, from the results of the trials.

    Raises:
        BenchError: a cell is missing or damaged.
    """
    resolved = tuning.sweep.resolved
    request, opened = resolved.request, tuning.fit.opened
    changes = last_changes(tuning.sweep.cells, request.results)
    deltas = dict(zip(changes.index, changes[DELTA].tolist(), strict=True))
    return Tuned(
        record=Record(
            pair=opened.pair.name,
            split=SPLIT,
            images=len(opened.target_data),
            seed=request.seeds[0],
            trials=TRIALS,
            rule=RULE,
            version=__version__,
            settings=settings_text(request, SPLIT_SETTING),
        ),
        conditions=fit_conditions(tuning.fit, resolved, request.protocol[0]),
        methods={name: _tuned_method(tuning, name, deltas) for name in tuning.trials},
    )


def _tuned_method(tuning: Tuning, name: str, deltas: Mapping[str, float]) -> TunedMethod:
    settings, results = tuning.defaults[name].settings, tuning.sweep.request.results
    trials = tuple(
        Trial(
            lr=rate,
            state=cell.state(results),
            delta_ttt=deltas.get(cell.hash),
            config=cell.hash,
        )
        for rate, cell in tuning.trials[name].items()
    )
    default = settings.optimiser.lr
    return TunedMethod(
        lr=choose_rate({trial.lr: trial.delta_ttt for trial in trials}, default),
        default_lr=default,
        steps=settings.steps,
        optimiser=settings.optimiser.model_dump(exclude={"lr"}),
        trials=trials,
    )


def summary(method: TunedMethod) -> dict[str, Any]:
    """Return the choice for one method: rates, Delta_TTT of both, and how far it can be trusted."""
    deltas = {trial.lr: trial.delta_ttt for trial in method.trials}
    rates = list(deltas)
    edge = {rates[0]: "lower", rates[-1]: "upper"}
    return {
        "default_lr": method.default_lr,
        "chosen_lr": method.lr,
        "delta_ttt_default": deltas[method.default_lr],
        "delta_ttt_chosen": deltas[method.lr],
        "edge": edge.get(method.lr),
        "diverged": sum(trial.state == "diverged" for trial in method.trials),
        "trials": len(method.trials),
    }
